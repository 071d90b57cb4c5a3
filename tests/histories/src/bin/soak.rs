//! Plays random histories by the million and prints the table of what came of them.

use clap::Parser;
use histories::history::Script;
use histories::table::Table;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Plays random histories and prints what came of them.
#[derive(Parser)]
struct Args {
    /// How many.
    #[arg(long, default_value_t = 1_000_000)]
    histories: u64,
    /// The first seed; the others follow.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Only the `k`-th of `n` equal parts of them: `k/n`, from `1/n` on.
    #[arg(long, value_parser = shard)]
    shard: Option<(u64, u64)>,
    /// Threads; each plays its own share.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// In all of them a tenth of all events of tasks never arrives.
    #[arg(long)]
    lossy: bool,
    /// Tells the story of this seed instead, then what is left of it when all is removed that it can do without.
    #[arg(long)]
    seed: Option<u64>,
}

/// `3/10` → the third of ten parts.
fn shard(text: &str) -> Result<(u64, u64), String> {
    let read = || {
        let (number, of) = text.split_once('/')?;
        Some((number.parse().ok()?, of.parse().ok()?))
    };
    read().filter(|(number, of)| (1..=*of).contains(number)).ok_or_else(|| "k/n is wanted, k from 1 to n".to_owned())
}

impl Args {
    /// The history of this seed.
    fn script(&self, seed: u64) -> Script {
        if self.lossy { Script::lossy(seed) } else { Script::of(seed) }
    }

    /// The seeds that are played.
    fn seeds(&self) -> Range<u64> {
        let (number, of) = self.shard.unwrap_or((1, 1));
        let border = |number: u64| self.first + self.histories * number / of;
        border(number - 1)..border(number)
    }
}

/// How often is said how far it is.
const NEWS: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let args = Args::parse();
    let is_well = if let Some(seed) = args.seed { tell(&args.script(seed)) } else { soak(&args) };
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether nothing went wrong.
fn soak(args: &Args) -> bool {
    let started = Instant::now();
    let played = AtomicU64::new(0);
    let threads = args.threads.max(1);
    let share = |thread: usize| {
        let mut table = Table::default();
        let mut news = Instant::now();
        for seed in args.seeds().skip(thread).step_by(threads) {
            let outcome = args.script(seed).play(false);
            if let Some(violation) = outcome.violations.first() {
                println!("seed {seed}: {violation}");
            }
            table.add(&outcome);
            let played = played.fetch_add(1, Ordering::Relaxed) + 1;
            if thread == 0 && news.elapsed() >= NEWS {
                news = Instant::now();
                eprintln!("{played} histories after {} s", started.elapsed().as_secs());
            }
        }
        table
    };
    let table = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).fold(Table::default(), Table::with)
    });
    println!("{}", table.text(started.elapsed()));
    table.failing.is_empty() && Some(table.histories) == args.seeds().end.checked_sub(args.seeds().start)
}

fn tell(script: &Script) -> bool {
    let outcome = script.play(true);
    outcome.story.iter().for_each(|line| println!("{line}"));
    if outcome.violations.is_empty() {
        return true;
    }
    println!("\nWhat is left of it:");
    let shrunk = script.shrunk();
    shrunk.ops.iter().for_each(|op| println!("  {op:?}"));
    shrunk.play(true).story.iter().for_each(|line| println!("{line}"));
    false
}
