//! Configuration and secrets: to a file, or to Parameter Store.

use super::ResolvedAgent;
use super::stack::shell_word;
use crate::aws::AwsClients;
use crate::cli::CliError;
use crate::cli::args::InitArgs;
use crate::cli::output::ADVICE_ON_AWS;
use crate::cli::push::{self, Push};
use crate::cli::terminal;
use crate::config::{Parameter, Root};
use crate::redaction::Redaction;
use secrecy::ExposeSecret;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

/// Where the configuration is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WrittenSetup {
    /// In a file; the secrets are nowhere yet.
    File(PathBuf),
    /// In Parameter Store; what was done about each parameter.
    Parameters(Vec<String>),
}

/// Writes as the arguments say; what is there already is never lost without a word.
pub(super) async fn write(
    args: &InitArgs,
    root: &Root,
    resolved: &ResolvedAgent,
    text: &str,
    aws: &AwsClients,
    redaction: &Redaction,
) -> Result<WrittenSetup, CliError> {
    // What no parameter could hold is not written to a file either.
    let push = Push::of(text.to_owned(), "the configuration", &resolved.agent, root)?;
    if !args.write {
        let path = args.file.clone().unwrap_or_else(|| PathBuf::from(format!("{}.yaml", resolved.agent)));
        return to_file(path, text, args.force).map(WrittenSetup::File);
    }
    if !args.yes {
        terminal::somebody()?;
    }
    // Another agent's configuration or key may stand there: nothing is written before that is known.
    let mut others = Vec::new();
    let configuration = push.known(aws).await?;
    if configuration.as_ref().is_some_and(|known| *known != push.text) {
        others.push(push.parameter.clone());
    }
    let mut secrets = Vec::new();
    for (kind, secret) in &resolved.secrets {
        let name = format!("{}/{}/{kind}", root.secrets(), resolved.agent);
        let trouble = |error: crate::aws::AwsError| CliError::new(format!("{name}: {error}"), ADVICE_ON_AWS);
        let known = aws.ssm.get_parameter(&name, true).await.map_err(trouble)?;
        let says_so = |known: &Parameter| known.value.expose_secret() == secret.expose_secret();
        others.extend(known.as_ref().filter(|known| !says_so(known)).map(|_| name.clone()));
        let is_there = known.as_ref().is_some_and(|known| known.is_secure && says_so(known));
        secrets.push((name, secret, known.is_some(), is_there));
    }
    if !others.is_empty() && !args.force {
        let message = format!("what stands in {} already says something else", others.join(" and "));
        return Err(CliError::new(message, "write over it with --force, or name another agent with --agent"));
    }
    // Secrets first: an agent without its key would be polled in vain.
    let mut done = Vec::new();
    for (name, secret, is_known, is_there) in secrets {
        let trouble = |error: crate::aws::AwsError| CliError::new(format!("{name}: {error}"), ADVICE_ON_AWS);
        if is_there {
            done.push(format!("{name} holds it already."));
            continue;
        }
        let question =
            if is_known { format!("Replace the secret {name}?") } else { format!("Write the secret {name}?") };
        if !args.yes && !terminal::agreed(&question, &mut io::stderr())? {
            done.push(format!("{name} was not written."));
            continue;
        }
        let version = aws.ssm.put_secret(&name, secret, args.secrets_key_arn.as_deref()).await.map_err(trouble)?;
        done.push(format!("{name} is written (SecureString), version {version}."));
    }
    let written = push::put(&push, configuration, aws, args.yes, redaction, &mut io::stderr()).await?;
    done.push(written.trim().to_owned());
    Ok(WrittenSetup::Parameters(done))
}

/// A new file, or over one that says the same or may go.
fn to_file(path: PathBuf, text: &str, force: bool) -> Result<PathBuf, CliError> {
    let shown = path.display().to_string();
    if std::fs::read_to_string(&path).is_ok_and(|known| known == text) {
        return Ok(path);
    }
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let written = options.open(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(CliError::new(
            format!("{shown} is there already, and says something else"),
            "write over it with --force, or name another with --file",
        )),
        Err(error) => Err(CliError::new(format!("cannot write {shown}: {error}"), "name another file with --file")),
    }
}

/// How a secret that lies elsewhere is handed over. `place`: a container secret's `valueFrom`; one without a region lies in
/// this one.
pub(super) fn copy_of(place: &str, region: &str) -> String {
    let parts: Vec<&str> = place.split(':').collect();
    let part = |at: usize| parts.get(at).copied().filter(|part| !part.is_empty());
    let is_arn = part(0) == Some("arn");
    let region = shell_word(part(3).filter(|_| is_arn).unwrap_or(region));
    let read = if is_arn && part(2) == Some("secretsmanager") {
        // …:secret:name:json-key:version-stage:version-id, of which the last three may be missing.
        let id = shell_word(&parts.iter().take(7).copied().collect::<Vec<_>>().join(":"));
        let option =
            |name: &str, at| part(at).map(|value| format!(" {name} {}", shell_word(value))).unwrap_or_default();
        let version = option("--version-stage", 8) + &option("--version-id", 9);
        let key = part(7).map(|key| format!(" | jq -r {}", shell_word(&format!(".[{}]", serde_json::json!(key)))));
        format!(
            "aws secretsmanager get-secret-value --region {region} --secret-id {id}{version} --query SecretString \
             --output text{}",
            key.unwrap_or_default()
        )
    } else {
        let name = shell_word(place);
        format!(
            "aws ssm get-parameter --with-decryption --region {region} --name {name} --query Parameter.Value --output text"
        )
    };
    format!("{read} | prefect-serverless-agent init … --key-stdin")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_that_is_there_stays_unless_it_says_the_same_or_may_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        assert_eq!(to_file(path.clone(), "one", false).unwrap(), path);
        assert_eq!(to_file(path.clone(), "one", false).unwrap(), path);
        let error = to_file(path.clone(), "two", false).unwrap_err();
        assert!(error.advice.contains("--force"), "{error:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        to_file(path.clone(), "two", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert!(to_file(folder.path().join("no/a.yaml"), "x", true).unwrap_err().message.contains("cannot write"));
    }

    #[test]
    fn secrets_elsewhere_are_handed_over_without_being_read_here() {
        let copy = |place: &str| copy_of(place, "us-east-1");
        assert!(copy("arn:aws:ssm:eu-west-1:1:parameter/key").starts_with("aws ssm get-parameter "));
        assert!(copy("arn:aws:ssm:eu-west-1:1:parameter/key").contains(" --region eu-west-1 --name arn:aws:ssm:"));
        assert!(copy("/team/key").contains(" --region us-east-1 --name /team/key "));
        let secret = "arn:aws:secretsmanager:eu-west-1:1:secret:key-AbCdEf";
        let read = format!("aws secretsmanager get-secret-value --region eu-west-1 --secret-id {secret}");
        let text = "--query SecretString --output text";
        assert!(copy(secret).starts_with(&format!("{read} {text} | prefect")), "{}", copy(secret));
        let of_key = copy(&format!("{secret}:api_key:AWSPREVIOUS:"));
        assert!(
            of_key
                .starts_with(&format!("{read} --version-stage AWSPREVIOUS {text} | jq -r '.[\"api_key\"]' | prefect")),
            "{of_key}"
        );
    }
}
