#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

#[test]
fn every_key_is_read() {
    let guardrails = read(&json!({
        "mode": "report",
        "images": ["123456789012.dkr.ecr.eu-west-1.amazonaws.com/flows/*"],
        "image_digest": true,
        "cpu": {"max": 4096},
        "memory": {"max": 8192},
        "ephemeral_storage": {"max": 50},
        "task_roles": ["arn:aws:iam::123456789012:role/flows-*"],
        "execution_roles": ["flows-execution"],
        "clusters": ["prefect"],
        "subnets": ["subnet-1"],
        "security_groups": ["sg-1", "default"],
        "launch_types": ["FARGATE"],
        "capacity_providers": [],
        "public_ip": false,
        "task_definitions": "own",
        "command": false,
        "environment": {"deny": ["AWS_*", "LD_*"]},
        "secrets": ["arn:aws:secretsmanager:*:*:secret:flows/*"],
        "privileged": false,
        "volumes": ["efs", "configured_at_launch"],
        "network_modes": ["awsvpc"],
    }))
    .unwrap();
    let shown = |globs: &Option<Globs>| globs.as_ref().map(Globs::shown);
    assert_eq!((guardrails.mode, guardrails.task_definitions), (Mode::Report, DefinitionRule::Own));
    assert_eq!((guardrails.cpu, guardrails.memory, guardrails.ephemeral_storage), (Some(4096), Some(8192), Some(50)));
    assert_eq!(shown(&guardrails.capacity_providers).as_deref(), Some("none"));
    assert_eq!(shown(&guardrails.denied_variables).as_deref(), Some("AWS_*, LD_*"));
    assert_eq!(guardrails.volumes, Some(vec![VolumeKind::Efs, VolumeKind::ConfiguredAtLaunch]));
    assert!(guardrails.image_digest && !guardrails.public_ip && !guardrails.command && !guardrails.privileged);
    for key in keys() {
        assert_eq!(read(&json!({key: null})), Ok(Guardrails::default()), "{key}: nothing is written");
    }
    assert_eq!(read(&json!({})).unwrap().mode, Mode::Enforce);
}

#[test]
fn what_people_are_shown_is_accepted() {
    let readme = include_str!("../../../GUARDRAILS.md");
    let (_, block) = readme.split_once("```yaml\nguardrails:\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let shown = crate::config::yaml::value(&format!("guardrails:\n{block}"), None).unwrap();
    let read = read(&shown["guardrails"]).unwrap();
    assert_eq!((read.cpu, read.task_definitions), (Some(4096), DefinitionRule::Own));
}

#[test]
fn what_is_wrong_is_told_at_its_place_all_at_once() {
    for (written, expected) in [
        (json!(true), vec![("", "a mapping")]),
        (json!({"image": []}), vec![("image", "images, image_digest")]),
        (json!({"mode": "warn"}), vec![("mode", "enforce, report")]),
        (json!({"images": "a/*"}), vec![("images", "a list")]),
        (
            json!({"images": ["a", 1, "b c", "é"]}),
            vec![("images[1]", "as text"), ("images[2]", "ASCII"), ("images[3]", "ASCII")],
        ),
        (json!({"task_roles": ["arn:aws:iam"]}), vec![("task_roles[0]", "six parts")]),
        (json!({"cpu": 4096}), vec![("cpu", "`max`")]),
        (
            json!({"cpu": {"max": "4096"}, "memory": {"min": 1}}),
            vec![("cpu.max", "CPU units"), ("memory.min", "max"), ("memory.max", "a value")],
        ),
        (
            json!({"public_ip": "no", "privileged": 0}),
            vec![("public_ip", "true or false"), ("privileged", "true or false")],
        ),
        (json!({"task_definitions": true}), vec![("task_definitions", "own, named, any")]),
        (json!({"environment": ["AWS_*"]}), vec![("environment", "`deny`")]),
        (json!({"volumes": ["nfs"]}), vec![("volumes[0]", "efs, s3files, fsx")]),
    ] {
        let problems = read(&written).unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        let (wanted, allowed): (Vec<&str>, Vec<&str>) = expected.into_iter().unzip();
        assert_eq!(paths, wanted, "{written}: {problems:?}");
        for (problem, allowed) in problems.iter().zip(allowed) {
            assert!(problem.allowed.contains(allowed), "{written}: {problem:?}");
        }
    }
    let found = &read(&json!({"clustrs": []})).unwrap_err()[0].found;
    assert!(found.contains("did you mean `clusters`"), "{found}");
}
