//! The gate that every call passes twice, before and after its effect. Whoever waits there is let through by the
//! driver alone: so it decides who goes next, what goes wrong, and where a process is killed.

use crate::call::Call;
use crate::fault::Fault;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot::{Sender, channel};

/// A process: one poller, or one Python agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActorId(pub u32);

/// Where in a call somebody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The request is about to be sent.
    Before,
    /// It had its effect; the answer is about to arrive.
    After,
}

/// Somebody who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Counts those who came.
    pub number: u64,
    /// Who.
    pub actor: ActorId,
    /// With what.
    pub call: Call,
    /// Where.
    pub side: Side,
}

/// What goes wrong with the call that is let through, and how long it takes, milliseconds.
pub type Leave = (Option<Fault>, u64);

/// Those who wait, in the order they came, and how many came.
#[derive(Debug, Default)]
struct Queue {
    came: u64,
    waiting: Vec<(Ticket, Sender<Leave>)>,
}

/// The gate.
#[derive(Debug, Default)]
pub struct Gate(Mutex<Queue>);

impl Gate {
    /// Waits to be let through.
    pub async fn pass(&self, actor: ActorId, call: Call, side: Side) -> Leave {
        let (sender, leave) = channel();
        {
            let mut queue = self.lock();
            queue.came += 1;
            let ticket = Ticket { number: queue.came, actor, call, side };
            queue.waiting.push((ticket, sender));
        }
        leave.await.unwrap_or_default()
    }

    /// Those who wait and have not given up, in the order they came.
    pub fn waiting(&self) -> Vec<Ticket> {
        let mut queue = self.lock();
        queue.waiting.retain(|(_, sender)| !sender.is_closed());
        queue.waiting.iter().map(|(ticket, _)| *ticket).collect()
    }

    /// Lets somebody through.
    pub fn release(&self, ticket: Ticket, leave: Leave) {
        let mut queue = self.lock();
        if let Some(place) = queue.waiting.iter().position(|(waits, _)| *waits == ticket) {
            // Who gave up meanwhile does not hear it.
            let _ = queue.waiting.remove(place).1.send(leave);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
