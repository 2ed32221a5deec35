//! Questions that hold memory until they are answered, within bounds (promise P9).
//!
//! A read takes its chunks into memory, and so does whoever opens versions or compares them. As many as fit into
//! [`Limits::inflight_len`](super::Limits::inflight_len) are under way together, beside the contents on their way in; the others
//! wait here, in the order in which they came, and hold nothing but what they ask. One that is larger than that has it alone. So a
//! started question waits for jobs and nothing else, and there is always one that is started: nothing here can wait for a stream
//! that waits for memory, nor the other way round.

use super::request::{Failure, Request, RequestId};
use super::{Engine, Health};
use crate::env::Disk;
use crate::planted::{Bug, planted};
use std::collections::{BTreeMap, VecDeque};

/// What is held for each version that is opened, in bytes: its record, and what is in it. Few have so much.
const VERSION_LEN: usize = 64 << 10;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// What is held for each that is under way, in bytes.
    charges: BTreeMap<RequestId, usize>,
    charged: usize,
    waiting: VecDeque<(RequestId, Request)>,
}

impl Questions {
    /// How many there are, waiting ones included.
    pub(super) fn len(&self) -> usize {
        self.charges.len() + self.waiting.len()
    }

    /// Bytes that are held for those under way.
    pub(super) const fn charged(&self) -> usize {
        self.charged
    }

    fn admit(&mut self, id: RequestId, cost: usize, limit: usize) -> bool {
        let fits = self.charged == 0 || self.charged.saturating_add(cost) <= limit;
        if !fits && !planted(Bug::ReadsUnbounded) {
            return false;
        }
        self.charges.insert(id, cost);
        self.charged += cost;
        true
    }

    /// It is answered.
    pub(super) fn release(&mut self, id: RequestId) {
        if let Some(cost) = self.charges.remove(&id) {
            self.charged -= cost;
        }
    }
}

impl<D: Disk> Engine<D> {
    /// What is held until a question is answered, in bytes: at most all that may be.
    fn cost_of(&self, request: &Request) -> usize {
        let limit = self.limits.inflight_len;
        let cost = match request {
            Request::Read { range, .. } => {
                let len = range.end.saturating_sub(range.start).min(self.limits.read_len);
                // Of the chunks at both ends more is read than is wanted, and of each all its slices if need be.
                let len =
                    usize::try_from(len).unwrap_or(limit).saturating_add(2 * self.config.chunker.max_len as usize);
                let (data, all) = (usize::from(self.config.coding.data()), self.config.coding.total());
                (len.saturating_mul(all) / data.max(1)).saturating_add(VERSION_LEN)
            }
            Request::Get(wanted) => wanted.len().saturating_mul(VERSION_LEN),
            Request::GetVersion(_) => VERSION_LEN,
            // All references of both sides, whatever that is; the other half is for who reads meanwhile.
            _ => limit / 2,
        };
        cost.min(limit)
    }

    /// Answers a question, when its turn comes; `Busy` when there are too many.
    pub(super) fn admit_question(&mut self, id: RequestId, request: Request) {
        if !request.holds_memory() {
            return self.answer_question(id, request);
        }
        if self.questions.len() >= self.limits.requests.max(1) {
            return self.refuse(id, Failure::Busy);
        }
        let cost = self.cost_of(&request);
        if self.questions.waiting.is_empty() && self.questions.admit(id, cost, self.limits.inflight_len) {
            self.answer_question(id, request);
        } else {
            self.questions.waiting.push_back((id, request));
        }
    }

    /// Starts the questions for which there is room by now.
    pub(super) fn admit_waiting(&mut self) {
        while let Some((id, request)) = self.questions.waiting.pop_front() {
            let refused = match (&self.health, self.index_is_sound()) {
                (Health::Closed, _) => Some(Failure::Closed),
                (_, false) => Some(Failure::Index(super::heal::NOT_MADE_ANEW.to_owned())),
                _ => None,
            };
            if let Some(failure) = refused {
                self.refuse(id, failure);
                continue;
            }
            let cost = self.cost_of(&request);
            if !self.questions.admit(id, cost, self.limits.inflight_len) {
                return self.questions.waiting.push_front((id, request));
            }
            self.answer_question(id, request);
            // What it has found of the index is asked again before the next.
            self.heal_index();
        }
    }
}
