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

fn not_found() -> Reply {
    json(404, &json!({"detail": "Deployment not found"}))
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
        if request.method == "GET" {
            return not_found();
        }
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

    // What the lists lack is asked for one by one, and only so much of it in one poll.
    let singly = calls(&server).iter().filter(|call| call.starts_with("GET /deployments/")).count();
    assert_eq!(singly, MAX_SINGLE);
    let kinds = runs.iter().map(|run| prefect.records.of(run).unwrap_err());
    let (gone, wait): (Vec<_>, Vec<_>) = kinds.partition(|missing| matches!(missing, Missing::Deployment(_)));
    assert_eq!((gone.len(), wait.len()), (MAX_SINGLE, 450 - MAX_SINGLE));
    assert!(matches!(&wait[0], Missing::Unread(RenderError::NotNow(why)) if why.contains("too many")), "{:?}", wait[0]);
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
    let deleted = why(|request| match call(request).as_str() {
        "POST /deployments/filter" => json(200, &json!([])),
        other if other.starts_with("GET /deployments/") => not_found(),
        _ => usual(request),
    });
    assert_eq!(deleted.await, Missing::Deployment(DEPLOYMENT.into()));
    let no_flow = why(|request| match call(request).as_str() {
        "POST /flows/filter" => json(200, &json!([])),
        other if other.starts_with("GET /flows/") => not_found(),
        _ => usual(request),
    });
    assert_eq!(no_flow.await, Missing::Flow(FLOW.into()));
    let away = why(|_| json(500, &json!({"exception_message": "Internal Server Error"}))).await;
    let said = |why: &str| why.contains("its deployment cannot be read") && why.contains("500");
    assert!(matches!(&away, Missing::Unread(RenderError::NotNow(why)) if said(why)), "{away:?}");
}

/// Lists that lack the deployment, or have rows of another shape for it, and what is said of it alone.
const ODD_LISTS: [&str; 7] =
    ["[]", "[{}]", "[7]", "[null]", "[[]]", r#"[{"id": 7}]"#, r#"[{"id": "another", "name": "a"}]"#];

async fn of_odd_lists(single: fn() -> Reply) -> Vec<Result<Belongings, Missing>> {
    let mut all = Vec::new();
    for list in ODD_LISTS {
        for what in ["deployments", "flows"] {
            let server = Server::start(move |request| match call(request).as_str() {
                filter if filter == format!("POST /{what}/filter") => Reply::Answer(200, Vec::new(), list.into()),
                one if one.starts_with(&format!("GET /{what}/")) => single(),
                _ => usual(request),
            })
            .await;
            let prefect = agent(&server);
            prefect.read_records(&[&due()]).await;
            all.push(prefect.records.of(&due()));
        }
    }
    all
}

#[tokio::test]
async fn a_list_that_lacks_something_proves_nothing() {
    for missing in of_odd_lists(|| json(500, &json!({"exception_message": "Internal Server Error"}))).await {
        assert!(
            matches!(&missing, Err(Missing::Unread(RenderError::NotNow(why))) if why.contains("500")),
            "{missing:?}"
        );
    }
    // Neither a proxy nor a server without such a route says anything about a deployment.
    let no_api = [
        || Reply::Answer(404, Vec::new(), "<html>404 Not Found</html>".into()),
        || Reply::Answer(404, Vec::new(), String::new()),
        || json(404, &json!({"detail": "Not Found"})),
        || json(404, &json!([])),
    ];
    for single in no_api {
        for missing in of_odd_lists(single).await {
            assert!(matches!(&missing, Err(Missing::Unread(RenderError::NotNow(_)))), "{missing:?}");
        }
    }
    for missing in of_odd_lists(|| json(200, &json!([7]))).await {
        let said = |why: &str| why.contains("GET /") && why.contains("an object was expected, but it is a list of 1");
        assert!(matches!(&missing, Err(Missing::Unread(RenderError::NotUnderstood(why))) if said(why)), "{missing:?}");
    }
    for gone in of_odd_lists(not_found).await {
        assert!(matches!(gone, Err(Missing::Deployment(_) | Missing::Flow(_))), "{gone:?}");
    }
}

#[tokio::test]
async fn what_a_list_lacks_and_is_there_is_launched_all_the_same() {
    let server = Server::start(|request| match call(request).as_str() {
        "POST /deployments/filter" | "POST /flows/filter" => json(200, &json!([{}])),
        one if one.starts_with("GET /deployments/") => json(200, &deployment_row()),
        _ => json(200, &flow_row()),
    })
    .await;
    let prefect = agent(&server);
    prefect.read_records(&[&due()]).await;
    let found = prefect.records.of(&due()).unwrap();
    assert_eq!((found.flow.name.as_str(), found.deployment.unwrap().deployment.name.as_str()), ("hello", "daily"));
}

#[tokio::test]
async fn a_row_of_another_shape_waits_with_its_reason() {
    for (field, odd, said) in [
        ("name", json!(null), "`name` must be a text, but is null"),
        ("job_variables", json!(["secret"]), "`job_variables` must be an object, but is a list of 1 entry"),
        ("updated", json!(7), "`updated` must be a text, but is a number"),
    ] {
        let mut row = deployment_row();
        row[field] = odd;
        let server = Server::start(move |request| {
            if call(request) == "POST /deployments/filter" { json(200, &json!([row])) } else { usual(request) }
        })
        .await;
        let prefect = agent(&server);
        prefect.read_records(&[&due()]).await;
        let missing = prefect.records.of(&due()).unwrap_err();
        let expected = format!("its deployment cannot be read: {said}");
        assert_eq!(missing, Missing::Unread(RenderError::NotNow(expected)));
    }
}

#[tokio::test]
async fn a_list_that_is_none_is_the_agents_trouble() {
    let server = Server::start(|_| json(200, &json!({"secret": 1}))).await;
    let prefect = agent(&server);
    prefect.read_records(&[&due()]).await;
    let missing = prefect.records.of(&due()).unwrap_err();
    let said =
        |why: &str| why.contains("POST /deployments/filter: a list was expected, but it is an object of 1 field");
    assert!(matches!(&missing, Missing::Unread(RenderError::NotUnderstood(why)) if said(why)), "{missing:?}");
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
