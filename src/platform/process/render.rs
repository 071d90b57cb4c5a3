//! From a flow run to its process: the rules of Prefect 1's `LocalAgent` and of the process worker of Prefect 2 and 3. Pure.

use super::supervisor::ProcessOrder;
use crate::flow_run::prefect1::storage::{self, Storage};
use crate::flow_run::prefect1::{self, AgentSettings, FlowRun, RunConfig, flow_run_environment, run_config};
use crate::flow_run::prefect3::validation::Validator;
use crate::flow_run::prefect3::{self, FlowRunJob, configured_environment, environment};
use crate::model::RunRefusal;
use crate::platform::RunDescription;
use crate::python_text::text;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What the agent's own surroundings add.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    /// The directory that the agent runs in.
    pub(super) working_dir: String,
    /// The agent's own `PYTHONPATH`.
    pub(super) python_path: Option<String>,
}

/// The process of a run. A run of Prefect 2 or 3 without a directory gets a new one.
pub(super) fn order(run: &RunDescription, around: &Surroundings) -> Result<ProcessOrder, RunRefusal> {
    match run {
        RunDescription::One(agent, run) => of_prefect_1(agent, run, around),
        RunDescription::Three(job) => of_prefect_3(job),
    }
}

fn of_prefect_1(agent: &AgentSettings, run: &FlowRun, around: &Surroundings) -> Result<ProcessOrder, RunRefusal> {
    if let Storage::Docker(_) = storage::load(&run.flow.storage, agent.rules)? {
        return Err(RunRefusal("Unsupported Storage type: Docker".into()));
    }
    let none = Map::new();
    let (config, working_dir) = match run_config(agent.rules, run, "LocalRun")? {
        RunConfig::Default => (&none, None),
        RunConfig::Universal(config) => {
            prefect1::check(config, &prefect1::COMMON)?;
            (config, None)
        }
        RunConfig::Own(config) => {
            prefect1::check(config, &[prefect1::COMMON[0], prefect1::COMMON[1], WORKING_DIR])?;
            (config, config.get("working_dir").and_then(Value::as_str).filter(|path| !path.is_empty()))
        }
    };
    let run_env = config.get("env").and_then(Value::as_object).unwrap_or(&none);
    let mut env = vec![("PYTHONPATH".to_owned(), Some(python_path(working_dir, around)))];
    let variables = flow_run_environment(agent, run, run_env);
    // A null takes away what the agent itself has.
    let value = |value: &Value| (!value.is_null()).then(|| text(value));
    env.extend(variables.iter().map(|(name, written)| (name.clone(), value(written))));
    Ok(ProcessOrder {
        // Whatever version the flow was registered with: it runs in the agent's own surroundings.
        command: ["prefect", "execute", "flow-run"].map(str::to_owned).into(),
        env: env.into_iter().collect(),
        working_dir: working_dir.map(str::to_owned),
        needs_directory: false,
        stream_output: false,
    })
}

const WORKING_DIR: prefect1::SchemaField = prefect1::optional("working_dir", prefect1::FieldType::Text);

fn python_path(working_dir: Option<&str>, around: &Surroundings) -> String {
    let first = working_dir.unwrap_or(&around.working_dir);
    match around.python_path.as_deref().filter(|path| !path.is_empty()) {
        Some(path) => format!("{first}:{path}"),
        None => first.to_owned(),
    }
}

fn of_prefect_3(job: &FlowRunJob) -> Result<ProcessOrder, RunRefusal> {
    let mut reader = Validator::new(&job.resolved, &job.populated);
    let configured = reader.text("command").filter(|command| !command.is_empty());
    let stream_output = reader.optional_flag("stream_output").unwrap_or(true);
    let working_dir = reader.text("working_dir").filter(|path| !path.is_empty());
    reader.finish()?;
    let env = environment(&job.worker, &job.context(), &configured_environment(job.resolved.get("env"))?);
    let command = configured.unwrap_or_else(|| prefect3::default_command(&job.worker).to_owned());
    Ok(ProcessOrder {
        command: prefect3::split_command(&command)?,
        env: env.iter().map(|(name, value)| (name.clone(), Some(text(value)))).collect::<BTreeMap<_, _>>(),
        needs_directory: working_dir.is_none(),
        working_dir,
        stream_output,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]
    use super::*;
    use crate::config::{Backend, Rules};
    use crate::flow_run::prefect3::testing::{run, worker};
    use crate::flow_run::prefect3::{populate, testing::Everything};
    use secrecy::SecretString;
    use serde_json::json;
    use std::sync::Arc;

    fn around() -> Surroundings {
        Surroundings { working_dir: "/here".into(), python_path: Some("/lib".into()) }
    }

    fn of_1(rules: Rules, run_config: Value, storage: &str) -> Result<ProcessOrder, String> {
        let agent = AgentSettings {
            rules,
            backend: Backend::Server,
            api: "http://127.0.0.1:4200".into(),
            api_key: Some(SecretString::from("key")),
            auth_token: None,
            tenant_id: None,
            labels: vec!["laptop".into()],
            env_vars: vec![("TEAM".into(), "data".into())],
            no_cloud_logs: false,
            logging_level: "INFO".into(),
            cluster: None,
            launch_type: None,
            task_role_arn: None,
            execution_role_arn: None,
            task_definition: None,
            run_task_kwargs: Map::new(),
        };
        let storage = json!({"type": storage, "flows": {}, "image_name": "i", "image_tag": "t"});
        let storage = if storage["type"] == "Local" { json!({"type": "Local", "flows": {}}) } else { storage };
        let flow = json!({"id": "flow", "name": "etl", "storage": storage, "core_version": "1.4.1"});
        let run = json!({"id": "run", "flow": flow, "run_config": run_config});
        let run = RunDescription::One(Arc::new(agent), Arc::new(serde_json::from_value(run).unwrap()));
        order(&run, &around()).map_err(|refusal| refusal.0)
    }

    fn of_3(configuration: Value) -> Result<ProcessOrder, String> {
        let everything: Everything = run(configuration, json!({}));
        let populated = populate(&worker(), &everything.context()).unwrap();
        let job = FlowRunJob {
            worker: Arc::new(worker()),
            flow_run: Arc::new(everything.flow_run),
            deployment: everything.deployment.map(Arc::new),
            flow: Arc::new(everything.flow),
            work_pool: Arc::new(everything.work_pool),
            resolved: populated.clone(),
            populated,
        };
        order(&RunDescription::Three(Box::new(job)), &around()).map_err(|refusal| refusal.0)
    }

    #[test]
    fn a_local_run_is_run_as_the_local_agent_runs_it() {
        let own = json!({"type": "LocalRun", "labels": [], "env": {"TEAM": "mine", "N": 1, "GONE": null}, "working_dir": "/there"});
        let order = of_1(Rules::V1, own, "Local").unwrap();
        assert_eq!(order.command, ["prefect", "execute", "flow-run"]);
        assert_eq!((order.working_dir.as_deref(), order.needs_directory), (Some("/there"), false));
        for (name, value) in [
            ("PYTHONPATH", "/there:/lib"),
            ("TEAM", "mine"),
            ("N", "1"),
            ("PREFECT__CONTEXT__FLOW_RUN_ID", "run"),
            ("PREFECT__CLOUD__API_KEY", "key"),
            ("PREFECT__CLOUD__AGENT__LABELS", "['laptop']"),
        ] {
            assert_eq!(order.env[name].as_deref(), Some(value), "{name}");
        }
        assert_eq!(order.env["GONE"], None, "what the agent has of that name is taken away");
        for run_config in [json!(null), json!({"type": "UniversalRun", "labels": []})] {
            let order = of_1(Rules::V0_15, run_config, "Local").unwrap();
            assert_eq!((order.working_dir, order.env["PYTHONPATH"].as_deref()), (None, Some("/here:/lib")));
        }
    }

    #[test]
    fn what_a_local_agent_does_not_run_is_refused_in_its_words() {
        let universal = json!({"type": "UniversalRun", "labels": []});
        assert_eq!(of_1(Rules::V1, universal, "Docker").err().unwrap(), "Unsupported Storage type: Docker");
        let refusal = of_1(Rules::V1, json!({"type": "ECSRun", "labels": []}), "Local").err().unwrap();
        assert_eq!(refusal, "Flow run run has a `run_config` of type `ECSRun`, only `LocalRun` is supported");
        assert!(of_1(Rules::V1, json!({"type": "LocalRun", "working_dir": 1}), "Local").is_err());
    }

    #[test]
    fn a_job_of_a_process_pool_is_run_as_the_process_worker_runs_it() {
        let order = of_3(json!({"env": {"TEAM": "data", "PREFECT_API_KEY": null}})).unwrap();
        assert_eq!(order.command, ["prefect", "flow-run", "execute"]);
        assert_eq!((order.working_dir.as_deref(), order.needs_directory, order.stream_output), (None, true, true));
        assert_eq!(order.env["PREFECT__FLOW_RUN_ID"].as_deref(), Some("run-1"));
        assert_eq!((order.env["TEAM"].as_deref(), order.env.get("PREFECT_API_KEY")), (Some("data"), None));
        let own = json!({"command": "sh -c 'sleep 1'", "working_dir": "/there", "stream_output": false});
        let order = of_3(own).unwrap();
        assert_eq!(order.command, ["sh", "-c", "sleep 1"]);
        assert_eq!(
            (order.working_dir.as_deref(), order.needs_directory, order.stream_output),
            (Some("/there"), false, false)
        );
        let wrong = of_3(json!({"working_dir": 1, "stream_output": "perhaps"})).err().unwrap();
        assert!(wrong.contains("2 validation errors") && wrong.contains("stream_output"), "{wrong}");
    }
}
