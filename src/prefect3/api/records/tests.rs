#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{
    DEPLOYMENT, FLOW, NOW, agent, call, calls, deployment_row, due, due_row, flow_row, read,
};
use super::*;
use crate::aws::test_server::{Reply, Request, Server, json};
use serde_json::json;

fn usual(request: &Request) -> Reply {
    match call(request).as_str() {
        "POST /flows/filter" => json(200, &json!([flow_row()])),
        "POST /deployments/filter" => json(200, &json!([deployment_row()])),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_hundred_runs_of_one_deployment_are_two_requests() {
    let server = Server::start(usual).await;
    let prefect = agent(&server);
    let (run, mut others) = (due(), Vec::new());
    others.resize(100, &run);
    prefect.read_records(&others).await;
    let belongings = prefect.records.of(&run).unwrap();
    assert_eq!(belongings.flow.name, "hello");
    let deployment = belongings.deployment.unwrap();
    assert_eq!((deployment.deployment.name.as_str(), deployment.tags.len()), ("daily", 2));
    let mut made = calls(&server);
    made.sort_unstable();
    assert_eq!(made, ["POST /deployments/filter", "POST /flows/filter"]);
    let asked = server.requests()[1].json();
    assert!(asked["flows"]["id"]["any_"] == json!([FLOW]) || asked["deployments"]["id"]["any_"] == json!([DEPLOYMENT]));

    prefect.read_records(&[&run]).await;
    assert_eq!(server.requests().len(), 2, "known for this poll");
    prefect.set_deadline(None);
    prefect.read_records(&[&run]).await;
    assert_eq!(calls(&server)[2..], ["POST /deployments/filter"], "deployments change, names of flows do not");
}

#[tokio::test]
async fn many_ids_are_asked_for_in_pages() {
    let server = Server::start(|request| {
        let ids = request.json()["deployments"]["id"]["any_"].as_array().map(Vec::len).unwrap_or_default();
        assert!(ids <= 200);
        json(200, &json!([]))
    })
    .await;
    let runs: Vec<_> = (0..450)
        .map(|number| {
            let mut row = due_row();
            row["deployment_id"] = json!(format!("deployment-{number}"));
            read(row).turn("epoch".into(), NOW, (0, 0))
        })
        .collect();
    let prefect = agent(&server);
    prefect.read_records(&runs.iter().collect::<Vec<_>>()).await;
    assert_eq!(calls(&server).iter().filter(|call| *call == "POST /deployments/filter").count(), 3);
    assert_eq!(prefect.records.of(&runs[0]).unwrap_err(), Missing::Deployment("deployment-0".into()));
}

#[tokio::test]
async fn what_is_not_there_is_gone_and_what_cannot_be_read_is_unknown() {
    let why = async |answer: fn(&Request) -> Reply| {
        let server = Server::start(answer).await;
        let prefect = agent(&server);
        let run = due();
        prefect.read_records(&[&run]).await;
        prefect.records.of(&run).unwrap_err()
    };
    let deleted =
        why(|request| if call(request) == "POST /deployments/filter" { json(200, &json!([])) } else { usual(request) });
    assert_eq!(deleted.await, Missing::Deployment(DEPLOYMENT.into()));
    let no_flow =
        why(|request| if call(request) == "POST /flows/filter" { json(200, &json!([])) } else { usual(request) });
    assert_eq!(no_flow.await, Missing::Flow(FLOW.into()));
    let away = why(|_| json(500, &json!({"exception_message": "Internal Server Error"}))).await;
    assert!(matches!(&away, Missing::Unread(why) if why.contains("deployment") && why.contains("500")), "{away:?}");
    let odd = why(|request| {
        let mut row = deployment_row();
        row["name"] = json!(null);
        if call(request) == "POST /deployments/filter" { json(200, &json!([row])) } else { usual(request) }
    });
    let odd = odd.await;
    assert!(matches!(&odd, Missing::Unread(_)), "an odd row is no deleted deployment: {odd:?}");
}

#[tokio::test]
async fn a_run_without_a_deployment_asks_for_none() {
    let server = Server::start(usual).await;
    let mut row = due_row();
    row["deployment_id"] = json!(null);
    let run = read(row).turn("epoch".into(), NOW, (0, 0));
    let prefect = agent(&server);
    prefect.read_records(&[&run]).await;
    assert!(prefect.records.of(&run).unwrap().deployment.is_none());
    assert_eq!(calls(&server), ["POST /flows/filter"]);
}
