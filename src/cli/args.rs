//! The arguments of the `prefect-serverless-agent` command. Their comments are the help texts, so they are no
//! Markdown.
#![allow(clippy::doc_markdown, rustdoc::bare_urls)]

pub use super::costs::CostsArgs;
pub use super::init::args::{AgentFlags, InitArgs};
use clap::{Args, Parser, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;

/// The `prefect-serverless-agent` command.
#[derive(Debug, Parser)]
#[command(
    name = "prefect-serverless-agent",
    version,
    propagate_version = true,
    about = "Prefect's agent for ECS: polls a Prefect API and launches due flow runs as tasks",
    long_about = "Prefect's agent for ECS: polls a Prefect API and launches due flow runs as tasks.\n\n\
        The same polls as those of the Lambda function, from a terminal. AWS region and credentials come from where AWS \
        tools look for them (AWS_REGION, AWS_PROFILE, …).",
    after_help = "Examples:\n  \
        prefect-serverless-agent poll --config etl.yaml --dry-run\n  \
        prefect-serverless-agent poll --root /prefect-serverless-agent/prod --agent etl\n  \
        prefect-serverless-agent start --config etl.yaml --agent-address http://127.0.0.1:8080"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Write JSON: reports on standard output, logs on standard error.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Poll once, launch what is due, say what happened
    #[command(
        long_about = "One poll iteration for every configured agent: due flow runs are claimed and launched, those that \
            start within prefetch_seconds are held until then.\n\n\
            The exit code is 0 only if every agent's own poll worked; a single run that failed does not count, nor \
            does a maintenance of Prefect.",
        after_help = "Examples:\n  \
            prefect-serverless-agent poll --config etl.yaml --dry-run   # what would be sent next; nothing is written\n  \
            prefect-serverless-agent poll --root /psa/prod              # all agents of a deployment\n  \
            prefect-serverless-agent poll --root /psa/prod --agent etl --json | jq .agents.etl.launched"
    )]
    Poll(PollArgs),
    /// Poll again and again, as the Python agent does
    #[command(
        long_about = "Polls until it is told to end (ctrl-c or SIGTERM), or until max_polls is reached. The current poll is \
            finished before; a second signal does not wait for it.\n\n\
            Pauses are those of the Python agent: a quarter of a second after work, else 0.5, 1, 2, 4, 8 and then 10 s; \
            errors make the pauses longer too and never end the loop. Due runs are looked for at most 10 s ahead \
            (prefetch_seconds, where that is less): the next look is never further away.",
        after_help = "Examples:\n  \
            prefect-serverless-agent start --config etl.yaml\n  \
            prefect-serverless-agent start --root /psa/prod --max-polls 100\n  \
            prefect-serverless-agent start --config etl.yaml --agent-address http://127.0.0.1:8080\n  \
            prefect-serverless-agent start --config etl.yaml --platform process   # on a laptop, without AWS\n  \
            curl http://127.0.0.1:8080/api/health; curl http://127.0.0.1:8080/api/poke"
    )]
    Start(StartArgs),
    /// Write an agent's configuration to Parameter Store, checked as the function checks it
    #[command(
        long_about = "Reads the file, says everything that the function would refuse, shows what changes, asks, and writes \
            {root}/config/{agent}. Secrets are written by `aws ssm put-parameter --type SecureString`.",
        after_help = "Examples:\n  \
            prefect-serverless-agent push etl.yaml --root /psa/prod\n  \
            prefect-serverless-agent push agents/flows.yaml --agent flows --root /psa/prod --yes"
    )]
    Push(PushArgs),
    /// Set an agent up from what exists: its configuration, the stack's parameters, and what will not work
    #[command(
        long_about = "Reads the work pool (its template, its deployments and their job variables), renders a run of each \
            as the function will, and writes the agent's configuration and the exact parameters of the stack: clusters, \
            roles, log groups and whatever else the runs ask for, and nothing wider. Says what will not work as it is, \
            and what to do about it. Nothing is changed in Prefect.\n\n\
            For Prefect 1, the flags of `prefect agent ecs start` become the configuration.",
        after_help = "Examples:\n  \
            prefect-serverless-agent init                                     # asks\n  \
            prefect-serverless-agent init --work-pool ecs-pool --yes --write  # takes what is there, writes the parameters\n  \
            prefect-serverless-agent init --yes --json | jq .stack.parameters\n  \
            prefect-serverless-agent init --prefect 1 --agent etl --label prod --cluster flows --yes\n  \
            prefect-serverless-agent init --from-service flows/prefect-worker"
    )]
    Init(Box<InitArgs>),
    /// Show how the agents of a deployment are
    #[command(
        long_about = "A table of the agents, from what their polls wrote down in Parameter Store; nothing else is asked.\n\n\
            STATE is what the health page says. DUE and LAUNCHED are those of the last poll, OLDEST DUE is the longest that a \
            run waits which it left for a later one. CLAIMS have waited longer than orphan_after_seconds for their flow to \
            begin; polls look after them. What is not known is shown as a dash.\n\n\
            The exit code is 0 when all agents are well, and 3 when one is failing.",
        after_help = "Examples:\n  \
            prefect-serverless-agent status --root /psa/prod\n  \
            prefect-serverless-agent status --root /psa/prod --watch\n  \
            prefect-serverless-agent status --root /psa/prod --html agents.html\n  \
            prefect-serverless-agent status --root /psa/prod --serve\n  \
            prefect-serverless-agent status --root /psa/prod --json | jq .agents.etl.oldest_due_late_seconds"
    )]
    Status(StatusArgs),
    /// Tell the story of one flow run, and what happens to it next
    #[command(
        long_about = "What became of a flow run, in the order of time: its states, our claims, its tasks in ECS, where its log \
            is. Then how it stands, why, what happens next and when, and what to do about it: \"not ours: queue `gpu` is \
            not among work_queues\", \"given back 12 s ago after attempt 2 of 5, due again in 33 s\".\n\n\
            Only reads are sent. What may not be asked (no permission at ECS, no Prefect) is said, and the rest told.",
        after_help = "Examples:\n  \
            prefect-serverless-agent explain 0f0e0d0c-0b0a-4908-8706-050403020100 --root /psa/prod\n  \
            prefect-serverless-agent explain pretend-parrot --root /psa/prod --agent flows\n  \
            prefect-serverless-agent explain https://app.prefect.cloud/…/flow-run/… --root /psa/prod --json | jq .verdict"
    )]
    Explain(ExplainArgs),
    /// Write what a deployment needs into a folder: the template, the functions, the stacks beside them
    #[command(
        long_about = "Writes a folder from which `sam deploy --guided`, or `aws cloudformation package` and `deploy`, set up \
            the functions. Nothing is built and nothing is fetched: an installed wheel holds it all.",
        after_help = "Examples:\n  \
            prefect-serverless-agent bundle psa && cd psa && sam deploy --guided\n  \
            prefect-serverless-agent bundle psa --architecture arm64"
    )]
    Bundle(BundleArgs),
    /// Look for what is wrong with a deployment, and say what mends it
    #[command(
        long_about = "Looks at the configuration, at Prefect and the work pool, at what the functions' roles may do, at ECS, \
            network, events and quotas. Nothing is written. Each finding has a code that TROUBLESHOOTING.md explains, and \
            the command that mends it.\n\n\
            The exit code is 0 when all is well, 3 for failures, 4 for warnings alone, 2 when the arguments are wrong. What \
            could not be asked says so, and is no failure.",
        after_help = "Examples:\n  \
prefect-serverless-agent check --root /psa/prod        # a deployed stack\n  \
            prefect-serverless-agent check --root /psa/prod --pre  # before that\n  \
            prefect-serverless-agent check --config etl.yaml       # a file\n  \
            prefect-serverless-agent check --json | jq '.findings[].code'"
    )]
    Check(CheckArgs),
    /// Give the events that could not be told to Prefect to the deployment once more
    #[command(
        long_about = "Events of tasks that could not be told for half a day wait in the stack's dead-letter queue (and those \
            of an earlier version in its queue of failures) for two weeks. This sends each of them to the queue that the \
            function task-events reads, and deletes it there. An event that is told twice changes nothing. What is no event \
            stays, and is named. (`aws sqs start-message-move-task` does the same for the dead letters of this stack alone; \
            what could not be forwarded from another account or region waits in a queue of the stack there.)\n\n\
            The exit code is 3 when something stays.",
        after_help = "Examples:\n  \
            prefect-serverless-agent redrive --root /psa/prod\n  \
            prefect-serverless-agent redrive --root /psa/prod --json | jq '.queues[].events'"
    )]
    Redrive(RedriveArgs),
    /// Add up what the runs of a deployment cost
    #[command(
        long_about = "What Fargate bills for the tasks that have stopped: their CPU, memory and storage beyond 20 GB, from the \
            pull of the images to the end, a minute at least. List prices, which this program knows for some regions, or those \
            that the key `prices` of an agent's configuration says; Fargate Spot and Windows have only the latter. Public \
            addresses, logs, traffic, discounts and taxes are not in it.\n\n\
            The numbers are in the log of the function task-events. CloudWatch Logs Insights reads it, at 0.005 USD per GB.",
        after_help = "Examples:\n  \
            prefect-serverless-agent costs --root /psa/prod\n  \
            prefect-serverless-agent costs --root /psa/prod --by flow --since 24h\n  \
            prefect-serverless-agent costs --root /psa/prod --json | jq .total.estimated_cost"
    )]
    Costs(CostsArgs),
    /// Have Prefect 2 or 3 start a poll at once when somebody starts a run by hand
    #[command(
        long_about = "Makes a webhook block and an automation in the agents' Prefect (a server or a Cloud workspace), by which \
            it pokes this deployment as soon as a run of the work pool becomes due: runs that are started by hand, by \
            other flows or in the user interface then wait for about a second and not for the next minute. Runs of a \
            schedule are polled as before, and so is everything while pokes do not arrive.\n\n\
            The stack needs PokeUrl=ENABLED. The token of the pokes is made where there is none: it lies in \
            {root}/secrets/poke-token and in the block, and is worth no more than a poll. Before anything is made in \
            Prefect, the URL is poked once. To run it again changes nothing, or mends what differs.",
        after_help = "Examples:\n  \
            prefect-serverless-agent connect --root /psa/prod\n  \
            prefect-serverless-agent connect --root /psa/prod --agent flows --dry-run\n  \
            prefect-serverless-agent connect --root /psa/prod --agent flows --remove"
    )]
    Connect(ConnectArgs),
    /// Runs one flow run's process and writes down how it ended: what `start --platform process` starts
    #[command(name = crate::platform::process::SUPERVISE, hide = true)]
    Supervise {
        /// The directory of the launch.
        directory: PathBuf,
    },
}

/// Which agents, and how long a poll may take.
#[derive(Debug, Clone, Default, Args)]
pub struct SettingArgs {
    /// Read the agents' configurations from Parameter Store, below this root [env: PARAMETER_ROOT]
    #[arg(long, value_name = "ROOT", conflicts_with = "config")]
    pub root: Option<String>,
    /// Read one agent's configuration from this file (YAML or JSON); its API key comes from PREFECT__CLOUD__API_KEY
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only these agents [default: all]
    #[arg(long = "agent", value_name = "NAME", num_args = 1..)]
    pub agents: Vec<String>,
    /// Seconds that one poll may take; nothing is claimed in its last ten
    #[arg(long, value_name = "SECONDS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(15..=3600), allow_negative_numbers = true)]
    pub timeout: u64,
}

/// Arguments of `prefect-serverless-agent poll`.
#[derive(Debug, Clone, Args)]
pub struct PollArgs {
    /// Which agents.
    #[command(flatten)]
    pub setting: SettingArgs,
    /// Send only reads, and print exactly the requests that would come next, assuming that claims are accepted
    ///
    /// Bodies are as they would be sent, with keys and tokens replaced by `[redacted]`. Names that only the answer to an
    /// earlier request would tell stand in square brackets. The agent's own housekeeping (registration, sign of life,
    /// poll counter, status) is neither sent nor shown.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `prefect-serverless-agent start`.
#[derive(Debug, Clone, Args)]
pub struct StartArgs {
    /// Which agents.
    #[command(flatten)]
    pub setting: SettingArgs,
    /// Where flow runs are started: as ECS tasks, or as processes of this machine (Prefect 1: LocalRun and UniversalRun;
    /// Prefect 2 and 3: work pools of type process), for which no AWS is needed
    #[arg(long, value_enum, default_value_t = PlatformName::Ecs)]
    pub platform: PlatformName,
    /// End after so many polls of an agent, whatever its configuration says
    ///
    /// With --root the polls are counted in Parameter Store, over all processes and functions; with --config in this
    /// process.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = max_polls)]
    pub max_polls: Option<u64>,
    /// Serve GET /api/health and GET /api/poke here, e.g. http://127.0.0.1:8080; whoever reaches it may poke
    #[arg(long, value_name = "http://HOST:PORT", value_parser = agent_address)]
    pub agent_address: Option<AgentAddress>,
}

/// Arguments of `prefect-serverless-agent push`.
#[derive(Debug, Clone, Args)]
pub struct PushArgs {
    /// The configuration, YAML or JSON
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The agent [default: the file's name without its ending]
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// The root of the deployment's parameters [env: PARAMETER_ROOT]
    #[arg(long, value_name = "ROOT")]
    pub root: Option<String>,
    /// Write without a question
    #[arg(long)]
    pub yes: bool,
}

/// Arguments of `prefect-serverless-agent redrive`.
#[derive(Debug, Clone, Args)]
pub struct RedriveArgs {
    /// The root of the deployment's parameters [env: PARAMETER_ROOT]
    #[arg(long, value_name = "ROOT")]
    pub root: Option<String>,
}

/// Arguments of `prefect-serverless-agent connect`.
#[derive(Debug, Clone, Args)]
pub struct ConnectArgs {
    /// The root of the deployment's parameters [env: PARAMETER_ROOT]
    #[arg(long, value_name = "ROOT")]
    pub root: Option<String>,
    /// Only these agents [default: all of Prefect 2 and 3]
    #[arg(long = "agent", value_name = "NAME", num_args = 1..)]
    pub agents: Vec<String>,
    /// Where pokes go, where that is not the stack's own URL: with or without /api/poke
    #[arg(long, value_name = "URL", conflicts_with = "remove")]
    pub url: Option<String>,
    /// Take the automation and the block away; the token stays
    #[arg(long)]
    pub remove: bool,
    /// Send only reads, and say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `prefect-serverless-agent check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Look at the agents whose configurations lie below this root [env: PARAMETER_ROOT]
    #[arg(long, value_name = "ROOT", conflicts_with = "config")]
    pub root: Option<String>,
    /// Look at one agent, whose configuration is this file (YAML or JSON); its API key comes from PREFECT_API_KEY or
    /// PREFECT__CLOUD__API_KEY
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only these agents [default: all]
    #[arg(long = "agent", value_name = "NAME", num_args = 1..)]
    pub agents: Vec<String>,
    /// Before the stack is deployed: leave out what only a deployed stack has
    #[arg(long)]
    pub pre: bool,
    /// Do not try the poke URL: a poke starts a poll
    #[arg(long)]
    pub no_poke: bool,
    /// Look from inside AWS, where network and roles are the functions' own: asks the stack's check function
    /// (CheckFunction=ENABLED)
    #[arg(long, conflicts_with_all = ["config", "pre"])]
    pub remote: bool,
    /// Seconds that all of it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=600))]
    pub timeout: u64,
}

/// Arguments of `prefect-serverless-agent status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// The root of the deployment's parameters [env: PARAMETER_ROOT]
    #[arg(long, value_name = "ROOT")]
    pub root: Option<String>,
    /// Only these agents [default: all]
    #[arg(long = "agent", value_name = "NAME", num_args = 1..)]
    pub agents: Vec<String>,
    /// Look again and again until ctrl-c
    #[arg(long)]
    pub watch: bool,
    /// Seconds between two looks of --watch
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..=3600), allow_negative_numbers = true)]
    pub interval: u64,
    /// Write the page to this file, in place of the table; - writes it to standard output
    #[arg(long, value_name = "FILE", conflicts_with_all = ["watch", "serve"])]
    pub html: Option<PathBuf>,
    /// Show the page to the browsers of this machine until ctrl-c; whoever reaches another address sees it too
    #[arg(
        long, value_name = "http://HOST:PORT", num_args = 0..=1, default_missing_value = "http://127.0.0.1:8080",
        value_parser = agent_address, conflicts_with = "watch"
    )]
    pub serve: Option<AgentAddress>,
}

/// Arguments of `prefect-serverless-agent explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// The flow run: its id, the address of its page, or its name (Prefect 2 and 3, where only one run has it)
    #[arg(value_name = "FLOW_RUN")]
    pub flow_run: String,
    /// The root of the deployment's parameters [env: PARAMETER_ROOT]
    #[arg(long, value_name = "ROOT", conflicts_with = "config")]
    pub root: Option<String>,
    /// The configuration of one agent, YAML or JSON, instead of a deployment
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The agent, where several could be meant
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub agent: Option<String>,
}

/// Arguments of `prefect-serverless-agent bundle`.
#[derive(Debug, Clone, Args)]
pub struct BundleArgs {
    /// The folder, new or empty
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Processor of the functions, not of the flow runs [default: what this installation holds, arm64 before x86_64]
    #[arg(long, value_enum)]
    pub architecture: Option<Architecture>,
    /// Write over what is in the folder
    #[arg(long)]
    pub force: bool,
}

/// Processor of the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Architecture {
    /// Graviton.
    Arm64,
    /// Intel and AMD.
    #[value(name = "x86_64")]
    X86_64,
}

impl Architecture {
    /// As Lambda calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::X86_64 => "x86_64",
        }
    }
}

/// Where flow runs are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PlatformName {
    /// ECS tasks.
    Ecs,
    /// Processes of this machine.
    Process,
}

/// Where to serve health and poke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentAddress {
    /// Name or address, without brackets.
    pub host: String,
    /// 0 = any free port.
    pub port: u16,
}

fn max_polls(written: &str) -> Result<u64, String> {
    written.trim().parse().map_err(|_| "write a whole number of polls, e.g. 100".to_owned())
}

fn agent_address(written: &str) -> Result<AgentAddress, String> {
    const FORM: &str = "write http://HOST:PORT, e.g. http://127.0.0.1:8080";
    let uri: http::Uri = written.trim().parse().map_err(|error| format!("{error}: {FORM}"))?;
    match (uri.scheme_str(), uri.host(), uri.port_u16()) {
        (Some("http"), Some(_), None) => Err(format!("the port is missing: {FORM}")),
        (Some("http"), Some(host), Some(port)) if matches!(uri.path(), "" | "/") && uri.query().is_none() => {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let bare = bare.filter(|address| address.parse::<IpAddr>().is_ok());
            Ok(AgentAddress { host: bare.unwrap_or(host).to_owned(), port })
        }
        (Some("https"), ..) => Err(format!("https is not served: {FORM}")),
        _ => Err(format!("not an address to serve at: {FORM}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_number_that_is_none_is_told_with_its_flag() {
        for (line, flag) in [
            ("prefect-serverless-agent start --root /r --max-polls -1", "--max-polls <N>"),
            ("prefect-serverless-agent start --root /r --max-polls many", "--max-polls <N>"),
            ("prefect-serverless-agent poll --root /r --timeout -5", "--timeout <SECONDS>"),
        ] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err().to_string();
            assert!(error.contains("invalid value") && error.contains(flag), "{line}: {error}");
        }
    }

    #[test]
    fn an_address_needs_a_port() {
        let address = |host: &str, port| AgentAddress { host: host.into(), port };
        assert_eq!(agent_address("http://127.0.0.1:8080"), Ok(address("127.0.0.1", 8080)));
        assert_eq!(agent_address("http://localhost:80/"), Ok(address("localhost", 80)));
        assert_eq!(agent_address("http://[::1]:8080"), Ok(address("::1", 8080)));
        for without in ["http://127.0.0.1", "http://localhost/", "http://[::1]"] {
            assert!(agent_address(without).unwrap_err().starts_with("the port is missing: write http://"), "{without}");
        }
        for wrong in
            ["", "127.0.0.1:8080", "localhost", "https://localhost:8080", "http://localhost:8080/x", "http://a:99999"]
        {
            assert!(agent_address(wrong).unwrap_err().contains("write http://HOST:PORT"), "{wrong}");
        }
    }

    #[test]
    fn agents_are_named_one_by_one_or_together() {
        for line in [
            "prefect-serverless-agent poll --root /r --agent a b --json",
            "prefect-serverless-agent --json poll --agent a --agent b --root /r",
        ] {
            let cli = Cli::parse_from(line.split(' '));
            let Command::Poll(args) = cli.command else { panic!("{line}") };
            assert_eq!((args.setting.agents, cli.json), (vec!["a".to_owned(), "b".to_owned()], true));
        }
    }

    #[test]
    fn root_and_file_exclude_each_other_and_times_are_bounded() {
        for line in [
            "prefect-serverless-agent poll --root /r --config f",
            "prefect-serverless-agent poll --root /r --timeout 5",
            "prefect-serverless-agent start --root /r --agent-address http://localhost",
            "prefect-serverless-agent start --root /r --max-polls -1",
            "prefect-serverless-agent",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
