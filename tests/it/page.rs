//! The page that people look at: who sees it by the function's URL, and what it shows.

mod browser;

use crate::command::process::{Running, agent, end, request as get};
use crate::health::{by_iam, health_function, request, with_token};
use crate::prefect::{Phase, Prefect};
use crate::support::{DEADLINE, Deployment, ROOT, run_of};
use serde_json::{Value, json};
use world::LambdaProcess;
use world::ecs::{Refusal, Stop};

const TOKEN: &str = "9f2c+b1e 7d/5a&3=60";

async fn ask(function: &LambdaProcess, event: Value) -> Value {
    let answer = function.invoke(event, DEADLINE).await.unwrap();
    assert!(!answer.to_string().contains(TOKEN), "the token goes nowhere: {answer}");
    answer
}

async fn deployment_with_token() -> Deployment {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.world.put_secret(&format!("{ROOT}/secrets/page-token"), TOKEN);
    deployment
}

/// What a browser sends for the form, as a Function URL hands it on.
fn form(fields: &str) -> Value {
    let mut event = request("POST", "/");
    event["headers"]["content-type"] = json!("application/x-www-form-urlencoded");
    event["body"] = json!(base64(fields));
    event["isBase64Encoded"] = json!(true);
    event
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32| char::from(DIGITS[(bits & 63) as usize]);
    let mut encoded = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digits = [digit(bits >> 18), digit(bits >> 12), digit(bits >> 6), digit(bits)];
        encoded.extend(&digits[..=chunk.len()]);
        encoded.extend(std::iter::repeat_n('=', 3 - chunk.len()));
    }
    encoded
}

fn token_form(token: &str) -> Value {
    let encoded: Vec<String> = token.bytes().map(|byte| format!("%{byte:02X}")).collect();
    form(&format!("token={}", encoded.concat()))
}

fn with_cookie(mut event: Value, cookie: &str) -> Value {
    event["cookies"] = json!(["theme=dark", cookie]);
    event
}

fn is_form(answer: &Value) -> bool {
    let body = answer["body"].as_str().unwrap();
    let policy = answer["headers"]["content-security-policy"].as_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{answer}");
    assert_eq!(answer["headers"]["cache-control"], "no-store");
    assert!(!body.contains("<script"), "{body}");
    let (is_form, is_page) = (body.contains("type=\"password\""), body.contains("<h2 id=\"agent-etl\">etl</h2>"));
    assert!(is_form != is_page, "{body}");
    is_form
}

#[tokio::test]
async fn strangers_see_a_form_and_whoever_knows_the_token_the_page_for_twelve_hours() {
    let deployment = deployment_with_token().await;
    deployment.poll().await;
    let function = health_function(&deployment).await;
    let stranger = ask(&function, request("GET", "/")).await;
    assert!(stranger["statusCode"] == 200 && is_form(&stranger), "{stranger}");

    let known = ask(&function, token_form(TOKEN)).await;
    assert_eq!((&known["statusCode"], &known["headers"]["location"]), (&json!(303), &json!("/")), "{known}");
    let set = known["cookies"][0].as_str().unwrap();
    let (cookie, attributes) = set.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Strict");
    let page = ask(&function, with_cookie(request("GET", "/"), cookie)).await;
    assert!(page["statusCode"] == 200 && !is_form(&page), "{page}");
    assert!(page["body"].as_str().unwrap().contains("Sign out"), "{page}");

    let changed = format!("{}0", &cookie[..cookie.len() - 1]);
    let changed = if changed == cookie { format!("{}1", &cookie[..cookie.len() - 1]) } else { changed };
    assert!(is_form(&ask(&function, with_cookie(request("GET", "/"), &changed)).await));
    let gone = ask(&function, form("sign-out=1")).await;
    assert!(
        gone["statusCode"] == 303 && gone["cookies"][0].as_str().unwrap().contains("=; Path=/; Max-Age=0;"),
        "{gone}"
    );

    // A new token ends what the old one opened.
    deployment.world.put_secret(&format!("{ROOT}/secrets/page-token"), "another-token-of-twenty");
    let later = health_function(&deployment).await;
    assert!(is_form(&ask(&later, with_cookie(request("GET", "/"), cookie)).await));
    assert!(!function.output().contains(TOKEN), "{}", function.output());
}

#[tokio::test]
async fn a_wrong_token_is_told_so_and_looked_up_once_in_ten_seconds() {
    let deployment = deployment_with_token().await;
    deployment.world.put_secret(&format!("{ROOT}/secrets/poke-token"), "the-token-of-pokes");
    let function = health_function(&deployment).await;
    for wrong in ["guess", "9f2c", "the-token-of-pokes", " ", &"x".repeat(5000)] {
        let answer = ask(&function, token_form(wrong)).await;
        assert!(answer["statusCode"] == 403 && is_form(&answer), "{wrong}: {answer}");
        assert!(answer["body"].as_str().unwrap().contains("This is not the page’s token."), "{answer}");
        assert_eq!(answer["cookies"], json!([]));
    }
    assert!(is_form(&ask(&function, with_token(request("GET", "/"), "the-token-of-pokes")).await));
    assert_eq!(deployment.world.count("ssm", "GetParameter"), 1);
}

#[tokio::test]
async fn without_a_token_the_form_says_how_to_make_one() {
    let deployment = Deployment::with_agent(json!({})).await;
    for short in [None, Some("fifteen-letters")] {
        if let Some(short) = short {
            deployment.world.put_secret(&format!("{ROOT}/secrets/page-token"), short);
        }
        let function = health_function(&deployment).await;
        for event in [request("GET", "/"), token_form("fifteen-letters"), token_form("")] {
            let answer = ask(&function, event.clone()).await;
            let body = answer["body"].as_str().unwrap();
            let name = "--type SecureString --name {root}/secrets/page-token";
            if event["body"] == token_form("")["body"] {
                assert_eq!(answer["statusCode"], 403);
            } else {
                assert!(body.contains(name) && !body.contains("type=\"password\""), "{short:?}: {body}");
            }
        }
    }
}

#[tokio::test]
async fn strangers_are_told_the_status_alone_and_others_all_of_it() {
    let deployment = deployment_with_token().await;
    deployment.poll().await;
    let function = health_function(&deployment).await;
    let body = |answer: &Value| serde_json::from_str::<Value>(answer["body"].as_str().unwrap()).unwrap();
    let stranger = ask(&function, request("GET", "/api/health")).await;
    assert_eq!((stranger["statusCode"].clone(), body(&stranger)), (json!(200), json!({"status": "ok"})));
    let guess = ask(&function, with_token(request("GET", "/api/health"), "a-token-that-is-guessed")).await;
    assert_eq!(body(&guess), json!({"status": "ok"}));
    let cookie = ask(&function, token_form(TOKEN)).await["cookies"][0].as_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap();
    for known in [
        by_iam(request("GET", "/api/health")),
        with_token(request("GET", "/api/health"), TOKEN),
        with_cookie(request("GET", "/api/health"), cookie),
    ] {
        assert_eq!(body(&ask(&function, known).await)["agents"]["etl"]["status"], "ok");
    }
    for known in [by_iam(request("GET", "/")), with_token(request("GET", "/"), TOKEN)] {
        assert!(!is_form(&ask(&function, known).await));
    }
}

#[tokio::test]
async fn without_parameter_store_nobody_gets_in_and_it_is_said() {
    let deployment = deployment_with_token().await;
    let function = health_function(&deployment).await;
    let denied = world::FaultKind::AwsError { status: 400, code: "AccessDeniedException".into(), message: "no".into() };
    deployment.world.fault(world::Fault::new("ssm", "*", denied).always());
    let refused = ask(&function, token_form(TOKEN)).await;
    assert_eq!(refused["statusCode"], 403);
    assert!(refused["body"].as_str().unwrap().contains("Parameter Store does not answer"), "{refused}");
    let stranger = ask(&function, request("GET", "/api/health")).await;
    assert_eq!((&stranger["statusCode"], &stranger["body"]), (&json!(503), &json!(r#"{"status":"failing"}"#)));
    let unknown = ask(&function, by_iam(request("GET", "/"))).await;
    assert_eq!(unknown["statusCode"], 503);
    assert!(unknown["body"].as_str().unwrap().contains("state is not known"), "{unknown}");
}

/// A run that ECS has no room for, one that comes again, one that never had a chance.
#[tokio::test]
async fn the_page_tells_of_runs_that_were_given_back_and_of_those_that_failed() {
    for prefect in Prefect::BOTH {
        let deployment = prefect.deployment(json!({})).await;
        let run = prefect.due_run(&deployment.world);
        deployment.world.ecs_refuse(Refusal {
            reason: "RESOURCE:FARGATE".into(),
            detail: None,
            body_contains: None,
            count: 1,
        });
        end(agent(&deployment, &format!("poll --root {ROOT}"))).await.well();
        let shown = end(agent(&deployment, &format!("status --root {ROOT} --html -"))).await.well();
        let page = shown.stdout;
        let given_back =
            page.split_once("Given back, and due again").unwrap_or_else(|| panic!("{prefect:?}: {page}")).1;
        assert!(given_back.contains(&run) && given_back.contains("RESOURCE:FARGATE"), "{prefect:?}: {page}");
        assert!(given_back.contains("in ") && page.contains("The last poll"), "{prefect:?}: {page}");
    }
}

/// One task dies while its flow runs, one before; the run of the latter comes again.
#[tokio::test]
async fn the_page_tells_of_tasks_that_died_and_why() {
    for prefect in Prefect::BOTH {
        let deployment = prefect.deployment(json!({})).await;
        let (runs, world) =
            ([prefect.due_run(&deployment.world), prefect.due_run(&deployment.world)], &deployment.world);
        deployment.poll().await;
        prefect.bring(world, &runs[0], Phase::Running);
        let task_events = deployment.options("task-events").start().await.unwrap();
        let pull = "CannotPullContainerError: pull image manifest has been retried 5 time(s): i/o timeout";
        let stops = [Stop::exited(137), Stop::failed_to_start(pull)];
        // As the queue hands them on, in one batch.
        let bodies = runs.iter().zip(stops).map(|(run, stop)| {
            let task = world.ecs_tasks().into_iter().find(|task| run_of(task) == *run).unwrap();
            world.ecs_stop(&task.arn, &stop);
            world.task_event(&task.arn).to_string()
        });
        let arn = "arn:aws:sqs:us-east-1:123456789012:psa-task-events";
        let record = |(number, body): (usize, String)| {
            json!({
                "messageId": number.to_string(), "receiptHandle": "h", "body": body, "eventSource": "aws:sqs",
                "eventSourceARN": arn, "attributes": {"ApproximateReceiveCount": "1"},
            })
        };
        let batch: Vec<_> = bodies.enumerate().map(record).collect();
        let told = task_events.invoke(json!({"Records": batch}), DEADLINE).await.unwrap();
        assert_eq!(told, json!({"batchItemFailures": []}), "{prefect:?}");
        let writes = world.requests("ssm", "PutParameter");
        let writes = writes.iter().filter(|write| write.body.contains(&format!("{ROOT}/state/etl/deaths")));
        assert_eq!(writes.count(), 1, "{prefect:?}: one write for all of a batch");
        let page = end(agent(&deployment, &format!("status --root {ROOT} --html -"))).await.well().stdout;
        let harmed = page.split_once("Not launched, or died").unwrap_or_else(|| panic!("{prefect:?}: {page}")).1;
        for (run, why, what) in [(&runs[0], "code 137", "task died<"), (&runs[1], "pull", "task died, comes again<")] {
            let row = harmed.split("<tr>").find(|row| row.contains(run.as_str()));
            let row = row.unwrap_or_else(|| panic!("{prefect:?}: {harmed}"));
            assert!(row.contains(why) && row.contains(what), "{prefect:?}: {row}");
        }
    }
}

#[tokio::test]
async fn a_page_that_cannot_be_told_of_deaths_keeps_prefect_from_nothing() {
    let deployment = Prefect::Three.deployment(json!({})).await;
    let run = Prefect::Three.due_run(&deployment.world);
    deployment.poll().await;
    Prefect::Three.bring(&deployment.world, &run, Phase::Running);
    let task = deployment.world.ecs_tasks().remove(0).arn;
    deployment.world.ecs_stop(&task, &Stop::exited(1));
    let throttled =
        world::FaultKind::AwsError { status: 400, code: "ThrottlingException".into(), message: "Rate exceeded".into() };
    deployment.world.fault(world::Fault::new("ssm", "PutParameter", throttled).always());
    let task_events = deployment.options("task-events").start().await.unwrap();
    task_events.invoke(deployment.world.task_event(&task), DEADLINE).await.unwrap();
    assert_eq!(Prefect::Three.run(&deployment.world, &run).phase, Phase::Dead);
    assert_eq!(deployment.world.count("ssm", "PutParameter"), 2, "the poll's, and one that is not repeated");
}

#[tokio::test]
async fn a_page_is_written_to_a_file_for_those_whose_url_wants_signatures() {
    let deployment = Deployment::with_agent(json!({})).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("agents.html");
    let line = |file: &std::path::Path| format!("status --root {ROOT} --html {}", file.display());
    end(agent(&deployment, &line(&file))).await.well();
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(
        written.contains("agent-etl") && !written.contains("http-equiv"),
        "it does not load itself anew: {written}"
    );
    let nowhere = end(agent(&deployment, &line(&directory.path().join("none/agents.html")))).await;
    assert!(nowhere.code == Some(1) && nowhere.stderr.contains("cannot be written"), "{nowhere:?}");
    let both = end(agent(&deployment, &format!("status --root {ROOT} --html - --watch"))).await;
    assert_eq!(both.code, Some(2), "{both:?}");
}

#[tokio::test]
async fn a_page_is_served_to_the_browsers_of_this_machine() {
    let deployment = Deployment::with_agent(json!({})).await;
    let wrong = end(agent(&deployment, &format!("status --root {ROOT} --agent nobody --serve"))).await;
    assert!(wrong.code == Some(1) && wrong.stderr.contains("nobody"), "{wrong:?}");
    let output = tempfile::NamedTempFile::new().unwrap();
    let mut command = agent(&deployment, &format!("status --root {ROOT} --serve http://127.0.0.1:0"));
    command.stdout(output.reopen().unwrap());
    let running = Running::start(command);
    let mut address = None;
    for _ in 0..200 {
        let said = std::fs::read_to_string(output.path()).unwrap();
        address = said.split("http://").nth(1).and_then(|rest| rest.split('/').next()).map(str::to_owned);
        if address.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let address = address.expect("it says where");
    let before = deployment.world.count("ssm", "*");
    for _ in 0..20 {
        let (status, page) = get(&address, "GET", "/").await;
        assert!(status == 200 && page.contains("agent-etl") && page.contains("content-security-policy"), "{page}");
    }
    assert_eq!(get(&address, "POST", "/").await.0, 405);
    assert_eq!(get(&address, "GET", "/favicon.ico").await.0, 404);
    assert!(get(&address, "GET", "/api/health").await.1.contains("\"agents\""));
    assert!(deployment.world.count("ssm", "*") - before <= 4, "it is read once in ten seconds");
    running.signal("INT").await;
    assert_eq!(running.ended().await, Some(0));
}
