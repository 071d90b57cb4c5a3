#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::aws::test_server::{Reply, Request, Server, json};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// A parameter with versions, as Parameter Store keeps it, and what goes wrong with the next writes.
#[derive(Default)]
struct Store {
    values: Vec<String>,
    trouble: VecDeque<Trouble>,
}

#[derive(Clone, Copy)]
enum Trouble {
    /// Refused.
    Refuse(&'static str),
    /// Written, but the answer is lost.
    LoseAnswer,
    /// Lost on the way.
    LoseRequest,
    /// Written, answered with HTTP 500.
    WriteAndFail,
}

impl Store {
    fn answer(&mut self, request: &Request) -> Reply {
        match request.operation() {
            "GetParameter" | "GetParameterHistory" if self.values.is_empty() => {
                json(400, &json!({"__type": "ParameterNotFound"}))
            }
            "GetParameter" => {
                json(200, &json!({"Parameter": {"Name": "n", "Value": "v", "Version": self.values.len()}}))
            }
            "GetParameterHistory" => {
                let entry = |(index, value)| json!({"Value": value, "Version": index + 1});
                let entries: Vec<_> = self.values.iter().enumerate().map(entry).collect();
                json(200, &json!({"Parameters": entries}))
            }
            "PutParameter" => self.put(request.json()["Value"].as_str().unwrap()),
            other => panic!("unexpected {other}"),
        }
    }

    fn put(&mut self, value: &str) -> Reply {
        let trouble = self.trouble.pop_front();
        if !matches!(trouble, Some(Trouble::Refuse(_) | Trouble::LoseRequest)) {
            self.values.push(value.to_owned());
        }
        match trouble {
            None => json(200, &json!({"Version": self.values.len()})),
            Some(Trouble::Refuse(code)) => json(400, &json!({"__type": code, "message": "m"})),
            Some(Trouble::LoseAnswer | Trouble::LoseRequest) => Reply::Drop,
            Some(Trouble::WriteAndFail) => json(500, &json!({"__type": "InternalServerError"})),
        }
    }
}

struct Fixture {
    server: Server,
    store: Arc<Mutex<Store>>,
    counter: PollCounter,
}

impl Fixture {
    async fn new(polls: usize, trouble: &[Trouble]) -> Self {
        let values = (1..=polls).map(|number| format!("earlier-{number}")).collect();
        let store = Arc::new(Mutex::new(Store { values, trouble: trouble.iter().copied().collect() }));
        let shared = store.clone();
        let server = Server::start(move |request: &Request| shared.lock().unwrap().answer(request)).await;
        let counter = PollCounter::new(server.clients().await.ssm, "/root/prod", "etl");
        Self { server, store, counter }
    }

    fn written(&self) -> Vec<String> {
        self.store.lock().unwrap().values.clone()
    }

    fn operations(&self) -> Vec<String> {
        self.server.requests().iter().map(|request| request.operation().to_owned()).collect()
    }
}

#[tokio::test]
async fn polls_are_numbered_and_stop_at_the_limit_without_writing() {
    let fixture = Fixture::new(0, &[]).await;
    for expected in [PollNumber::Poll(1), PollNumber::Poll(2), PollNumber::Stopped(2), PollNumber::Stopped(2)] {
        assert_eq!(fixture.counter.claim(2, "request").await.unwrap(), expected);
    }
    assert_eq!(fixture.written().len(), 2);
    assert_eq!(fixture.counter.polls().await.unwrap(), 2);
    assert_eq!(fixture.counter.claim(3, "request").await.unwrap(), PollNumber::Poll(3), "raising the limit goes on");
    assert_eq!(fixture.server.requests()[0].json()["Name"], "/root/prod/state/etl/polls");
}

#[tokio::test]
async fn no_polls_allowed_needs_no_request() {
    let fixture = Fixture::new(0, &[]).await;
    assert_eq!(fixture.counter.claim(0, "request").await.unwrap(), PollNumber::Stopped(0));
    assert!(fixture.operations().is_empty());
}

#[tokio::test]
async fn ten_at_once_with_five_polls_left_are_exactly_five() {
    let fixture = Fixture::new(0, &[]).await;
    let claims = (0..10).map(|index| {
        let counter = fixture.counter.clone();
        tokio::spawn(async move { counter.claim(5, &format!("request-{index}")).await.unwrap() })
    });
    let turns: Vec<PollNumber> = futures_util::future::join_all(claims).await.into_iter().map(Result::unwrap).collect();
    let mut numbers: Vec<u64> = turns
        .iter()
        .filter_map(|turn| match turn {
            PollNumber::Poll(number) => Some(*number),
            PollNumber::Stopped(_) => None,
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5], "{turns:?}");
}

#[tokio::test]
async fn a_number_beyond_the_limit_does_not_poll() {
    // Another invocation takes the last number between the reading and the writing.
    let counter_at = |version: u64| {
        move |request: &Request| match request.operation() {
            "GetParameter" => json(200, &json!({"Parameter": {"Name": "n", "Value": "v", "Version": 4}})),
            _ => json(200, &json!({"Version": version})),
        }
    };
    for (version, expected) in [(5, PollNumber::Poll(5)), (6, PollNumber::Stopped(6))] {
        let server = Server::start(counter_at(version)).await;
        let counter = PollCounter::new(server.clients().await.ssm, "/r", "etl");
        assert_eq!(counter.claim(5, "request").await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_lost_answer_is_found_in_the_history() {
    for trouble in [Trouble::LoseAnswer, Trouble::WriteAndFail] {
        let fixture = Fixture::new(3, &[trouble]).await;
        assert_eq!(fixture.counter.claim(9, "mine").await.unwrap(), PollNumber::Poll(4));
        assert_eq!(fixture.written().len(), 4, "nothing may be written twice");
        assert_eq!(fixture.operations(), ["GetParameter", "PutParameter", "GetParameterHistory"]);
    }
}

#[tokio::test]
async fn a_lost_request_is_written_again() {
    let fixture = Fixture::new(0, &[Trouble::LoseRequest]).await;
    assert_eq!(fixture.counter.claim(9, "mine").await.unwrap(), PollNumber::Poll(1));
    assert_eq!(fixture.written(), ["mine"]);
}

#[tokio::test]
async fn an_earlier_delivery_of_the_same_event_does_not_lend_its_number() {
    let fixture = Fixture::new(0, &[]).await;
    assert_eq!(fixture.counter.claim(9, "mine").await.unwrap(), PollNumber::Poll(1));
    fixture.store.lock().unwrap().trouble.push_back(Trouble::LoseRequest);
    assert_eq!(fixture.counter.claim(9, "mine").await.unwrap(), PollNumber::Poll(2));
}

#[tokio::test]
async fn concurrent_updates_are_waited_out() {
    let refusals = [Trouble::Refuse("TooManyUpdates"), Trouble::Refuse("ThrottlingException")];
    let fixture = Fixture::new(1, &refusals).await;
    assert_eq!(fixture.counter.claim(9, "mine").await.unwrap(), PollNumber::Poll(2));
}

#[tokio::test]
async fn without_a_number_there_is_no_poll() {
    let fixture = Fixture::new(0, &[Trouble::Refuse("TooManyUpdates"); 99]).await;
    let error = fixture.counter.claim(9, "mine").await.unwrap_err();
    assert_eq!(error.code(), Some("TooManyUpdates"));
    assert_eq!(fixture.operations().len(), 1 + 1 + REPETITIONS as usize, "bounded");
    let fixture = Fixture::new(0, &[Trouble::Refuse("AccessDeniedException")]).await;
    assert_eq!(fixture.counter.claim(9, "mine").await.unwrap_err().code(), Some("AccessDeniedException"));
    assert_eq!(fixture.operations(), ["GetParameter", "PutParameter"]);
}
