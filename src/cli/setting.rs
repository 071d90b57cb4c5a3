//! Arguments and environment → the deployment to poll.

use super::CliError;
use super::args::SettingArgs;
use super::output::ADVICE_ON_AWS;
use crate::aws::reads::Budget;
use crate::aws::{AwsClients, AwsError};
use crate::check::stack::{DeployedStack, Stack};
use crate::clock::{Clock, SystemClock};
use crate::config::{Environment, Root, from_file};
use crate::platform::AgentPlatform;
use crate::poll::{Deployment, Invocation, PollError, Selection, Source};
use crate::redaction::Redaction;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The largest configuration.
const MAX_BYTES: u64 = 1024 * 1024;

/// The environment variable that names the root, as for the functions.
const ROOT_VARIABLE: &str = "PARAMETER_ROOT";

/// Whoever only looks waits so long for Parameter Store at most.
const PARAMETERS_PATIENCE: Duration = Duration::from_secs(30);

/// What a command polls.
pub(super) struct Setting<P> {
    pub(super) deployment: Deployment<P, SystemClock>,
    pub(super) selection: Selection,
    pub(super) invocations: Invocations,
}

/// Sends nothing yet.
pub(super) async fn setting<P: AgentPlatform<SystemClock>>(
    args: SettingArgs,
    environment: Environment,
    redaction: &Redaction,
) -> Result<Setting<P>, CliError> {
    let source = source(args.root.as_deref(), args.config.as_deref(), &environment)?;
    if let Source::File { path, text } = &source {
        // Before AWS is looked for: a wrong file needs no region.
        from_file(text, path, &environment).result.map_err(CliError::configuration)?;
    }
    let aws = match &source {
        Source::File { .. } if !P::NEEDS_AWS => AwsClients::as_far_as_configured(&environment),
        _ => AwsClients::from_default_chain(&environment).await,
    };
    let aws = aws.map_err(|error| CliError::new(error, ADVICE_ON_AWS))?;
    let selection = if args.agents.is_empty() { Selection::All } else { Selection::Agents(args.agents) };
    let invocations = Invocations::new(Duration::from_secs(args.timeout));
    let deployment = Deployment::new(source, environment, Arc::new(aws), SystemClock, redaction.clone());
    Ok(Setting { deployment, selection, invocations })
}

/// An argument beats the environment.
pub(super) fn source(root: Option<&str>, config: Option<&Path>, environment: &Environment) -> Result<Source, CliError> {
    if let Some(file) = config {
        let path = file.display().to_string();
        let text = text_of(file).map_err(|error| {
            CliError::new(format!("cannot read {path}: {error}"), "name a readable YAML or JSON file with --config")
        })?;
        return Ok(Source::File { path, text });
    }
    root_of(root, environment).map(Source::Parameters)
}

/// For what is only looked at: a file may be looked at where AWS is not set up, and what needs AWS then says so.
pub(super) async fn clients(source: &Source, environment: &Environment) -> Result<AwsClients, CliError> {
    let found = AwsClients::from_default_chain(environment).await;
    let found = match (source, found) {
        (Source::File { .. }, Err(_)) => AwsClients::as_far_as_configured(environment),
        (Source::File { .. } | Source::Parameters(_), found) => found,
    };
    found.map_err(|error| CliError::new(error, ADVICE_ON_AWS))
}

/// What is read from Parameter Store below a root to be looked at, within its time.
pub(super) async fn read_below<T>(root: &Root, read: impl Future<Output = Result<T, AwsError>>) -> Result<T, CliError> {
    let too_late = |_| AwsError::NoAnswer(format!("within {} s", PARAMETERS_PATIENCE.as_secs()));
    let read = tokio::time::timeout(PARAMETERS_PATIENCE, read).await.map_err(too_late).flatten();
    read.map_err(|error| CliError::from(&PollError::Parameters { root: root.as_str().to_owned(), error }))
}

/// The root of the parameters: an argument beats the environment.
pub(super) fn root_of(argument: Option<&str>, environment: &Environment) -> Result<Root, CliError> {
    let written = environment.get(ROOT_VARIABLE).map(String::as_str);
    let root = argument.or(written).filter(|root| !root.trim().is_empty());
    let root = root.ok_or_else(|| {
        let advice =
            "give --root ROOT (or set PARAMETER_ROOT) to read the agents from Parameter Store, or --config FILE";
        CliError::new("no agent to poll", advice)
    })?;
    let root = Root::new(root);
    if let Some(odd) = root.odd_character() {
        let advice = "name one of letters, digits, `_`, `.`, `-` and `/` with --root";
        return Err(CliError::new(format!("the root of the parameters has {odd:?} in it"), advice));
    }
    match root.excessive_length() {
        None => Ok(root),
        Some(length) => {
            let message = format!("the root of the parameters has {length} characters");
            Err(CliError::new(message, format!("name one of at most {} with --root", Root::LONGEST)))
        }
    }
}

/// The text of a configuration.
pub(super) fn text_of(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(file)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read <= MAX_BYTES) {
        return Ok(text);
    }
    Err(std::io::Error::other("it is larger than 1 MiB, which no configuration is"))
}

/// Makes invocations, each with an id of its own.
pub(super) struct Invocations {
    process: String,
    count: AtomicU64,
    timeout: Duration,
}

impl Invocations {
    fn new(timeout: Duration) -> Self {
        // Process ids repeat, and so do clocks; the hasher's keys are random.
        let random = RandomState::new().hash_one(std::process::id());
        Self { process: format!("agent-{}-{random:016x}", std::process::id()), count: AtomicU64::new(0), timeout }
    }

    /// The next one, from now on.
    pub(super) fn next(&self) -> Invocation {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let request_id = format!("{}-{number}", self.process);
        Invocation { request_id, deadline: SystemClock.now() + self.timeout, is_poked: false }
    }
}

/// Requests to AWS until a stack is found.
const STACK_REQUESTS: usize = 20;

/// The stack that polls for a root.
pub(super) async fn deployed_stack(aws: &AwsClients, root: &Root) -> Result<Stack, CliError> {
    match DeployedStack::find(&aws.reads(&Budget::of(STACK_REQUESTS)), root).await {
        DeployedStack::Found(stack) => Ok(*stack),
        DeployedStack::Missing => {
            let message = format!("no stack of {} has {} as its ParameterRoot", aws.region, root.as_str());
            Err(CliError::new(message, "deploy it, or name its region (AWS_REGION) and root (--root)"))
        }
        DeployedStack::Unknown(why) => {
            let advice = "allow cloudformation:DescribeStacks and DescribeStackResources";
            Err(CliError::new(format!("the stack cannot be looked for: {why}"), advice))
        }
    }
}

/// What `CloudFormation` calls a resource of the stack. `what`: what it is, for whoever has a stack of an earlier version.
pub(super) fn resource_of<'a>(stack: &'a Stack, logical_id: &str, what: &str) -> Result<&'a str, CliError> {
    stack.resource(logical_id).ok_or_else(|| {
        let message = format!("the stack {} has no {what}: an earlier version made it", stack.name);
        CliError::new(message, "update the stack: `prefect-serverless-agent bundle`, then `sam deploy`")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    fn from(args: &SettingArgs, root: Option<&str>) -> Result<Source, CliError> {
        source(
            args.root.as_deref(),
            args.config.as_deref(),
            &root.map(|root| (ROOT_VARIABLE.to_owned(), root.to_owned())).into_iter().collect(),
        )
    }

    #[test]
    fn an_argument_beats_the_environment() {
        let parameters = |root: &str| Ok(Source::Parameters(Root::new(root)));
        let root = SettingArgs { root: Some("/a".into()), ..SettingArgs::default() };
        assert_eq!(from(&root, Some("/b")), parameters("/a"));
        assert_eq!(from(&SettingArgs::default(), Some("/b")), parameters("/b"));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"prefect: 1").unwrap();
        let config = SettingArgs { config: Some(file.path().into()), ..SettingArgs::default() };
        let path = file.path().display().to_string();
        assert_eq!(from(&config, Some("/b")), Ok(Source::File { path, text: "prefect: 1".into() }));
    }

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        for root in [None, Some(" ")] {
            assert!(from(&SettingArgs::default(), root).unwrap_err().advice.contains("--root ROOT"));
        }
        let missing = SettingArgs { config: Some("/no/such/file".into()), ..SettingArgs::default() };
        assert!(from(&missing, None).unwrap_err().message.starts_with("cannot read /no/such/file: "));
    }

    #[test]
    fn a_root_that_is_too_long_is_said_before_aws_is_asked() {
        let long = "/a".repeat(Root::LONGEST);
        let trouble = from(&SettingArgs::default(), Some(&long)).unwrap_err();
        assert!(trouble.message.contains("800 characters") && trouble.advice.contains("400"), "{trouble:?}");
    }

    #[test]
    fn a_root_that_no_parameter_can_have_is_said_with_what_is_wrong_in_it() {
        for (root, odd) in
            [("/psa/*", "'*'"), ("/a b", "' '"), ("/a\\b", r"'\\'"), ("/\u{1b}", r"'\u{1b}'"), ("/ä", "'ä'")]
        {
            let trouble = from(&SettingArgs::default(), Some(root)).unwrap_err();
            assert!(trouble.message.contains(odd) && trouble.advice.contains("--root"), "{trouble:?}");
        }
        assert!(from(&SettingArgs::default(), Some("/A-z_0.9/prod")).is_ok());
    }

    #[test]
    fn invocations_have_ids_of_their_own() {
        let (one, other) = (Invocations::new(Duration::from_mins(2)), Invocations::new(Duration::from_mins(2)));
        let ids = [one.next(), one.next(), other.next()].map(|invocation| invocation.request_id);
        assert!(ids[0] != ids[1] && ids[0] != ids[2], "{ids:?}");
        assert!(!ids[0].contains("{{"), "Parameter Store would refuse it");
    }
}
