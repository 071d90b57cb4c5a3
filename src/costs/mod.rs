//! What a task cost, as far as that can be told from what ECS says of it: pure.
//!
//! Fargate bills a task's size from the beginning of its images' pull to its end, by the second and for a minute at least.
//! Nothing else is in it: no public addresses, no log, no traffic, no discount. What has no price here has no estimate.

pub mod prices;
pub mod query;

#[cfg(test)]
mod tests;

use crate::ecs_model::{cpu_units, mebibytes};
use crate::task_events::event::TaskEvent;
use prices::{Capacity, Platform, Prices, rate, storage_gb_hour};
use std::fmt;
use time::OffsetDateTime;

/// The shortest time that is billed, in seconds.
const LEAST: u64 = 60;
/// Ephemeral storage that comes with every task, in GiB.
const STORAGE_INCLUDED: u32 = 20;
/// Of a vCPU, and of a GB of memory: CPU units, MiB.
const UNITS: f64 = 1024.0;
const SECONDS_PER_HOUR: f64 = 3600.0;
const NANO: f64 = 1e9;

/// What a stopped task cost, and what that follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estimate {
    /// Billionths of a US dollar.
    pub nano_usd: u64,
    /// What was billed.
    pub usage: Usage,
}

/// What Fargate bills a task for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// For so long.
    pub billed_seconds: u64,
    /// CPU units; 1024 are a vCPU.
    pub cpu_units: u32,
    /// Memory, MiB.
    pub memory_mib: u32,
    /// Ephemeral storage, GiB.
    pub storage_gib: u32,
    /// On this.
    pub platform: Platform,
    /// Of this capacity.
    pub capacity: Capacity,
    /// Here.
    pub region: String,
}

/// Why there is no estimate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoEstimate {
    /// It has not stopped.
    #[error("the task has not stopped")]
    NotStopped,
    /// Instances are billed, not what runs on them.
    #[error("the task did not run on Fargate, and only Fargate bills tasks")]
    NotFargate,
    /// ECS does not say what is needed.
    #[error("ECS does not tell the task's {0}")]
    Untold(&'static str),
    /// Spare capacity has no list price.
    #[error("Fargate Spot has no fixed price, and the agent's `prices` name none for {}", .0.name())]
    Spot(Platform),
    /// Nobody has looked it up.
    #[error("no price of Fargate for {} in {region} is known, and the agent's `prices` name none", platform.name())]
    NoPrice {
        /// Of this.
        platform: Platform,
        /// Here.
        region: String,
    },
    /// Nobody has looked it up.
    #[error("no price of ephemeral storage in {0} is known, and the agent's `prices` name none")]
    NoStoragePrice(String),
}

impl Estimate {
    /// In US dollars.
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn usd(&self) -> f64 {
        self.nano_usd as f64 / NANO
    }
}

/// `about 0.0012 USD (61 s of 0.25 vCPU and 0.5 GB)`.
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usage { billed_seconds, cpu_units, memory_mib, .. } = &self.usage;
        let (vcpus, memory) = (f64::from(*cpu_units) / UNITS, f64::from(*memory_mib) / UNITS);
        write!(f, "about {} USD ({billed_seconds} s of {vcpus} vCPU and {memory} GB)", shown(self.usd()))
    }
}

/// An amount as people read it: cents, or as much of a fraction as says something.
pub fn shown(usd: f64) -> String {
    if usd >= 1.0 || usd == 0.0 { format!("{usd:.2}") } else { format!("{usd:.4}") }
}

/// What a task cost. `configured`: the prices of its agent's configuration.
pub fn estimate(event: &TaskEvent, configured: Option<&Prices>) -> Result<Estimate, NoEstimate> {
    let usage = usage(event)?;
    let Usage { region, capacity, platform, .. } = &usage;
    let rate = rate(configured, region, *capacity, *platform).ok_or_else(|| match capacity {
        Capacity::FargateSpot => NoEstimate::Spot(*platform),
        Capacity::Fargate => NoEstimate::NoPrice { platform: *platform, region: region.clone() },
    })?;
    let beyond = usage.storage_gib.saturating_sub(STORAGE_INCLUDED);
    let storage = match beyond {
        0 => 0.0,
        beyond => {
            let price = storage_gb_hour(configured, region);
            f64::from(beyond) * price.ok_or_else(|| NoEstimate::NoStoragePrice(region.clone()))?
        }
    };
    let (vcpus, memory) = (f64::from(usage.cpu_units) / UNITS, f64::from(usage.memory_mib) / UNITS);
    let hour = vcpus * rate.vcpu_hour + memory * rate.gb_hour + storage;
    Ok(Estimate { nano_usd: nano(hour * seconds(usage.billed_seconds) / SECONDS_PER_HOUR), usage })
}

/// What Fargate bills a stopped task for.
pub fn usage(event: &TaskEvent) -> Result<Usage, NoEstimate> {
    let task = &event.task;
    if !event.is_stopped() {
        return Err(NoEstimate::NotStopped);
    }
    let capacity = match (task.capacity_provider_name.as_deref(), task.launch_type.as_deref()) {
        (Some("FARGATE_SPOT"), _) => Capacity::FargateSpot,
        (Some("FARGATE"), _) | (None, Some("FARGATE")) => Capacity::Fargate,
        (None, None) => return Err(NoEstimate::Untold("launch type")),
        _ => return Err(NoEstimate::NotFargate),
    };
    // What `RunTask` changed counts.
    let (cpu, memory) = (task.overrides.cpu.as_ref().or(task.cpu.as_ref()), task.overrides.memory.as_ref());
    let cpu_units = cpu.and_then(|cpu| cpu_units(cpu)).ok_or(NoEstimate::Untold("CPU"))?;
    let memory = memory.or(task.memory.as_ref()).and_then(|memory| mebibytes(memory));
    Ok(Usage {
        billed_seconds: billed_seconds(task.pull_started_at.or(task.started_at), task.stopped_at)?,
        cpu_units,
        memory_mib: memory.ok_or(NoEstimate::Untold("memory"))?,
        storage_gib: task.ephemeral_storage.size_in_gib.unwrap_or(STORAGE_INCLUDED),
        platform: platform(event).ok_or(NoEstimate::Untold("processor"))?,
        capacity,
        region: event.region.clone().ok_or(NoEstimate::Untold("region"))?,
    })
}

fn platform(event: &TaskEvent) -> Option<Platform> {
    if event.task.platform_family.as_deref().is_some_and(|family| family.to_ascii_lowercase().starts_with("windows")) {
        return Some(Platform::Windows);
    }
    let mut attributes = event.task.attributes.iter();
    let processor = attributes.find(|attribute| attribute.name.as_deref() == Some("ecs.cpu-architecture"))?;
    match processor.value.as_deref()? {
        "x86_64" => Some(Platform::LinuxX86),
        "arm64" => Some(Platform::LinuxArm),
        _ => None,
    }
}

/// A task that never began to pull its images is not billed.
fn billed_seconds(from: Option<OffsetDateTime>, to: Option<OffsetDateTime>) -> Result<u64, NoEstimate> {
    let to = to.ok_or(NoEstimate::Untold("end"))?;
    let Some(from) = from else { return Ok(0) };
    let lasted = std::time::Duration::try_from(to - from).unwrap_or_default();
    Ok((lasted.as_secs() + u64::from(lasted.subsec_nanos() > 0)).max(LEAST))
}

#[allow(clippy::cast_precision_loss, reason = "an estimate")]
fn seconds(seconds: u64) -> f64 {
    seconds as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; nothing here is negative")]
fn nano(usd: f64) -> u64 {
    (usd * NANO).round() as u64
}

/// Whose task it was, by the names that its tags, its definition and its agent's configuration tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// The flow.
    pub flow: Option<String>,
    /// The deployment, of Prefect 2 and 3.
    pub deployment: Option<String>,
    /// The work pool, of Prefect 2 and 3.
    pub work_pool: Option<String>,
}

/// How the families of the task definitions begin that are registered for flows of Prefect 1.
const FAMILY_OF_FLOW: &str = "prefect-";

impl Names {
    /// `work_pool`: that of the agent's configuration; `None` = Prefect 1, of which tasks have no tags: the family of their
    /// definition is called after the flow, unless the flow brought one along.
    pub fn of(event: &TaskEvent, tags: &std::collections::BTreeMap<String, String>, work_pool: Option<&str>) -> Self {
        let tag = |name: &str| tags.get(&format!("prefect.io/{name}")).filter(|text| !text.is_empty()).cloned();
        let Some(work_pool) = work_pool else {
            let family = event.task.task_definition_arn.as_deref().and_then(|arn| arn.rsplit('/').next());
            let family = family.and_then(|family| family.split(':').next());
            let flow = family.and_then(|family| family.strip_prefix(FAMILY_OF_FLOW)).map(str::to_owned);
            return Self { flow, ..Self::default() };
        };
        Self { flow: tag("flow-name"), deployment: tag("deployment-name"), work_pool: Some(work_pool.to_owned()) }
    }
}
