//! Questions that hold memory until they are answered, within bounds (promise P9).
//!
//! A read takes its chunks into memory, and so does whoever opens versions or compares them. As many as fit into
//! [`Limits::inflight_len`](super::Limits::inflight_len) are under way together, beside the contents on their way in; the others
//! wait here, in the order in which they came, and hold nothing but what they ask. One that is larger than that has it alone. So a
//! started question waits for jobs and nothing else, and there is always one that is started: nothing here can wait for a stream
//! that waits for memory, nor the other way round.

use super::reader::Found;
use super::request::{Failure, Request, RequestId};
use super::{Engine, Health};
use crate::blob::{Body, Content, MAX_INLINE_LEN};
use crate::env::Disk;
use crate::id::BlobId;
use crate::planted::{Bug, planted};
use crate::seal::Coding;
use crate::store::index::BlobRow;
use core::ops::Range;
use std::collections::{BTreeMap, VecDeque};

/// What is held for each version that is looked for, in bytes, beside its record and what is in it.
const ANSWER_LEN: usize = 512;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// What is held for each that is under way, in bytes.
    charges: BTreeMap<RequestId, usize>,
    charged: usize,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    id: RequestId,
    request: Request,
    /// What it takes, at least, as far as is known by now.
    cost: usize,
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

    fn fits(&self, cost: usize, limit: usize) -> bool {
        self.charged == 0 || self.charged.saturating_add(cost) <= limit || planted(Bug::ReadsUnbounded)
    }

    fn admit(&mut self, id: RequestId, cost: usize, limit: usize) -> bool {
        if !self.fits(cost, limit) {
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
    fn cost_of(&self, request: &Request, sought: Option<&[Result<Found, Failure>]>) -> usize {
        let limit = self.limits.inflight_len;
        let cost = match (request, sought) {
            (_, Some(sought)) => {
                let each = |found: &Result<Found, Failure>| match found {
                    Ok(found) => opened_len(&found.row).saturating_add(ANSWER_LEN),
                    Err(_) => ANSWER_LEN,
                };
                sought.iter().map(each).fold(0, usize::saturating_add)
            }
            (Request::Read { blob, range }, None) => match self.opened_body(*blob) {
                Some(body) => self.read_cost(range, self.widest(range, &body)),
                // How its chunks are coded is known when it is opened.
                None => {
                    let record = self.live_blob(*blob).map_or(0, |row| opened_len(&row));
                    self.read_cost(range, self.config.coding).saturating_add(record)
                }
            },
            // All references of both sides, whatever that is; the other half is for who reads meanwhile.
            _ => limit / 2,
        };
        cost.min(limit)
    }

    /// What is held for a range of chunks that are coded so, in bytes.
    fn read_cost(&self, range: &Range<u64>, coding: Coding) -> usize {
        let limit = self.limits.inflight_len;
        let len = range.end.saturating_sub(range.start).min(self.limits.read_len);
        // Of the chunks at both ends more is read than is wanted, and of each all its slices if need be.
        let len = usize::try_from(len).unwrap_or(limit).saturating_add(2 * self.config.chunker.max_len as usize);
        len.saturating_mul(coding.total()) / usize::from(coding.data()).max(1)
    }

    /// The coding, among those of what a range of a version lies in, that takes the most: each put may choose its own.
    fn widest(&self, range: &Range<u64>, body: &Body) -> Coding {
        let mut widest = self.config.coding;
        let Content::Chunks { chunks, .. } = &body.content else { return widest };
        let mut at = 0u64;
        for chunk in chunks {
            let from = at;
            at = at.saturating_add(chunk.len);
            if from >= range.end || at <= range.start {
                continue;
            }
            // What cannot be found out is told to who reads it.
            let row = self.seal_row(&chunk.seal_id).ok().flatten();
            if let Some(coding) = row.and_then(|row| Coding::new(row.data, row.parity).ok())
                && coding.total() * usize::from(widest.data()) > widest.total() * usize::from(coding.data())
            {
                widest = coding;
            }
        }
        widest
    }

    /// Lets a read wait once more, before it takes anything into memory, if it turns out to take more than it was admitted for.
    pub(super) fn takes_more(&mut self, id: RequestId, blob: BlobId, range: &Range<u64>, body: &Body) -> bool {
        let cost = self.read_cost(range, self.widest(range, body)).min(self.limits.inflight_len);
        if self.questions.charges.get(&id).is_none_or(|charge| cost <= *charge) {
            return false;
        }
        self.questions.release(id);
        let request = Request::Read { blob, range: range.clone() };
        self.questions.waiting.push_front(Waiting { id, request, cost });
        true
    }

    /// What a question for versions looks for; none if it is another.
    pub(super) fn sought(&self, request: &Request) -> Option<Vec<Result<Found, Failure>>> {
        match request {
            Request::Get(wanted) => Some(wanted.iter().map(|(key, select)| self.select(key, *select)).collect()),
            Request::GetVersion(id) => Some(vec![self.live_blob(*id).and_then(|row| self.found_version(*id, row))]),
            _ => None,
        }
    }

    /// Starts a question if there is room for it, or gives it back with what it takes.
    fn admit(&mut self, Waiting { id, request, cost }: Waiting) -> Result<(), Waiting> {
        let sought = self.sought(&request);
        let cost = self.cost_of(&request, sought.as_deref()).max(cost);
        if !self.questions.admit(id, cost, self.limits.inflight_len) {
            return Err(Waiting { id, request, cost });
        }
        match sought {
            Some(sought) => self.look_up(id, sought),
            None => self.answer_question(id, request),
        }
        Ok(())
    }

    /// Answers a question, when its turn comes; `Busy` when there are too many.
    pub(super) fn admit_question(&mut self, id: RequestId, request: Request) {
        if !request.holds_memory() {
            return self.answer_question(id, request);
        }
        if self.questions.len() >= self.limits.requests.max(1) {
            return self.refuse(id, Failure::Busy);
        }
        let waiting = Waiting { id, request, cost: 0 };
        if !self.questions.waiting.is_empty() {
            return self.questions.waiting.push_back(waiting);
        }
        if let Err(waiting) = self.admit(waiting) {
            self.questions.waiting.push_back(waiting);
        }
    }

    /// Starts the questions for which there is room by now.
    pub(super) fn admit_waiting(&mut self) {
        while let Some(waiting) = self.questions.waiting.pop_front() {
            let refused = match (&self.health, self.index_is_sound()) {
                (Health::Closed, _) => Some(Failure::Closed),
                (_, false) => Some(Failure::Index(super::heal::NOT_MADE_ANEW.to_owned())),
                _ => None,
            };
            if let Some(failure) = refused {
                self.refuse(waiting.id, failure);
                continue;
            }
            // Asked again only when it may fit: what it takes is looked up.
            let admitted = match self.questions.fits(waiting.cost, self.limits.inflight_len) {
                true => self.admit(waiting),
                false => Err(waiting),
            };
            if let Err(waiting) = admitted {
                return self.questions.waiting.push_front(waiting);
            }
            // What it has found of the index is asked again before the next.
            self.heal_index();
        }
    }
}

/// What is held for a version that is opened: its record, and what is in it, which may have been packed.
fn opened_len(row: &BlobRow) -> usize {
    let unpacked = usize::try_from(row.len).ok().filter(|len| *len <= MAX_INLINE_LEN).unwrap_or(0);
    (2 * row.location.len as usize).saturating_add(unpacked)
}
