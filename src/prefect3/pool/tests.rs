#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{POOL, agent, calls, no_content, ok, pool_row, replying, setup, unavailable, with};
use super::*;
use crate::aws::test_server::{Reply, Server, json};
use crate::config::WorkerRules;
use crate::orchestrator::Orchestrator;
use crate::platform::ecs::platform::WORK_POOL;
use serde_json::json;

const WORKER: &str = "88358ed6-e85f-4ae4-ad23-947c376715f9";

#[tokio::test]
async fn the_pool_is_read_by_its_encoded_name_and_kept_for_the_batches_of_a_poll() {
    let server = replying(vec![ok(pool_row())]).await;
    let prefect = agent(&server);
    let pool = prefect.pool().await.unwrap();
    assert_eq!(pool.name, POOL);
    prefect.pool().await.unwrap();
    assert_eq!(calls(&server), ["GET /work_pools/ecs%20pool"]);
    assert!(prefect.warnings().is_empty());
    prefect.read_pool().await.unwrap();
    assert_eq!(server.requests().len(), 2, "a poll reads it again");
}

#[tokio::test]
async fn a_pool_that_cannot_be_read_for_the_moment_is_used_as_it_was() {
    let server = replying(vec![ok(pool_row()), unavailable()]).await;
    let prefect = agent(&server);
    prefect.read_pool().await.unwrap();
    assert!(prefect.read_pool().await.is_err());
    let asked = server.requests().len();
    assert_eq!(prefect.pool().await.unwrap().name, POOL);
    assert_eq!(server.requests().len(), asked);
}

#[tokio::test]
async fn an_empty_template_is_filled_as_the_worker_of_its_generation_does() {
    for rules in [WorkerRules::Three, WorkerRules::Two] {
        let server = Server::start(move |request| match request.method.as_str() {
            "GET" => {
                let mut row = pool_row();
                row["base_job_template"] = json!({});
                json(200, &row)
            }
            _ => no_content(),
        })
        .await;
        let mut setup = setup(&server.url());
        setup.config.generation.rules = rules;
        let pool = with(setup).read_pool().await.unwrap();
        let expected: Value = serde_json::from_str((WORK_POOL.template)(rules)).unwrap();
        assert_eq!(calls(&server), ["GET /work_pools/ecs%20pool", "PATCH /work_pools/ecs%20pool"]);
        assert_eq!(server.requests()[1].json(), json!({"base_job_template": expected}));
        assert_eq!(Value::Object(pool.base_job_template.clone()), expected);
    }
}

#[tokio::test]
async fn what_is_no_template_is_no_empty_one_and_nothing_is_written_over_it() {
    let odd = [json!(null), json!([]), json!([1]), json!("x"), json!(""), json!(7), json!(false)];
    let missing = std::iter::once(None);
    for template in odd.into_iter().map(Some).chain(missing) {
        let mut row = pool_row();
        row.as_object_mut().unwrap().shift_remove("base_job_template");
        row.as_object_mut().unwrap().extend(template.map(|template| ("base_job_template".to_owned(), template)));
        let server = replying(vec![ok(row.clone())]).await;
        let error = agent(&server).read_pool().await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ApiError::Malformed(_)), "{text}");
        assert!(text.contains("GET /work_pools/ecs%20pool: `base_job_template` must be an object, but is "), "{text}");
        assert_eq!(calls(&server), ["GET /work_pools/ecs%20pool"], "nothing is written: {row}");
    }
}

#[tokio::test]
async fn a_pool_of_another_shape_is_an_answer_that_cannot_be_understood() {
    for body in ["[]", "7", "\"x\"", "[null]", "null", "{}", r#"{"id": 1, "name": "a", "base_job_template": {}}"#] {
        let server = Server::start(move |_| Reply::Answer(200, Vec::new(), body.into())).await;
        let error = agent(&server).read_pool().await.unwrap_err();
        assert!(
            matches!(&error, ApiError::Malformed(why) if why.starts_with("GET /work_pools/ecs%20pool: ")),
            "{error}"
        );
        assert_eq!(calls(&server), ["GET /work_pools/ecs%20pool"], "nothing is written: {body}");
    }
}

#[tokio::test]
async fn a_dry_run_fills_nothing_and_a_failed_filling_stops_nothing() {
    let mut row = pool_row();
    row["base_job_template"] = json!({});
    let server = replying(vec![ok(row.clone())]).await;
    let mut setup = setup(&server.url());
    setup.read_only = true;
    assert!(!with(setup).read_pool().await.unwrap().base_job_template.is_empty());
    assert_eq!(server.requests().len(), 1);
    let server = replying(vec![ok(row), json(403, &json!({"detail": "Forbidden"}))]).await;
    assert!(!agent(&server).read_pool().await.unwrap().base_job_template.is_empty());
}

#[tokio::test]
async fn a_missing_pool_says_what_to_do_and_a_wrong_type_is_a_warning() {
    let server = replying(vec![json(404, &json!({"detail": "Work pool \"ecs pool\" not found."}))]).await;
    let error = agent(&server).pool().await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ApiError::Configuration(_)), "{text}");
    assert!(text.contains("not found.") && text.contains("prefect work-pool create --type ecs \"ecs pool\""), "{text}");

    let mut row = pool_row();
    row["type"] = json!("process");
    let server = replying(vec![ok(row)]).await;
    let prefect = agent(&server);
    prefect.pool().await.unwrap();
    assert!(prefect.warnings()[0].contains("\"process\""), "{:?}", prefect.warnings());
}

#[tokio::test]
async fn an_address_that_is_no_api_is_a_wrong_address() {
    let server = replying(vec![json(404, &json!({"detail": "Not Found"}))]).await;
    let error = agent(&server).pool().await.unwrap_err().to_string();
    assert!(error.starts_with("api: ") && error.contains("ends in /api"), "{error}");
}

#[tokio::test]
async fn a_self_hosted_server_is_asked_nothing_to_connect() {
    let server = replying(vec![no_content()]).await;
    let prefect = agent(&server);
    assert_eq!(prefect.connect(None).await.unwrap(), None);
    assert!(server.requests().is_empty());
    prefect.heartbeat().await.unwrap();
    assert_eq!(server.requests()[0].json(), json!({"name": "My worker", "heartbeat_interval_seconds": 60}));
}

fn cloud(server: &Server) -> Prefect3 {
    with(setup(&format!("{}/api/accounts/a/workspaces/b", server.url())))
}

#[tokio::test]
async fn prefect_cloud_names_its_worker_once_and_it_is_remembered() {
    let server = replying(vec![ok(json!(WORKER))]).await;
    let prefect = cloud(&server);
    let registration = prefect.connect(None).await.unwrap().unwrap();
    assert_eq!((registration.agent_id.as_str(), prefect.worker_id().as_deref()), (WORKER, Some(WORKER)));
    assert_eq!(calls(&server), ["POST /api/accounts/a/workspaces/b/work_pools/ecs%20pool/workers/heartbeat"]);
    assert_eq!(server.requests()[0].json()["return_id"], true);
    prefect.heartbeat().await.unwrap();
    assert!(server.requests()[1].json().get("return_id").is_none());

    let later = cloud(&server);
    assert_eq!(later.connect(Some(&registration)).await.unwrap().as_ref(), Some(&registration));
    assert_eq!((later.worker_id().as_deref(), server.requests().len()), (Some(WORKER), 2));
    let mut renamed = setup(&format!("{}/api/accounts/a/workspaces/b", server.url()));
    renamed.config.name = "other".into();
    with(renamed).connect(Some(&registration)).await.unwrap();
    assert_eq!(server.requests().len(), 3, "another worker has another id");
}

#[tokio::test]
async fn a_cloud_that_gives_no_ids_is_asked_once() {
    let server =
        replying(vec![json(422, &json!({"detail": [{"loc": ["body", "return_id"], "msg": "extra"}]})), no_content()])
            .await;
    let prefect = cloud(&server);
    assert_eq!(prefect.connect(None).await.unwrap(), None);
    assert_eq!(server.requests().len(), 2);
    prefect.heartbeat().await.unwrap();
    assert_eq!(server.requests().len(), 3);
    assert_eq!(prefect.worker_id(), None);
}
