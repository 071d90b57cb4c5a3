//! The key `prices`: what Fargate costs here, instead of what its list says.

use super::reader::{Parsed, unknown};
use super::values::{describe, mapping};
use crate::costs::prices::{Capacity, Platform, Prices, Rate};
use serde_json::Value;

/// The most that an hour of anything may cost: more is a price per month.
const MOST: f64 = 1000.0;

const CAPACITIES: [(&str, Capacity); 2] = [("fargate", Capacity::Fargate), ("fargate_spot", Capacity::FargateSpot)];
const STORAGE: &str = "storage_gb_hour";
const VCPU: &str = "vcpu_hour";
const MEMORY: &str = "gb_hour";

/// `{fargate: {x86_64: {vcpu_hour: 0.04, gb_hour: 0.004}}, fargate_spot: {…}, storage_gb_hour: 0.0001}`.
pub(super) fn read(value: &Value) -> Parsed<Prices> {
    let all = mapping(value)?;
    let mut problems = unknown(&all, &["fargate", "fargate_spot", STORAGE]);
    let mut prices = Prices::default();
    for (name, capacity) in CAPACITIES {
        let Some(written) = all.get(name).filter(|value| !value.is_null()) else { continue };
        match of_capacity(written) {
            Ok(rates) => {
                prices.rates.extend(rates.into_iter().map(|(platform, rate)| (capacity, platform, rate)));
            }
            Err(found) => problems.extend(found.into_iter().map(|problem| problem.under(name))),
        }
    }
    match all.get(STORAGE).filter(|value| !value.is_null()).map(price) {
        None => {}
        Some(Ok(price)) => prices.storage_gb_hour = Some(price),
        Some(Err(found)) => problems.extend(found.into_iter().map(|problem| problem.under(STORAGE))),
    }
    if problems.is_empty() { Ok(prices) } else { Err(problems) }
}

fn of_capacity(value: &Value) -> Parsed<Vec<(Platform, Rate)>> {
    let all = mapping(value)?;
    let mut problems = unknown(&all, &Platform::ALL.map(|(name, _)| name));
    let mut rates = Vec::new();
    for (name, platform) in Platform::ALL {
        match all.get(name).filter(|value| !value.is_null()).map(rate) {
            None => {}
            Some(Ok(rate)) => rates.push((platform, rate)),
            Some(Err(found)) => problems.extend(found.into_iter().map(|problem| problem.under(name))),
        }
    }
    if problems.is_empty() { Ok(rates) } else { Err(problems) }
}

fn rate(value: &Value) -> Parsed<Rate> {
    let all = mapping(value)?;
    let mut problems = unknown(&all, &[VCPU, MEMORY]);
    let mut part = |key: &str| match price(all.get(key).unwrap_or(&Value::Null)) {
        Ok(price) => price,
        Err(found) => {
            problems.extend(found.into_iter().map(|problem| problem.under(key)));
            0.0
        }
    };
    let rate = Rate { vcpu_hour: part(VCPU), gb_hour: part(MEMORY) };
    if problems.is_empty() { Ok(rate) } else { Err(problems) }
}

fn price(value: &Value) -> Parsed<f64> {
    match value.as_f64() {
        Some(price) if (0.0..=MOST).contains(&price) => Ok(price),
        _ => super::reader::refuse(describe(value), "a price in USD per hour, from 0 to 1000"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn prices_are_read_by_capacity_and_platform() {
        let prices = read(&json!({
            "fargate": {"x86_64": {"vcpu_hour": 0.05, "gb_hour": 0.006}, "windows": null},
            "fargate_spot": {"arm64": {"vcpu_hour": 0.01, "gb_hour": 0}},
            "storage_gb_hour": 0.0002,
        }));
        let rate = |vcpu_hour, gb_hour| Rate { vcpu_hour, gb_hour };
        let rates = vec![
            (Capacity::Fargate, Platform::LinuxX86, rate(0.05, 0.006)),
            (Capacity::FargateSpot, Platform::LinuxArm, rate(0.01, 0.0)),
        ];
        assert_eq!(prices, Ok(Prices { rates, storage_gb_hour: Some(0.0002) }));
        assert_eq!(read(&json!({})), Ok(Prices::default()));
    }

    #[test]
    fn what_is_no_price_is_refused_at_its_place() {
        for (written, path, allowed) in [
            (json!(5), "", "a mapping"),
            (json!({"farget": {}}), "farget", "fargate, fargate_spot, storage_gb_hour"),
            (json!({"fargate": 1}), "fargate", "a mapping"),
            (json!({"fargate": {"x86": {}}}), "fargate.x86", "x86_64, arm64, windows"),
            (
                json!({"fargate": {"arm64": {"gb_hour": 1, "vcpu_hour": "1"}}}),
                "fargate.arm64.vcpu_hour",
                "USD per hour",
            ),
            (json!({"fargate": {"arm64": {"vcpu_hour": 1}}}), "fargate.arm64.gb_hour", "USD per hour"),
            (json!({"storage_gb_hour": -1}), "storage_gb_hour", "from 0 to 1000"),
            (json!({"storage_gb_hour": 1001}), "storage_gb_hour", "from 0 to 1000"),
        ] {
            let problems = read(&written).unwrap_err();
            assert_eq!((problems.len(), problems[0].path.as_str()), (1, path), "{written}: {problems:?}");
            assert!(problems[0].allowed.contains(allowed), "{written}: {problems:?}");
        }
    }
}
