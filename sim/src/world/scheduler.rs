//! What is to happen, and when: a heap of moments, of which the next is taken.

use super::World;
use crate::oracle::{Broken, Promise};
use ouroboros_engine::node::JobId;
use std::cmp::Reverse;

/// Events within one round after which the node is taken for one that is never idle.
const MAX_EVENTS: u64 = 2_000_000;
/// Events while time passes for a node that is gone or started anew, after which the others are taken for the same.
const MAX_MEANWHILE: u64 = 200_000;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    /// A process takes its turn.
    Turn { node: u8, life: u64 },
    /// A job's time is over.
    JobDone { node: u8, life: u64, job: JobId },
    /// A client's next message of a task of the round.
    Send { node: u8, life: u64, task: usize },
    /// A frame arrives.
    Arrive { arrival: u64 },
    /// A probe is to say something again.
    Probe { node: u8, life: u64 },
    /// A process that got no turn finds its frames.
    Mail { node: u8, life: u64 },
}

impl Happening {
    /// Whose answer, or whose rest, waits for it.
    pub(super) fn of(&self) -> Option<usize> {
        match self {
            Self::Turn { node, .. } | Self::JobDone { node, .. } | Self::Send { node, .. } => Some(usize::from(*node)),
            // Engines neither send nor await frames yet.
            Self::Arrive { .. } | Self::Probe { .. } | Self::Mail { .. } => None,
        }
    }
}

/// Why the world stopped to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    /// What was waited for is there.
    Done,
    /// The node's machine has lost its power.
    Down,
    /// Nothing will ever happen to it again.
    Still,
}

impl World {
    pub(super) fn schedule(&mut self, at: u64, happening: Happening) {
        if let Some(node) = happening.of() {
            self.nodes[node].pending += 1;
        }
        self.heap.push(Reverse((at, self.scheduled, happening)));
        self.scheduled += 1;
    }

    /// Lets a process take its turn, not before a moment and not while its disk is at work or it gets none.
    pub(super) fn wake(&mut self, node: usize, at: u64) {
        let it = &mut self.nodes[node];
        let at = at.max(it.busy_until).max(it.paused_until);
        if it.turn_at.is_none_or(|planned| planned > at) {
            it.turn_at = Some(at);
            let happening = Happening::Turn { node: it.number, life: it.life };
            self.schedule(at, happening);
        }
    }

    /// Lets the world go on until something is so of a node.
    pub(super) fn pump(&mut self, node: usize, mut until: impl FnMut(&mut Self) -> bool) -> Result<Pumped, Broken> {
        let first = self.trace.events();
        loop {
            if until(self) {
                return Ok(Pumped::Done);
            }
            if !self.is_up(node) {
                return Ok(Pumped::Down);
            }
            if self.nodes[node].pending == 0 {
                return Ok(Pumped::Still);
            }
            self.next(first)?;
        }
    }

    /// Lets the next thing happen, and says to whom.
    pub(super) fn next(&mut self, first: u64) -> Result<Option<usize>, Broken> {
        let Some(Reverse((at, _, happening))) = self.heap.pop() else { return Ok(None) };
        let whose = happening.of();
        if let Some(node) = whose {
            self.nodes[node].pending -= 1;
        }
        self.now = self.now.max(at);
        self.happen(at, happening)?;
        if self.trace.events() - first > MAX_EVENTS {
            return Err(Broken::new(Promise::P6, format!("after {MAX_EVENTS} events the node is not idle")));
        }
        Ok(whose)
    }

    /// Lets time pass, and what happens meanwhile.
    pub(super) fn pass(&mut self, until: u64) -> Result<(), Broken> {
        let first = self.trace.events();
        while self.heap.peek().is_some_and(|next| next.0.0 <= until) {
            self.next(first)?;
            if self.trace.events() - first > MAX_MEANWHILE {
                let what = format!("{MAX_MEANWHILE} events happen while nobody asks anything");
                return Err(Broken::new(Promise::P6, what));
            }
        }
        self.now = self.now.max(until);
        Ok(())
    }

    /// Whether anything will come of what is to happen.
    pub(super) fn is_due(&self, at: u64, happening: &Happening) -> bool {
        let of = |node: u8| &self.nodes[usize::from(node)];
        match happening {
            Happening::Turn { node, life } => of(*node).life == *life && of(*node).turn_at == Some(at),
            Happening::JobDone { node, life, job } => of(*node).life == *life && of(*node).jobs.contains_key(job),
            Happening::Send { node, life, task } => of(*node).life == *life && *task < of(*node).tasks.len(),
            Happening::Probe { node, life } => of(*node).life == *life && of(*node).probe_at == Some(at),
            Happening::Mail { node, life } => of(*node).life == *life,
            Happening::Arrive { .. } => true,
        }
    }

    pub(super) fn happen(&mut self, at: u64, happening: Happening) -> Result<(), Broken> {
        match happening {
            Happening::Turn { node, life } => {
                let node = usize::from(node);
                if self.nodes[node].life == life && self.nodes[node].turn_at == Some(at) {
                    self.nodes[node].turn_at = None;
                    if self.is_paused(node) {
                        self.wake(node, at);
                    } else {
                        self.turn(node)?;
                    }
                }
            }
            Happening::JobDone { node, life, job } => self.job_done(usize::from(node), life, job)?,
            Happening::Send { node, life, task } => self.send_next(usize::from(node), life, task),
            Happening::Arrive { arrival } => self.arrive(arrival)?,
            Happening::Probe { node, life } => self.probe_due(usize::from(node), life, at)?,
            Happening::Mail { node, life } => self.open_mail(usize::from(node), life)?,
        }
        Ok(())
    }
}
