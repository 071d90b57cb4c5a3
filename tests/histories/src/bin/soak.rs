//! Plays many histories and counts.
use histories::history::Script;
fn main() {
    let mut args = std::env::args().skip(1);
    let first: u64 = args.next().and_then(|a| a.parse().ok()).unwrap_or(0);
    let count: u64 = args.next().and_then(|a| a.parse().ok()).unwrap_or(1000);
    let told = args.next().is_some();
    let started = std::time::Instant::now();
    let mut bad = 0;
    let mut worst = 0;
    for seed in first..first + count {
        let outcome = Script::of(seed).play(told);
        worst = worst.max(outcome.clean_polls);
        if told { for l in &outcome.story { println!("{l}"); } }
        if !outcome.violations.is_empty() {
            bad += 1;
            if bad <= 20 { println!("seed {seed}: {:#?}", outcome.violations.first()); }
        }
    }
    println!("{bad} of {count} bad, worst {worst} in {:?}", started.elapsed());
}
