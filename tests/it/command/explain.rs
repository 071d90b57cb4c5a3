//! `prefect-serverless-agent explain`: the story of one flow run, and what happens next. For Prefect 1 and 3.

use super::process::{Ended, agent, end};
use crate::prefect::{Phase, Prefect, due, time_passes};
use crate::support::{DEADLINE, Deployment, KEY, ROOT};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use world::ecs::{Refusal, Stop};
use world::prefect1::{FlowRunSpec, TaskRunSpec};
use world::prefect3::{DeploymentSpec, POOL, RunSpec};
use world::{Fault, FaultKind};

/// The command's story of a run.
async fn explain(deployment: &Deployment, run: &str) -> Ended {
    end(agent(deployment, &format!("explain {run} --root {ROOT}"))).await
}

/// The same as data.
async fn told(deployment: &Deployment, run: &str) -> Value {
    end(agent(deployment, &format!("explain {run} --root {ROOT} --json"))).await.well().json()
}

/// The story must stand so, and say all of these, in its text too.
async fn stands(deployment: &Deployment, run: &str, standing: &str, words: &[&str]) -> Value {
    let (text, data) = (explain(deployment, run).await.well().stdout, told(deployment, run).await);
    assert_eq!(data["verdict"]["standing"], standing, "{data:#}");
    for word in words {
        assert!(text.contains(word), "{word:?}: {text}");
    }
    data
}

/// Tells the story of the run once; what it asked of whom is no write, and nothing is asked twice.
async fn asks_little(deployment: &Deployment, run: &str) {
    let before = deployment.world.requests("*", "*").len();
    told(deployment, run).await;
    let asked = deployment.world.requests("*", "*").split_off(before);
    let mut seen = Vec::new();
    for request in &asked {
        let operation = request.operation.as_str();
        let is_read = match request.service.as_str() {
            "prefect1" => !request.body.contains("mutation"),
            "prefect3" => request.line.starts_with("GET ") || operation.ends_with("/filter"),
            _ => ["Get", "List", "Describe"].iter().any(|read| operation.starts_with(read)),
        };
        assert!(is_read, "{operation} is no read");
        let question = (request.service.as_str(), request.line.as_str(), request.body.as_str());
        assert!(!seen.contains(&question), "asked twice: {question:?}");
        seen.push(question);
    }
    let of = |service: &str, operation: &str| {
        asked.iter().filter(|request| request.service == service && request.operation == operation).count()
    };
    let histories = of("prefect1", "explained") + of("prefect1", "watch") + of("prefect3", "flow_run_states");
    assert!(histories == 1, "one history: {asked:#?}");
    assert!(asked.len() <= 14, "few requests: {asked:#?}");
}

/// The position of the first event with these words.
fn at(data: &Value, words: &str) -> usize {
    let events = data["events"].as_array().unwrap();
    let found = events.iter().position(|event| event["what"].as_str().unwrap().contains(words));
    found.unwrap_or_else(|| panic!("no event {words:?}: {data:#}"))
}

async fn poll(deployment: &Deployment) -> Value {
    end(agent(deployment, &format!("poll --root {ROOT} --json"))).await.json()
}

/// A deployment of the pool whose runs go to the queue `gpu`; its id.
fn gpu_queue(deployment: &Deployment) -> String {
    let spec = DeploymentSpec { name: "gpu".into(), work_queue: Some("gpu".into()), ..DeploymentSpec::default() };
    deployment.world.prefect3_deployment(spec)
}

fn denied(operation: &str) -> FaultKind {
    let message = format!("User: arn:aws:iam::1:user/laptop is not authorized to perform: ecs:{operation}");
    FaultKind::AwsError { status: 400, code: "AccessDeniedException".into(), message }
}

#[tokio::test]
async fn a_healthy_run_is_told_from_its_schedule_to_its_end() {
    for prefect in Prefect::BOTH {
        let deployment = prefect.deployment(json!({})).await;
        let run = prefect.due_run(&deployment.world);
        stands(&deployment, &run, "due", &["due for"]).await;
        assert_eq!(deployment.world.count("ecs", "*"), 0, "nothing was ever launched");
        asks_little(&deployment, &run).await;
        poll(&deployment).await;
        let task = deployment.world.ecs_tasks()[0].arn.clone();
        stands(&deployment, &run, "launched", &["attempt 1 of 5", "its task is PROVISIONING", &task]).await;
        if prefect == Prefect::Three {
            let waits = json!({"type": "PENDING", "name": "InfrastructurePending"});
            deployment.world.prefect3_set_state(&run, &waits).unwrap();
            stands(&deployment, &run, "launched", &["InfrastructurePending", "its task is PROVISIONING"]).await;
        }
        asks_little(&deployment, &run).await;
        deployment.world.ecs_set_status(&task, "PENDING");
        deployment.world.ecs_set_status(&task, "RUNNING");
        prefect.bring(&deployment.world, &run, Phase::Running);
        stands(&deployment, &run, "running", &["now:   Its flow has been running for"]).await;
        prefect.bring(&deployment.world, &run, Phase::Ended);
        assert!(deployment.world.ecs_stop(&task, &Stop::exited(0)));
        let data = stands(&deployment, &run, "ended", &["It ended as", "exit code 0"]).await;
        let order =
            ["Scheduled", "claimed by this agent", "was created", "pulls its images", "has its images", " started"];
        let order: Vec<usize> = order.iter().map(|words| at(&data, words)).collect();
        assert!(order.is_sorted() && at(&data, " stopped: EssentialContainerExited") > order[5], "{data:#}");
        assert_eq!((&data["verdict"]["advice"], &data["agent"]), (&Value::Null, &json!("etl")));
        assert_eq!(data["not_asked"], json!([]), "{data:#}");
        asks_little(&deployment, &run).await;
    }
}

#[tokio::test]
async fn what_was_given_back_for_want_of_capacity_is_due_again() {
    for prefect in Prefect::BOTH {
        let deployment = prefect.deployment(json!({})).await;
        let run = prefect.due_run(&deployment.world);
        let reason = "Capacity is unavailable at this time. Please try again later".into();
        deployment.world.ecs_refuse(Refusal { reason, detail: None, body_contains: None, count: 1 });
        poll(&deployment).await;
        let words = ["given back", "after attempt 1 of 5", "Capacity is unavailable", "due again in", "Spot"];
        let data = stands(&deployment, &run, "given-back", &words).await;
        assert!(data["verdict"]["next_at"].is_string(), "{data:#}");
        assert!(at(&data, "claimed by this agent") < at(&data, "given back by this agent after attempt 1 of 5"));
    }
}

#[tokio::test]
async fn a_claim_without_a_task_is_finished_by_the_poll_after_orphan_after() {
    for prefect in Prefect::BOTH {
        let deployment = prefect.deployment(json!({})).await;
        let run = prefect.due_run(&deployment.world);
        deployment.world.fault(Fault::new("ecs", "RunTask", FaultKind::DropBefore).always());
        let _ = poll(&deployment).await;
        deployment.world.lock().faults.clear();
        assert_eq!(prefect.run(&deployment.world, &run).phase, Phase::Claimed);
        let words = ["claimed", "and has no task", "the next poll after", "finishes the claim"];
        let data = stands(&deployment, &run, "claimed-without-task", &words).await;
        assert!(data["verdict"]["next_at"].is_string(), "{data:#}");
        time_passes(&deployment.world, 121);
        stands(&deployment, &run, "claimed-without-task", &["the next poll finishes the claim"]).await;
        poll(&deployment).await;
        stands(&deployment, &run, "launched", &["its task is"]).await;
    }
}

#[tokio::test]
async fn a_task_that_died_is_told_with_its_remedy_before_and_after_prefect_knows() {
    for prefect in Prefect::BOTH {
        let deployment = prefect.deployment(json!({})).await;
        let run = prefect.due_run(&deployment.world);
        poll(&deployment).await;
        let task = deployment.world.ecs_tasks()[0].arn.clone();
        deployment.world.ecs_set_status(&task, "RUNNING");
        prefect.bring(&deployment.world, &run, Phase::Running);
        let container_reason = Some("OutOfMemoryError: Container killed due to memory usage".to_owned());
        assert!(deployment.world.ecs_stop(&task, &Stop { container_reason, ..Stop::exited(137) }));
        let words =
            ["Prefect has not been told yet", "exit code 137 (OutOfMemoryError", "task-events ends the run as", "do:"];
        let data = stands(&deployment, &run, "task-died", &words).await;
        let remedy = data["verdict"]["advice"].as_str().unwrap().to_owned();
        assert!(remedy.contains("memory"), "{remedy}");
        let task_events = deployment.options("task-events").start().await.unwrap();
        task_events.invoke(deployment.world.task_event(&task), DEADLINE).await.unwrap();
        let data = stands(&deployment, &run, "ended", &["It ended as"]).await;
        assert!(data["verdict"]["advice"].as_str().unwrap().contains(&remedy), "{data:#}");
    }
}

#[tokio::test]
async fn a_run_of_another_queue_or_pool_is_not_ours() {
    let deployment = Prefect::Three.deployment(json!({"work_queues": ["default"]})).await;
    let gpu = deployment.world.prefect3_run(RunSpec { deployment: Some(gpu_queue(&deployment)), ..RunSpec::default() });
    let data = stands(&deployment, &gpu, "not-ours", &["queue `gpu` is not among work_queues (`default`)"]).await;
    assert_eq!(data["verdict"]["next"], Value::Null);
    let elsewhere =
        DeploymentSpec { name: "other".into(), work_pool: "other-pool".into(), ..DeploymentSpec::default() };
    let elsewhere = deployment.world.prefect3_deployment(elsewhere);
    let other = deployment.world.prefect3_run(RunSpec { deployment: Some(elsewhere), ..RunSpec::default() });
    let said = format!("work pool `other-pool`, and the agent serves `{POOL}`");
    stands(&deployment, &other, "not-ours", &[&said]).await;
}

#[tokio::test]
async fn a_run_whose_labels_do_not_match_is_not_ours() {
    let deployment = Prefect::One.deployment(json!({"labels": ["prod"]})).await;
    let labelled = FlowRunSpec { labels: vec!["prod".into(), "gpu".into()], ..due("etl") };
    let run = deployment.schedule(labelled);
    stands(&deployment, &run, "not-ours", &["the agent lacks `gpu` (it has `prod`)"]).await;
    let unlabelled = deployment.schedule(due("etl"));
    stands(&deployment, &unlabelled, "not-ours", &["it has no labels, and the agent has `prod`"]).await;
}

#[tokio::test]
async fn a_due_run_behind_a_pause_or_a_full_limit_says_which() {
    let deployment = Prefect::Three.deployment(json!({})).await;
    let run = Prefect::Three.due_run(&deployment.world);
    let pool = |change: fn(&mut world::prefect3::WorkPool)| {
        deployment.world.prefect3(|prefect3| prefect3.work_pools.iter_mut().for_each(change));
    };
    pool(|pool| pool.is_paused = true);
    let data = stands(&deployment, &run, "held-back", &[&format!("but work pool `{POOL}` is paused")]).await;
    assert_eq!(poll(&deployment).await["agents"]["etl"]["ready"], 0, "as the poll finds: {data:#}");
    pool(|pool| (pool.is_paused, pool.concurrency_limit) = (false, Some(1)));
    let other = Prefect::Three.due_run(&deployment.world);
    Prefect::Three.bring(&deployment.world, &other, Phase::Running);
    stands(&deployment, &run, "held-back", &["is full: 1 of 1 slots are taken"]).await;
    assert_eq!(poll(&deployment).await["agents"]["etl"]["ready"], 0);
    pool(|pool| pool.concurrency_limit = None);
    deployment.world.prefect3(|prefect3| prefect3.work_queues.iter_mut().for_each(|queue| queue.is_paused = true));
    stands(&deployment, &run, "held-back", &["queue `default` is paused"]).await;
    assert_eq!(poll(&deployment).await["agents"]["etl"]["ready"], 0);
}

#[tokio::test]
async fn a_run_without_a_slot_of_its_deployment_waits_for_one() {
    let deployment = Deployment::empty().await;
    let spec = DeploymentSpec { concurrency_limit: Some(1), ..DeploymentSpec::default() };
    deployment.world.prefect3_deployment(spec);
    Prefect::Three.agent(&deployment, "etl", json!({}));
    let runs = [Prefect::Three.due_run(&deployment.world), Prefect::Three.due_run(&deployment.world)];
    poll(&deployment).await;
    let waits =
        |run: &&String| deployment.world.prefect3_flow_run(run).unwrap().state_name() == "AwaitingConcurrencySlot";
    let waiting = runs.iter().find(waits).expect("none waits for a slot");
    stands(&deployment, waiting, "waits-for-slot", &["slot of a concurrency limit", "it is tried again in"]).await;
}

#[tokio::test]
async fn what_is_scheduled_for_later_says_when_and_what_is_cancelled_ends() {
    for prefect in Prefect::BOTH {
        let deployment = prefect.deployment(json!({})).await;
        let run = match prefect {
            Prefect::One => deployment.schedule(FlowRunSpec { start_in_seconds: 7200.0, ..due("etl") }),
            Prefect::Three => deployment.world.prefect3_run(RunSpec { start_in_seconds: 7200.0, ..RunSpec::default() }),
        };
        stands(&deployment, &run, "scheduled-later", &["It is scheduled for", "the first poll after that launches it"])
            .await;
        let launched = prefect.due_run(&deployment.world);
        poll(&deployment).await;
        prefect.bring(&deployment.world, &launched, Phase::Cancelling);
        stands(&deployment, &launched, "cancelling", &["It has been cancelling for", "the next poll stops its task"])
            .await;
        prefect.bring(&deployment.world, &run, Phase::Cancelled);
        stands(&deployment, &run, "ended", &["It ended as Cancelled"]).await;
    }
}

#[tokio::test]
async fn a_due_run_of_an_agent_that_does_not_poll_says_so() {
    for prefect in Prefect::BOTH {
        let deployment = prefect.deployment(json!({"enabled": false})).await;
        let run = prefect.due_run(&deployment.world);
        stands(&deployment, &run, "agent-off", &["has `enabled: false`"]).await;
        prefect.agent(&deployment, "etl", json!({"max_polls": 1}));
        poll(&deployment).await;
        let late = prefect.due_run(&deployment.world);
        stands(&deployment, &late, "agent-off", &["its max_polls of 1", &format!("{ROOT}/state/etl/polls")]).await;
        prefect.agent(&deployment, "etl", json!({}));
        let long_ago = r#"{"last_poll": "2026-01-01T00:00:00Z", "last_success": "2026-01-01T00:00:00Z", "polls": 7}"#;
        deployment.world.put_parameter(&format!("{ROOT}/state/etl/status"), long_ago);
        let words = ["has not polled lately: its last poll was", "see that the schedule is ENABLED"];
        stands(&deployment, &late, "agent-failing", &words).await;
    }
}

#[tokio::test]
async fn what_may_not_be_asked_is_said_and_the_rest_is_told() {
    for prefect in Prefect::BOTH {
        let deployment = prefect.deployment(json!({})).await;
        let run = prefect.due_run(&deployment.world);
        poll(&deployment).await;
        for operation in ["ListTasks", "DescribeTasks"] {
            deployment.world.fault(Fault::new("ecs", operation, denied(operation)).always());
        }
        let words = [
            "whether it has a task could not be asked",
            "not asked: ECS: tasks in",
            "ecs:ListTasks",
            "claimed by this agent",
        ];
        stands(&deployment, &run, "claimed", &words).await;
        deployment.world.lock().faults.clear();
        let html = FaultKind::Html { status: 502 };
        deployment.world.fault(Fault::new(prefect.service(), "*", html).always());
        let words = ["Prefect could not be asked about the run; ECS knows one task of it", "was created"];
        stands(&deployment, &run, "unknown", &words).await;
    }
}

#[tokio::test]
async fn a_run_that_nobody_knows_is_an_error_that_names_who_was_asked() {
    for prefect in Prefect::BOTH {
        let deployment = prefect.deployment(json!({})).await;
        prefect.agent(&deployment, "other", json!({}));
        let unknown = explain(&deployment, "0f0e0d0c-0b0a-4908-8706-050403020100").await;
        assert!(unknown.code == Some(1) && unknown.stdout.is_empty(), "{unknown:?}");
        assert!(unknown.stderr.contains("asked for these agents: etl, other"), "{unknown:?}");
        let named = explain(&deployment, "no-such-run").await;
        assert!(named.code == Some(1) && named.stderr.contains("no-such-run"), "{named:?}");
        let nobody = end(agent(&deployment, &format!("explain x --root {ROOT} --agent nobody"))).await;
        assert!(nobody.code == Some(1) && nobody.stderr.contains("configured are: etl, other"), "{nobody:?}");
    }
}

#[tokio::test]
async fn a_run_is_found_by_its_name_or_its_address_and_by_the_agent_that_it_is_for() {
    let deployment = Prefect::Three.deployment(json!({})).await;
    Prefect::Three.agent(&deployment, "gpu", json!({"work_queues": ["gpu"]}));
    let gpu = gpu_queue(&deployment);
    let named = |name: &str| RunSpec { name: Some(name.into()), deployment: Some(gpu.clone()), ..RunSpec::default() };
    let run = deployment.world.prefect3_run(named("clever-crow"));
    // Both agents serve it: nobody can tell which one is meant.
    let both = explain(&deployment, &run).await;
    assert!(both.code == Some(1) && both.stderr.contains("several agents could be meant: etl, gpu"), "{both:?}");
    Prefect::Three.agent(&deployment, "etl", json!({"work_queues": ["default"]}));
    let by_name = told(&deployment, "clever-crow").await;
    assert_eq!((&by_name["flow_run"]["id"], by_name["flow_run"]["name"].as_str()), (&json!(run), Some("clever-crow")));
    let address = format!("http://127.0.0.1:4200/runs/flow-run/{run}?tab=Logs");
    assert_eq!(told(&deployment, &address).await["agent"], "gpu");
    let asked = end(agent(&deployment, &format!("explain {run} --root {ROOT} --agent etl --json"))).await.well().json();
    assert_eq!(asked["verdict"]["standing"], "not-ours");
    deployment.world.prefect3_run(named("clever-crow"));
    let two = explain(&deployment, "clever-crow").await;
    assert!(
        two.code == Some(1) && two.stderr.contains("several flow runs are called") && two.stderr.contains(&run),
        "{two:?}"
    );
}

#[tokio::test]
async fn a_file_is_enough_and_the_log_of_the_container_is_named() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("etl.json");
    let options = json!({"awslogs-group": "/flows", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"});
    let container = json!({"name": "flow", "logConfiguration": {"logDriver": "awslogs", "options": options}});
    let definition = json!({
        "networkMode": "awsvpc", "cpu": "1024", "memory": "2048", "containerDefinitions": [container],
        "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
    });
    let config = json!({"prefect": 1, "api": deployment.world.prefect1_url(), "task_definition": definition});
    std::fs::write(&file, config.to_string()).unwrap();
    let run = deployment.schedule(due("etl"));
    let command = |line: String| {
        let mut command = agent(&deployment, &format!("{line} --config {}", file.display()));
        command.env("PREFECT__CLOUD__API_KEY", KEY);
        command
    };
    end(command("poll".into())).await.well();
    let ended = end(command(format!("explain {run}"))).await.well();
    let task = deployment.world.ecs_tasks()[0].arn.clone();
    let id = task.rsplit('/').next().unwrap();
    let said = format!("aws logs tail '/flows' --log-stream-names 'p/flow/{id}' --region us-east-1");
    assert!(ended.stdout.contains(&said) && ended.stdout.contains("claimed by this agent"), "{ended:?}");
    assert_eq!(deployment.world.count("ssm", "*"), 0);
}

#[tokio::test]
async fn a_claim_of_a_worker_is_left_alone_and_said_to_be_its_own() {
    let deployment = Prefect::Three.deployment(json!({})).await;
    let run = Prefect::Three.due_run(&deployment.world);
    Prefect::Three.bring(&deployment.world, &run, Phase::Claimed);
    deployment.world.prefect3(|prefect3| {
        let run = prefect3.flow_runs.iter_mut().find(|known| known.id == run).unwrap();
        run.labels.insert("prefect.worker.name".into(), json!("ECSWorker 1"));
    });
    stands(&deployment, &run, "claimed-elsewhere", &["by the worker ECSWorker 1", "this agent leaves it alone"]).await;
}

#[tokio::test]
async fn secrets_and_escapes_in_a_state_are_not_shown() {
    let deployment = Prefect::One.deployment(json!({})).await;
    let run = Prefect::One.due_run(&deployment.world);
    let message = format!("refused the key {KEY} of \x1b[31mthis\r\n agent");
    deployment.world.set_flow_run_state(&run, &json!({"type": "Failed", "message": message})).unwrap();
    let data = stands(&deployment, &run, "ended", &["refused the key [redacted] of  [31mthis agent"]).await;
    assert!(!data.to_string().contains(KEY), "{data:#}");
    let text = explain(&deployment, &run).await.well().stdout;
    let is_shown = |c: char| !c.is_control() || c == '\n';
    assert!(!text.contains(KEY) && text.chars().all(is_shown), "{text:?}");
}

#[tokio::test]
async fn task_runs_that_wait_are_told_of_a_run_that_runs() {
    let deployment = Prefect::One.deployment(json!({})).await;
    let task_run = |seconds: i64| {
        let start = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
        let state = json!({"type": "Retrying", "start_time": start.format(&Rfc3339).unwrap(), "run_count": 1});
        TaskRunSpec { state, ..TaskRunSpec::default() }
    };
    let running = |task_run| FlowRunSpec { state: json!("Running"), task_runs: vec![task_run], ..due("etl") };
    let later = deployment.schedule(running(task_run(3600)));
    stands(&deployment, &later, "running", &["a poll starts it again for its task runs, which are due in"]).await;
    let now = deployment.schedule(running(task_run(-60)));
    poll(&deployment).await;
    let words = ["and its task is PROVISIONING", "attempt 1 of 5"];
    stands(&deployment, &now, "launched", &words).await;
}

#[tokio::test]
async fn a_run_of_prefect_2_is_told_as_well() {
    let deployment = Prefect::Three.deployment(json!({"prefect": 2})).await;
    deployment.world.prefect3(|prefect3| prefect3.switches.generation = world::prefect3::Generation::TwoTen);
    let run = Prefect::Three.due_run(&deployment.world);
    stands(&deployment, &run, "due", &["(Prefect 2)"]).await;
    poll(&deployment).await;
    stands(&deployment, &run, "launched", &["claimed by this agent"]).await;
}

#[tokio::test]
async fn a_file_of_prefect_3_needs_no_root() {
    let deployment = Prefect::Three.deployment(json!({})).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flows.yaml");
    let text = format!("prefect: 3\napi: {}\nwork_pool: {POOL}\n", deployment.world.prefect3_url());
    std::fs::write(&file, text).unwrap();
    let run = Prefect::Three.due_run(&deployment.world);
    let command = |line: String| agent(&deployment, &format!("{line} --config {}", file.display()));
    let due = end(command(format!("explain {run}"))).await.well();
    assert!(due.stdout.contains("the agent's next poll launches it"), "{due:?}");
    end(command("poll".into())).await.well();
    let launched = end(command(format!("explain {run} --json"))).await.well().json();
    assert_eq!(launched["verdict"]["standing"], "launched", "{launched:#}");
    // The deployment's agent is another one: it leaves the claim alone, and says whose it is.
    stands(&deployment, &run, "claimed-elsewhere", &["by the agent 123456789012/us-east-1/"]).await;
}

#[tokio::test]
async fn parameters_that_may_not_be_read_are_said() {
    let deployment = Prefect::Three.deployment(json!({})).await;
    let run = Prefect::Three.due_run(&deployment.world);
    let hidden = |path: &str| {
        let message = format!("not authorized to perform: ssm:GetParametersByPath on {path}");
        let kind = FaultKind::AwsError { status: 400, code: "AccessDeniedException".into(), message };
        let mut fault = Fault::new("ssm", "GetParametersByPath", kind).always();
        fault.body_contains = Some(format!("{ROOT}/{path}"));
        deployment.world.fault(fault);
    };
    hidden("secrets");
    hidden("state");
    let words =
        ["the agent's next poll launches it", "not asked: the agents' secrets", "not asked: what the polls wrote down"];
    stands(&deployment, &run, "due", &words).await;
    hidden("config");
    let refused = explain(&deployment, &run).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("ssm:GetParametersByPath"), "{refused:?}");
}

#[tokio::test]
async fn tasks_that_may_be_in_another_account_are_no_verdict() {
    let deployment = Prefect::Three.deployment(json!({})).await;
    let own = json!({"aws_credentials": {"region_name": "us-west-2"}});
    let own = RunSpec { job_variables: own.as_object().unwrap().clone(), start_in_seconds: -1.0, ..RunSpec::default() };
    let run = deployment.world.prefect3_run(own);
    deployment.world.fault(Fault::new("ecs", "RunTask", FaultKind::DropBefore).always());
    let _ = poll(&deployment).await;
    deployment.world.lock().faults.clear();
    let words = ["whether it has a task could not be asked", "the run brings AWS credentials of its own"];
    stands(&deployment, &run, "claimed", &words).await;
    // A task that Prefect knows, and ECS here does not.
    let known = Prefect::Three.due_run(&deployment.world);
    poll(&deployment).await;
    deployment.world.lock().ecs.tasks.clear();
    stands(&deployment, &known, "claimed", &["which Prefect names, is not known to ECS here"]).await;
}

#[tokio::test]
async fn what_this_shell_says_of_agents_is_nothing_that_the_functions_see() {
    let deployment = Prefect::One.deployment(json!({})).await;
    let run = Prefect::One.due_run(&deployment.world);
    let from_a_shell = |line: &str| {
        let mut command = agent(&deployment, line);
        command.env("PREFECT__CLOUD__AGENT__LABELS", "['laptop']").env("PREFECT__BACKEND", "neither");
        command
    };
    let told = end(from_a_shell(&format!("explain {run} --root {ROOT} --json"))).await.well().json();
    assert_eq!(told["verdict"]["standing"], "due", "{told:#}");
    let status = end(from_a_shell(&format!("status --root {ROOT} --json"))).await.well().json();
    assert_eq!(status["agents"]["etl"]["status"], "starting", "{status:#}");
}

#[tokio::test]
async fn an_agent_that_is_off_is_so_where_what_polls_wrote_down_is_unknown() {
    let deployment = Prefect::Three.deployment(json!({"enabled": false})).await;
    let run = Prefect::Three.due_run(&deployment.world);
    let kind =
        FaultKind::AwsError { status: 400, code: "AccessDeniedException".into(), message: "not authorized".into() };
    let mut fault = Fault::new("ssm", "GetParametersByPath", kind).always();
    fault.body_contains = Some(format!("{ROOT}/state"));
    deployment.world.fault(fault);
    stands(&deployment, &run, "agent-off", &["has `enabled: false`", "not asked: what the polls wrote down"]).await;
}

#[tokio::test]
async fn a_cancelled_run_that_no_poll_looks_for_is_not_promised_its_end() {
    let deployment = Prefect::One.deployment(json!({})).await;
    let foreign = Prefect::One.due_run(&deployment.world);
    Prefect::One.bring(&deployment.world, &foreign, Phase::Cancelling);
    let data = stands(&deployment, &foreign, "cancelling", &["this agent has never claimed it"]).await;
    assert_eq!(data["verdict"]["next"], Value::Null);
    poll(&deployment).await;
    assert_eq!(Prefect::One.run(&deployment.world, &foreign).phase, Phase::Cancelling, "as was said");

    let deployment = Prefect::Three.deployment(json!({"work_queues": ["default"]})).await;
    let gpu = deployment.world.prefect3_run(RunSpec { deployment: Some(gpu_queue(&deployment)), ..RunSpec::default() });
    let ours = Prefect::Three.due_run(&deployment.world);
    for run in [&gpu, &ours] {
        Prefect::Three.bring(&deployment.world, run, Phase::Running);
        Prefect::Three.bring(&deployment.world, run, Phase::Cancelling);
    }
    stands(&deployment, &ours, "cancelling", &["may end by itself until", "then a poll ends it as cancelled"]).await;
    time_passes(&deployment.world, 91);
    stands(&deployment, &gpu, "cancelling", &["no poll of this agent stops its task: queue `gpu`"]).await;
    stands(&deployment, &ours, "cancelling", &["the next poll ends it as cancelled: no task runs"]).await;
    poll(&deployment).await;
    let phases = [&gpu, &ours].map(|run| Prefect::Three.run(&deployment.world, run).phase);
    assert_eq!(phases, [Phase::Cancelling, Phase::Cancelled], "as was said");
}
