#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::html::{Around, Asked};
use super::testing::{NOW, ROOT, agent, before, deployment, polled};
use super::*;
use secrecy::SecretString;

fn page(facts: &BTreeMap<String, AgentFacts>) -> Page {
    Page::of(ROOT, facts, NOW)
}

fn card(status: Status) -> AgentCard {
    page(&[("etl".to_owned(), agent(Some(status)))].into()).agents.remove(0)
}

#[test]
fn what_fails_comes_first_and_the_heading_says_how_many() {
    let page = page(&deployment());
    let names: Vec<_> = page.agents.iter().map(|agent| agent.name.as_str()).collect();
    assert_eq!(names, ["forecasts", "etl-nightly", "new-pool", "reports", "migration", "ml-experiments"]);
    assert_eq!((page.heading.as_str(), page.status), ("One of 6 agents is failing", Overall::Failing));
}

#[test]
fn the_heading_counts() {
    let well = || agent(Some(polled(10)));
    let failing = || agent(None);
    let mut off = well();
    off.configuration.as_mut().unwrap().enabled = false;
    for (agents, expected) in [
        (vec![], "No agent is configured"),
        (vec![well()], "The agent is well"),
        (vec![failing()], "The agent is failing"),
        (vec![well(), well()], "All 2 agents are well"),
        (vec![failing(), failing()], "All 2 agents are failing"),
        (vec![failing(), failing(), well()], "2 of 3 agents are failing"),
        (vec![off.clone(), off.clone()], "No agent polls"),
        (vec![off.clone(), well()], "All agents that poll are well"),
    ] {
        let agents = agents.into_iter().enumerate().map(|(number, agent)| (number.to_string(), agent)).collect();
        assert_eq!(page(&agents).heading, expected);
    }
}

#[test]
fn a_failing_agent_says_since_when_and_why_and_what_to_do() {
    let lost = Status { last_success: Some(before(5400)), error: Some(ErrorKind::Unauthorised), ..polled(24) };
    let said = card(lost).sentences;
    assert_eq!(said[..2], ["No poll has succeeded since 20:30:10 UTC.", "The Prefect API refuses the credentials."]);
    assert_eq!(
        said[2..],
        [format!("prefect-serverless-agent check --root {ROOT} says what is wrong, and what mends it.")]
    );
    let silent = card(polled(600)).sentences;
    assert!(silent[1].contains("is the schedule enabled"), "{silent:?}");
    let both = card(Status { error: Some(ErrorKind::Aws), ..polled(600) }).sentences;
    assert!(both[1].starts_with("AWS refuses") && both[2].contains("not polled lately"), "{both:?}");
    let never = page(&[("etl".to_owned(), agent(None))].into()).agents.remove(0).sentences;
    assert_eq!(never[0], "It has never polled.");
    let wrong = AgentFacts { configuration: None, ..agent(Some(polled(10))) };
    let wrong = page(&[("etl".to_owned(), wrong)].into()).agents.remove(0);
    assert_eq!((wrong.sentences[1].as_str(), wrong.next_poll), ("Its configuration is wrong.", None));
}

#[test]
fn runs_wait_or_come_again_and_those_that_are_not_listed_are_counted() {
    let busy = page(&deployment()).agents.remove(1);
    let late: Vec<_> = busy.waiting.iter().map(|run| run.late.as_str()).collect();
    assert_eq!((late, busy.waiting_more), (vec!["5 min late", "41 s late"], 2));
    let again = busy.given_back[0].again.as_ref().unwrap();
    assert_eq!((again.relative.as_str(), again.absolute.as_str()), ("in 33 s", "22:00:43 UTC"));
    assert_eq!(again.machine, "2026-11-30T22:00:43Z");
    assert_eq!(busy.next_poll.unwrap().relative, "in 39 s");
}

#[test]
fn all_agents_together_are_a_line() {
    let summary = page(&deployment()).summary;
    let next = summary.next_poll.as_ref().map(|next| next.relative.as_str());
    assert_eq!((summary.waiting, summary.oldest.as_deref()), (4, Some("the oldest is 5 min late")));
    assert_eq!((summary.given_back, summary.harmed, next), (1, 3, Some("in 36 s")));
    let quiet = page(&[("etl".to_owned(), agent(Some(polled(10))))].into()).summary;
    assert_eq!((quiet.waiting, quiet.oldest, quiet.given_back, quiet.harmed), (0, None, 0, 0));
}

#[test]
fn runs_that_were_not_launched_and_those_that_died_are_told_together_the_newest_first() {
    let busy = page(&deployment()).agents.remove(1);
    let harmed: Vec<_> = busy.harmed.iter().map(|run| (run.at.relative.as_str(), run.harm)).collect();
    let expected =
        [("64 s ago", Harm::Died), ("2 min ago", Harm::NotLaunched), ("21 min ago", Harm::DiedAndComesAgain)];
    assert_eq!(harmed, expected);
}

#[test]
fn a_status_of_before_has_its_oldest_run_in_a_sentence() {
    let old = Status {
        oldest_due: Some(before(330)),
        counts: crate::state::Counts { deferred: 3, ..Default::default() },
        ..polled(10)
    };
    let card = card(old);
    assert_eq!(card.sentences, ["It polls every minute.", "The oldest run that waits is 5 min late."]);
    assert_eq!((card.waiting.len(), card.waiting_more), (0, 3));
}

#[test]
fn texts_pass_the_redaction() {
    let redaction = Redaction::default();
    redaction.know([SecretString::from("subnet-0123456789abcdef0")]);
    let shown = html::page(&page(&deployment()).without(&redaction), Around::default());
    assert!(!shown.contains("subnet-0123456789abcdef0") && shown.contains("interface is left in [redacted]"));
}

#[test]
fn documents_are_as_they_were() {
    let around = Around { refreshes: true, sign_out: true };
    let without_style = |document: String| {
        let (head, rest) = document.split_once("<style>").unwrap();
        format!("{head}<style>…{}", rest.split_once("</style>").unwrap().1).replace("><", ">\n<")
    };
    insta::assert_snapshot!("page", without_style(html::page(&page(&deployment()), around)));
    insta::assert_snapshot!("form", without_style(html::form(Asked::Wrong)));
    insta::assert_snapshot!("form_without_token", without_style(html::form(Asked::NoToken)));
    insta::assert_snapshot!(
        "nothing_configured",
        without_style(html::page(&page(&BTreeMap::new()), Around::default()))
    );
}

#[test]
fn what_people_and_answers_write_stays_text() {
    let shown = html::page(&page(&deployment()), Around::default());
    assert!(shown.contains("&lt;flows&gt;") && !shown.contains("<flows>"));
}

#[test]
fn nothing_is_loaded_and_nothing_runs() {
    let around = Around { refreshes: true, sign_out: true };
    let documents = [html::page(&page(&deployment()), around), html::form(Asked::First), html::trouble()];
    for document in documents {
        for never in ["<script", "<img", "<iframe", "@import", "url(", "src=", " style=", "javascript:", " on"] {
            // The words of people may have " on": only tags are looked at.
            let tags = document.split('<').skip(1).filter_map(|tag| tag.split('>').next());
            let tags: Vec<_> = tags.map(|tag| format!("<{tag}")).collect();
            assert!(tags.iter().all(|tag| !tag.contains(never)), "{never}");
        }
        let addresses: Vec<_> = document.match_indices("http").map(|(at, _)| &document[at..at + 20]).collect();
        assert!(
            addresses.iter().all(|at| at.starts_with("http-equiv") || at.starts_with("http://www.w3.org/20")),
            "{addresses:?}"
        );
    }
    let policy = html::content_security_policy();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
}
