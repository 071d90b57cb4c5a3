//! The guardrails of an agent, at a launch: what the agent itself asks for, what its run does, and whose run it is. Pure but
//! for the audit line.

use super::NetworkLookup;
use super::delivery::Delivery;
use super::request::private;
use super::{Definition, LaunchIdentity, LaunchOutcome, LaunchSpec, Words, prefect1, prefect3};
use crate::config::{AgentConfig, GenerationConfig};
use crate::flow_run::prefect1::{AgentSettings, FlowRun, flow_run_command, flow_run_environment};
use crate::flow_run::prefect3::{FlowRunJob, default_command, environment, split_command};
use crate::guardrails::judging::{Violation, sentence, shown};
use crate::guardrails::{Asked, DefinitionOrigin, Guardrails, Mode, NetworkOrigin, Requests, Rule, asks, judge};
use crate::python_text::text;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// What is known of a launch before it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What it asks for and may not.
    pub violations: Vec<Violation>,
    /// All that it asks for, without values of variables and words of commands; not what the agent itself asks for.
    pub asked: BTreeSet<Asked>,
}

/// Guardrails, and what else of an agent its launches are judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentGuardrails {
    /// The agent's name in the deployment.
    pub agent: String,
    /// What its runs may ask for.
    pub guardrails: Guardrails,
    /// The image that its configuration names for runs that name none.
    pub image: Option<String>,
    /// Its own secrets as containers get them: the variable and the ARN.
    pub secrets: Vec<(&'static str, String)>,
}

impl AgentGuardrails {
    /// Of an agent that has some.
    pub(super) fn of(config: &AgentConfig, delivery: &Delivery) -> Option<Arc<Self>> {
        let guardrails = config.guardrails.clone()?;
        let image = match &config.generation {
            // The built-in one is nobody's choice.
            GenerationConfig::Three(three) if three.image != three.rules.default_image() => Some(three.image.clone()),
            _ => None,
        };
        Some(Arc::new(Self { agent: config.agent.clone(), guardrails, image, secrets: delivery.own_secrets() }))
    }
}

/// Whose run it is, as far as Prefect said when it was due.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AskedBy {
    /// Name of the flow.
    pub flow: String,
    /// Name of the deployment.
    pub deployment: Option<String>,
    /// Who or what created the run.
    pub creator: Option<String>,
}

impl AskedBy {
    /// `flow/deployment`.
    fn name(&self) -> String {
        let Self { flow, deployment, .. } = self;
        deployment.as_ref().map_or_else(|| flow.clone(), |deployment| format!("{flow}/{deployment}"))
    }
}

/// What one launch is judged by.
#[derive(Clone, PartialEq)]
pub struct Guard {
    rules: Arc<AgentGuardrails>,
    by: AskedBy,
    /// Of a definition that is registered.
    origin: DefinitionOrigin,
    /// What the agent itself asks for, with keys in clear text.
    own: BTreeSet<Asked>,
    /// Texts that came from blocks and variables of Prefect: they are not for messages.
    hidden: Vec<String>,
}

/// Keys are in there: nothing but whose it is is shown.
impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("agent", &self.rules.agent).field("by", &self.by).finish_non_exhaustive()
    }
}

impl Guard {
    /// Of a run of Prefect 0.15 or 1; the agent's documents are loaded. `spec`: its launch.
    pub(super) fn of_1(rules: &Arc<AgentGuardrails>, agent: &AgentSettings, run: &FlowRun, spec: &LaunchSpec) -> Self {
        let mut own = own_secrets(rules);
        own.extend(variables(&flow_run_environment(agent, run, &Map::new())));
        own.extend(asked_by_the_agent(agent));
        let command = flow_run_command(run.flow.core_version.as_deref(), agent.rules);
        own.extend(command.map(|command| Asked::Command(["/bin/sh", "-c", command].map(str::to_owned).to_vec())));
        if let Definition::Own(body) = &spec.definition {
            // The agent tells the flow its image.
            let images = body.get("containerDefinitions").and_then(Value::as_array).into_iter().flatten();
            let images = images.filter_map(|container| container.get("image")?.as_str());
            own.extend(images.map(|image| variable("PREFECT__CONTEXT__IMAGE", image)));
        }
        let brings = prefect1::brings_definition(agent, run);
        Self {
            rules: Arc::clone(rules),
            by: AskedBy { flow: run.flow.name.clone(), deployment: None, creator: None },
            origin: if brings { DefinitionOrigin::Brought } else { DefinitionOrigin::Own },
            own,
            hidden: Vec::new(),
        }
    }

    /// Of a run of Prefect 2 or 3.
    pub(super) fn of_3(rules: &Arc<AgentGuardrails>, job: &FlowRunJob) -> Self {
        let mut own = own_secrets(rules);
        own.extend(variables(&environment(&job.worker, &job.context(), &Map::new())));
        own.extend(rules.image.clone().map(Asked::Image));
        let command = split_command(default_command(&job.worker));
        own.extend(command.map(Asked::Command));
        Self {
            rules: Arc::clone(rules),
            by: AskedBy {
                flow: job.flow.name.clone(),
                deployment: job.deployment.as_ref().map(|deployment| deployment.name.clone()),
                creator: job.flow_run.others.get("created_by").and_then(creator),
            },
            origin: prefect3::definition_origin(job),
            own,
            hidden: hidden(&job.populated, &job.resolved),
        }
    }

    /// A run that asks for too much is not launched.
    pub(crate) fn enforces(&self) -> bool {
        self.rules.guardrails.mode == Mode::Enforce
    }

    /// A network that the agent looked up, as the guardrails want it.
    pub(super) fn adapted(&self, network: Value) -> Value {
        if self.keeps_private() { private(network) } else { network }
    }

    /// A network that says nothing of addresses is private: what AWS takes that for has changed before.
    pub(super) fn adapt(&self, run_task: &mut Map<String, Value>) {
        let network = run_task.get_mut("networkConfiguration").filter(|_| self.keeps_private());
        let says_nothing = |network: &Value| {
            let network = network.get("awsvpcConfiguration").and_then(Value::as_object);
            network.is_some_and(|network| network.get("assignPublicIp").is_none_or(Value::is_null))
        };
        if let Some(network) = network.filter(|network| says_nothing(network)) {
            *network = private(network.take());
        }
    }

    fn keeps_private(&self) -> bool {
        self.enforces() && !self.rules.guardrails.public_ip
    }

    /// All that a launch asks for and may not. `described`: what AWS says of its definition, if that exists. `run_task`: the
    /// request that is sent.
    pub(crate) fn judge(
        &self,
        spec: &LaunchSpec,
        described: Option<&Map<String, Value>>,
        run_task: &Map<String, Value>,
    ) -> Vec<Violation> {
        let violations =
            self.of_requests(spec, described, run_task, |requests, own| judge(&self.rules.guardrails, requests, own));
        violations.into_iter().map(|violation| self.without_hidden(violation)).collect()
    }

    /// The same before anybody launches, as far as it is known then, and all that is asked for. A network that is looked up is
    /// not among it. `None`: what a definition that exists says is not known.
    pub(crate) fn beforehand(&self, spec: &LaunchSpec, described: Option<&Map<String, Value>>) -> Option<Judgement> {
        if described.is_none() && matches!(spec.definition, Definition::Existing { .. }) {
            return None;
        }
        let mut run_task = spec.run_task.clone();
        self.adapt(&mut run_task);
        let asked = self.of_requests(spec, described, &run_task, |requests, own| {
            let asked = asks(requests).into_iter().map(|ask| ask.asked).filter(|asked| !own.contains(asked));
            asked.filter_map(|asked| self.without_values(asked)).collect()
        });
        Some(Judgement { violations: self.judge(spec, described, &run_task), asked })
    }

    fn of_requests<T>(
        &self,
        spec: &LaunchSpec,
        described: Option<&Map<String, Value>>,
        run_task: &Map<String, Value>,
        look: impl FnOnce(&Requests<'_>, &BTreeSet<Asked>) -> T,
    ) -> T {
        let nothing = Map::new();
        let (definition, origin) = match &spec.definition {
            Definition::Own(body) => (body, self.origin.clone()),
            Definition::Existing { name, .. } => (described.unwrap_or(&nothing), DefinitionOrigin::Named(name.clone())),
        };
        let is_inferred = spec.infer_network && !spec.run_task.contains_key("networkConfiguration");
        let network = match &spec.worker.network {
            Some(NetworkLookup::DefaultVpc) => NetworkOrigin::Inferred,
            Some(NetworkLookup::Vpc(_)) => NetworkOrigin::OfVpc,
            None if is_inferred => NetworkOrigin::Inferred,
            None | Some(NetworkLookup::Check { .. }) => NetworkOrigin::Brought,
        };
        let names_are_ours = spec.worker.credentials.are_the_agents_own();
        let requests = Requests { definition, origin, run_task, network, names_are_ours };
        let mut own = self.own.clone();
        if spec.worker.decided.refusals.is_some_and(|(refusals, after)| refusals >= after) {
            // Where Spot had no room, it is the agent that goes on demand.
            own.insert(Asked::CapacityProvider("FARGATE".to_owned()));
        }
        look(&requests, &own)
    }

    /// What may be shown: keys are in variables and commands, and what blocks and variables of Prefect hold may be one.
    fn without_values(&self, asked: Asked) -> Option<Asked> {
        match asked {
            Asked::Variable { name, .. } => Some(variable(&name, "")),
            Asked::Command(_) => Some(Asked::Command(Vec::new())),
            other => (!self.hidden.iter().any(|text| other.says(text))).then_some(other),
        }
    }

    /// Whether the launch may be made, and what a person should know about it.
    pub(super) fn check(
        &self,
        spec: &LaunchSpec,
        described: Option<&Map<String, Value>>,
        run_task: &Map<String, Value>,
        identity: &LaunchIdentity,
    ) -> Result<Option<String>, LaunchOutcome> {
        if let (Definition::Existing { name, .. }, None) = (&spec.definition, described) {
            let by = self.by.name();
            return Ok(Some(format!(
                "Guardrails could not judge {by}: what its task definition {name} says is not known. With `mode: enforce` \
                 it would not be launched."
            )));
        }
        let violations = self.judge(spec, described, run_task);
        if violations.is_empty() {
            return Ok(None);
        }
        self.audit(&violations, identity);
        if self.enforces() {
            Err(LaunchOutcome::Permanent(self.refusal(&violations, spec.worker.words)))
        } else {
            Ok(Some(self.warning(&violations)))
        }
    }

    fn refusal(&self, violations: &[Violation], words: Words) -> String {
        let place = match words {
            Words::Agent => "run configuration",
            Words::Worker => "job variables or the work pool",
        };
        format!(
            "The guardrails of agent {} do not allow what this run asks for: {}. Ask for what is allowed in the {place}, or \
             let whoever runs the agent change its `guardrails`.",
            self.rules.agent,
            sentence(violations)
        )
    }

    /// The same for all runs of a deployment.
    fn warning(&self, violations: &[Violation]) -> String {
        let by = self.by.name();
        format!(
            "{by} asks for more than the guardrails allow, and would fail with `mode: enforce`: {}.",
            sentence(violations)
        )
    }

    /// One line for those who look after what runs ask for.
    fn audit(&self, violations: &[Violation], identity: &LaunchIdentity) {
        let of = |part: fn(&Violation) -> &str| {
            let all: Vec<&str> = violations.iter().map(part).collect();
            all.join("; ")
        };
        tracing::warn!(
            agent = self.rules.agent,
            flow_run_id = identity.flow_run_id,
            flow = self.by.flow,
            deployment = self.by.deployment.as_deref(),
            creator = self.by.creator.as_deref(),
            rule = of(|violation| violation.rule.key()),
            place = of(|violation| &violation.place),
            asked = of(|violation| &violation.asked),
            allowed = of(|violation| &violation.allowed),
            is_refused = self.enforces(),
            "guardrails: a run asks for more than is allowed"
        );
    }

    fn without_hidden(&self, violation: Violation) -> Violation {
        // A command is put together anew, so that nothing tells which of its words came from where.
        let is_command = violation.rule == Rule::Command && !self.hidden.is_empty();
        // Messages spell what is not visible, and cut what is long.
        let tells = |text: &String| violation.asked.contains(&shown(text)) || violation.place.contains(&shown(text));
        if is_command || self.hidden.iter().any(tells) {
            Violation { asked: "(hidden: it comes from a block or variable)".to_owned(), ..violation }
        } else {
            violation
        }
    }
}

fn variable(name: &str, value: &str) -> Asked {
    Asked::Variable { name: name.to_owned(), value: value.to_owned() }
}

fn variables(environment: &Map<String, Value>) -> impl Iterator<Item = Asked> {
    environment.iter().map(|(name, value)| variable(name, &text(value)))
}

fn own_secrets(rules: &AgentGuardrails) -> BTreeSet<Asked> {
    let asked = |(name, arn): &(&str, String)| [Asked::Secret(arn.clone()), variable(name, arn)];
    rules.secrets.iter().flat_map(asked).collect()
}

/// What an agent of Prefect 1 asks for by itself: all that a run asks for that says nothing. Sizes and power over the machine
/// are bounded whoever asks for them, and of images only those count that the agent's own template names.
fn asked_by_the_agent(agent: &AgentSettings) -> BTreeSet<Asked> {
    let Ok(LaunchSpec { definition: Definition::Own(definition), run_task, .. }) =
        prefect1::launch_spec(agent, &FlowRun::imagined(), None)
    else {
        return BTreeSet::new();
    };
    let template = agent.task_definition.as_ref().and_then(|template| template.get("containerDefinitions"));
    let is_in_template = |image: &str| {
        let containers = template.and_then(Value::as_array).into_iter().flatten();
        containers.filter_map(|container| container.get("image")?.as_str()).any(|named| named == image)
    };
    let requests = Requests {
        definition: &definition,
        origin: DefinitionOrigin::Own,
        run_task: &run_task,
        network: NetworkOrigin::Brought,
        names_are_ours: true,
    };
    let counts = |asked: &Asked| match asked {
        Asked::Size { .. } | Asked::Privilege(_) => false,
        Asked::Image(image) => is_in_template(image),
        _ => true,
    };
    asks(&requests).into_iter().map(|ask| ask.asked).filter(counts).collect()
}

/// `created_by` of a flow run: `{"id": …, "type": "USER", "display_value": "jane"}`.
fn creator(created_by: &Value) -> Option<String> {
    let part = |key: &str| created_by.get(key)?.as_str().filter(|text| !text.is_empty());
    match (part("type"), part("display_value").or_else(|| part("id"))) {
        (Some(kind), Some(name)) => Some(format!("{kind} {name}")),
        (one, other) => one.or(other).map(str::to_owned),
    }
}

/// Texts of a configuration that are there only once its references are resolved.
fn hidden(populated: &Map<String, Value>, resolved: &Map<String, Value>) -> Vec<String> {
    if populated == resolved {
        return Vec::new();
    }
    let (mut written, mut all) = (BTreeSet::new(), BTreeSet::new());
    populated.values().for_each(|value| texts(value, &mut written));
    resolved.values().for_each(|value| texts(value, &mut all));
    all.difference(&written).filter(|text| !text.is_empty()).map(|text| (*text).to_owned()).collect()
}

fn texts<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
    match value {
        Value::String(text) => {
            found.insert(text);
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(map) => map.values().for_each(|item| texts(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
