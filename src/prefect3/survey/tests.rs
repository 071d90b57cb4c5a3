#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{DEPLOYMENT, FLOW, POOL, agent, calls, pool_row, setup, with};
use super::*;
use crate::aws::test_server::{Reply, Request, Server, json};
use serde_json::json;

fn row(number: usize) -> Value {
    let id = if number == 0 { DEPLOYMENT.to_owned() } else { format!("id-{number}") };
    json!({"id": id, "name": format!("d{number}"), "flow_id": FLOW, "work_queue_name": "default"})
}

/// A pool with so many deployments.
async fn server(deployments: usize, odd: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Server {
    Server::start(move |request| {
        if let Some(reply) = odd(request) {
            return reply;
        }
        let path = request.target.as_str();
        if path.ends_with("/deployments/filter") {
            let offset = usize::try_from(request.json()["offset"].as_u64().unwrap()).unwrap();
            let page: Vec<Value> = (offset..deployments).take(PAGE_ROWS).map(row).collect();
            return json(200, &json!(page));
        }
        if path.ends_with("/flows/filter") {
            return json(200, &json!([{"id": FLOW, "name": "etl"}]));
        }
        if path.ends_with("/queues/filter") {
            return json(200, &json!([{"id": "q", "name": "default", "is_paused": true}]));
        }
        if path.ends_with("/workers/filter") {
            let workers = json!([{"name": "w", "status": "ONLINE", "last_heartbeat_time": "t"}, {"name": "v", "status": "OFFLINE"}]);
            return json(200, &workers);
        }
        json(200, &pool_row())
    })
    .await
}

#[tokio::test]
async fn a_pool_is_read_with_its_queues_workers_and_deployments_and_nothing_is_written() {
    let server = server(2, |_| None).await;
    let prefect = agent(&server);
    let survey = prefect.survey(None, 10).await.unwrap();
    assert_eq!((survey.pool.name.as_str(), survey.pool.kind.as_str(), survey.is_truncated), (POOL, "ecs", false));
    assert!(survey.queues.unwrap()[0].is_paused);
    let workers = survey.workers.unwrap();
    assert_eq!(workers.iter().map(|worker| worker.is_online).collect::<Vec<_>>(), [true, false]);
    let named: Vec<_> = survey.deployments.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(named, ["etl/d0", "etl/d1"]);
    let read_only = |call: &String| call.starts_with("GET ") || call.ends_with("/filter");
    assert!(calls(&server).iter().all(read_only), "{:?}", calls(&server));
}

#[tokio::test]
async fn deployments_are_read_page_by_page_and_it_is_said_when_there_are_more() {
    for (there, most, read, is_truncated, pages) in
        [(200, 1000, 200, false, 2), (450, 1000, 450, false, 3), (450, 250, 250, true, 2), (250, 250, 250, false, 2)]
    {
        let server = server(there, |_| None).await;
        let survey = agent(&server).survey(None, most).await.unwrap();
        assert_eq!((survey.deployments.len(), survey.is_truncated), (read, is_truncated), "{there} of {most}");
        let asked = calls(&server).iter().filter(|call| call.ends_with("/deployments/filter")).count();
        assert_eq!(asked, pages, "{there} of {most}");
    }
}

/// Whoever sees a part of the queues would call the others missing.
#[tokio::test]
async fn queues_and_workers_are_read_to_the_last_or_not_known() {
    for (there, read) in [(1, Some(1)), (200, Some(200)), (450, Some(450)), (2000, Some(2000)), (2001, None)] {
        let rows = move |request: &Request| {
            let is_beside = ["/queues/filter", "/workers/filter"].iter().any(|end| request.target.ends_with(end));
            is_beside.then(|| {
                let offset = usize::try_from(request.json()["offset"].as_u64().unwrap()).unwrap();
                let page = (offset..there).take(PAGE_ROWS).map(|number| json!({"id": "q", "name": number.to_string()}));
                json(200, &page.collect::<Value>())
            })
        };
        let server = server(1, rows).await;
        let survey = agent(&server).survey(None, 10).await.unwrap();
        let last = read.map(|count: usize| (count - 1).to_string());
        if read.is_none() {
            assert_eq!(survey.queues, Err(Unlisted::TooLong(MOST_BESIDE)));
        }
        let queues = survey.queues.ok().map(|queues| (queues.len(), queues.last().map(|last| last.name.clone())));
        let workers = survey.workers.ok().map(|workers| (workers.len(), workers.last().map(|last| last.name.clone())));
        assert_eq!(queues, read.map(|count| (count, last.clone())), "{there}");
        assert_eq!(workers, queues, "{there}");
    }
}

#[tokio::test]
async fn each_deployment_is_described_as_a_run_of_it_would_be() {
    let server = server(1, |_| None).await;
    let mut setup = setup(&server.url());
    setup.read_only = true;
    let prefect = with(setup);
    let survey = prefect.survey(None, 10).await.unwrap();
    let (defaults, described) = prefect.describe_surveyed(&survey.deployments).await;
    let RunDescription::Three(job) = described.into_iter().next().unwrap().unwrap() else { panic!("of Prefect 3") };
    assert_eq!(job.deployment.as_ref().unwrap().id, DEPLOYMENT);
    assert_eq!((job.flow.name.as_str(), job.flow_run.deployment_id.as_deref()), ("etl", Some(DEPLOYMENT)));
    let RunDescription::Three(job) = defaults.unwrap() else { panic!("of Prefect 3") };
    assert!(job.deployment.is_none());
}

#[tokio::test]
async fn what_cannot_be_read_beside_the_pool_is_not_known_and_the_rest_is() {
    let odd = |request: &Request| {
        let hidden = ["/queues/filter", "/workers/filter", "/flows/filter"];
        hidden.iter().any(|end| request.target.ends_with(end)).then(|| json(403, &json!({"detail": "no"})))
    };
    let server = server(1, odd).await;
    let prefect = agent(&server);
    let survey = prefect.survey(None, 10).await.unwrap();
    assert!(survey.queues.is_err() && survey.workers.is_err());
    assert_eq!(survey.deployments[0].name, "d0");
    let (_, described) = prefect.describe_surveyed(&survey.deployments).await;
    let Err(RenderError::NotNow(why)) = &described[0] else { panic!("its flow is not known") };
    assert!(why.contains("its flow"), "{why}");
}

/// A server whose answer to what ends so is this list, once; after it there is nothing more.
fn listing(end: &'static str, rows: Value) -> impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static {
    move |request| {
        let is_first = || request.json()["offset"] == 0;
        request.target.ends_with(end).then(|| json(200, if is_first() { &rows } else { &Value::Null }))
    }
}

#[tokio::test]
async fn a_pool_is_read_once_however_often_it_is_wanted() {
    let server = server(1, |_| None).await;
    let prefect = agent(&server);
    let survey = prefect.survey(None, 10).await.unwrap();
    prefect.describe_surveyed(&survey.deployments).await.0.unwrap();
    let reads = |server: &Server| calls(server).iter().filter(|call| call.starts_with("GET /work_pools/")).count();
    assert_eq!(reads(&server), 1);
    let known = prefect.own_pool().await.unwrap();
    assert_eq!(reads(&server), 2);
    let again = agent(&server);
    let survey = again.survey(known, 10).await.unwrap();
    again.describe_surveyed(&survey.deployments).await.0.unwrap();
    assert_eq!((reads(&server), survey.pool.name.as_str()), (2, POOL));
}

#[tokio::test]
async fn a_pool_that_is_not_there_is_told_from_an_api_that_is_none() {
    let server = |text: &'static str| Server::start(move |_| json(404, &json!({"detail": text})));
    assert!(agent(&server("Work pool not found.").await).own_pool().await.unwrap().is_none());
    let wrong = agent(&server("Not Found").await).own_pool().await.unwrap_err();
    assert!(matches!(&wrong, ApiError::Configuration(text) if text.starts_with("api: ")), "{wrong}");
}

#[tokio::test]
async fn a_row_that_cannot_be_understood_makes_its_list_unknown() {
    for odd in [json!({"name": "b", "is_paused": "yes"}), json!({"name": 7}), json!({}), json!("b")] {
        let rows = json!([{"name": "a", "is_paused": false}, odd]);
        let server = server(0, listing("/queues/filter", rows)).await;
        let survey = agent(&server).survey(None, 10).await.unwrap();
        assert!(matches!(&survey.queues, Err(Unlisted::Unread(ApiError::Malformed(_)))), "{odd}: {:?}", survey.queues);
        assert!(survey.workers.is_ok());
    }
    let server = server(0, listing("/workers/filter", json!([{"name": "w", "status": 7}]))).await;
    assert!(agent(&server).survey(None, 10).await.unwrap().workers.is_err());

    let pools = json!([pool_row(), {"name": "b", "type": "ecs"}, 7, {"name": "c"}]);
    let server = self::server(0, listing("/work_pools/filter", pools)).await;
    let pools = agent(&server).work_pools().await.unwrap();
    assert_eq!((pools.pools.len(), pools.odd, pools.is_truncated), (1, 3, false));
}

#[tokio::test]
async fn a_deployment_that_cannot_be_understood_is_there_and_not_judged() {
    let rows = json!([
        {"id": "a", "name": "a", "flow_id": 7, "work_queue_name": "default"},
        {"id": "b", "name": "b", "flow_id": FLOW, "work_queue_name": ["odd"]},
        {"id": "c", "name": "c", "flow_id": FLOW, "work_queue_name": "default", "job_variables": "odd"},
        {"name": "d", "flow_id": FLOW, "work_queue_name": "default"},
        {"id": "e", "flow_id": FLOW, "work_queue_name": "default"},
        "odd",
        {"id": "g", "name": "g", "flow_id": FLOW, "work_queue_name": "default"},
    ]);
    let server = server(0, listing("/deployments/filter", rows)).await;
    let prefect = agent(&server);
    let survey = prefect.survey(None, 10).await.unwrap();
    let names: Vec<&str> = survey.deployments.iter().map(|one| one.name.as_str()).collect();
    let nameless = "a deployment without a name";
    assert_eq!(names, ["a", nameless, "etl/a deployment without a name", "etl/b", "etl/c", "etl/d", "etl/g"]);
    let taken_by = |queue: &str| -> Vec<&str> {
        let queues = [queue.to_owned()];
        survey.deployments.iter().filter(|one| one.is_served_by(&queues)).map(|one| one.name.as_str()).collect()
    };
    assert_eq!(taken_by("default"), names);
    assert_eq!(taken_by("other"), [nameless, "etl/b"], "whose queue is not known");
    let (_, described) = prefect.describe_surveyed(&survey.deployments).await;
    for (name, described) in names.iter().zip(described) {
        match described {
            Ok(_) => assert_eq!(*name, "etl/g"),
            Err(RenderError::NotUnderstood(why)) => assert!(why.starts_with("the deployment: "), "{why}"),
            Err(other) => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_flow_that_a_list_lacks_is_asked_for_alone_before_it_is_called_gone() {
    let rows = json!([{"id": "a", "name": "a", "flow_id": FLOW, "work_queue_name": "default"}]);
    for (flows, alone, expected) in [
        (json!([]), json(404, &json!({"detail": "Flow not found."})), Some("its flow cannot be found")),
        (json!([]), json(200, &json!({"id": FLOW, "name": "etl"})), None),
        (json!([{"id": FLOW, "name": 7}]), json(404, &json!({})), Some("its flow cannot be read")),
    ] {
        let (rows, deployments) = (flows.clone(), listing("/deployments/filter", rows.clone()));
        let server = server(0, move |request: &Request| {
            if request.target.ends_with("/flows/filter") {
                return Some(json(200, &rows));
            }
            if request.target.contains("/flows/") { Some(alone.clone()) } else { deployments(request) }
        })
        .await;
        let prefect = agent(&server);
        let survey = prefect.survey(None, 10).await.unwrap();
        let described = prefect.describe_surveyed(&survey.deployments).await.1.remove(0);
        match (described, expected) {
            (Ok(_), None) => {}
            (Err(RenderError::Refused(why)), Some(expected)) if flows == json!([]) => assert_eq!(why.0, expected),
            (Err(RenderError::NotNow(why)), Some(expected)) => assert!(why.starts_with(expected), "{why}"),
            (other, _) => panic!("{flows}: {:?}", other.err()),
        }
    }
}

#[tokio::test]
async fn a_version_is_told_by_a_server_and_not_by_whatever_else_answers() {
    for (answer, version) in [(json!("2.20.27"), Some("2.20.27")), (json!("OK"), None), (json!({"detail": "x"}), None)]
    {
        let server = Server::start(move |_| json(200, &answer)).await;
        assert_eq!(agent(&server).server_version().await.as_deref(), version);
    }
    let server = Server::start(|_| json(404, &json!({"detail": "Not Found"}))).await;
    assert_eq!(agent(&server).server_version().await, None);
}
