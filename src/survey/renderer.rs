//! Runs → their launches, by the code that launches them; definitions that exist are looked up.
//! Values are not shown (pure).

use super::{
    DEFAULTS, Home, LaunchPlace, Reach, RenderedLaunch, SurveyedDefinition, SurveyedLaunch, Undescribed, Unrendered,
    differences,
};
use crate::aws::AwsClients;
use crate::clock::Clock;
use crate::config::AgentConfig;
use crate::model::{RenderError, SetupError};
use crate::platform::RunDescription;
use crate::platform::ecs::NetworkLookup;
use crate::platform::ecs::accounts::account;
use crate::platform::ecs::outcome::is_not_found;
use crate::platform::ecs::{AgentEcs, Definition, LaunchSpec, launcher};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Task definitions that are looked up at most.
const MOST_DEFINITIONS: usize = 50;

/// What is known of task definitions, by where they are and how they are named.
type KnownDefinitions = BTreeMap<(LaunchPlace, String), Result<Map<String, Value>, Undescribed>>;

/// Whose launch it is.
pub(super) struct Asker {
    pub(super) name: String,
    pub(super) deployment_id: Option<String>,
    pub(super) is_served: bool,
}

pub(super) fn asked_by_defaults() -> Asker {
    Asker { name: DEFAULTS.into(), deployment_id: None, is_served: true }
}

/// What renders, and looks definitions up.
pub(super) struct LaunchRenderer<'a, C: Clock + Clone> {
    pub(super) platform: Result<AgentEcs<C>, SetupError>,
    pub(super) aws: &'a Arc<AwsClients>,
    pub(super) config: &'a AgentConfig,
}

impl<C: Clock + Clone> LaunchRenderer<'_, C> {
    pub(super) async fn launches(
        &self,
        described: Vec<(Asker, Result<RunDescription, RenderError>)>,
        home: &Home,
    ) -> Vec<SurveyedLaunch> {
        let mut known = KnownDefinitions::new();
        let mut launches = Vec::with_capacity(described.len());
        for (Asker { name, deployment_id, is_served }, described) in described {
            let rendered = match described {
                Ok(description) => self.rendered(description, home, &mut known).await,
                Err(error) => Err(unrendered(error)),
            };
            launches.push(SurveyedLaunch { asker: name, deployment_id, is_served, rendered });
        }
        launches
    }

    async fn rendered(
        &self,
        description: RunDescription,
        home: &Home,
        known: &mut KnownDefinitions,
    ) -> Result<RenderedLaunch, Unrendered> {
        let unknown = |error: &SetupError| Unrendered { why: error.to_string(), is_certain: false };
        let platform = self.platform.as_ref().map_err(unknown)?;
        let theirs = platform.undelivered(description).await.map_err(unrendered)?;
        // Whether their credentials lead anywhere is asked at the launch.
        account(&theirs.worker.credentials, &self.config.allowed_hosts)
            .map_err(|refusal| unrendered(RenderError::Refused(refusal)))?;
        let rendered = platform.delivered(theirs.clone()).map_err(unrendered)?;
        let place = LaunchPlace::of(&rendered.launch, self.config, home);
        let compared = |theirs: &LaunchSpec, ours: &LaunchSpec| differences(theirs, ours, self.config);
        let (spec, definition, late, differences) = match &rendered.launch.definition {
            Definition::Own(body) => {
                let differences = Some(compared(&theirs, &rendered.launch));
                (rendered.launch.clone(), SurveyedDefinition::Register(body.clone()), None, differences)
            }
            Definition::Existing { name, .. } => {
                let described = self.described(&place, name, known).await;
                let refused = |why: crate::model::RunRefusal| Unrendered { why: why.0, is_certain: true };
                let (spec, late, differences) = match &described {
                    Ok(described) => {
                        let complete = |spec| launcher::complete(spec, Some(described)).map_err(refused);
                        let (theirs, ours) = (complete(&theirs)?, complete(&rendered.launch)?);
                        let differences = compared(&theirs.spec, &ours.spec);
                        (ours.spec, ours.warning, Some(differences))
                    }
                    // Where it goes and what the request names itself is known all the same.
                    Err(_) => (rendered.launch.clone(), None, None),
                };
                (spec, SurveyedDefinition::Named { name: name.clone(), described }, late, differences)
            }
        };
        let described = match &definition {
            SurveyedDefinition::Register(_) => None,
            SurveyedDefinition::Named { described, .. } => described.as_ref().ok(),
        };
        let judgement = spec.guard.as_ref().and_then(|guard| guard.beforehand(&spec, described));
        let definition = match definition {
            SurveyedDefinition::Register(body) => SurveyedDefinition::Register(without_values(body)),
            SurveyedDefinition::Named { name, described } => {
                SurveyedDefinition::Named { name, described: described.map(without_values) }
            }
        };
        let warning = rendered.warning.or(late);
        Ok(RenderedLaunch { warning, differences, judgement, ..of_spec(spec, place, definition) })
    }

    async fn described(
        &self,
        place: &LaunchPlace,
        name: &str,
        known: &mut KnownDefinitions,
    ) -> Result<Map<String, Value>, Undescribed> {
        let key = (place.clone(), name.to_owned());
        if let Some(described) = known.get(&key) {
            return described.clone();
        }
        let role = match &place.reach {
            Reach::Own => None,
            Reach::Agent(_) => self.config.role_to_assume(),
            Reach::Run(_) | Reach::Keys => return Err("it is reached with credentials of the run's own".into()),
        };
        if known.len() >= MOST_DEFINITIONS {
            return Err(format!("only {MOST_DEFINITIONS} task definitions are looked up").as_str().into());
        }
        let aws = self.aws.for_agent(Some(&place.region), role.as_ref()).await;
        let described = aws.ecs.describe_task_definition(name).await;
        let described = described
            .map(|described| described.definition)
            .map_err(|error| Undescribed { why: error.to_string(), is_missing: is_not_found(&error) });
        known.insert(key, described.clone());
        described
    }
}

fn of_spec(spec: LaunchSpec, place: LaunchPlace, definition: SurveyedDefinition) -> RenderedLaunch {
    let infers = spec.infer_network && !spec.run_task.contains_key("networkConfiguration");
    RenderedLaunch {
        place,
        definition,
        network: spec.worker.network.or(infers.then_some(NetworkLookup::DefaultVpc)),
        flow_container: spec.worker.flow_container.unwrap_or_else(|| "flow".to_owned()),
        run_task: without_values(spec.run_task),
        deregisters: spec.worker.tag_if_registered.is_some(),
        warning: None,
        differences: None,
        judgement: None,
    }
}

fn unrendered(error: RenderError) -> Unrendered {
    match error {
        RenderError::Refused(why) => Unrendered { why: why.0, is_certain: true },
        RenderError::Gone(why) => Unrendered { why, is_certain: true },
        RenderError::NotNow(why) | RenderError::NotUnderstood(why) => Unrendered { why, is_certain: false },
    }
}

/// `RunTask` or a task definition with variables by their names only, and so options of logs: a key may be in any of them.
/// Where `awslogs` writes to is kept, which says no more than where logs are.
fn without_values(mut body: Map<String, Value>) -> Map<String, Value> {
    fn each<'a>(containers: Option<&'a mut Value>, of: &str) -> impl Iterator<Item = &'a mut Value> {
        let containers = containers.and_then(Value::as_array_mut).into_iter().flatten();
        containers.filter_map(move |container| container.get_mut(of))
    }
    let overridden = body.get_mut("overrides").and_then(|all| all.get_mut("containerOverrides"));
    let hide = |variables: &mut Value| {
        for variable in variables.as_array_mut().into_iter().flatten() {
            if let Some(value) = variable.get_mut("value") {
                *value = json!("");
            }
        }
    };
    each(overridden, "environment").for_each(hide);
    each(body.get_mut("containerDefinitions"), "environment").for_each(hide);
    for logs in each(body.get_mut("containerDefinitions"), "logConfiguration") {
        let options = logs.get_mut("options").and_then(Value::as_object_mut).into_iter().flatten();
        options.filter(|(name, _)| !name.starts_with("awslogs-")).for_each(|(_, value)| *value = json!(""));
    }
    body
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_stay_and_values_do_not() {
        let variable = |value: &str| json!([{"name": "A", "value": value}, {"name": "B"}, 7]);
        let logs = |value: &str| json!({"logDriver": "splunk", "options": {"splunk-token": value, "awslogs-group": "/flows"}, "secretOptions": []});
        let container = |value: &str| json!({"name": "c", "image": "i", "environment": variable(value), "logConfiguration": logs(value)});
        let body = |value: &str| {
            json!({
                "family": "f", "containerDefinitions": [container(value), {"environment": 7, "logConfiguration": {"options": 7}}],
                "overrides": {"containerOverrides": [{"name": "c", "environment": variable(value)}], "taskRoleArn": "r"},
            })
        };
        assert_eq!(Value::Object(without_values(body("geheim").as_object().unwrap().clone())), body(""));
    }
}
