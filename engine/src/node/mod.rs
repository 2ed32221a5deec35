//! The node: wires everything; the only module that knows them all.
//!
//! # The contract of the loop
//!
//! Every call of a `handle_…` method is followed, sooner or later, by draining [`Engine::poll_output`] to `None`; when
//! [`Engine::wants_commit`] says so, by one [`Engine::commit`] and another drain. An acknowledgement comes out of
//! `poll_output` only after the commit that made it durable. [`crate::env::Driver`] is that loop; nobody needs another.

mod access;
mod activity;
mod backlog;
mod batch;
mod cache;
mod checkpoint;
mod config;
mod diff;
mod draft;
mod facts;
mod fetch;
mod gather;
mod heal;
mod held;
mod history;
mod job;
mod kind;
mod losses;
mod note;
mod open;
mod policy;
mod purge;
mod put;
mod questions;
mod reader;
mod replay;
mod request;
mod unread;
mod upkeep;
mod upload;
mod whims;
mod window;

pub use access::Access;
pub use activity::Activity;
#[cfg(any(test, feature = "conformance"))]
pub use checkpoint::CHECKPOINT;
pub use config::{Limits, Profile, StoreConfig};
pub use facts::BodySummary;
pub use held::Held;
pub use job::{BlobDraft, CutChunk, Job, JobDone, JobId, JobOutcome, MadeBlob, Mended, ScopeContext};
pub use note::Note;
pub use open::{OpenError, OpenOptions, Opened};
pub use request::{
    Base, CompactReport, Damage, DamageOutcome, DiffReply, Entry, EntryKind, Event, Failure, Got, ListRequest, Page,
    PeerId, PurgeTarget, Put, PutOptions, PutSource, RecodeReport, Reply, Request, RequestId, ScrubReport, Select,
    Stats, Version, Written,
};

use crate::env::{Disk, DiskError, DiskFailure, Instant, Now};
use crate::id::{EngineRng, HlcClock, Partition, Sequence};
use crate::keys::{Keyring, NameKeys};
use crate::planted::{Bug, planted};
use crate::store::SegmentId;
use crate::store::index::Index;
use crate::store::log::{Log, LogError, LogPosition};
use batch::Batch;
use bytes::Bytes;
use diff::{Comparisons, WantedPage};
use gather::ScopedChunk;
use heal::Heal;
pub use policy::Policy;
use put::Puts;
use reader::{ReadId, Reads, Sought};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use upkeep::{Upkeep, UpkeepJob};
use upload::UploadId;
use whims::Humour;
pub use whims::Whims;
use window::Window;

/// What the driver is to do.
#[derive(Debug)]
pub enum Output {
    /// Send a frame to a peer.
    Send {
        /// The peer.
        peer: PeerId,
        /// The frame.
        frame: Bytes,
    },
    /// Tell a client.
    Reply {
        /// Its request.
        id: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// Run a job, anywhere.
    Run {
        /// Names it.
        id: JobId,
        /// The job.
        job: Job,
    },
    /// Tell whoever listens.
    Event(Event),
}

/// What to do with a job's outcome.
#[derive(Debug)]
enum JobContext {
    Cut { upload: UploadId, len: usize },
    Seal { name: ScopedChunk, charged: Option<(UploadId, usize)> },
    Make(Vec<UploadId>),
    Copy(UploadId),
    Get(Vec<Sought>),
    Read { request: RequestId, blob: crate::id::BlobId, range: std::ops::Range<u64> },
    Chunk { read: ReadId, at: u64 },
    Diff { request: RequestId, versions: [crate::id::BlobId; 2] },
    DiffPage(WantedPage),
    Upkeep(UpkeepJob),
}

impl JobContext {
    /// Whether it is for somebody who reads.
    const fn only_reads(&self) -> bool {
        match self {
            Self::Get(_) | Self::Read { .. } | Self::Chunk { .. } | Self::Diff { .. } | Self::DiffPage(_) => true,
            Self::Cut { .. } | Self::Seal { .. } | Self::Make(_) | Self::Copy(_) | Self::Upkeep(_) => false,
        }
    }

    /// The upload whose contents the job holds, and how many bytes of them.
    const fn holds(&self) -> Option<(UploadId, usize)> {
        match self {
            Self::Cut { upload, len } => Some((*upload, *len)),
            Self::Seal { charged, .. } => *charged,
            _ => None,
        }
    }
}

/// Whether the node takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Health {
    Good,
    /// The disk failed in a way after which nothing written may be trusted; reading goes on.
    ReadOnly(String),
    Closed,
}

/// One node's engine over one disk.
#[derive(Debug)]
pub struct Engine<D: Disk> {
    config: StoreConfig,
    limits: Limits,
    humour: Humour,
    keys: Option<Arc<Keyring>>,
    name_keys: Option<Arc<NameKeys>>,
    rng: EngineRng,
    clock: HlcClock,
    note: Note,
    /// The count of removals in the last note that was committed.
    durable_removals: u64,
    sequences: BTreeMap<Partition, Sequence>,
    log: Log<D>,
    index: Index<D>,
    policy: Option<Policy>,
    /// Bytes of content ever written into each segment.
    content: BTreeMap<SegmentId, u64>,
    /// Bytes of log since the index was last brought up to it.
    since_checkpoint: u64,
    health: Health,
    heal: Heal,
    window: Window,
    batch: Batch,
    puts: Puts,
    reads: Reads,
    questions: questions::Questions,
    comparisons: Comparisons,
    upkeep: Upkeep,
    jobs: BTreeMap<JobId, JobContext>,
    next_job: u64,
    outputs: VecDeque<Output>,
    /// When something was last written, or was under way to be.
    active: Instant,
}

/// After so long without anything to do, the last writes are given their parity: until then rot in them does not heal.
const REST_AFTER: Duration = Duration::from_secs(10);

impl<D: Disk> Engine<D> {
    /// What this store is.
    pub const fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// What this node may use.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A client asks.
    pub fn handle_request(&mut self, now: Now, id: RequestId, request: Request) {
        // Who only reads keeps no last write from its parity.
        if !request.only_reads() {
            self.active = now.instant;
        }
        if self.health == Health::Closed {
            return self.reply(id, Reply::Failed(Failure::Closed));
        }
        self.heal_index();
        if !self.index_is_sound() && !matches!(request, Request::Close | Request::PutAbort { .. }) {
            let failure = Failure::Index(heal::NOT_MADE_ANEW.to_owned());
            match request {
                Request::PutData { stream, .. } => self.break_stream(stream, &failure),
                // Its client will not ask again.
                Request::PutEnd { stream } => self.drop_stream(stream),
                _ => {}
            }
            return self.reply(id, Reply::Failed(failure));
        }
        if self.keys.is_none() && request.needs_keys() {
            return self.reply(id, Reply::Failed(Failure::NoKeys));
        }
        self.note_question(id, &request);
        match request {
            Request::Put(puts) => self.put(id, puts),
            Request::PutOpen(put) => self.put_open(id, *put),
            Request::PutData { stream, data } => self.put_data(id, stream, data),
            Request::PutEnd { stream } => self.put_end(id, stream),
            Request::PutAbort { stream } => self.put_abort(id, stream),
            Request::Purge(target) => self.purge(now, id, &target),
            Request::Scrub { .. } | Request::Recode(_) | Request::Compact if self.upkeep_is_full() => {
                self.reply(id, Reply::Failed(Failure::Busy));
            }
            Request::Scrub { repair } => self.start_scrub(id, repair),
            Request::Recode(coding) => self.start_recode(id, coding),
            Request::Compact => self.start_compact(id),
            Request::Close => self.close(id),
            question => self.admit_question(id, question),
        }
        self.go_on(now);
    }

    /// Answers what changes nothing.
    fn answer_question(&mut self, id: RequestId, request: Request) {
        match request {
            Request::Get(_) | Request::GetVersion(_) => {
                let sought = self.sought(&request).unwrap_or_default();
                self.look_up(id, sought);
            }
            Request::Exist(versions) => {
                let answer = self.exist(&versions).map(Reply::Exist);
                self.answer(id, answer);
            }
            Request::Read { blob, range } => self.read(id, blob, range),
            Request::Heads(key) => {
                let answer = self.heads(&key).map(Reply::Versions);
                self.answer(id, answer);
            }
            Request::Log { key, after, limit } => {
                let answer = self.log_of(&key, after, limit).map(Reply::Versions);
                self.answer(id, answer);
            }
            Request::MergeBases(versions) => {
                let answer = self.merge_bases_of(&versions).map(Reply::Versions);
                self.answer(id, answer);
            }
            Request::Diff { from, to } => self.diff(id, from, to),
            Request::List(request) => {
                let answer = self.list(&request).map(Reply::Listing);
                self.answer(id, answer);
            }
            Request::Stats => {
                let answer = self.stats().map(Reply::Stats);
                self.answer(id, answer);
            }
            other => unreachable!("{other:?} is no question"),
        }
    }

    /// A frame came from a peer. A store of one node has no peers: the frame is dropped.
    pub fn handle_message(&mut self, _now: Now, peer: PeerId, frame: Bytes) {
        tracing::debug!(?peer, len = frame.len(), "a frame from nobody we know");
    }

    /// A job has finished. Outcomes of work that was given up meanwhile are ignored.
    pub fn handle_job_done(&mut self, now: Now, done: JobDone) {
        let Some(context) = self.jobs.remove(&done.id) else { return };
        if !context.only_reads() {
            self.active = now.instant;
        }
        self.job_let_go(&context);
        match (context, done.outcome) {
            (JobContext::Cut { upload, .. }, JobOutcome::Cut { chunks, carry }) => {
                self.cut_done(upload, chunks, carry);
            }
            (JobContext::Cut { upload, .. }, JobOutcome::Packed { content, saved }) => {
                self.packed(upload, content, saved);
            }
            (JobContext::Seal { name, charged }, JobOutcome::Sealed(sealed)) => self.sealed(name, charged, *sealed),
            (JobContext::Make(uploads), JobOutcome::Made(blobs)) => self.made(uploads, blobs),
            (JobContext::Copy(upload), JobOutcome::Opened(bodies)) => {
                for body in bodies {
                    self.copy_opened(upload, body);
                }
            }
            (JobContext::Get(sought), JobOutcome::Opened(bodies)) => self.bodies_opened(sought, bodies),
            (JobContext::Read { request, blob, range }, JobOutcome::Opened(bodies)) => {
                for body in bodies {
                    self.read_opened(request, blob, range.clone(), body);
                }
            }
            (JobContext::Chunk { read, at }, JobOutcome::Chunk(result)) => self.chunk_opened(read, at, result),
            (JobContext::Diff { request, versions }, JobOutcome::Opened(bodies)) => {
                self.diff_opened(request, versions, bodies);
            }
            (JobContext::DiffPage(page), JobOutcome::Chunk(result)) => self.diff_page(page, result),
            (context, JobOutcome::Panicked(why)) => self.job_panicked(context, &why),
            (JobContext::Upkeep(job), outcome) => self.upkeep_job_done(job, outcome),
            (context, outcome) => unreachable!("{outcome:?} is no outcome for {context:?}"),
        }
        self.go_on(now);
    }

    /// What an input may have made room for.
    fn go_on(&mut self, now: Now) {
        self.heal_index();
        self.admit_waiting();
        self.make_full_drafts(now);
        self.unblock_streams();
    }

    /// The instant from [`Engine::poll_timeout`] is reached.
    pub fn handle_timeout(&mut self, now: Now) {
        self.continue_upkeep();
        self.heal_index();
        self.admit_waiting();
        self.make_drafts(now);
        self.unblock_streams();
        if self.rests() && now.instant >= self.active.after(REST_AFTER) {
            // Whatever comes of it, not again at once.
            self.active = now.instant;
            // Slices that no version refers to yet: parity is made of what is committed.
            if self.has_uncommitted() {
                self.commit();
            }
            self.settle_log();
        }
    }

    /// Whether parity covers all that is written, and nothing else is left to do for the log.
    fn is_covered(&self) -> bool {
        // Also what an earlier process had left without, and the disk refused since.
        self.log.is_settled() && !self.log.owes_parity()
    }

    /// Whether nothing is under way, and something is not covered by parity yet. A stream may be open, and its client silent.
    fn rests(&self) -> bool {
        let uncommitted = self.has_uncommitted();
        self.health == Health::Good
            && (uncommitted || !self.is_covered())
            && !self.wants_commit()
            && self.jobs.values().all(JobContext::only_reads)
            && (!uncommitted || self.upkeep.activity().is_none())
    }

    fn has_uncommitted(&self) -> bool {
        !(self.batch.is_empty() && self.window.is_empty())
    }

    /// Gives the last writes their parity. They are durable without it, so a failure is no failure of theirs.
    fn settle_log(&mut self) -> Option<LogPosition> {
        // PA
        match self.log.settle() {
            Ok(position) => Some(position),
            Err(error) => {
                let failure = self.log_failure(error);
                tracing::warn!(%failure, "the last writes have no parity yet");
                None
            }
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Engine::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // What has come together in a turn of the driver is made together.
        if self.upkeep.wants_step() || self.has_drafts() {
            return Some(Instant::default());
        }
        self.rests().then(|| self.active.after(REST_AFTER))
    }

    /// A job came to nothing through a defect of ours: whoever waits is told, and everything else goes on.
    fn job_panicked(&mut self, context: JobContext, why: &str) {
        let failure = Failure::Disk(format!("a job failed: {why}; this is a defect, please report it"));
        tracing::error!(why, "a job panicked");
        match context {
            JobContext::Cut { upload, .. } | JobContext::Copy(upload) => self.fail_upload(upload, failure),
            JobContext::Make(uploads) => {
                uploads.into_iter().for_each(|upload| self.fail_upload(upload, failure.clone()))
            }
            JobContext::Seal { name, charged } => self.seal_failed(name, charged, &failure),
            JobContext::Get(sought) => {
                let bodies = sought.iter().map(|_| Err(why.to_owned())).collect();
                self.bodies_opened(sought, bodies);
            }
            JobContext::Read { request, .. } | JobContext::Diff { request, .. } => {
                self.reply(request, Reply::Failed(failure))
            }
            JobContext::Chunk { read, at } => self.chunk_opened(read, at, Err(why.to_owned())),
            JobContext::DiffPage(page) => self.diff_page(page, Err(why.to_owned())),
            JobContext::Upkeep(_) => self.upkeep_job_panicked(&failure),
        }
    }

    fn run(&mut self, context: JobContext, job: Job) {
        let id = JobId(self.next_job);
        self.next_job += 1;
        self.jobs.insert(id, context);
        self.outputs.push_back(Output::Run { id, job });
    }

    /// Whether writes are taken.
    fn writable(&self) -> Result<(), Failure> {
        match &self.health {
            Health::Good => Ok(()),
            Health::ReadOnly(why) => Err(Failure::Disk(why.clone())),
            Health::Closed => Err(Failure::Closed),
        }
    }

    /// What a failure of the log means for the node.
    fn log_failure(&mut self, error: LogError) -> Failure {
        match &error {
            LogError::Disk(disk) if disk.failure == DiskFailure::Full => {
                if planted(Bug::FullDiskForEver) {
                    self.health = Health::ReadOnly(error.to_string());
                }
                return Failure::Full;
            }
            LogError::Disk(DiskError { failure: DiskFailure::Exhausted(_), .. }) => {
                return Failure::Exhausted(error.to_string());
            }
            LogError::Disk(_) if planted(Bug::RefusalEndsWriting) => self.health = Health::ReadOnly(error.to_string()),
            LogError::Poisoned(_) => {
                tracing::error!(%error, "the log failed; writing stops");
                self.health = Health::ReadOnly(error.to_string());
            }
            _ => {}
        }
        Failure::Disk(error.to_string())
    }
}
