//! Configuration and secrets: to a file, or to Parameter Store.

use super::{Reached, terminal};
use crate::aws::AwsClients;
use crate::cli::CliError;
use crate::cli::args::InitArgs;
use crate::cli::output::ADVICE_ON_AWS;
use crate::cli::push::{self, Push};
use crate::config::Root;
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
    reached: &Reached,
    text: &str,
    aws: &AwsClients,
) -> Result<WrittenSetup, CliError> {
    // What no parameter could hold is not written to a file either.
    let push = Push::of(text.to_owned(), "the configuration", &reached.agent, root)?;
    if !args.write {
        let path = args.file.clone().unwrap_or_else(|| PathBuf::from(format!("{}.yaml", reached.agent)));
        return to_file(path, text, args.force).map(WrittenSetup::File);
    }
    if !args.yes && !terminal::is_there() {
        return Err(CliError::new("nobody is there to be asked", "add --yes to write without a question"));
    }
    // Secrets first: an agent without its key would be polled in vain.
    let mut done = Vec::new();
    for (kind, secret) in &reached.secrets {
        let name = format!("{}/{}/{kind}", root.secrets(), reached.agent);
        let trouble = |error: crate::aws::AwsError| CliError::new(format!("{name}: {error}"), ADVICE_ON_AWS);
        let known = aws.ssm.get_parameter(&name, true).await.map_err(trouble)?;
        if known.as_ref().is_some_and(|known| known.is_secure && known.value.expose_secret() == secret.expose_secret())
        {
            done.push(format!("{name} holds it already."));
            continue;
        }
        let question =
            if known.is_some() { format!("Replace the secret {name}?") } else { format!("Write the secret {name}?") };
        if !args.yes && !terminal::agreed(&question)? {
            done.push(format!("{name} was not written."));
            continue;
        }
        let version = aws.ssm.put_secret(&name, secret, args.secrets_key_arn.as_deref()).await.map_err(trouble)?;
        done.push(format!("{name} is written (SecureString), version {version}."));
    }
    let written = push::put(&push, aws, args.yes, &mut io::stderr()).await?;
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

/// How a secret that lies elsewhere is handed over.
pub(super) fn copy_of(place: &str) -> String {
    let is_ssm = !place.contains(":secretsmanager:");
    let word = super::stack::shell_word(place);
    let read = if is_ssm {
        format!("aws ssm get-parameter --with-decryption --name {word} --query Parameter.Value --output text")
    } else {
        format!("aws secretsmanager get-secret-value --secret-id {word} --query SecretString --output text")
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
        assert!(copy_of("arn:aws:ssm:eu-west-1:1:parameter/key").starts_with("aws ssm get-parameter "));
        assert!(copy_of("arn:aws:secretsmanager:eu-west-1:1:secret:key-AbCdEf").starts_with("aws secretsmanager "));
    }
}
