#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::aws::test_server::{Reply, Request, Server, clients, closed_port, json as reply, text as plain};
use std::sync::Arc;

async fn agent(server: &Server) -> Arc<crate::aws::AgentAws> {
    server.clients().await.for_agent(None, None).await
}

/// A server that always answers this.
async fn always(answer: Reply) -> Server {
    Server::start(move |_: &Request| answer.clone()).await
}

fn run_task_body() -> Map<String, Value> {
    // Keys out of order, unknown to the SDK, non-ASCII: all of it must arrive.
    let text =
        r#"{"taskDefinition":"d:1","cluster":"c","zzUnknown":{"b":1.50,"a":"é"},"clientToken":"token-1","count":1}"#;
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn run_task_sends_the_body_verbatim() {
    let task = json!({"taskArn": "arn:t", "clusterArn": "arn:c", "lastStatus": "PENDING", "desiredStatus": "RUNNING",
        "startedBy": "prefect/etl/1"});
    let failure = json!({"arn": "arn:i", "reason": "RESOURCE:MEMORY", "detail": "d"});
    let server = always(reply(200, &json!({"tasks": [task], "failures": [failure]}))).await;
    let answer = agent(&server).await.ecs.run_task(&run_task_body()).await.unwrap();

    let [request] = &server.requests()[..] else { panic!("one request expected: {:?}", server.requests()) };
    assert_eq!(request.body, serde_json::to_string(&run_task_body()).unwrap());
    assert_eq!(request.header("x-amz-target"), "AmazonEC2ContainerServiceV20141113.RunTask");
    assert_eq!(request.header("content-length"), request.body.len().to_string());
    assert_eq!(request.header("content-type"), "application/x-amz-json-1.1");
    assert!(request.header("authorization").contains("AKIDOWN"), "{}", request.header("authorization"));
    assert!(request.header("authorization").contains("/eu-west-1/ecs/"), "{}", request.header("authorization"));
    assert_eq!(answer.tasks[0].task_arn, "arn:t");
    assert_eq!(answer.tasks[0].started_by.as_deref(), Some("prefect/etl/1"));
    assert_eq!(answer.failures[0].reason.as_deref(), Some("RESOURCE:MEMORY"));
}

fn answer(status: u16, code: &str, message: &str, ids: &[&str]) -> AwsError {
    AwsError::Answer {
        status,
        code: code.into(),
        message: message.into(),
        resource_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
    }
}

#[tokio::test]
async fn error_answers_keep_what_aws_said() {
    let prefixed = json!({"__type": "com.amazonaws.ecs#ConflictException", "message": "other parameters",
        "resourceIds": ["arn:t1", "arn:t2"]});
    let html = "<html><body>503 Service Unavailable</body></html>";
    let cases = [
        (
            reply(400, &json!({"__type": "ThrottlingException", "message": "Rate exceeded"})),
            answer(400, "ThrottlingException", "Rate exceeded", &[]),
        ),
        (reply(400, &prefixed), answer(400, "ConflictException", "other parameters", &["arn:t1", "arn:t2"])),
        (
            reply(400, &json!({"__type": "AccessDeniedException", "Message": "not authorized"})),
            answer(400, "AccessDeniedException", "not authorized", &[]),
        ),
        (
            reply(500, &json!({"__type": "ServerException", "message": "oops"})),
            answer(500, "ServerException", "oops", &[]),
        ),
        (plain(503, html), answer(503, "", html, &[])),
        (plain(429, ""), answer(429, "", "an empty body", &[])),
        (
            Reply::Answer(400, vec![("x-amzn-errortype", "ClientException:http://x/".into())], "{}".into()),
            answer(400, "ClientException", "{}", &[]),
        ),
    ];
    for (reply, expected) in cases {
        let server = always(reply.clone()).await;
        let error = agent(&server).await.ecs.run_task(&run_task_body()).await.unwrap_err();
        assert_eq!(error, expected, "{reply:?}");
        assert_eq!(server.requests().len(), 1, "RunTask must not be repeated after {reply:?}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_an_unknown_outcome() {
    for reply in [Reply::Drop, Reply::CutOff, Reply::Hang] {
        let server = always(reply.clone()).await;
        let error = agent(&server).await.ecs.run_task(&run_task_body()).await.unwrap_err();
        assert!(matches!(error, AwsError::NoAnswer(_)), "{reply:?}: {error:?}");
        assert_eq!(server.requests().len(), 1, "{reply:?}");
    }
}

#[tokio::test]
async fn a_success_that_cannot_be_understood_is_no_success() {
    let bodies = [
        "<html>welcome</html>",
        "",
        "[]",
        "7",
        "{}",
        r#"{"tasks": [{"lastStatus": "PENDING"}]}"#,
        r#"{"tasks": [{"taskArn": ""}], "failures": []}"#,
        r#"{"tasks": [{"taskArn": 7}]}"#,
        r#"{"tasks": [null]}"#,
        r#"{"tasks": null, "failures": []}"#,
        r#"{"tasks": {"taskArn": "arn:t"}}"#,
        r#"{"tasks": "arn:t"}"#,
        r#"{"failures": []}"#,
        r#"{"failures": [{"reason": "RESOURCE:MEMORY"}]}"#,
        r#"{"tasks": [], "failures": "RESOURCE:MEMORY"}"#,
        r#"{"tasks": [], "failures": [{}]}"#,
        r#"{"tasks": [], "failures": [null]}"#,
    ];
    for body in bodies {
        let server = always(plain(200, body)).await;
        let error = agent(&server).await.ecs.run_task(&run_task_body()).await.unwrap_err();
        assert!(matches!(error, AwsError::Malformed(_)), "{body:?}: {error:?}");
    }
}

#[tokio::test]
async fn an_answer_counts_by_what_it_says() {
    let cases = [
        (r#"{"tasks": [7, {"taskArn": "arn:t"}], "failures": 7}"#, Some("arn:t"), 0),
        (r#"{"tasks": [{"taskArn": "arn:t"}], "failures": [{"reason": "AGENT"}]}"#, Some("arn:t"), 1),
        (r#"{"tasks": [], "failures": [{"reason": "AGENT"}]}"#, None, 1),
        (r#"{"tasks": [], "failures": []}"#, None, 0),
        (r#"{"tasks": []}"#, None, 0),
    ];
    for (body, task, failures) in cases {
        let server = always(plain(200, body)).await;
        let answer = agent(&server).await.ecs.run_task(&run_task_body()).await.unwrap();
        assert_eq!(answer.tasks.first().map(|task| task.task_arn.as_str()), task, "{body}");
        assert_eq!(answer.failures.len(), failures, "{body}");
    }
}

#[tokio::test]
async fn lists_that_are_none_do_not_say_that_there_is_nothing() {
    let bodies = [
        "{}",
        r#"{"taskArns": null, "tasks": null, "taskDefinitionArns": null}"#,
        r#"{"taskArns": "arn:t", "tasks": "arn:t", "taskDefinitionArns": "arn:d"}"#,
        r#"{"taskArns": [7], "tasks": [7], "taskDefinitionArns": [7]}"#,
        r#"{"taskArns": [""], "tasks": [{}], "taskDefinitionArns": [""]}"#,
    ];
    for body in bodies {
        let server = always(plain(200, body)).await;
        let ecs = agent(&server).await.ecs.clone();
        let arns = ["arn:t".to_owned()];
        let errors = [
            ecs.list_tasks(None, "x").await.unwrap_err(),
            ecs.list_stopping_tasks(None, "x").await.unwrap_err(),
            ecs.describe_tasks(None, &arns).await.unwrap_err(),
            ecs.list_task_definitions("fam", 1).await.unwrap_err(),
        ];
        assert!(errors.iter().all(|error| matches!(error, AwsError::Malformed(_))), "{body}: {errors:?}");
        let tagged = ecs.describe_tagged_task(None, "arn:t").await;
        assert!(tagged.is_err() || body.contains("[{}]"), "{body}: {tagged:?}");
    }
}

#[tokio::test]
async fn a_refused_connection_means_nothing_was_sent() {
    let aws = clients(&closed_port(), &[]).await.for_agent(None, None).await;
    let error = aws.ecs.run_task(&run_task_body()).await.unwrap_err();
    assert!(matches!(error, AwsError::NotSent(_)), "{error:?}");
}

#[tokio::test]
async fn definitions_are_described_as_they_are() {
    // Types, keys and order that the SDK's model does not have.
    let definition = r#"{"zFuture":{"x":[1,2.50]},"taskDefinitionArn":"arn:d:1","cpu":"256","containerDefinitions":[{"name":"flow","environment":[]}],"registeredAt":1.7E9}"#;
    let body = format!(r#"{{"taskDefinition":{definition},"tags":[{{"key":"k","value":"v"}},{{"key":"empty"}}]}}"#);
    let server = always(Reply::Answer(200, vec![], body)).await;
    let described = agent(&server).await.ecs.describe_task_definition("fam").await.unwrap();
    let expected: Map<String, Value> = serde_json::from_str(definition).unwrap();
    assert_eq!(serde_json::to_string(&described.definition).unwrap(), serde_json::to_string(&expected).unwrap());
    assert_eq!(described.tags, [("k".to_owned(), "v".to_owned()), ("empty".to_owned(), String::new())]);
    assert_eq!(server.requests()[0].json(), json!({"taskDefinition": "fam", "include": ["TAGS"]}));
}

#[tokio::test]
async fn reads_are_repeated_and_keep_their_body() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |_: &Request| match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => Reply::Drop,
        1 => reply(400, &json!({"__type": "ThrottlingException", "message": "Rate exceeded"})),
        _ => reply(200, &json!({"taskArns": ["arn:t"]})),
    })
    .await;
    let found = agent(&server).await.ecs.list_tasks(Some("c"), "prefect/etl/1").await.unwrap();
    assert_eq!(found, ["arn:t"]);
    let bodies: Vec<_> = server.requests().iter().map(Request::json).collect();
    assert_eq!(bodies, vec![json!({"startedBy": "prefect/etl/1", "cluster": "c"}); 3]);
}

#[tokio::test]
async fn lists_are_of_exactly_one_family() {
    let arns = [
        "arn:aws:ecs:r:1:task-definition/fam:3",
        "arn:aws:ecs:r:1:task-definition/fam-x:9",
        "arn:aws:ecs:r:1:task-definition/fam:2",
        "arn:aws:ecs:r:1:task-definition/fam:1",
    ];
    let server = always(reply(200, &json!({"taskDefinitionArns": arns}))).await;
    let found = agent(&server).await.ecs.list_task_definitions("fam", 2).await.unwrap();
    assert_eq!(found, [arns[0], arns[2]]);
    let request = server.requests()[0].json();
    assert_eq!(request, json!({"familyPrefix": "fam", "status": "ACTIVE", "sort": "DESC", "maxResults": 2}));
}

#[tokio::test]
async fn the_other_operations() {
    let server = Server::start(|request: &Request| match request.operation() {
        "RegisterTaskDefinition" => reply(200, &json!({"taskDefinition": {"taskDefinitionArn": "arn:d:7"}})),
        "DescribeTasks" => reply(
            200,
            &json!({"tasks": [{"taskArn": "arn:t", "lastStatus": "STOPPED",
            "stopCode": "TaskFailedToStart", "stoppedReason": "no image"}], "failures": [{"reason": "MISSING"}]}),
        ),
        "StopTask" => reply(200, &json!({"task": {"taskArn": "arn:t"}})),
        other => panic!("unexpected {other}"),
    })
    .await;
    let ecs = agent(&server).await.ecs.clone();
    let body: Map<String, Value> = serde_json::from_str(r#"{"tags":[],"family":"f","unknown":true}"#).unwrap();
    assert_eq!(ecs.register_task_definition(&body).await.unwrap(), "arn:d:7");
    assert_eq!(server.requests()[0].body, r#"{"tags":[],"family":"f","unknown":true}"#);
    assert_eq!(ecs.describe_tasks(None, &[]).await.unwrap(), []);
    let tasks = ecs.describe_tasks(Some(""), &["arn:t".to_owned(), "arn:gone".to_owned()]).await.unwrap();
    assert_eq!((tasks.len(), tasks[0].stopped_reason.as_deref()), (1, Some("no image")));
    assert_eq!(server.requests()[1].json(), json!({"tasks": ["arn:t", "arn:gone"]}));
    ecs.stop_task(Some("c"), "arn:t", "why").await.unwrap();
    assert_eq!(server.requests()[2].json(), json!({"task": "arn:t", "reason": "why", "cluster": "c"}));
}
