#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{
    DEPLOYMENT, KEY, NOW, agent, call, calls, deployment_row, due, due_row, flow_row, pool_row, read, secret, setup,
    with,
};
use super::*;
use crate::aws::test_server::{Reply, Request, Server, json};
use crate::config::{AgentSecrets, ApiKeyDelivery, StoredSecret};
use crate::platform::ecs::testing::renderer;
use crate::platform::ecs::{Definition, LaunchSpec};
use crate::platform::{Platform, WithWarning};
use futures_util::future::join_all;
use serde_json::{Value, json};

fn usual(request: &Request) -> Reply {
    match call(request).as_str() {
        "GET /work_pools/ecs%20pool" => json(200, &pool_row()),
        "POST /flows/filter" => json(200, &json!([flow_row()])),
        "POST /deployments/filter" => json(200, &json!([deployment_row()])),
        other => panic!("{other}"),
    }
}

/// Runs whose job variables are these.
fn runs(job_variables: &[Value]) -> Vec<DueRun<Detail>> {
    let numbered = job_variables.iter().enumerate();
    numbered
        .map(|(number, variables)| {
            let mut row = due_row();
            row["id"] = json!(format!("run-{number}"));
            row["job_variables"] = variables.clone();
            read(row).turn("epoch".into(), NOW, (0, 0))
        })
        .collect()
}

type Rendered = WithWarning<LaunchSpec>;

async fn render(prefect: &Prefect3, runs: &[DueRun<Detail>]) -> Vec<Result<Rendered, RenderError>> {
    render_with(prefect, AgentSecrets::default(), runs).await
}

async fn render_with(
    prefect: &Prefect3,
    secrets: AgentSecrets,
    runs: &[DueRun<Detail>],
) -> Vec<Result<Rendered, RenderError>> {
    let platform = renderer(&prefect.config, secrets, &prefect.marked_as);
    let described = prefect.describe(&runs.iter().collect::<Vec<_>>()).await;
    let render = async |described: Result<RunDescription, RenderError>| platform.render(described?).await;
    join_all(described.into_iter().map(render)).await
}

fn environment(rendered: &Rendered) -> Value {
    let container = &rendered.launch.run_task["overrides"]["containerOverrides"][0];
    let entries = container["environment"].as_array().unwrap();
    let pair = |entry: &Value| (entry["name"].as_str().unwrap().to_owned(), entry["value"].clone());
    Value::Object(entries.iter().map(pair).collect())
}

#[tokio::test]
async fn a_batch_is_rendered_with_three_reads() {
    let server = Server::start(usual).await;
    let prefect = agent(&server);
    let rendered = render(&prefect, &runs(&vec![json!({}); 100])).await;
    assert!(rendered.iter().all(Result::is_ok), "{:?}", rendered[0]);
    assert_eq!(server.requests().len(), 3, "{:?}", calls(&server));
    let rendered = rendered[0].as_ref().unwrap();
    let environment = environment(rendered);
    assert_eq!(environment["PREFECT_API_URL"], server.url());
    assert_eq!((&environment["PREFECT_API_KEY"], &environment["TEAM"]), (&json!(KEY), &json!("data")));
    assert_eq!(
        (&environment["PREFECT_LOGGING_LEVEL"], &environment["PREFECT__FLOW_RUN_ID"]),
        (&json!("DEBUG"), &json!("run-0"))
    );
    let Definition::Own(definition) = &rendered.launch.definition else { panic!("{:?}", rendered.launch.definition) };
    assert_eq!(definition["containerDefinitions"][0]["image"], "prefecthq/prefect:3-latest");
    assert_eq!(definition["family"], format!("prefect_ecs-pool_{DEPLOYMENT}"));
}

#[tokio::test]
async fn what_a_configuration_says_beats_the_agents_own_settings() {
    let server = Server::start(usual).await;
    let mut setup = setup(&server.url());
    setup.config.generation.worker_env.push(("PREFECT_API_URL".into(), "https://inside/api".into()));
    let rendered =
        render(&with(setup), &runs(&[json!({"env": {"TEAM": "mine", "PREFECT_LOGGING_LEVEL": null}})])).await;
    let environment = environment(rendered[0].as_ref().unwrap());
    assert_eq!((&environment["PREFECT_API_URL"], &environment["TEAM"]), (&json!("https://inside/api"), &json!("mine")));
    assert!(environment.get("PREFECT_LOGGING_LEVEL").is_none());
}

#[tokio::test]
async fn both_keys_are_passed_on_and_as_secrets_where_that_is_possible() {
    let server = Server::start(usual).await;
    let mut setup = setup(&server.url());
    let stored = |value: &str, name: &str| StoredSecret {
        arn: Some(format!("arn:aws:ssm:eu-west-1:123456789012:parameter/{name}")),
        ..secret(value)
    };
    setup.config.api_key_delivery = ApiKeyDelivery::Auto;
    setup.secrets = AgentSecrets {
        api_key: Some(stored(KEY, "key")),
        auth_string: Some(stored("admin:hunter2", "auth")),
        ..AgentSecrets::default()
    };
    let role = json!({"execution_role_arn": "arn:aws:iam::123456789012:role/prefect-serverless-agent/root/exec"});
    let secrets = setup.secrets.clone();
    let rendered = render_with(&with(setup), secrets, &runs(&[role])).await;
    let rendered = rendered[0].as_ref().unwrap();
    assert_eq!(rendered.warning, None);
    let environment = environment(rendered);
    assert!(environment.get("PREFECT_API_KEY").is_none() && environment.get("PREFECT_API_AUTH_STRING").is_none());
    let Definition::Own(definition) = &rendered.launch.definition else { panic!() };
    let names: Vec<_> = definition["containerDefinitions"][0]["secrets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|secret| secret["name"].clone())
        .collect();
    assert_eq!(names, ["PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"]);
}

#[tokio::test]
async fn blocks_and_variables_are_read_once_per_batch_and_values_of_blocks_may_name_variables() {
    let server = Server::start(|request| match call(request).as_str() {
        "GET /block_types/slug/secret/block_documents/name/team?include_secrets=true" => {
            json(200, &json!({"data": {"value": "{{ prefect.variables.team }}"}}))
        }
        "GET /variables/name/team" => json(200, &json!({"name": "team", "value": "blue"})),
        "GET /variables/name/absent" => json(404, &json!({"detail": "Variable not found."})),
        _ => usual(request),
    })
    .await;
    let variables =
        json!({"env": {"TEAM": "{{ prefect.blocks.secret.team }}", "GONE": "x{{ prefect.variables.absent }}"}});
    let rendered = render(&agent(&server), &runs(&[variables.clone(), variables])).await;
    for rendered in &rendered {
        let environment = environment(rendered.as_ref().unwrap());
        assert_eq!((&environment["TEAM"], &environment["GONE"]), (&json!("blue"), &json!("x")));
    }
    assert_eq!(server.requests().len(), 6, "{:?}", calls(&server));
}

#[tokio::test]
async fn a_missing_block_fails_its_run_and_one_that_cannot_be_read_lets_it_wait() {
    let block = |name: &str| json!({"env": {"X": format!("{{{{ prefect.blocks.secret.{name} }}}}")}});
    let server = Server::start(|request| match call(request).as_str() {
        path if path.contains("/name/gone") => json(404, &json!({"detail": "Block document not found"})),
        path if path.contains("/name/away") => json(500, &json!({"exception_message": "Internal Server Error"})),
        _ => usual(request),
    })
    .await;
    let rendered = render(&agent(&server), &runs(&[block("gone"), block("away"), json!({})])).await;
    assert!(
        matches!(&rendered[0], Err(RenderError::Refused(refusal)) if refusal.0.starts_with("ObjectNotFound: Block not found: 'gone' of type 'secret'")),
        "{:?}",
        rendered[0]
    );
    assert!(
        matches!(&rendered[1], Err(RenderError::NotNow(why)) if why.contains("block") && why.contains("500")),
        "{:?}",
        rendered[1]
    );
    assert!(rendered[2].is_ok(), "one run's trouble is its own");
}

#[tokio::test]
async fn a_block_or_variable_of_another_shape_lets_its_run_wait_and_is_the_agents_trouble() {
    let variables = json!({"env": {"X": "{{ prefect.blocks.secret.odd }}{{ prefect.variables.odd }}"}});
    let fine = json!({"data": {"value": "secret"}, "value": "secret"});
    let odd = ["[]", "7", "\"secret\"", "[null]", "null", "{}", "[\"secret\", 1", "{\"data\": [\"secret\"]}"];
    for (what, odd) in ["block_types", "variables"].into_iter().flat_map(|what| odd.map(|odd| (what, odd))) {
        let fine = fine.clone();
        let server = Server::start(move |request| match call(request).as_str() {
            path if path.starts_with(&format!("GET /{what}/")) => Reply::Answer(200, Vec::new(), odd.into()),
            path if path.contains("/odd") => json(200, &fine),
            _ => usual(request),
        })
        .await;
        let rendered = render(&agent(&server), &runs(&[variables.clone(), json!({})])).await;
        let said =
            |why: &str| why.contains("that it refers to cannot be read") && why.contains(&format!("GET /{what}/"));
        assert!(
            matches!(&rendered[0], Err(RenderError::NotUnderstood(why)) if said(why) && !why.contains("secret\"")),
            "{what} {odd}: {:?}",
            rendered[0]
        );
        assert!(rendered[1].is_ok(), "one run's trouble is its own");
    }
}

#[tokio::test]
async fn a_deleted_deployment_is_told_in_the_workers_words() {
    let server = Server::start(|request| match call(request).as_str() {
        "POST /deployments/filter" => json(200, &json!([])),
        one if one.starts_with("GET /deployments/") => json(404, &json!({"detail": "Deployment not found"})),
        _ => usual(request),
    })
    .await;
    let rendered = render(&agent(&server), &[due()]).await;
    let said = format!("Deployment {DEPLOYMENT} no longer exists, cancelled run.");
    assert_eq!(rendered, [Err(RenderError::Gone(said))]);
}

#[tokio::test]
async fn without_its_pool_nothing_can_be_rendered_now() {
    let server = Server::start(|request| match call(request).as_str() {
        "GET /work_pools/ecs%20pool" => json(500, &json!({})),
        _ => usual(request),
    })
    .await;
    let rendered = render(&agent(&server), &[due(), due()]).await;
    assert_eq!(rendered.len(), 2);
    assert!(
        rendered.iter().all(|r| matches!(r, Err(RenderError::NotNow(why)) if why.contains("work pool"))),
        "{rendered:?}"
    );
}

#[tokio::test]
async fn templates_see_the_agents_settings_and_none_of_its_keys() {
    let server = Server::start(|request| match call(request).as_str() {
        "GET /work_pools/ecs%20pool" => {
            let mut row = pool_row();
            row["base_job_template"]["job_configuration"]["env"] =
                json!({"A": "{{ $AWS_REGION }}", "B": "{{ $TEAM }}", "C": "-{{ $PREFECT_API_KEY }}-"});
            json(200, &row)
        }
        _ => usual(request),
    })
    .await;
    let rendered = render(&agent(&server), &[due()]).await;
    let environment = environment(rendered[0].as_ref().unwrap());
    assert_eq!(
        (&environment["A"], &environment["B"], &environment["C"]),
        (&json!("eu-west-1"), &json!("data"), &json!("--"))
    );
}
