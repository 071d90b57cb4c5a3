//! `prefect-serverless-agent push`: an agent's configuration from a file to Parameter Store, checked as the function checks it.

use super::args::PushArgs;
use super::setting::{root_of, text_of};
use super::{CliError, output, say, terminal};
use crate::aws::AwsClients;
use crate::aws::ssm::STANDARD_BYTES;
use crate::config::{ConfigSource, Environment, Root, is_agent_name, read_agent, read_yaml};
use crate::redaction::Redaction;
use secrecy::ExposeSecret;
use similar::TextDiff;
use std::io::{self, Write};

/// The largest value of a parameter of the tier Advanced, which costs a few cents a month.
const ADVANCED_BYTES: usize = 8192;

/// A configuration to write.
#[derive(Debug)]
pub(super) struct Push {
    /// Name of the parameter.
    pub(super) parameter: String,
    /// Its new value.
    pub(super) text: String,
}

/// Checks, shows what changes, asks, writes.
pub(super) async fn push(args: PushArgs, environment: Environment, redaction: &Redaction) -> Result<String, CliError> {
    let root = root_of(args.root.as_deref(), &environment)?;
    let push = checked(&args, &root)?;
    let aws = AwsClients::from_default_chain(&environment).await;
    let aws = aws.map_err(|error| CliError::new(error, output::ADVICE_ON_AWS))?;
    let known = push.known(&aws).await?;
    put(&push, known, &aws, args.yes, redaction, &mut io::stdout()).await
}

/// Shows what changes, asks, writes. `known`: what the parameter says now.
pub(super) async fn put(
    push: &Push,
    known: Option<String>,
    aws: &AwsClients,
    yes: bool,
    redaction: &Redaction,
    to: &mut impl Write,
) -> Result<String, CliError> {
    if known.as_ref() == Some(&push.text) {
        return Ok(format!("{} says this already.\n", push.parameter));
    }
    // A secret may be in them.
    redaction.know_configuration(&read_yaml(&push.text).unwrap_or_default());
    let known = known.map(|text| {
        let read = read_yaml(&text).inspect(|read| redaction.know_configuration(read));
        read.map(|_| text).map_err(|_| ())
    });
    say(to, &(output::printable_lines(&redaction.text(difference(push, known.as_ref()))) + "\n"));
    if !yes && !terminal::agreed(&format!("Write {}?", push.parameter), to)? {
        return Ok("Nothing was written.\n".to_owned());
    }
    let written = aws.ssm.put_parameter(&push.parameter, &push.text, true).await;
    let version =
        written.map_err(|error| CliError::new(format!("{}: {error}", push.parameter), output::ADVICE_ON_AWS))?;
    Ok(format!("{} is written, version {version}. A warm function notices within five minutes.\n", push.parameter))
}

/// The configuration, if the function would take it. Everything that is wrong is said at once.
fn checked(args: &PushArgs, root: &Root) -> Result<Push, CliError> {
    let path = args.file.display().to_string();
    let text = text_of(&args.file)
        .map_err(|error| CliError::new(format!("cannot read {path}: {error}"), "name a readable YAML or JSON file"))?;
    let of_file = || args.file.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
    let agent = args.agent.clone().or_else(of_file).unwrap_or_default();
    Push::of(text, &path, &agent, root)
}

/// What an agent may be called.
pub(super) fn checked_agent_name(agent: &str) -> Result<(), CliError> {
    if is_agent_name(agent) {
        return Ok(());
    }
    let advice = "name one of letters, digits, `-` and `_` (at most 64) with --agent";
    Err(CliError::new(format!("{agent:?} is no agent's name"), advice))
}

impl Push {
    /// The same for a text; `path` is what messages call it.
    pub(super) fn of(text: String, path: &str, agent: &str, root: &Root) -> Result<Self, CliError> {
        checked_agent_name(agent)?;
        let parameter = format!("{}/{agent}", root.config());
        // The function's environment is not this terminal's.
        let source = ConfigSource { parameter: &parameter, agent, local_files: false };
        read_agent(&text, &source, &Environment::default()).map_err(CliError::configuration)?;
        if text.len() > ADVANCED_BYTES {
            let message = format!("{path} has {} bytes, and a parameter has room for {ADVANCED_BYTES}", text.len());
            let advice = "move what is long into documents of its own (`task_definition_path`, `run_task_kwargs_path`)";
            return Err(CliError::new(message, advice));
        }
        if text.contains("{{") {
            let message =
                format!("{path} has `{{{{` in it, which Parameter Store refuses: it is its own template syntax");
            return Err(CliError::new(message, "write `{ {`, or in a quoted text `{\\u007b`"));
        }
        Ok(Self { parameter, text })
    }

    /// What the parameter says now; `None` = there is none.
    pub(super) async fn known(&self, aws: &AwsClients) -> Result<Option<String>, CliError> {
        let known = aws.ssm.get_parameter(&self.parameter, false).await;
        let known =
            known.map_err(|error| CliError::new(format!("{}: {error}", self.parameter), output::ADVICE_ON_AWS))?;
        Ok(known.map(|parameter| parameter.value.expose_secret().to_owned()))
    }
}

/// What changes, as `diff -u` shows it. `known`: what is there; `Err` = it cannot be understood, and so it is not known what
/// of it is a secret.
fn difference(push: &Push, known: Option<&Result<String, ()>>) -> String {
    let Push { parameter, text } = push;
    let (before, known) = match known {
        Some(Ok(known)) => (format!("{parameter} (now)"), known.as_str()),
        Some(Err(())) => (format!("{parameter} (now, which cannot be understood, and is not shown)"), ""),
        None => ("(nothing yet)".to_owned(), ""),
    };
    let shown = TextDiff::from_lines(known, text).unified_diff().header(&before, parameter).to_string();
    let note = if text.len() > STANDARD_BYTES {
        format!("{} bytes: a parameter of the tier Advanced, which costs a few cents a month.\n", text.len())
    } else {
        String::new()
    };
    format!("{shown}{note}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::PathBuf;

    fn pushed(text: &str, agent: Option<&str>) -> Result<Push, CliError> {
        let folder = tempfile::tempdir().unwrap();
        let file: PathBuf = folder.path().join("etl.yaml");
        std::fs::write(&file, text).unwrap();
        let args = PushArgs { file, agent: agent.map(str::to_owned), root: None, yes: true };
        checked(&args, &Root::new("/psa/prod"))
    }

    const FINE: &str = "prefect: 3\napi: https://prefect/api\nwork_pool: ecs\n";

    #[test]
    fn an_agent_is_called_as_its_file_unless_it_is_named() {
        assert_eq!(pushed(FINE, None).unwrap().parameter, "/psa/prod/config/etl");
        assert_eq!(pushed(FINE, Some("flows")).unwrap().parameter, "/psa/prod/config/flows");
        assert!(pushed(FINE, Some("a/b")).unwrap_err().advice.contains("--agent"));
    }

    #[test]
    fn what_the_function_would_refuse_is_not_written() {
        let wrong = pushed("prefect: 3\nwork_pol: x\n", None).unwrap_err();
        assert!(wrong.is_configuration && wrong.message.contains("/psa/prod/config/etl"), "{wrong:?}");
        assert!(wrong.message.contains("work_pol"), "{wrong:?}");
        let long = format!("{FINE}# {}\n", "x".repeat(9000));
        assert!(pushed(&long, None).is_err_and(|error| error.message.contains("has room for 8192")));
        let braces = format!("{FINE}env_vars: {{A: \"{{{{ x }}}}\"}}\n");
        assert!(pushed(&braces, None).unwrap_err().message.contains("Parameter Store refuses"));
    }

    #[test]
    fn what_changes_is_shown_as_diff_shows_it() {
        let push = pushed(FINE, None).unwrap();
        let shown = difference(&push, Some(&Ok(FINE.replace("ecs", "old"))));
        assert!(shown.contains("-work_pool: old\n+work_pool: ecs\n"), "{shown}");
        assert!(difference(&push, None).starts_with("--- (nothing yet)\n"), "{shown}");
    }
}
