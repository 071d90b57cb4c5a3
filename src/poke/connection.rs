//! What makes Prefect 3 poke this deployment: a webhook block with the poke URL and its token, and an automation that
//! calls it when a run of the agent's work pool becomes due. What is wanted, and what of it is there. Pure.

use super::{AGENT, PATH};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// The tag of our automations. Names of automations are not unique, so that the name alone proves nothing.
pub const TAG: &str = "prefect-serverless-agent-poke";
/// Names of our blocks begin so: they have no tags.
const PREFIX: &str = "psa-poke";
/// Characters that tell deployments apart.
const DIGITS: usize = 12;
/// What Prefect's user interface writes as the message of a retry.
const RETRY_FROM_UI: &str = "Retry from the UI";

/// The name of block and automation of an agent. `identity` names agent and deployment, so that two deployments which
/// serve one pool have their own.
pub fn name_of(agent: &str, identity: &str) -> String {
    let digest = hex::encode(Sha256::digest(identity.as_bytes()));
    // Lower-case letters, digits and dashes are all that a block's name may have.
    let agent = agent.to_ascii_lowercase().replace('_', "-");
    format!("{PREFIX}-{agent}-{}", digest.get(..DIGITS).unwrap_or_default())
}

/// The URL that pokes an agent. `base`: the function's URL, with or without the path. Why it cannot be one.
pub fn poke_url(base: &str, agent: &str) -> Result<String, String> {
    let mut url = Url::parse(base.trim()).map_err(|error| format!("it is no URL ({error})"))?;
    if !(url.scheme() == "https" || url.scheme() == "http" && crate::config::is_loopback(&url)) {
        return Err("it does not begin with https://, and the token must not be sent in clear".into());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("it has more than a host and a path, which is {PATH} or none"));
    }
    match url.path().trim_end_matches('/') {
        "" | PATH => url.set_path(PATH),
        other => return Err(format!("its path is {other}, and that of a poke URL is {PATH} or none")),
    }
    url.query_pairs_mut().append_pair(AGENT, agent);
    Ok(url.into())
}

/// The data of the webhook block.
pub fn block_data(url: &str, token: &SecretString) -> Value {
    let authorization = format!("Bearer {}", token.expose_secret());
    json!({"method": "POST", "url": url, "headers": {"Authorization": authorization}})
}

/// The automation.
///
/// What is expected are the events of a run that people or programs make due. Never `AwaitingConcurrencySlot`, which a poll
/// that finds no slot brings about itself and would be poked by again, at once and for ever; nor `Late`, which says what the
/// minute's poll finds anyway. Runs that we give back are `AwaitingRetry` as well: of those only the user interface's count.
pub fn automation(name: &str, work_pool: &str, block_id: &str, marked_as: &str) -> Value {
    let trigger = |expect: &[&str], labels: Value| {
        let mut of_runs = Map::from_iter([("prefect.resource.id".to_owned(), json!("prefect.flow-run.*"))]);
        of_runs.extend(labels.as_object().cloned().unwrap_or_default());
        json!({
            "type": "event", "posture": "Reactive", "expect": expect, "match": of_runs,
            // By its name: a pool that is made anew has another id.
            "match_related": {"prefect.resource.role": "work-pool", "prefect.resource.name": work_pool},
            // Pokes that come together are made few by whom they poke: here those within a time would be dropped.
            "for_each": [], "after": [], "threshold": 1, "within": 0,
        })
    };
    let retries = json!({"prefect.state-message": RETRY_FROM_UI});
    let description = format!(
        "Starts a poll of prefect-serverless-agent ({marked_as}) when a run of {work_pool} becomes due. Made by \
         `prefect-serverless-agent connect`, which also removes it."
    );
    json!({
        "name": name, "description": description, "enabled": true, "tags": [TAG],
        "trigger": {
            "type": "compound", "require": "any", "within": null,
            "triggers": [
                trigger(&["prefect.flow-run.Resuming", "prefect.flow-run.Scheduled"], json!({})),
                trigger(&["prefect.flow-run.AwaitingRetry"], retries),
            ],
        },
        "actions": [{"type": "call-webhook", "block_document_id": block_id}],
        "actions_on_trigger": [], "actions_on_resolve": [],
    })
}

/// Whether all that is wanted is there. The server adds ids and defaults, and gives sets of texts in any order.
pub fn agrees(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| agrees(found.get(key).unwrap_or(&Value::Null), wanted))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            let texts = |list: &[Value]| {
                let mut texts = list.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?;
                texts.sort_unstable();
                Some(texts.into_iter().map(str::to_owned).collect::<Vec<_>>())
            };
            match (texts(found), texts(wanted)) {
                (Some(found), Some(wanted)) => found == wanted,
                _ => {
                    found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| agrees(found, wanted))
                }
            }
        }
        (Value::Number(found), Value::Number(wanted)) => found.as_f64() == wanted.as_f64(),
        (found, wanted) => found == wanted,
    }
}

/// What is the matter with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionFault {
    /// There is no webhook block.
    BlockMissing,
    /// The block calls another URL, of this host; empty where it has none.
    OtherUrl(String),
    /// The block has another token.
    OtherToken,
    /// The block is not as it should be in another way.
    BlockDiffers,
    /// There is no automation.
    AutomationMissing,
    /// Somebody disabled the automation.
    AutomationDisabled,
    /// The automation is not as it should be in another way.
    AutomationDiffers,
    /// There are so many automations too many, which poke as well.
    Duplicates(usize),
}

impl ConnectionFault {
    /// For people.
    pub fn sentence(&self) -> String {
        match self {
            Self::BlockMissing => "its webhook block is gone".into(),
            Self::OtherUrl(host) if host.is_empty() => "its webhook block has no URL".into(),
            Self::OtherUrl(host) => format!("its webhook block calls another URL (of {host})"),
            Self::OtherToken => "its webhook block has another token than the parameter".into(),
            Self::BlockDiffers => "its webhook block is not as `connect` makes it".into(),
            Self::AutomationMissing => "its automation is gone".into(),
            Self::AutomationDisabled => "its automation is disabled".into(),
            Self::AutomationDiffers => "its automation is not as `connect` makes it".into(),
            Self::Duplicates(count) => format!("it has {count} more of the same name, which poke as well"),
        }
    }
}

/// What servers show in place of a secret that may not be read.
const MASK: &str = "********";

/// What is the matter. `block`: the data that was seen; `automations`: ours, the oldest first. Nothing at all is no fault:
/// it is not connected.
pub fn faults(block: Option<&Value>, automations: &[Value], data: &Value, wanted: &Value) -> Vec<ConnectionFault> {
    let mut faults = Vec::new();
    match (block, automations.first()) {
        (None, None) => {}
        (None, Some(_)) => faults.push(ConnectionFault::BlockMissing),
        (Some(block), _) => faults.extend(fault_of_block(block, data)),
    }
    match (block, automations.first()) {
        (_, Some(found)) if found.get("enabled") == Some(&Value::Bool(false)) => {
            faults.push(ConnectionFault::AutomationDisabled);
        }
        // Which block it calls says nothing where that is gone.
        (Some(_), Some(found)) if !agrees(found, wanted) => faults.push(ConnectionFault::AutomationDiffers),
        (Some(_), None) => faults.push(ConnectionFault::AutomationMissing),
        _ => {}
    }
    if automations.len() > 1 {
        faults.push(ConnectionFault::Duplicates(automations.len() - 1));
    }
    faults
}

fn fault_of_block(found: &Value, data: &Value) -> Option<ConnectionFault> {
    let at = |of: &Value, path: &str| of.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (url, authorization) = ("/url", "/headers/Authorization");
    // What may not be read is not judged.
    let differs = |path: &str| at(found, path) != at(data, path) && at(found, path) != MASK;
    if differs(url) {
        // Not all of it: whoever wrote it may have put a secret into it.
        let host = Url::parse(&at(found, url)).ok().and_then(|url| url.host_str().map(str::to_owned));
        return Some(ConnectionFault::OtherUrl(host.unwrap_or_default()));
    }
    if differs(authorization) {
        return Some(ConnectionFault::OtherToken);
    }
    let mut shown = data.clone();
    for path in [url, authorization] {
        if let Some(place) = shown.pointer_mut(path).filter(|_| at(found, path) == MASK) {
            *place = json!(MASK);
        }
    }
    (!agrees(found, &shown)).then_some(ConnectionFault::BlockDiffers)
}

/// What is done about the automation. What is there is named by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutomationPlan {
    /// About the one that stays.
    pub step: Step,
    /// Two that connected at once made two, and both would poke: the oldest stays.
    pub duplicates: Vec<String>,
}

/// What is done about something of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is made.
    Make,
    /// It is changed.
    Change(String),
    /// It is as it is wanted.
    Keep(String),
}

/// Those of the listed automations that are ours: ids and automations, the oldest first.
pub fn ours<'v>(listed: &'v [Value], name: &str) -> Vec<(&'v str, &'v Value)> {
    let has_tag = |one: &Value| {
        one.get("tags").and_then(Value::as_array).is_some_and(|tags| tags.iter().any(|tag| tag.as_str() == Some(TAG)))
    };
    let text = |one: &'v Value, key: &str| one.get(key).and_then(Value::as_str);
    let is_ours = |one: &&'v Value| text(one, "name") == Some(name) && has_tag(one);
    let mut ours: Vec<_> = listed.iter().filter(is_ours).filter_map(|one| Some((text(one, "id")?, one))).collect();
    // Times of one server are written alike, so that their texts are in their order.
    ours.sort_by_key(|(id, one)| (text(one, "created").unwrap_or_default(), *id));
    ours
}

/// What is done so that there is the wanted automation, once.
pub fn automation_plan(listed: &[Value], wanted: &Value) -> AutomationPlan {
    let name = wanted.get("name").and_then(Value::as_str).unwrap_or_default();
    let mut ours = ours(listed, name).into_iter();
    let step = match ours.next() {
        None => Step::Make,
        Some((id, found)) if agrees(found, wanted) => Step::Keep(id.to_owned()),
        Some((id, _)) => Step::Change(id.to_owned()),
    };
    AutomationPlan { step, duplicates: ours.map(|(id, _)| id.to_owned()).collect() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const IDENTITY: &str = "123456789012/eu-west-1/psa/prod/My_Agent";

    fn wanted() -> Value {
        automation("psa-poke-etl-1", "my pool", "b-1", "/psa/prod/etl")
    }

    fn found(id: &str, created: &str) -> Value {
        let mut found = wanted();
        for (key, value) in [("id", id), ("created", created), ("updated", created)] {
            found[key] = json!(value);
        }
        found["trigger"]["id"] = json!("t-1");
        found["trigger"]["triggers"][0]["expect"] = json!(["prefect.flow-run.Scheduled", "prefect.flow-run.Resuming"]);
        found["trigger"]["triggers"][1]["within"] = json!(0.0);
        found["actions"][0]["payload"] = json!(null);
        found
    }

    #[test]
    fn names_are_those_that_a_block_may_have_and_differ_by_deployment() {
        let name = name_of("My_Agent", IDENTITY);
        assert!(name.starts_with("psa-poke-my-agent-") && name.len() == "psa-poke-my-agent-".len() + DIGITS, "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{name}");
        assert_ne!(name, name_of("My_Agent", &IDENTITY.replace("prod", "test")));
        assert_eq!(name, name_of("My_Agent", IDENTITY));
    }

    #[test]
    fn a_url_is_taken_with_and_without_the_path_and_never_in_clear() {
        for base in ["https://x.lambda-url.eu-west-1.on.aws/", "https://x.lambda-url.eu-west-1.on.aws/api/poke/"] {
            assert_eq!(poke_url(base, "etl").unwrap(), "https://x.lambda-url.eu-west-1.on.aws/api/poke?agent=etl");
        }
        assert_eq!(poke_url("http://127.0.0.1:8080", "a_b").unwrap(), "http://127.0.0.1:8080/api/poke?agent=a_b");
        for (base, why) in [
            ("x.on.aws", "no URL"),
            ("http://x.on.aws", "in clear"),
            ("ftp://x.on.aws", "https"),
            ("https://x.on.aws/api/health", "/api/health"),
            ("https://x.on.aws/?a=b", "more than"),
            ("https://u:p@x.on.aws/", "more than"),
        ] {
            let said = poke_url(base, "etl").unwrap_err();
            assert!(said.contains(why), "{base}: {said}");
        }
    }

    #[test]
    fn nothing_that_a_poll_brings_about_is_expected() {
        let expected = wanted().to_string();
        for event in ["AwaitingConcurrencySlot", "Late", "prefect.flow-run.*\",\"prefect.flow-run"] {
            assert!(!expected.contains(event), "{event}");
        }
        let triggers = wanted()["trigger"]["triggers"].as_array().unwrap().clone();
        let retries: Vec<_> = triggers.iter().filter(|one| one.to_string().contains("AwaitingRetry")).collect();
        assert_eq!(retries.len(), 1);
        assert_eq!(retries[0]["match"]["prefect.state-message"], "Retry from the UI");
        assert_eq!(retries[0]["expect"], json!(["prefect.flow-run.AwaitingRetry"]));
    }

    #[test]
    fn what_a_server_adds_is_no_difference_and_what_it_lacks_is() {
        assert!(agrees(&found("a", "1"), &wanted()));
        for change in ["/enabled", "/trigger/triggers/0/expect", "/actions/0/block_document_id", "/trigger/require"] {
            let mut other = found("a", "1");
            *other.pointer_mut(change).unwrap() = json!("x");
            assert!(!agrees(&other, &wanted()), "{change}");
        }
        let mut more = found("a", "1");
        more["actions"].as_array_mut().unwrap().push(json!({"type": "do-nothing"}));
        assert!(!agrees(&more, &wanted()));
    }

    #[test]
    fn what_is_the_matter_is_said_and_what_may_not_be_read_is_not_judged() {
        let data = block_data("https://x.on.aws/api/poke?agent=etl", &SecretString::from("token"));
        let of = |block: Option<&Value>, automations: &[Value]| faults(block, automations, &data, &wanted());
        let with = |change: &dyn Fn(&mut Value)| {
            let mut block = data.clone();
            change(&mut block);
            of(Some(&block), &[found("a", "1")])
        };
        assert_eq!(of(None, &[]), [], "it is not connected");
        assert_eq!(of(Some(&data), &[found("a", "1")]), []);
        assert_eq!(of(None, &[found("a", "1")]), [ConnectionFault::BlockMissing]);
        assert_eq!(of(Some(&data), &[]), [ConnectionFault::AutomationMissing]);
        let elsewhere = "https://elsewhere.example";
        assert_eq!(
            with(&|block| block["url"] = json!(elsewhere)),
            [ConnectionFault::OtherUrl("elsewhere.example".into())]
        );
        assert_eq!(with(&|block| block["url"] = json!(null)), [ConnectionFault::OtherUrl(String::new())]);
        let authorization = |text: &'static str| with(&|block| block["headers"]["Authorization"] = json!(text));
        assert_eq!(authorization("Bearer other"), [ConnectionFault::OtherToken]);
        assert_eq!(authorization(MASK), []);
        assert_eq!(with(&|block| block["url"] = json!(MASK)), []);
        assert_eq!(with(&|block| block["method"] = json!("GET")), [ConnectionFault::BlockDiffers]);
        let changed = |path: &str, value: Value| {
            let mut other = found("a", "1");
            *other.pointer_mut(path).unwrap() = value;
            of(Some(&data), &[other, found("b", "2")])
        };
        let twice = ConnectionFault::Duplicates(1);
        assert_eq!(changed("/enabled", json!(false)), [ConnectionFault::AutomationDisabled, twice.clone()]);
        assert_eq!(changed("/trigger/require", json!("all")), [ConnectionFault::AutomationDiffers, twice]);
        assert!(!ConnectionFault::OtherToken.sentence().contains("Bearer"));
    }

    #[test]
    fn the_oldest_stays_and_what_is_not_ours_is_left_alone() {
        let mut changed = found("b", "2");
        changed["enabled"] = json!(false);
        let mut foreign = found("c", "0");
        foreign["tags"] = json!([]);
        let mut other = found("d", "0");
        other["name"] = json!("psa-poke-etl-2");
        let plan = |listed: &[Value]| automation_plan(listed, &wanted());
        let planned = |step, duplicates: &[&str]| AutomationPlan {
            step,
            duplicates: duplicates.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(plan(&[foreign.clone(), other.clone()]), planned(Step::Make, &[]));
        let all = [found("e", "3"), foreign, changed, other];
        assert_eq!(plan(&all), planned(Step::Change("b".into()), &["e"]));
        assert_eq!(plan(&[found("a", "1"), found("b", "1")]), planned(Step::Keep("a".into()), &["b"]));
    }
}
