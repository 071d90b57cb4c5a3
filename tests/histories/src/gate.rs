//! The gate that every call passes twice, before and after its effect. Whoever waits there is let through by the
//! driver alone: so it decides who goes next, what goes wrong, and where a process is killed.

use crate::call::Call;
use crate::fault::Fault;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

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

#[derive(Debug)]
struct Entry {
    ticket: Ticket,
    leave: Option<Leave>,
    waker: Waker,
}

/// The gate.
#[derive(Debug, Default)]
pub struct Gate(Mutex<(u64, Vec<Entry>)>);

impl Gate {
    /// Waits to be let through.
    pub fn pass(&self, actor: ActorId, call: Call, side: Side) -> Pass<'_> {
        Pass { gate: self, actor, call, side, number: None }
    }

    /// Those who wait, in the order they came.
    pub fn waiting(&self) -> Vec<Ticket> {
        self.lock().1.iter().filter(|entry| entry.leave.is_none()).map(|entry| entry.ticket).collect()
    }

    /// Lets somebody through.
    pub fn release(&self, ticket: Ticket, leave: Leave) {
        let mut waiting = self.lock();
        if let Some(entry) = waiting.1.iter_mut().find(|entry| entry.ticket.number == ticket.number) {
            entry.leave = Some(leave);
            entry.waker.wake_by_ref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Vec<Entry>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way through the gate. Dropped, it is given up.
#[derive(Debug)]
pub struct Pass<'a> {
    gate: &'a Gate,
    actor: ActorId,
    call: Call,
    side: Side,
    number: Option<u64>,
}

impl Future for Pass<'_> {
    type Output = Leave;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Leave> {
        let mut waiting = self.gate.lock();
        let Some(number) = self.number else {
            let number = waiting.0;
            waiting.0 += 1;
            let ticket = Ticket { number, actor: self.actor, call: self.call, side: self.side };
            waiting.1.push(Entry { ticket, leave: None, waker: context.waker().clone() });
            drop(waiting);
            self.number = Some(number);
            return Poll::Pending;
        };
        let Some(entry) = waiting.1.iter_mut().find(|entry| entry.ticket.number == number) else {
            return Poll::Pending;
        };
        if let Some(leave) = entry.leave {
            Poll::Ready(leave)
        } else {
            entry.waker.clone_from(context.waker());
            Poll::Pending
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.gate.lock().1.retain(|entry| entry.ticket.number != number);
        }
    }
}
