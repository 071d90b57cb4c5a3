//! What a seed stands for: the world, its ways, and what happens.

use super::Script;
use crate::call::Generation;
use crate::config::Config;
use crate::driver::{Delays, Mischief};
use crate::fault::Kind;
use crate::mail::Post;
use crate::op::{Op, Tick, When};
use crate::rng::Rng;
use crate::tasks::Fates;
use crate::world::{Late, Setting};
use world::ecs::Options;
use world::prefect1::Switches;

/// A world and its ways.
#[derive(Debug, Clone)]
pub struct Nature {
    /// The seed.
    pub seed: u64,
    /// The world.
    pub setting: Setting,
    /// Who goes next.
    pub chance: Rng,
    /// What goes wrong.
    pub mischief: Mischief,
    /// How long things take.
    pub delays: Delays,
    /// So many of a thousand calls are a process's last.
    pub fragile: (Rng, u64),
    /// Seconds that processes' clocks are off by.
    pub skew: i64,
}

pub(super) fn script(seed: u64) -> Script {
    let rng = &mut Rng::new(seed);
    let generation = if rng.chance(500) { Generation::One } else { Generation::Three };
    script_of(seed, rng, generation)
}

/// Most of the histories are of Prefect 3, whose runs polls look after, and most deaths come while flows run: those are
/// what an event that never arrives would have told. In a third of them no poll comes until ECS has forgotten.
pub(super) fn lossy(seed: u64) -> Script {
    let rng = &mut Rng::new(seed);
    let generation = if rng.chance(200) { Generation::One } else { Generation::Three };
    let mut script = script_of(seed, rng, generation);
    let setting = &mut script.nature.setting;
    setting.post = Post { silent: false, lost: 100, repeated: 0, ..setting.post };
    setting.fates = Fates { harm: 600, within: true, ..setting.fates };
    if rng.chance(333) {
        script.ops.push((When::After(0), Op::Pass(rng.between(3_000, 8_000))));
    }
    script
}

fn script_of(seed: u64, rng: &mut Rng, generation: Generation) -> Script {
    let skew = if rng.chance(300) { i64::try_from(rng.below(61)).unwrap_or_default() - 30 } else { 0 };
    let nature = Nature {
        seed,
        setting: setting(rng, generation),
        chance: rng.fork(),
        mischief: mischief(rng),
        delays: delays(rng),
        fragile: (rng.fork(), rng.pick(0, &[0, 10, 50])),
        skew,
    };
    let mut ops = Vec::new();
    for _ in 0..rng.between(1, 3) {
        ops.push((When::After(0), Op::schedule(rng, generation)));
    }
    // Only long histories use up all attempts of a run.
    let polls = if rng.chance(50) { rng.between(15, 30) } else { rng.between(2, 8) };
    if polls > 8 && rng.chance(500) {
        ops.push((When::After(0), Op::Shortage(3_600, false)));
    }
    for _ in 0..polls {
        ops.push((gap(rng), tick(rng, skew)));
        for _ in 0..rng.below(4) {
            let when = if rng.chance(600) { When::Gates(rng.index(30)) } else { When::After(rng.below(50_000)) };
            ops.push((when, Op::random(rng, generation)));
        }
    }
    Script { nature, ops }
}

fn setting(rng: &mut Rng, generation: Generation) -> Setting {
    let limit = if rng.chance(100) { Some(1) } else { None };
    let cloud = rng.chance(300);
    // From a copy: what else a seed stands for is what it was.
    let own = &mut rng.clone();
    let late = own.pick(0, &[20, 200]);
    let late = Late::Random(own.fork(), late);
    Setting {
        late,
        generation,
        switches: Switches {
            version_locking: cloud,
            // Not with several replicas of the server.
            submitted_lock_seconds: if rng.chance(700) { Switches::default().submitted_lock_seconds } else { 0.0 },
            without_contained_in: rng.chance(100),
            ..Switches::default()
        },
        limit: limit.filter(|_| cloud || generation == Generation::Three),
        ecs: Options {
            tokens_remember_refusals: rng.chance(500),
            replays_describe_now: !rng.chance(500),
            ..Options::default()
        },
        lag: if rng.chance(500) { rng.below(5000) } else { 0 },
        fates: Fates { harm: rng.pick(0, &[100, 300, 600]), retries: generation == Generation::One, within: false },
        post: Post {
            silent: rng.chance(300),
            lost: rng.pick(0, &[100, 500]),
            repeated: rng.pick(0, &[300]),
            late: rng.pick(2, &[60, 1000]),
        },
        config: Config { spot: rng.chance(300), infer_network: rng.chance(700), cloud, ..Config::default() },
        lazarus: rng.chance(500),
        rng: rng.fork(),
    }
}

fn mischief(rng: &mut Rng) -> Mischief {
    let per_mille = rng.pick(0, &[10, 50, 150, 400]);
    let only = if rng.chance(300) { Kind::ALL.get(rng.index(Kind::ALL.len())).copied() } else { None };
    Mischief { rng: rng.fork(), per_mille, only, outage: None }
}

fn delays(rng: &mut Rng) -> Delays {
    if rng.chance(600) { Delays::Random(rng.fork()) } else { Delays::None }
}

fn gap(rng: &mut Rng) -> When {
    match rng.below(10) {
        0 | 1 => When::Gates(rng.index(20)),
        2 => When::After(rng.below(20_000)),
        3 => When::After(rng.between(60_000, 400_000)),
        _ => When::After(60_000),
    }
}

fn tick(rng: &mut Rng, skew: i64) -> Op {
    let seconds = if rng.chance(150) { rng.between(12, 40) } else { 120 };
    let launch_rate = if rng.chance(200) { Some(rng.pick(0.2, &[1.0, 20.0])) } else { None };
    // Processes run on different hosts.
    let skew = if rng.chance(500) { skew } else { 0 };
    Op::Tick(Tick { seconds, warm: rng.chance(700), skew, launch_rate })
}
