//! Who goes next, where several wait at the gate.

use crate::gate::{ActorId, Side, Ticket};
use crate::rng::Rng;

/// How it is decided.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// Who came first.
    First,
    /// Anyone.
    Random(Rng),
    /// As this path says; see [`Paths`].
    Path(Path),
}

/// One way through the choices between processes.
#[derive(Debug, Clone, Default)]
pub struct Path {
    /// What was chosen, out of how many.
    taken: Vec<(usize, usize)>,
    /// Choices that are made already.
    made: usize,
    /// Choices beyond this many are made for the first one.
    depth: usize,
}

/// All ways through the choices, one after the other, the first `depth` of them.
#[derive(Debug)]
pub struct Paths(Option<Path>);

impl Paths {
    /// From the first one on.
    pub fn new(depth: usize) -> Self {
        Self(Some(Path { depth, ..Path::default() }))
    }

    /// The next one to take.
    pub fn next_path(&self) -> Option<Path> {
        self.0.clone()
    }

    /// One was taken: the next one differs from it as late as possible.
    pub fn done(&mut self, mut path: Path) {
        while let Some((choice, options)) = path.taken.pop() {
            if choice + 1 < options {
                path.taken.push((choice + 1, options));
                self.0 = Some(Path { made: 0, ..path });
                return;
            }
        }
        self.0 = None;
    }
}

impl Path {
    fn choose(&mut self, options: usize) -> usize {
        if options < 2 || self.made >= self.depth {
            return 0;
        }
        if self.made == self.taken.len() {
            self.taken.push((0, options));
        }
        let (choice, _) = self.taken.get(self.made).copied().unwrap_or_default();
        self.made += 1;
        choice
    }
}

impl Schedule {
    /// One of those who wait; `None` where nobody does.
    pub fn choose(&mut self, waiting: &[Ticket]) -> Option<Ticket> {
        match self {
            Self::First => waiting.first().copied(),
            Self::Random(rng) => waiting.get(rng.index(waiting.len())).copied(),
            Self::Path(path) => {
                // An answer that arrives changes nothing for the others: only requests are worth a choice.
                if let Some(answer) = waiting.iter().find(|ticket| ticket.side == Side::After) {
                    return Some(*answer);
                }
                let mut actors: Vec<ActorId> = waiting.iter().map(|ticket| ticket.actor).collect();
                actors.sort_unstable();
                actors.dedup();
                let actor = actors.get(path.choose(actors.len())).copied()?;
                waiting.iter().find(|ticket| ticket.actor == actor).copied()
            }
        }
    }
}
