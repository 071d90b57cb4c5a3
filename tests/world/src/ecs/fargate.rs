//! Fargate's sizes: which pairs of CPU and memory exist.

/// CPU units in `256`, `.25 vCPU`, `1vcpu`; none when it is neither.
pub(super) fn cpu_units(text: &str) -> Option<u32> {
    units(text, "vcpu")
}

/// Mebibytes in `512`, `2 GB`, `.5gb`; none when it is neither.
pub(super) fn memory_mib(text: &str) -> Option<u32> {
    units(text, "gb")
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a small whole number")]
fn units(text: &str, unit: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    match text.strip_suffix(unit) {
        None => text.parse().ok(),
        Some(number) => {
            let units = number.trim().parse::<f64>().ok()? * 1024.0;
            (units.fract() == 0.0 && (0.0..=1_000_000.0).contains(&units)).then_some(units as u32)
        }
    }
}

/// Whether Fargate has tasks of this size.
pub(super) fn exists(cpu: u32, memory: u32) -> bool {
    let stepped =
        |low: u32, high: u32, step: u32| (low..=high).contains(&memory) && (memory - low).is_multiple_of(step);
    match cpu {
        256 => matches!(memory, 512 | 1024 | 2048),
        512 => stepped(1024, 4096, 1024),
        1024 => stepped(2048, 8192, 1024),
        2048 => stepped(4096, 16_384, 1024),
        4096 => stepped(8192, 30_720, 1024),
        8192 => stepped(16_384, 61_440, 4096),
        16_384 => stepped(32_768, 122_880, 8192),
        _ => false,
    }
}
