//! The arguments of `init`. Their comments are the help texts, so they are no Markdown.
#![allow(clippy::doc_markdown, rustdoc::bare_urls)]

use clap::Args;
use std::path::PathBuf;

/// Arguments of `prefect-serverless-agent init`.
#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "these are switches, each for itself")]
pub struct InitArgs {
    /// Whose worker or agent it replaces [default: 3; with --from-service, what the service runs]
    #[arg(long, value_name = "VERSION", value_parser = ["3", "2", "1", "0.15"])]
    pub prefect: Option<String>,
    /// Address of the Prefect API [default: PREFECT_API_URL, or the active profile of Prefect's command line]
    #[arg(long, value_name = "URL")]
    pub api: Option<String>,
    /// Read the API key from standard input; else it comes from PREFECT_API_KEY (PREFECT__CLOUD__API_KEY), the active
    /// profile, or is asked for. A self-hosted server's user:password comes from PREFECT_API_AUTH_STRING
    #[arg(long)]
    pub key_stdin: bool,
    /// The work pool [default: asks; the only one of type ecs]
    #[arg(long, visible_alias = "pool", value_name = "NAME")]
    pub work_pool: Option<String>,
    /// Serve only these queues of the pool [default: all]
    #[arg(long = "work-queue", value_name = "NAME")]
    pub work_queues: Vec<String>,
    /// At most so many launches per poll
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Launch so much early [default: the interval of the polls]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub prefetch_seconds: Option<u32>,
    /// The worker's or agent's name in Prefect [default: the agent's]
    #[arg(long, short, value_name = "NAME")]
    pub name: Option<String>,
    /// Take all of this from the ECS service that runs the Python worker or agent; flags beat what it says, and this shell's
    /// own API and key do not count
    #[arg(long, value_name = "CLUSTER/SERVICE")]
    pub from_service: Option<String>,
    /// With --from-service: read the key out of Parameter Store, where the service has it there; else that is asked
    #[arg(long, requires = "from_service")]
    pub read_secrets: bool,
    /// The agent's name in the deployment [default: the pool's name]
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// The root of the deployment's parameters [env: PARAMETER_ROOT] [default: /prefect-serverless-agent/prod]
    #[arg(long, value_name = "ROOT")]
    pub root: Option<String>,
    /// Role of another account to launch with
    #[arg(long, value_name = "ARN")]
    pub assume_role_arn: Option<String>,
    /// What that role's trust policy asks for besides
    #[arg(long, value_name = "ID", requires = "assume_role_arn")]
    pub assume_role_external_id: Option<String>,
    /// Minutes between two polls
    #[arg(long, value_name = "MINUTES", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1440))]
    pub every: u32,
    /// Customer key that encrypts the secrets [default: the account's aws/ssm]
    #[arg(long, value_name = "ARN")]
    pub secrets_key_arn: Option<String>,
    /// The CloudFormation stack to deploy
    #[arg(long, value_name = "NAME", default_value = "prefect-serverless-agent", value_parser = stack_name)]
    pub stack_name: String,
    /// The file that the configuration is written to [default: AGENT.yaml]
    #[arg(long, value_name = "FILE", conflicts_with = "write")]
    pub file: Option<PathBuf>,
    /// Write over what is there: a file, or with --write another configuration or key
    #[arg(long)]
    pub force: bool,
    /// Write configuration and key to Parameter Store instead of a file
    #[arg(long)]
    pub write: bool,
    /// Write guardrails, too: runs may ask for what they ask for today, and whoever asks for more is told of
    /// (`mode: report`)
    #[arg(long)]
    pub guardrails: bool,
    /// Ask nothing
    #[arg(long)]
    pub yes: bool,
    /// What `prefect agent ecs start` takes.
    #[command(flatten)]
    pub agent_flags: AgentFlags,
}

/// The flags of `prefect agent ecs start` of Prefect 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Prefect 1, as in `prefect agent ecs start`")]
pub struct AgentFlags {
    /// Labels of the agent
    #[arg(long = "label", short = 'l', value_name = "LABEL")]
    pub labels: Vec<String>,
    /// Environment of every flow run
    #[arg(long = "env", short = 'e', value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Settings that Prefect keeps for the agent
    #[arg(long, value_name = "UUID")]
    pub agent_config_id: Option<String>,
    /// Tenant of the API key
    #[arg(long, value_name = "UUID")]
    pub tenant_id: Option<String>,
    /// Stop after so many polls
    #[arg(long, value_name = "N")]
    pub max_polls: Option<u64>,
    /// Where the Python agent served its health; a deployment has a function for that
    #[arg(long, value_name = "URL")]
    pub agent_address: Option<String>,
    /// Flow runs do not send their logs to Prefect
    #[arg(long)]
    pub no_cloud_logs: bool,
    /// Level of the agent's own log
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Cluster of the flow runs
    #[arg(long, value_name = "NAME or ARN")]
    pub cluster: Option<String>,
    /// FARGATE or EC2
    #[arg(long, value_name = "TYPE")]
    pub launch_type: Option<String>,
    /// Role of the flow runs
    #[arg(long, value_name = "ARN")]
    pub task_role_arn: Option<String>,
    /// Role that ECS starts flow runs with
    #[arg(long, value_name = "ARN")]
    pub execution_role_arn: Option<String>,
    /// Region of the flow runs
    #[arg(long, value_name = "REGION")]
    pub region_name: Option<String>,
    /// Template of flows that bring none: a local file, which becomes part of the configuration, or s3://, https://, ssm://
    #[arg(long, value_name = "PATH")]
    pub task_definition: Option<String>,
    /// Arguments of every RunTask: a local file, or s3://, https://, ssm://
    #[arg(long, value_name = "PATH")]
    pub run_task_kwargs: Option<String>,
}

/// The longest that leaves room in what is named after it: a function may have 64 characters, `-task-events` is appended.
const LONGEST_STACK_NAME: usize = 52;

fn stack_name(text: &str) -> Result<String, String> {
    let is_name = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|one| one.is_ascii_alphanumeric() || one == '-');
    if is_name && text.len() <= LONGEST_STACK_NAME {
        return Ok(text.to_owned());
    }
    Err(format!(
        "letters, digits and hyphens, a letter first, {LONGEST_STACK_NAME} characters at most: its functions are named after it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_has_a_name_that_cloud_formation_takes_and_its_functions_have_room_for() {
        for name in ["psa", "Psa-2", &"s".repeat(52)] {
            assert_eq!(stack_name(name), Ok(name.to_owned()));
        }
        for name in ["", "2psa", "-psa", "psa_2", "psä", &"s".repeat(53)] {
            assert!(stack_name(name).is_err_and(|why| why.contains("52 characters at most")), "{name}");
        }
    }
}
