//! Sizes of tasks as ECS takes them: `256`, `.25 vCPU`, `2 GB`.

/// CPU units of an amount of CPU; 1024 are a vCPU.
pub fn cpu_units(cpu: &str) -> Option<u32> {
    units(cpu, "vcpu")
}

/// Mebibytes of an amount of memory.
pub fn mebibytes(memory: &str) -> Option<u32> {
    units(memory, "gb")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_numbers_or_with_their_unit() {
        for (cpu, expected) in [("256", Some(256)), (" .25 vCPU", Some(256)), ("4 vcpu", Some(4096)), ("a lot", None)] {
            assert_eq!(cpu_units(cpu), expected, "{cpu}");
        }
        for (memory, expected) in [("512", Some(512)), ("0.5GB", Some(512)), ("2 GB", Some(2048)), ("-1 GB", None)] {
            assert_eq!(mebibytes(memory), expected, "{memory}");
        }
    }
}
