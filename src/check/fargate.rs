//! The sizes of tasks that Fargate has. Pure.

use super::Looked;
use super::codes::FARGATE_SIZE_ILLEGAL;
use super::ecs::who;
use super::wishes::{FargateTask, Wishes};
use crate::ecs_model::{cpu_units, mebibytes};

/// Whether Fargate has tasks of these sizes.
pub(super) fn judge(wishes: &Wishes, looked: &mut Looked) {
    let words = |text: &str, unit: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { format!("{text} {unit}") } else { format!("{text:?}") }
    };
    for (FargateTask { cpu, memory, .. }, askers) in &wishes.fargate {
        if cpu.is_empty() || memory.is_empty() {
            let mend = "set `cpu` and `memory` of the task, not of its containers only";
            looked.found(FARGATE_SIZE_ILLEGAL.found(who(askers), "Fargate has no tasks without CPU and memory", mend));
            continue;
        }
        let Some(allowed) = memory_for(cpu) else {
            let sentence = format!("Fargate has no tasks of {}", words(cpu, "CPU units"));
            let mend = "set `cpu` to 256, 512, 1024, 2048, 4096, 8192 or 16384, and `memory` to what goes with it";
            looked.found(FARGATE_SIZE_ILLEGAL.found(who(askers), sentence, mend));
            continue;
        };
        if mebibytes(memory).is_none_or(|memory| !allowed.contains(memory)) {
            let (cpu, memory) = (words(cpu, "CPU units"), words(memory, "MiB"));
            let sentence = format!("Fargate has no tasks of {cpu} with {memory}");
            let mend = format!("set `memory` to {}, or another `cpu`", allowed.in_words());
            looked.found(FARGATE_SIZE_ILLEGAL.found(who(askers), sentence, mend));
        }
    }
}

/// The memory that goes with an amount of CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    least: u32,
    most: u32,
    step: u32,
}

impl Memory {
    fn contains(self, mebibytes: u32) -> bool {
        // 256 CPU units double instead.
        let is_step = if self.least == 512 {
            mebibytes.is_power_of_two()
        } else {
            (mebibytes - self.least.min(mebibytes)).is_multiple_of(self.step)
        };
        (self.least..=self.most).contains(&mebibytes) && is_step
    }

    fn in_words(self) -> String {
        if self.least == 512 {
            return "512, 1024 or 2048".into();
        }
        format!("{} to {} in steps of {}", self.least, self.most, self.step)
    }
}

/// What Fargate has for this CPU, written as ECS takes it (`256`, `.25 vCPU`); `None`: nothing.
fn memory_for(cpu: &str) -> Option<Memory> {
    let of = |least, most, step| Some(Memory { least, most, step });
    match cpu_units(cpu)? {
        256 => of(512, 2048, 512),
        512 => of(1024, 4096, 1024),
        1024 => of(2048, 8192, 1024),
        2048 => of(4096, 16_384, 1024),
        4096 => of(8192, 30_720, 1024),
        8192 => of(16_384, 61_440, 4096),
        16_384 => of(32_768, 122_880, 8192),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
