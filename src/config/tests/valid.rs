//! Valid configurations, and the texts that say the same.

use super::one;
use crate::config::{
    AgentConfig, ApiKeyDelivery, Backend, Document, GenerationConfig, LaunchType, Prefect1Config, Rules,
};
use crate::costs::prices::{Capacity, Platform, Prices, Rate};
use crate::ecs_model::{Operation, UnknownMembers, testing};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Every key of a configuration of Prefect 0.15 and 1.
pub(super) const KEYS: &[&str] = &[
    "prefect",
    "enabled",
    "api",
    "ca_bundle",
    "name",
    "poll_interval_seconds",
    "prefetch_seconds",
    "launch_rate",
    "env_vars",
    "region_name",
    "assume_role_arn",
    "api_key_delivery",
    "unknown_members",
    "orphan_after_seconds",
    "max_launch_attempts",
    "spot_fallback_after",
    "prices",
    "backend",
    "tenant_id",
    "labels",
    "max_polls",
    "agent_config_id",
    "no_cloud_logs",
    "logging_level",
    "cluster",
    "launch_type",
    "task_role_arn",
    "execution_role_arn",
    "task_definition",
    "task_definition_path",
    "run_task_kwargs",
    "run_task_kwargs_path",
];

/// Any text that is not blank: quotes, line breaks, what looks like numbers or YAML, any alphabet.
pub(super) fn text() -> impl Strategy<Value = String> {
    let tricky = prop::sample::select(vec![
        "null", "~", "5", "0.15", "yes", "true", "- a", "a: b", "#x", "'", "\"", "\t\\", "*a", "!b",
    ]);
    prop_oneof![any::<String>(), tricky.prop_map(str::to_owned)].prop_filter("blank", |text| !text.trim().is_empty())
}

fn labels() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..4).prop_map(|labels| {
        let mut seen = std::collections::HashSet::new();
        labels.into_iter().filter(|label| seen.insert(label.clone())).collect()
    })
}

fn env_vars() -> impl Strategy<Value = Vec<(String, String)>> {
    btree_map("[A-Za-z_ .é][A-Za-z0-9_]{0,8}", any::<String>(), 0..4).prop_map(|map| map.into_iter().collect())
}

fn seconds(least: u64) -> impl Strategy<Value = Duration> {
    (least..=86_400).prop_map(Duration::from_secs)
}

fn uuid() -> impl Strategy<Value = String> {
    any::<u128>().prop_map(|bits| uuid::Uuid::from_u128(bits).to_string())
}

/// Any JSON, of any shape.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let keys = prop_oneof![
            "[a-z]{1,4}",
            Just("containerOverrides".to_owned()),
            Just("environment".to_owned()),
            any::<String>()
        ];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(keys, inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A document that the model knows, or, with `unknown_members: send`, one with anything in it.
fn document(operation: Operation, may_be_unknown: bool) -> impl Strategy<Value = Option<Document>> {
    let free = btree_map("x[a-zA-Z]{0,6}", any_json(), 0..3)
        .prop_map(move |map| Document::Inline(map.into_iter().filter(|_| may_be_unknown).collect()));
    let known = testing::request(operation).prop_map(|mut document| {
        document.remove("taskDefinition");
        Document::Inline(document)
    });
    option::of(prop_oneof![free, known, "(s3://b/|https://h/|ssm://)[a-z/]{1,9}".prop_map(Document::Path)])
}

fn prefect_1(unknown: UnknownMembers) -> impl Strategy<Value = Prefect1Config> {
    let choices = (
        prop_oneof![Just(Rules::V0_15), Just(Rules::V1)],
        prop_oneof![Just(Backend::Cloud), Just(Backend::Server)],
        option::of(prop_oneof![Just(LaunchType::Fargate), Just(LaunchType::Ec2)]),
        prop::sample::select(vec!["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
        any::<bool>(),
    );
    let ids = (option::of(uuid()), option::of(uuid()), labels());
    let send = unknown == UnknownMembers::Send;
    let documents = (document(Operation::RegisterTaskDefinition, send), document(Operation::RunTask, send));
    let places = (option::of(text()), option::of(text()), option::of(text()), documents);
    (choices, ids, places).prop_map(|(choices, ids, places)| Prefect1Config {
        rules: choices.0,
        backend: choices.1,
        tenant_id: ids.0,
        labels: ids.2,
        agent_config_id: ids.1,
        no_cloud_logs: choices.4,
        logging_level: choices.3.to_owned(),
        cluster: places.0,
        launch_type: choices.2,
        task_role_arn: places.1,
        execution_role_arn: places.2,
        task_definition: places.3.0,
        run_task_kwargs: places.3.1,
    })
}

/// A configuration of Prefect 0.15 or 1.
pub(super) fn agent() -> impl Strategy<Value = AgentConfig> {
    common().prop_flat_map(|config| {
        prefect_1(config.unknown_members).prop_map(move |one| config.clone().with(GenerationConfig::One(one)))
    })
}

prop_compose! {
    fn prices()(
        spot in option::of((0.0..=1000.0, 0.0..=1000.0)),
        arm in option::of((0.0..=1000.0, 0.0..=1000.0)),
        storage_gb_hour in option::of(0.0..=1000.0),
    ) -> Prices {
        let rate = |of, on, (vcpu_hour, gb_hour)| (of, on, Rate { vcpu_hour, gb_hour });
        let arm = arm.map(|prices| rate(Capacity::Fargate, Platform::LinuxArm, prices));
        let spot = spot.map(|prices| rate(Capacity::FargateSpot, Platform::LinuxX86, prices));
        Prices { rates: arm.into_iter().chain(spot).collect(), storage_gb_hour }
    }
}

/// Prices as somebody would write them.
fn written_prices(prices: &Prices) -> Value {
    let mut written = json!({"storage_gb_hour": prices.storage_gb_hour});
    for (capacity, platform, Rate { vcpu_hour, gb_hour }) in &prices.rates {
        let capacity = capacity.name().to_ascii_lowercase();
        written[capacity] = json!({platform.name(): {"vcpu_hour": vcpu_hour, "gb_hour": gb_hour}});
    }
    written
}

prop_compose! {
    /// What the generations have in common.
    pub(super) fn common()(
        enabled in any::<bool>(),
        api in "https?://[a-z]{1,8}(:[1-9][0-9]{0,3})?(/[a-z]{1,5}){0,2}",
        ca_bundle in option::of("ssm://[a-z/]{1,9}"),
        name in text(),
        (poll_interval, prefetch, orphan_after) in (seconds(1), seconds(0), seconds(1)),
        launch_rate in option::of(0.001..=100_000.0),
        env_vars in env_vars(),
        region_name in option::of("[a-z]{2}-[a-z]{4,9}-[1-9]"),
        assume_role_arn in option::of("arn:aws(-cn)?:iam::[0-9]{12}:role/[a-z]{1,9}"),
        api_key_delivery in prop_oneof![Just(ApiKeyDelivery::Auto), Just(ApiKeyDelivery::Secret), Just(ApiKeyDelivery::Environment)],
        unknown_members in prop_oneof![Just(UnknownMembers::Refuse), Just(UnknownMembers::Send)],
        max_launch_attempts in 1..=u32::MAX,
        spot_fallback_after in option::of(1..=u32::MAX),
        max_polls in option::of(0..=i64::MAX.unsigned_abs()),
        prices in option::of(prices()),
    ) -> AgentConfig<()> {
        AgentConfig {
            agent: "etl".to_owned(), enabled, api, ca_bundle, name, poll_interval, prefetch, launch_rate, env_vars,
            region_name, assume_role_arn, api_key_delivery, unknown_members, orphan_after, max_launch_attempts,
            spot_fallback_after, max_polls, cancel_grace: Duration::from_secs(90), forward_log_lines: 50, prices, guardrails: None, generation: (),
            allowed_hosts: crate::http::hosts::AllowedHosts::default(), assume_role_external_id: None,
        }
    }
}

/// The configuration as somebody would write it: what the generations have in common.
pub(super) fn written_in_common<G>(config: &AgentConfig<G>) -> Map<String, Value> {
    let delivery = match config.api_key_delivery {
        ApiKeyDelivery::Auto => "auto",
        ApiKeyDelivery::Secret => "secret",
        ApiKeyDelivery::Environment => "environment",
    };
    let value = json!({
        "enabled": config.enabled,
        "api": config.api,
        "ca_bundle": config.ca_bundle,
        "name": config.name,
        "poll_interval_seconds": config.poll_interval.as_secs(),
        "prefetch_seconds": config.prefetch.as_secs(),
        "launch_rate": config.launch_rate,
        "env_vars": config.env_vars.iter().cloned().map(|(k, v)| (k, Value::from(v))).collect::<Map<_, _>>(),
        "region_name": config.region_name,
        "assume_role_arn": config.assume_role_arn,
        "api_key_delivery": delivery,
        "unknown_members": if config.unknown_members == UnknownMembers::Send { "send" } else { "refuse" },
        "orphan_after_seconds": config.orphan_after.as_secs(),
        "max_launch_attempts": config.max_launch_attempts,
        "spot_fallback_after": config.spot_fallback_after,
        "max_polls": config.max_polls,
        "prices": config.prices.as_ref().map(written_prices),
    });
    let Value::Object(map) = value else { panic!("an object") };
    map
}

/// A configuration of Prefect 0.15 or 1 as somebody would write it.
pub(super) fn written(config: &AgentConfig) -> Map<String, Value> {
    let one = one(config);
    let mut map = written_in_common(config);
    let value = json!({
        "prefect": if one.rules == Rules::V1 { json!(1) } else { json!(0.15) },
        "backend": one.backend.as_str(),
        "tenant_id": one.tenant_id,
        "labels": one.labels,
        "agent_config_id": one.agent_config_id,
        "no_cloud_logs": one.no_cloud_logs,
        "logging_level": one.logging_level,
        "cluster": one.cluster,
        "launch_type": one.launch_type.map(LaunchType::as_str),
        "task_role_arn": one.task_role_arn,
        "execution_role_arn": one.execution_role_arn,
    });
    let Value::Object(own) = value else { panic!("an object") };
    map.extend(own);
    for (key, document) in [("task_definition", &one.task_definition), ("run_task_kwargs", &one.run_task_kwargs)] {
        match document {
            Some(Document::Inline(inline)) => map.insert(key.to_owned(), Value::Object(inline.clone())),
            Some(Document::Path(path)) => map.insert(format!("{key}_path"), Value::from(path.clone())),
            None => None,
        };
    }
    map
}

/// The same in the shapes a text can have.
pub(super) fn texts(map: &Map<String, Value>) -> [String; 3] {
    let lines: Vec<String> = map.iter().map(|(key, value)| format!("{}: {value}", json!(key))).collect();
    [json!(map).to_string(), serde_json::to_string_pretty(map).unwrap(), lines.join("\n")]
}
