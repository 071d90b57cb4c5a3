#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::flow_run::prefect3::split_command;
use crate::survey::{Asked, LaunchPlace, PlaceNeeds, Reach};
use proptest::prelude::*;

const ACCOUNT: &str = "123456789012";

fn home(region: &str) -> Home {
    Home::new(Ok(ACCOUNT.into()), region)
}

fn asked(what: &[&str]) -> Asked {
    what.iter().map(|what| ((*what).to_owned(), BTreeSet::from(["flow/deployment".to_owned()]))).collect()
}

fn needs() -> Needs {
    let own = PlaceNeeds {
        clusters: asked(&["arn:aws:ecs:eu-west-1:123456789012:cluster/flows"]),
        task_roles: asked(&["arn:aws:iam::123456789012:role/flow"]),
        execution_roles: asked(&["arn:aws:iam::123456789012:role/ecsTaskExecutionRole"]),
        log_groups: asked(&["arn:aws:logs:eu-west-1:123456789012:log-group:sidecar"]),
        read_log_groups: asked(&["arn:aws:logs:eu-west-1:123456789012:log-group:prefect"]),
        ..PlaceNeeds::default()
    };
    let mut needs = Needs::default();
    needs.places.insert(home("eu-west-1").place(), own);
    needs
}

fn deployment(root: &Root) -> StackChoices<'_> {
    StackChoices { root, every: 1, secrets_key_arn: None, log_level: None }
}

fn of(needs: &Needs, region: &str, root: &str) -> BTreeMap<&'static str, String> {
    let (found, refused) = parameters(needs, &home(region), &deployment(&Root::new(root)));
    assert_eq!(refused, []);
    found.into_iter().collect()
}

#[test]
fn only_what_differs_from_the_defaults_is_a_parameter_and_says_exactly_what_is_needed() {
    let found = of(&needs(), "eu-west-1", DEFAULT_ROOT);
    let expected = BTreeMap::from([
        ("ClusterArns", "arn:aws:ecs:eu-west-1:123456789012:cluster/flows".to_owned()),
        (
            "PassableRoleArns",
            "arn:aws:iam::123456789012:role/ecsTaskExecutionRole,arn:aws:iam::123456789012:role/flow".to_owned(),
        ),
        ("TaskLogArns", "arn:aws:logs:eu-west-1:123456789012:log-group:prefect:log-stream:*".to_owned()),
    ]);
    assert_eq!(found, expected);
    assert!(of(&Needs::default(), "eu-west-1", DEFAULT_ROOT).is_empty());
}

#[test]
fn definitions_may_be_deregistered_where_a_pool_asks_for_it() {
    let mut needs = needs();
    needs.places.values_mut().for_each(|place| place.deregistered = asked(&["prefect-etl"]));
    assert_eq!(of(&needs, "eu-west-1", DEFAULT_ROOT)["DeregisterTaskDefinitions"], "ENABLED");
}

#[test]
fn other_roots_schedules_keys_and_levels_are_said() {
    let root = Root::new("/psa/test");
    let key = Some("arn:aws:kms:eu-west-1:123456789012:key/k");
    let deployment = StackChoices { root: &root, every: 5, secrets_key_arn: key, log_level: Some("DEBUG") };
    let (found, _) = parameters(&Needs::default(), &home("eu-west-1"), &deployment);
    let expected = [
        ("ParameterRoot", "/psa/test"),
        ("PollSchedule", "rate(5 minutes)"),
        ("LogLevel", "DEBUG"),
        ("SecretsKeyArn", "arn:aws:kms:eu-west-1:123456789012:key/k"),
        ("SilenceAfterMinutes", "7"),
    ];
    assert_eq!(found, expected.map(|(name, value)| (name, value.to_owned())));
}

#[test]
fn documents_are_arns_of_the_partition_and_what_lies_below_the_root_is_read_anyway() {
    let mut needs = Needs::default();
    for path in ["s3://bucket/a.yaml", "ssm://team/x", "ssm://plain", "ssm:///psa/files/y"] {
        needs.refers(Some(path), "x");
    }
    let found = of(&needs, "us-gov-west-1", "/psa");
    assert_eq!(found["S3ObjectArns"], "arn:aws-us-gov:s3:::bucket/a.yaml");
    let parameter = "arn:aws-us-gov:ssm:us-gov-west-1:123456789012:parameter";
    assert_eq!(found["ExtraParameterArns"], format!("{parameter}/plain,{parameter}/team/x"));
}

#[test]
fn what_runs_in_another_account_is_reached_by_its_role_and_sends_its_events() {
    let role = "arn:aws:iam::210987654321:role/launcher";
    let mut all = needs();
    let there = all.places.values().next().unwrap().clone();
    let place = LaunchPlace {
        account: Some("210987654321".into()),
        region: "eu-west-1".into(),
        reach: Reach::Agent(role.into()),
    };
    all.places = [(place, there)].into();
    let found = of(&all, "eu-west-1", DEFAULT_ROOT);
    let expected =
        BTreeMap::from([("AssumableRoleArns", role.to_owned()), ("ForwardingAccountIds", "210987654321".into())]);
    assert_eq!(found, expected);
    // Roles of the functions' account cannot be given to tasks there.
    assert_eq!(foreign_roles(&all).len(), 2);
    assert!(foreign_roles(&needs()).is_empty());
}

#[test]
fn a_name_without_an_account_is_no_arn() {
    let mut all = needs();
    let own = all.places.values_mut().next().unwrap();
    own.clusters = asked(&["cluster/flows"]);
    let home = Home::new(Err("no credentials".into()), "eu-west-1");
    let (found, refused) = parameters(&all, &home, &deployment(&Root::new(DEFAULT_ROOT)));
    assert!(!found.iter().any(|(name, _)| *name == "ClusterArns") && refused.is_empty(), "{refused:?}");
}

#[test]
fn what_would_allow_more_than_is_asked_for_is_left_out_with_its_askers() {
    let role = |account: &str, name: &str| format!("arn:aws:iam::{account}:role/{name}");
    let mut all = needs();
    let own = all.places.values_mut().next().unwrap();
    let fine = role(ACCOUNT, "path/a+b=c.d@e-f_g");
    let odd = [
        role(ACCOUNT, "*"),
        role(ACCOUNT, "a?"),
        role(ACCOUNT, "a,arn:aws:iam::123456789012:role/Admin"),
        role(ACCOUNT, "a b"),
        role(ACCOUNT, "a\u{1b}"),
        role(ACCOUNT, "${aws:PrincipalTag/x}"),
        role("*", "x"),
        role("12345678901", "x"),
        role("", "x"),
        "arn:aws:iam::123456789012:user/x".into(),
        "arn:*".into(),
        "arn:aws:s3:::bucket".into(),
        "*".into(),
    ];
    own.task_roles = asked(&odd.iter().chain([&fine]).map(String::as_str).collect::<Vec<_>>());
    own.clusters =
        asked(&["arn:aws:ecs:eu-west-1:123456789012:cluster/*", "arn:aws:ecs:eu-west-1:123456789012:cluster/"]);
    own.read_log_groups = asked(&["arn:aws:logs:eu-west-1:123456789012:log-group:*"]);
    own.execution_roles = Asked::new();
    all.s3_objects = asked(&["bucket/*", "bucket/a b", "bucket/plain"]);
    all.parameters = asked(&["arn:aws:ssm:eu-west-1:123456789012:parameter/*", "/team/?"]);
    let launcher = role("*", "x");
    let there = PlaceNeeds { clusters: asked(&["there"]), ..PlaceNeeds::default() };
    let place = LaunchPlace {
        account: Some("*".into()),
        region: "eu-west-1".into(),
        reach: Reach::Run(vec![launcher.clone()]),
    };
    all.places.insert(place, there);
    let root = Root::new(DEFAULT_ROOT);
    let secrets_key_arn = Some("arn:aws:kms:eu-west-1:123456789012:key/*");
    let deployment = StackChoices { secrets_key_arn, ..deployment(&root) };
    let (found, refused) = parameters(&all, &home("eu-west-1"), &deployment);
    let expected = [("PassableRoleArns", fine), ("S3ObjectArns", "arn:aws:s3:::bucket/plain".into())];
    assert_eq!(found, expected);
    let count = |parameter| refused.iter().filter(|refused| refused.parameter == parameter).count();
    assert_eq!(count("PassableRoleArns"), odd.len(), "{refused:?}");
    let others = ["ClusterArns", "TaskLogArns", "S3ObjectArns", "ExtraParameterArns", "AssumableRoleArns"].map(count);
    assert_eq!((others, count("ForwardingAccountIds"), count("SecretsKeyArn")), ([2, 1, 2, 2, 1], 1, 1), "{refused:?}");
    let of_role = refused.iter().find(|refused| refused.value == launcher).unwrap();
    assert_eq!(of_role.askers, BTreeSet::from(["flow/deployment".to_owned()]));
}

#[test]
fn regions_without_function_urls_are_known() {
    for (region, has) in [
        ("eu-west-1", true),
        ("us-east-1", true),
        ("me-south-1", true),
        ("us-gov-west-1", false),
        ("cn-north-1", false),
        ("mx-central-1", false),
        ("il-central-1", false),
        ("ca-west-1", false),
        ("ca-central-1", true),
    ] {
        assert_eq!(has_function_urls(region), has, "{region}");
        let health = of(&Needs::default(), region, DEFAULT_ROOT).get("HealthUrl").cloned();
        assert_eq!(health, (!has).then(|| "DISABLED".to_owned()), "{region}");
    }
}

#[test]
fn words_are_quoted_where_a_shell_would_change_them() {
    for (word, quoted) in [
        ("plain", "plain"),
        ("a=b,c:d/e.f@g%h+i-j_k", "a=b,c:d/e.f@g%h+i-j_k"),
        ("", "''"),
        ("two words", "'two words'"),
        ("$HOME", "'$HOME'"),
        ("it's", "'it'\\''s'"),
        ("a*", "'a*'"),
        ("=x", "'=x'"),
        ("~", "'~'"),
        ("ä", "'ä'"),
        ("a\u{1b}[2J\n", r"$'a\033[2J\012'"),
        ("it's\u{9b}\\", r"$'it\'s\302\233\\'"),
    ] {
        assert_eq!(shell_word(word), quoted);
        let shell = std::process::Command::new("bash").args(["-c", &format!("printf %s {quoted}")]).output().unwrap();
        assert_eq!(String::from_utf8(shell.stdout).unwrap(), word, "{quoted}");
    }
}

#[test]
fn the_commands_say_everything_and_a_schedule_is_quoted_for_both_readers() {
    let parameters: StackParameters = vec![("PollSchedule", "rate(5 minutes)".into()), ("ClusterArns", "a,b".into())];
    assert_eq!(
        sam_deploy("psa", "eu-west-1", &parameters),
        "sam deploy --stack-name psa --region eu-west-1 --capabilities CAPABILITY_IAM --resolve-s3 --parameter-overrides \
         'PollSchedule=\"rate(5 minutes)\"' ClusterArns=a,b"
    );
    let [package, deploy] = cloudformation_deploy("psa", "eu-west-1", &parameters);
    assert!(package.starts_with("aws cloudformation package --region eu-west-1 "), "{package}");
    assert!(deploy.ends_with("--parameter-overrides 'PollSchedule=rate(5 minutes)' ClusterArns=a,b"), "{deploy}");
    assert!(!sam_deploy("psa", "eu-west-1", &Vec::new()).contains("overrides"));
}

proptest! {
    #[test]
    fn a_shell_reads_back_what_was_written(words in proptest::collection::vec(any::<String>(), 0..6)) {
        let line = shell_line(&words);
        prop_assert_eq!(split_command(&line).map_err(|error| TestCaseError::fail(error.0))?, words);
    }
}

/// What `tests/deploy/test_init.py` lets SAM itself read back.
#[test]
fn values_are_written_down_for_sams_own_parser() {
    let values = [
        "rate(5 minutes)",
        "cron(0/2 6-22 * * ? *)",
        "a \"quoted\" word",
        "",
        "a\\b",
        "\\\\server\\share name",
        "it's",
        "plain",
    ];
    let names = ["A", "B", "C", "D", "E", "F", "G", "H"];
    let parameters: StackParameters = names.into_iter().zip(values.map(str::to_owned)).collect();
    let values: serde_json::Map<String, serde_json::Value> =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    let command = sam_deploy("psa", "eu-west-1", &parameters);
    let text = format!("{:#}\n", serde_json::json!({"values": values, "sam": command}));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/deploy/sam_words.json");
    if std::env::var_os("PSA_WRITE_FIXTURES").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let known = std::fs::read_to_string(file).unwrap_or_default();
    assert_eq!(known, text, "{file} is not what init prints: PSA_WRITE_FIXTURES=1 writes it anew");
}
