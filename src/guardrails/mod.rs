//! Guardrails: what a run may ask for. One pure function judges the rendered requests of a launch before anything is
//! registered or started; what it allows is a key of the agent's configuration.
//!
//! | part | what it does |
//! |---|---|
//! | `glob` | patterns of what is allowed, as IAM reads them |
//! | `image`, `size` | images and sizes as ECS reads them |
//! | [`requests`] | the requests of a launch → all that they ask for, and where |
//! | [`members`] | what each member of the requests means for guardrails: which rule judges it, or why it is harmless |
//! | [`proposal`] | what is asked for today → guardrails that allow it |
//! | [`judging`] | what is asked × what is allowed → what is too much, in words |

mod glob;
mod image;
pub mod judging;
pub mod members;
pub mod proposal;
pub mod requests;
mod size;
#[cfg(test)]
mod tests;

pub use glob::{Glob, Globs};
pub use judging::{Violation, judge};
pub use requests::{Ask, Asked, DefinitionOrigin, NetworkOrigin, Requests, asks};

/// What the runs of an agent may ask for. A rule that is absent allows all.
#[allow(clippy::struct_excessive_bools, reason = "each is a key of the configuration")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guardrails {
    /// What becomes of a run that asks for more.
    pub mode: Mode,
    /// Images of all containers.
    pub images: Option<Globs>,
    /// Every image is named by its digest.
    pub image_digest: bool,
    /// CPU units of a launch, at most.
    pub cpu: Option<u64>,
    /// MiB of a launch, at most.
    pub memory: Option<u64>,
    /// GiB of a launch, at most.
    pub ephemeral_storage: Option<u64>,
    /// Roles that containers have.
    pub task_roles: Option<Globs>,
    /// Roles that ECS itself uses for a task.
    pub execution_roles: Option<Globs>,
    /// Clusters.
    pub clusters: Option<Globs>,
    /// Subnets.
    pub subnets: Option<Globs>,
    /// Security groups; `default` = that of the VPC, which tasks get for which none is named.
    pub security_groups: Option<Globs>,
    /// Launch types; `default` = nothing is named.
    pub launch_types: Option<Globs>,
    /// Capacity providers; `default` = nothing is named.
    pub capacity_providers: Option<Globs>,
    /// Tasks may have public addresses.
    pub public_ip: bool,
    /// Where task definitions may come from.
    pub task_definitions: DefinitionRule,
    /// Runs may say what containers start.
    pub command: bool,
    /// Names of variables that nobody may set.
    pub denied_variables: Option<Globs>,
    /// Secrets that containers may be given.
    pub secrets: Option<Globs>,
    /// Containers may be given power over the machine they run on.
    pub privileged: bool,
    /// Kinds of volumes.
    pub volumes: Option<Vec<VolumeKind>>,
    /// Network modes of tasks.
    pub network_modes: Option<Globs>,
}

impl Default for Guardrails {
    /// Everything is allowed that is known.
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            images: None,
            image_digest: false,
            cpu: None,
            memory: None,
            ephemeral_storage: None,
            task_roles: None,
            execution_roles: None,
            clusters: None,
            subnets: None,
            security_groups: None,
            launch_types: None,
            capacity_providers: None,
            public_ip: true,
            task_definitions: DefinitionRule::Any,
            command: true,
            denied_variables: None,
            secrets: None,
            privileged: true,
            volumes: None,
            network_modes: None,
        }
    }
}

/// What becomes of a run that asks for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It fails, and nothing is registered or started for it.
    Enforce,
    /// It is launched, and the report says so.
    Report,
}

/// Where task definitions may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DefinitionRule {
    /// The agent registers them, from its own or the work pool's template.
    Own,
    /// A run may also name one that exists.
    Named,
    /// A run may also bring one.
    Any,
}

/// What a volume is, by the member of its shape that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum VolumeKind {
    /// A file system of EFS.
    Efs,
    /// A bucket of S3 as a file system.
    S3Files,
    /// A file server of `FSx`.
    Fsx,
    /// A volume of Docker or of one of its plugins.
    Docker,
    /// A path of the machine.
    Host,
    /// What it is, is said when the task is started.
    ConfiguredAtLaunch,
    /// A disk of EBS.
    Ebs,
}

impl VolumeKind {
    /// All of them, as configurations spell them.
    pub const ALL: [(&'static str, Self); 7] = [
        ("efs", Self::Efs),
        ("s3files", Self::S3Files),
        ("fsx", Self::Fsx),
        ("docker", Self::Docker),
        ("host", Self::Host),
        ("configured_at_launch", Self::ConfiguredAtLaunch),
        ("ebs", Self::Ebs),
    ];

    /// As configurations spell it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// What judges a part of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// `images`
    Images,
    /// `image_digest`
    ImageDigest,
    /// `cpu`
    Cpu,
    /// `memory`
    Memory,
    /// `ephemeral_storage`
    EphemeralStorage,
    /// `task_roles`
    TaskRoles,
    /// `execution_roles`
    ExecutionRoles,
    /// `clusters`
    Clusters,
    /// `subnets`
    Subnets,
    /// `security_groups`
    SecurityGroups,
    /// `launch_types`
    LaunchTypes,
    /// `capacity_providers`
    CapacityProviders,
    /// `public_ip`
    PublicIp,
    /// `task_definitions`
    TaskDefinitions,
    /// `command`
    Command,
    /// `environment`
    Environment,
    /// `secrets`
    Secrets,
    /// `privileged`
    Privileged,
    /// `volumes`
    Volumes,
    /// `network_modes`
    NetworkModes,
    /// No key: what nobody has decided on is refused wherever there are guardrails.
    Members,
}

impl Rule {
    /// All of them, by the names of their keys.
    pub const ALL: [(&'static str, Self); 21] = [
        ("images", Self::Images),
        ("image_digest", Self::ImageDigest),
        ("cpu", Self::Cpu),
        ("memory", Self::Memory),
        ("ephemeral_storage", Self::EphemeralStorage),
        ("task_roles", Self::TaskRoles),
        ("execution_roles", Self::ExecutionRoles),
        ("clusters", Self::Clusters),
        ("subnets", Self::Subnets),
        ("security_groups", Self::SecurityGroups),
        ("launch_types", Self::LaunchTypes),
        ("capacity_providers", Self::CapacityProviders),
        ("public_ip", Self::PublicIp),
        ("task_definitions", Self::TaskDefinitions),
        ("command", Self::Command),
        ("environment", Self::Environment),
        ("secrets", Self::Secrets),
        ("privileged", Self::Privileged),
        ("volumes", Self::Volumes),
        ("network_modes", Self::NetworkModes),
        ("members", Self::Members),
    ];

    /// Name of its key below `guardrails`.
    pub fn key(self) -> &'static str {
        Self::ALL.iter().find(|(_, rule)| *rule == self).map_or("", |(key, _)| key)
    }

    /// The rule of this key.
    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == key).map(|(_, rule)| *rule)
    }
}
