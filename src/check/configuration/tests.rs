#![allow(clippy::unwrap_used)]
use super::super::testing::{agents, codes, denied, parameter, refused, root, stack};
use super::*;
use crate::config::{Environment, load};

const CONFIG: &str = "prefect: 3\napi: http://prefect/api\nwork_pool: ecs\n";
const CLOUD: &str = "prefect: 3\napi: https://api.prefect.cloud/api/accounts/a/workspaces/b\nwork_pool: ecs\n";

fn parameters(secrets: Result<Vec<Parameter>, AwsError>, locked: Vec<Parameter>) -> ReadParameters {
    ReadParameters { config: Ok(Vec::new()), secrets, locked, state: Ok(Vec::new()) }
}

#[test]
fn secrets_are_secure_strings_that_decrypt_and_a_missing_permission_is_no_verdict() {
    let secret = |is_secure| parameter("/psa/test/secrets/etl/api-key", "k", is_secure);
    for (secrets, locked, found) in [
        (Ok(Vec::new()), Vec::new(), &[][..]),
        (Ok(vec![secret(true)]), Vec::new(), &[]),
        (Ok(vec![secret(false)]), Vec::new(), &["PSA103"]),
        (Err(denied()), Vec::new(), &["PSA199"]),
        (Err(denied()), vec![secret(true)], &["PSA199"]),
        (Err(denied()), vec![secret(false)], &["PSA199", "PSA103"]),
        (Err(refused("InvalidKeyId")), vec![secret(true)], &["PSA106"]),
        (Err(refused("KMSInvalidStateException")), Vec::new(), &["PSA106"]),
        // Neither says anything of the key.
        (Err(refused("ThrottlingException")), vec![secret(true)], &["PSA199"]),
        (Err(refused("InternalServerError")), Vec::new(), &["PSA199"]),
        (Err(AwsError::NoAnswer("closed".into())), Vec::new(), &["PSA199"]),
        (Err(AwsError::Malformed("no list".into())), Vec::new(), &["PSA199"]),
    ] {
        assert_eq!(codes(&judge_parameters(&root(), &parameters(secrets, locked))), found);
    }
    let unread = judge_parameters(&root(), &ReadParameters::unread());
    assert_eq!(codes(&unread), ["PSA100", "PSA199"]);
    let of_state = ReadParameters { state: Err(denied()), ..parameters(Ok(Vec::new()), Vec::new()) };
    let looked = judge_parameters(&root(), &of_state);
    let (codes, subject) = (codes(&looked), looked.findings[0].subject.as_str());
    assert_eq!((codes, subject), (vec!["PSA199"], "/psa/test/state"), "what is left of agents is not known");
}

#[test]
fn agents_are_judged_by_their_configuration_and_their_credential() {
    for (config, secrets_known, found) in [
        (CONFIG, true, &[][..]),
        ("prefect: 3\nwork_pol: x\n", true, &["PSA101"]),
        // A server of one's own may do without a key, Prefect Cloud does not.
        (CLOUD, true, &["PSA104"]),
        (CLOUD, false, &[]),
    ] {
        let looked = judge_agents(Some(&root()), &agents(config), secrets_known);
        assert_eq!(codes(&looked), found, "{config}");
    }
    assert_eq!(codes(&judge_agents(Some(&root()), &[], true)), ["PSA102"]);
    let looked = judge_agents(Some(&root()), &agents(&format!("{CLOUD}enabled: false\n")), true);
    assert_eq!(codes(&looked), [""; 0], "nobody polls for it, and so it needs no key");
    assert!(looked.well[0].1.contains("enabled: false"), "{looked:?}");
}

#[test]
fn what_belongs_to_nobody_is_named() {
    let of = |name: &str| {
        parameter(
            &format!("/psa/test/{name}"),
            if name.starts_with("config") { CONFIG } else { "k" },
            name.starts_with("secrets"),
        )
    };
    let all = [
        "config/etl",
        "secrets/etl/api-key",
        "secrets/gone/api-key",
        "secrets/etl/api-kay",
        "secrets/poke-token",
        "secrets/page-token",
    ]
    .map(of);
    let loaded = load(&root(), &all, &Environment::default());
    let state = ["state/etl/status", "state/gone/polls", "state/etl/polls"].map(|name| format!("/psa/test/{name}"));
    let looked = judge_leftovers(&root(), &loaded, &state);
    let mut named: Vec<_> = looked.findings.iter().map(|finding| finding.subject.as_str()).collect();
    named.sort_unstable();
    let left = ["/psa/test/secrets/etl/api-kay", "/psa/test/secrets/gone/api-key", "/psa/test/state/gone/polls"];
    assert_eq!((named, codes(&looked)), (left.to_vec(), vec!["PSA105"; 3]));
    assert!(looked.findings.iter().all(|finding| finding.mend.ends_with(&finding.subject)), "{looked:?}");
}

#[test]
fn a_schedule_polls_as_the_agents_think() {
    let found = DeployedStack::Found(Box::new(stack(&[], &[])));
    let schedule = |expression: &str, is_enabled| {
        Some(Ok(Some(Schedule { name: "psa-poll".into(), expression: expression.into(), is_enabled })))
    };
    for (deployed, schedule, expected) in [
        (&found, schedule("rate(1 minute)", true), &[][..]),
        (&found, schedule("rate(5 minutes)", true), &["PSA113"]),
        (&found, schedule("rate(1 hour)", false), &["PSA112", "PSA113"]),
        (&found, schedule("cron(0/2 6-22 * * ? *)", true), &[]),
        (&found, schedule("rate(1 fortnight)", true), &[]),
        (&found, schedule("rate(99999999999999999999 days)", true), &[]),
        (&found, Some(Ok(None)), &["PSA111"]),
        (&found, None, &["PSA111"]),
        (&found, Some(Err(denied())), &["PSA199"]),
        (&DeployedStack::Missing, None, &["PSA110"]),
        (&DeployedStack::Unknown("no".into()), None, &["PSA199"]),
    ] {
        let looked = judge_schedule(&root(), deployed, schedule.as_ref(), &agents(CONFIG));
        assert_eq!(codes(&looked), expected, "{schedule:?}");
    }
    let disabled = format!("{CONFIG}enabled: false\n");
    let looked = judge_schedule(&root(), &found, schedule("rate(5 minutes)", true).as_ref(), &agents(&disabled));
    assert_eq!(codes(&looked), [""; 0], "an agent that is not polled needs no interval");
}

#[test]
fn the_alarm_of_silence_outlasts_the_longest_gap_where_somebody_is_told() {
    let schedule = |expression: &str| {
        Some(Ok(Some(Schedule { name: "psa-poll".into(), expression: expression.into(), is_enabled: true })))
    };
    let topic = ("AlarmTopicArn", "arn:aws:sns:eu-west-1:123456789012:on-call");
    for (expression, parameters, mend) in [
        ("rate(1 minute)", &[topic, ("SilenceAfterMinutes", "3")][..], None),
        ("cron(0/5 8-18 * * ? *)", &[topic, ("SilenceAfterMinutes", "3")], Some("SilenceAfterMinutes=787")),
        ("cron(0/5 8-18 * * ? *)", &[topic, ("SilenceAfterMinutes", "787")], None),
        (
            "cron(0/5 * ? * MON-FRI *)",
            &[("AlarmEmail", "a@b.c"), ("SilenceAfterMinutes", "1440")],
            Some("SilenceAfterMinutes=0"),
        ),
        ("cron(0/5 * ? * MON-FRI *)", &[topic, ("SilenceAfterMinutes", "0")], None),
        ("cron(0/5 8-18 * * ? *)", &[("AlarmTopicArn", ""), ("SilenceAfterMinutes", "3")], None),
        ("cron(0/5 8-18 * * ? *)", &[topic], None),
        ("cron(0/5 8-18 * * ? 2027)", &[topic, ("SilenceAfterMinutes", "3")], None),
    ] {
        let found = DeployedStack::Found(Box::new(stack(parameters, &[])));
        let looked = judge_schedule(&root(), &found, schedule(expression).as_ref(), &[]);
        let mends: Vec<_> = looked.findings.iter().map(|finding| (finding.code, finding.mend.as_str())).collect();
        match mend {
            Some(mend) => {
                assert!(matches!(mends[..], [("PSA114", said)] if said.ends_with(mend)), "{expression}: {mends:?}");
            }
            None => assert_eq!(mends, [], "{expression}"),
        }
    }
}
