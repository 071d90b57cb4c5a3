//! The doctor: what is wrong with a deployment, or will be, each with the command that mends it.
//!
//! A file per group. Each has a thin edge that asks, and pure functions that judge what was observed. Nothing is written
//! anywhere, though a poke starts a poll; requests are few and bounded ([`crate::aws::reads::Budget`]). What cannot be asked is said, and is no failure.
//!
//! | file | what is looked at |
//! |---|---|
//! | `codes` | every finding that there is: its code, its group, how bad it is |
//! | `deployment` | all groups side by side |
//! | `configuration` | parameters, secrets, what nobody uses; the schedule |
//! | `stack` | the deployed stack of a root, and what it is made of |
//! | `certificate` | when the certificate of an API ends |
//! | `connection` | names, TLS, clocks, what became of a credential |
//! | `prefect` | the work pool, its queues, template and workers |
//! | `pokes` | what makes Prefect poke the deployment, tried with a poke |
//! | `permissions` | what the functions' roles may do, as IAM simulates it |
//! | `wishes` | what the rendered runs want of ECS and of the network (pure) |
//! | `ecs`, `asking` | clusters, execution roles, images, log groups; how AWS is asked |
//! | `fargate`, `trust` | sizes of tasks; trust policies |
//! | `network` | subnets, security groups, ways out |
//! | `events` | the rules that tell of tasks, the queue of failures |
//! | `quotas` | launches per second, processors, concurrent invocations |

mod asking;
pub mod certificate;
pub mod codes;
pub mod configuration;
pub mod connection;
pub mod deployment;
pub mod ecs;
pub mod events;
mod fargate;
pub mod network;
pub mod permissions;
pub mod pokes;
pub mod prefect;
pub mod quotas;
pub mod schedule;
pub mod stack;
#[cfg(test)]
mod testing;
mod trust;
pub mod wishes;

use crate::aws::AwsError;
use crate::transport::shape::text_at;
use codes::Code;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What is looked at together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// The parameters and the schedule.
    Configuration,
    /// The Prefect API and the work pool.
    Prefect,
    /// What the functions' roles may do.
    Permissions,
    /// Clusters, sizes, execution roles, images.
    Ecs,
    /// Subnets and the ways out of them.
    Network,
    /// The events that tell of tasks.
    Events,
    /// What an account may use.
    Quotas,
}

impl Group {
    /// All of them, as they are shown.
    pub const ALL: [Self; 7] =
        [Self::Configuration, Self::Prefect, Self::Permissions, Self::Ecs, Self::Network, Self::Events, Self::Quotas];

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Prefect => "Prefect",
            Self::Permissions => "permissions",
            Self::Ecs => "ECS",
            Self::Network => "network",
            Self::Events => "events",
            Self::Quotas => "quotas",
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Runs will not start, or nobody will be told how they ended.
    Failure,
    /// It works, and a person should look.
    Warning,
    /// Worth knowing.
    Information,
    /// It could not be asked.
    Unknown,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// E.g. `PSA101`; an anchor in TROUBLESHOOTING.md.
    pub code: &'static str,
    /// Its group.
    pub group: Group,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: an agent, a parameter, a role.
    pub subject: String,
    /// What is the matter.
    pub sentence: String,
    /// What mends it: a command where there is one; empty where there is nothing to do.
    pub mend: String,
}

impl Code {
    /// It was found.
    pub fn found(&self, subject: impl Into<String>, sentence: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding {
            code: self.id,
            group: self.group,
            severity: self.severity,
            subject: subject.into(),
            sentence: sentence.into(),
            mend: mend.into(),
        }
    }
}

/// What is known of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// What is well, a line each.
    pub well: Vec<(Group, String)>,
    /// What is not.
    pub findings: Vec<Finding>,
}

impl Looked {
    /// This is well.
    pub fn is_well(&mut self, group: Group, said: impl Into<String>) {
        self.well.push((group, said.into()));
    }

    /// This was found.
    pub fn found(&mut self, finding: Finding) {
        // Agents that share a pool, a role or a network share what is wrong with it.
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// Both together.
    pub fn join(&mut self, other: Self) {
        for line in other.well {
            if !self.well.contains(&line) {
                self.well.push(line);
            }
        }
        other.findings.into_iter().for_each(|finding| self.found(finding));
    }

    /// For programs, and for whoever asked from afar: [`Looked::read`] reads it.
    pub fn as_json(&self) -> Value {
        let well: Vec<_> = self.well.iter().map(|(group, said)| json!({"group": group, "sentence": said})).collect();
        json!({
            "ok": self.count(Severity::Failure) == 0,
            "findings": self.findings,
            "well": well,
            "counts": {
                "failures": self.count(Severity::Failure),
                "warnings": self.count(Severity::Warning),
                "information": self.count(Severity::Information),
                "unknown": self.count(Severity::Unknown),
            },
        })
    }

    /// What [`Looked::as_json`] gave; `None` when it is something else, or has codes of another version.
    pub fn read(value: &Value) -> Option<Self> {
        let well =
            value.get("well")?.as_array()?.iter().map(|line| {
                Some((Group::deserialize(line.get("group")?).ok()?, text_at(line, &["sentence"])?.to_owned()))
            });
        let findings = value.get("findings")?.as_array()?.iter().map(|finding| {
            let text = |key: &str| text_at(finding, &[key]);
            let code = codes::ALL.iter().find(|code| Some(code.id) == text("code"))?;
            Some(code.found(text("subject")?, text("sentence")?, text("mend")?))
        });
        Some(Self { well: well.collect::<Option<_>>()?, findings: findings.collect::<Option<_>>()? })
    }

    /// How many findings are so bad.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Why something could not be asked, in a few words.
pub fn why(error: &AwsError) -> String {
    match error.code() {
        Some(code) if error.is_denied() => format!("these credentials may not ask ({code})"),
        _ => error.to_string(),
    }
}
