//! What comes of it, as people and programs read it. Pure.

use super::differences;
use super::findings::{Level, SetupFinding};
use super::stack::{self, StackParameters};
use super::writing::WrittenSetup;
use crate::cli::output::{printable, printable_lines};
use crate::survey::{PlaceNeeds, Reach, Survey, SurveyedDefinition, SurveyedLaunch};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Deployments that are shown one by one.
const SHOWN: usize = 20;

/// All that was found, and what is to be done next.
pub(super) struct Outcome {
    pub(super) agent: String,
    pub(super) root: String,
    pub(super) stack: String,
    /// The configuration.
    pub(super) text: String,
    pub(super) written: WrittenSetup,
    /// Names of the secrets' parameters.
    pub(super) secrets: Vec<String>,
    pub(super) secrets_key_arn: Option<String>,
    pub(super) from_service: Option<String>,
    pub(super) parameters: StackParameters,
    /// Other agents of the deployment, which the parameters do for too.
    pub(super) others: Vec<String>,
    pub(super) findings: Vec<SetupFinding>,
    pub(super) survey: Survey,
}

impl Outcome {
    /// For people, or as JSON.
    pub(super) fn text(&self, as_json: bool) -> String {
        if as_json { format!("{:#}\n", self.json()) } else { self.for_people() }
    }

    fn region(&self) -> &str {
        &self.survey.home.region
    }

    fn commands(&self) -> (String, [String; 2]) {
        let sam = stack::sam_deploy(&self.stack, self.region(), &self.parameters);
        (sam, stack::cloudformation_deploy(&self.stack, self.region(), &self.parameters))
    }

    fn json(&self) -> Value {
        let (sam, [package, deploy]) = self.commands();
        let (file, parameters_written) = match &self.written {
            WrittenSetup::File(path) => (json!(path.display().to_string()), json!([])),
            WrittenSetup::Parameters(done) => (Value::Null, json!(done)),
        };
        let parameters: Map<String, Value> =
            self.parameters.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({
            "agent": self.agent,
            "root": self.root,
            "account": self.survey.home.account.as_ref().ok(),
            "region": self.region(),
            "configuration": {
                "text": self.text,
                "file": file,
                "parameter": format!("{}/config/{}", self.root, self.agent),
                "written": parameters_written,
            },
            "secrets": self.secrets,
            "other_agents": self.others,
            "stack": {"name": self.stack, "parameters": parameters},
            "commands": {"sam": sam, "cloudformation": [package, deploy]},
            "findings": self.findings,
            "launches": self.launches().map(launch_json).collect::<Vec<_>>(),
            "next": self.next(),
        })
    }

    /// All that was rendered and counts, and what is not served beside it.
    fn launches(&self) -> impl Iterator<Item = &SurveyedLaunch> {
        let unserved = self.survey.launches.iter().filter(|launch| !launch.is_served);
        self.survey.counted_launches().chain(unserved)
    }

    /// What is to be done, one command or sentence each.
    fn next(&self) -> Vec<String> {
        let mut next = Vec::new();
        let root = stack::shell_word(&self.root);
        if let WrittenSetup::File(path) = &self.written {
            let key_id = self.secrets_key_arn.as_ref().map(|key| format!(" --key-id {}", stack::shell_word(key)));
            let key_id = key_id.unwrap_or_default();
            for name in &self.secrets {
                // The value is never part of what is shown, nor of a shell's history.
                next.push(format!(
                    "read -rs SECRET && aws ssm put-parameter --region {} --type SecureString{key_id} --name {} --value \
                     \"$SECRET\"",
                    stack::shell_word(self.region()),
                    stack::shell_word(name)
                ));
            }
            let file = stack::shell_word(&path.display().to_string());
            let agent = stack::shell_word(&self.agent);
            next.push(format!("prefect-serverless-agent push {file} --agent {agent} --root {root}"));
        }
        next.push(format!("prefect-serverless-agent bundle psa && cd psa && {}", self.commands().0));
        next.push(format!("prefect-serverless-agent check --root {root}"));
        match &self.from_service {
            Some(written) => {
                let (cluster, service) = written.split_once('/').unwrap_or(("", written));
                next.push(format!(
                    "aws ecs update-service --region {} --cluster {} --service {} --desired-count 0",
                    stack::shell_word(self.region()),
                    stack::shell_word(cluster),
                    stack::shell_word(service)
                ));
            }
            None => next.push("stop the Python worker or agent, once the first run was launched".into()),
        }
        next
    }

    fn for_people(&self) -> String {
        let mut text = self.summary();
        // Only work pools have workers.
        let theirs = if self.survey.pool.is_some() { "worker" } else { "agent" };
        let differences = differences::text(self.launches(), theirs);
        if !differences.is_empty() {
            let _ = write!(text, "\n{differences}");
        }
        if !self.findings.is_empty() {
            text.push_str("\nFound:\n");
        }
        for SetupFinding { level, about, found, next } in &self.findings {
            let sign = match level {
                Level::Problem => '✘',
                Level::Warning => '!',
                Level::Note => '·',
            };
            // What others wrote is shown as what it is, and not as commands to the terminal.
            let lines = printable_lines(found).replace('\n', "\n    ");
            let _ = writeln!(text, "  {sign} {}: {lines}\n    next: {}", printable(about), printable(next));
        }
        match &self.written {
            WrittenSetup::File(path) => {
                let _ = writeln!(text, "\nConfiguration, in {}:", printable(&path.display().to_string()));
            }
            WrittenSetup::Parameters(done) => {
                let _ = writeln!(text, "\n{}\nConfiguration:", printable_lines(&done.join("\n")));
            }
        }
        for line in self.text.lines() {
            let _ = writeln!(text, "  {line}");
        }
        text.push_str("\nParameters of the stack");
        if !self.others.is_empty() {
            let others = printable(&self.others.join(", "));
            let _ = write!(text, ", for {} and the other agents of {} ({others})", self.agent, self.root);
        }
        text.push_str(if self.parameters.is_empty() { ": the defaults.\n" } else { ":\n" });
        for (name, value) in &self.parameters {
            let _ = writeln!(text, "  {name}={value}");
        }
        text.push_str("\nNext:\n");
        for (number, next) in (1..).zip(self.next()) {
            let _ = writeln!(text, "  {number}. {next}");
        }
        if !self.text.lines().any(|line| line.starts_with("guardrails:")) {
            text.push_str("\nRuns may ask for anything: init --guardrails writes what they ask for today, and refuses nothing yet.\n");
        }
        let [package, deploy] = self.commands().1;
        let _ = writeln!(text, "\nWithout SAM, in the folder psa:\n  {package}\n  {deploy}");
        text
    }

    fn summary(&self) -> String {
        let mut text = String::new();
        let of_others = &self.survey.launches;
        let (well, all) = (of_others.iter().filter(|launch| launch.rendered.is_ok()).count(), of_others.len());
        let pool = self.survey.pool.as_ref().map(|pool| printable(&pool.pool.name));
        let _ = match pool {
            Some(pool) if self.survey.launches.is_empty() => {
                writeln!(text, "Work pool {pool}: no deployments; what its defaults ask for:")
            }
            Some(pool) => {
                writeln!(text, "Work pool {pool}: {well} of {all} deployments can be launched.")
            }
            None if self.survey.launches.is_empty() => {
                writeln!(text, "No flow runs of this agent; what its own defaults ask for:")
            }
            None => writeln!(text, "Run configurations of the last flow runs: {well} of {all} can be launched."),
        };
        if !self.survey.launches.is_empty() {
            for launch in self.survey.launches.iter().take(SHOWN) {
                let state = match (&launch.rendered, launch.is_served) {
                    (_, false) => "not served",
                    (Ok(_), true) => "ok",
                    (Err(_), true) => "not launched, see below",
                };
                let _ = writeln!(text, "  {}: {state}", printable(&launch.asker));
            }
            if let Some(more) = self.survey.launches.len().checked_sub(SHOWN).filter(|more| *more > 0) {
                let _ = writeln!(text, "  and {more} more");
            }
        }
        for (place, needs) in &self.survey.needs.places {
            let account = place.account.as_deref().unwrap_or("account not known");
            let how = match &place.reach {
                Reach::Own => String::new(),
                Reach::Agent(role) => format!(", by {role}"),
                Reach::Run(chain) => format!(", by {}", chain.join(", ")),
                Reach::Keys => ", by keys of the run's own".into(),
            };
            let _ = writeln!(text, "  {}:", printable(&format!("in {account}, {}{how}", place.region)));
            for (what, asked) in of_place(needs) {
                let all: Vec<&str> = asked.keys().map(String::as_str).collect();
                if !all.is_empty() {
                    let _ = writeln!(text, "    {what}: {}", printable(&all.join(", ")));
                }
            }
        }
        text
    }
}

fn of_place(needs: &PlaceNeeds) -> [(&'static str, &crate::survey::Asked); 9] {
    [
        ("clusters", &needs.clusters),
        ("task roles", &needs.task_roles),
        ("execution roles", &needs.execution_roles),
        ("log groups", &needs.log_groups),
        ("images", &needs.images),
        ("task definitions", &needs.task_definitions),
        ("subnets", &needs.subnets),
        ("VPCs", &needs.vpcs),
        ("secrets", &needs.secrets),
    ]
}

fn launch_json(launch: &SurveyedLaunch) -> Value {
    let asker = json!({"asker": launch.asker, "deployment_id": launch.deployment_id, "served": launch.is_served});
    let said = match &launch.rendered {
        Err(why) => json!({"refused": why.why}),
        Ok(rendered) => {
            let definition = match &rendered.definition {
                SurveyedDefinition::Register(body) => json!({"register_task_definition": body}),
                SurveyedDefinition::Named { name, .. } => json!({"task_definition": name}),
            };
            let place = json!({"account": rendered.place.account, "region": rendered.place.region});
            merged([place, definition, json!({"run_task": rendered.run_task, "differences": rendered.differences})])
        }
    };
    merged([asker, said])
}

/// One object of all.
fn merged<const N: usize>(objects: [Value; N]) -> Value {
    let entries = objects.into_iter().filter_map(|object| match object {
        Value::Object(entries) => Some(entries),
        _ => None,
    });
    Value::Object(entries.flatten().collect())
}
