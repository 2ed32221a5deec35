//! The hash of everything that happened, with checkpoints for finding where two runs part.

use core::fmt;
use ouroboros_engine::node::{Failure, Reply};

/// Events between two checkpoints.
pub const CHECKPOINT: u64 = 1024;

/// The hash of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceHash(pub [u8; 32]);

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Folds events into a hash. What is folded are meanings (what was asked, answered, decided, and when), the bytes that were
/// read, and those that the disks hold when all is over.
#[derive(Debug)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    events: u64,
    checkpoints: Vec<TraceHash>,
    /// Every event by itself, if that is asked for.
    log: Option<Log>,
}

/// One event, as it was folded into the hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// When, in virtual nanoseconds.
    pub at: u64,
    /// Whose.
    pub node: u8,
    /// What kind.
    pub what: &'static str,
    /// Numbers that say more.
    pub details: Vec<u64>,
    /// A hash of all events up to this one, and of what was answered with it.
    pub so_far: u64,
}

impl fmt::Display for TraceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} {} ns n{} {} {:?}", self.so_far, self.at, self.node, self.what, self.details)
    }
}

#[derive(Debug, Default)]
struct Log {
    events: Vec<TraceEvent>,
    /// The bytes of the last of them.
    bytes: Vec<u8>,
}

impl Log {
    /// No more bytes belong to the last event.
    fn close(&mut self) {
        let before =
            self.events.len().checked_sub(2).and_then(|at| self.events.get(at)).map_or(0, |event| event.so_far);
        if let Some(event) = self.events.last_mut() {
            self.bytes.extend_from_slice(&before.to_le_bytes());
            let hash = blake3::hash(&self.bytes);
            event.so_far = hash.as_bytes().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        }
        self.bytes.clear();
    }
}

/// What kind of event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Asked,
    Answered,
    Turn,
    JobDone,
    Stopped,
    Opened,
    Disrupted,
    Checked,
    Frame,
    Ended,
    Heard,
}

impl What {
    const fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Answered => "answered",
            Self::Turn => "turn",
            Self::JobDone => "job-done",
            Self::Stopped => "stopped",
            Self::Opened => "opened",
            Self::Disrupted => "disrupted",
            Self::Checked => "checked",
            Self::Frame => "frame",
            Self::Ended => "ended",
            Self::Heard => "heard",
        }
    }
}

impl Trace {
    pub(crate) fn new(logged: bool) -> Self {
        Self {
            hasher: blake3::Hasher::new_derive_key("ouroborosdb v1 simulator trace"),
            buffer: Vec::with_capacity(8192),
            events: 0,
            checkpoints: Vec::new(),
            log: logged.then(Log::default),
        }
    }

    /// One event: when, whose, what, and numbers that say more.
    pub(crate) fn event(&mut self, at: u64, node: u8, what: What, details: &[u64]) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&at.to_le_bytes());
        self.buffer.extend_from_slice(&[node, what as u8, details.len() as u8]);
        details.iter().for_each(|detail| self.buffer.extend_from_slice(&detail.to_le_bytes()));
        if let Some(log) = &mut self.log {
            log.close();
            log.events.push(TraceEvent { at, node, what: what.name(), details: details.to_vec(), so_far: 0 });
            log.bytes.extend_from_slice(&self.buffer[start..]);
        }
        self.events += 1;
        if self.buffer.len() >= 7168 {
            self.flush();
        }
        if self.events.is_multiple_of(CHECKPOINT) {
            self.flush();
            self.checkpoints.push(TraceHash(*self.hasher.finalize().as_bytes()));
        }
    }

    /// What a disk holds when all is over, to the byte.
    pub(crate) fn disk(&mut self, digest: &[u8; 32]) {
        self.buffer.extend_from_slice(digest);
        if let Some(log) = &mut self.log {
            log.bytes.extend_from_slice(digest);
        }
    }

    /// What an answer says.
    pub(crate) fn reply(&mut self, reply: &Reply) {
        let start = self.buffer.len();
        let out = &mut self.buffer;
        let numbers = |out: &mut Vec<u8>, all: &[u64]| {
            all.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        };
        let kind = match reply {
            Reply::Ready => 0u8,
            Reply::Put(results) => {
                for result in results {
                    match result {
                        Ok(written) => {
                            out.extend_from_slice(written.id.as_bytes());
                            out.extend_from_slice(&written.created.0.to_le_bytes());
                        }
                        Err(failure) => out.push(failure_kind(failure)),
                    }
                }
                1
            }
            Reply::Got(results) => {
                for result in results {
                    match result {
                        Ok(got) => out.extend_from_slice(got.version.id.as_bytes()),
                        Err(failure) => out.push(failure_kind(failure)),
                    }
                }
                2
            }
            Reply::Exist(found) => {
                out.extend(found.iter().map(|there| u8::from(*there)));
                3
            }
            Reply::Data(pieces) => {
                let mut hasher = blake3::Hasher::new();
                for piece in pieces {
                    hasher.update(piece);
                }
                out.extend_from_slice(hasher.finalize().as_bytes());
                4
            }
            Reply::Versions(versions) => {
                versions.iter().for_each(|version| out.extend_from_slice(version.id.as_bytes()));
                5
            }
            Reply::Diff(diff) => {
                out.extend_from_slice(&(diff.ranges.len() as u64).to_le_bytes());
                6
            }
            Reply::Listing(page) => {
                page.entries.iter().for_each(|entry| out.extend_from_slice(&entry.name));
                7
            }
            Reply::Purged { versions } => {
                out.extend_from_slice(&versions.to_le_bytes());
                8
            }
            Reply::Scrubbed(report) => {
                numbers(out, &[report.records, report.bytes, report.seals, report.damage.len() as u64]);
                report.damage.iter().for_each(|damage| out.extend_from_slice(damage.place.as_bytes()));
                9
            }
            Reply::Recoded(report) => {
                out.extend_from_slice(&report.recoded.to_le_bytes());
                10
            }
            Reply::Compacted(report) => {
                out.extend_from_slice(&report.seals_collected.to_le_bytes());
                11
            }
            Reply::Stats(stats) => {
                numbers(out, &[stats.keys, stats.versions, stats.conflicts, stats.seals, stats.degraded_seals]);
                numbers(
                    out,
                    &[stats.sealed_bytes, stats.tombstones, stats.segments, stats.log_bytes, stats.live_bytes],
                );
                12
            }
            Reply::Closed => 13,
            Reply::Failed(failure) => {
                out.push(failure_kind(failure));
                14
            }
        };
        out.push(kind);
        if let Some(log) = &mut self.log {
            log.bytes.extend_from_slice(&self.buffer[start..]);
        }
    }

    fn flush(&mut self) {
        self.hasher.update(&self.buffer);
        self.buffer.clear();
    }

    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn finish(mut self) -> (TraceHash, Vec<TraceHash>, Vec<TraceEvent>) {
        self.flush();
        let mut log = self.log.unwrap_or_default();
        log.close();
        (TraceHash(*self.hasher.finalize().as_bytes()), self.checkpoints, log.events)
    }
}

const fn failure_kind(failure: &Failure) -> u8 {
    match failure {
        Failure::NoSuchKey(_) => 0,
        Failure::Gone { .. } => 1,
        Failure::NoSuchVersion(_) => 2,
        Failure::OtherKey { .. } => 3,
        Failure::WouldReturn { .. } => 4,
        Failure::Damaged { .. } => 5,
        Failure::Index(_) => 6,
        Failure::Full => 7,
        Failure::Disk(_) => 8,
        Failure::Busy => 9,
        Failure::NoKeys => 10,
        Failure::TooLarge { .. } => 11,
        Failure::Invalid(_) => 12,
        Failure::Closed => 13,
        Failure::Exhausted(_) => 14,
    }
}
