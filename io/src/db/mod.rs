//! [`Db`]: a store that is open in this process.

mod asynchronous;
mod builder;
mod call;
mod maintenance;
mod merge;
mod ops;
mod snapshots;
mod stream;

pub use asynchronous::{AsyncDb, AsyncUpload};
pub use builder::Builder;
pub use maintenance::{AsyncMaintenance, Maintenance};

use crate::error::Error;
use crate::mailbox::Mailbox;
use crate::planted::{Mistake, planted};
use crate::runtime::{Ask, Ended, Waiting};
use crate::turns::{Turn, Turns};
use bytes::Bytes;
use ouroboros_engine::env::Input;
use ouroboros_engine::id::{BlobId, Hlc};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{
    CompactReport, DiffReply, Got, Limits, ListRequest, Opened, Page, PurgeTarget, Put, PutOptions, PutSource,
    RecodeReport, Reply, Request, RequestId, ScrubReport, Select, Stats, Version, Written,
};
use ouroboros_engine::seal::Coding;
use std::any::Any;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Snapshots live under names that begin with this.
pub const SNAPSHOTS: &str = ".ouroboros/snapshots/";

/// A store that is open in this process, in its blocking form. Clones share it; the last one to be dropped closes it.
///
/// Every write is durable when the call returns. For async programs there is [`Db::asynchronous`].
#[derive(Clone, Debug)]
pub struct Db {
    client: Arc<Client>,
}

/// The engine's task, seen from outside.
pub(crate) struct Client {
    mailbox: Arc<Mailbox>,
    waiting: Arc<Waiting>,
    turns: Arc<Turns>,
    shared_loop: Arc<dyn Ask>,
    ended: Arc<Ended>,
    /// Whether a thread may wait for the engine: see [`Env::THREADS`](crate::env::Env::THREADS).
    may_block: bool,
    next: AtomicU64,
    /// None once it is closed.
    open: Mutex<Option<Open>>,
    limits: Limits,
    pieces: stream::Pieces,
    ahead: stream::ReadsAhead,
    opened: Opened,
    directories: [PathBuf; 3],
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("directories", &self.directories).finish_non_exhaustive()
    }
}

/// What an open store holds on to.
pub(crate) struct Open {
    /// Waits until nothing is left of the engine's task.
    join: Box<dyn FnOnce() -> bool + Send>,
    /// Given back by being dropped.
    locks: Box<dyn Any + Send>,
}

/// The place that is kept for an answer. Given up if its request was not sent: nobody would answer it.
struct Place<'a> {
    waiting: &'a Waiting,
    id: RequestId,
    sent: bool,
}

impl Place<'_> {
    /// The request is with the engine, which will answer it.
    fn keep(mut self) {
        self.sent = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.sent && !planted(Mistake::PlaceKept) {
            drop(self.waiting.take(self.id));
        }
    }
}

impl Client {
    fn enqueue(&self, turn: Option<Turn>) -> (Place<'_>, oneshot::Receiver<Reply>) {
        let id = RequestId(self.next.fetch_add(1, Ordering::Relaxed));
        let (sender, receiver) = oneshot::channel();
        self.waiting.insert(id, sender, turn);
        (Place { waiting: &self.waiting, id, sent: false }, receiver)
    }

    /// Sends a request; the answer is waited for elsewhere.
    pub(crate) fn send(&self, request: Request) -> Result<(RequestId, oneshot::Receiver<Reply>), Error> {
        let (place, receiver) = self.enqueue(request.holds_memory().then(|| self.turns.take()));
        let id = place.id;
        self.mailbox.send(Input::Request(id, request)).map_err(|_| Error::Closed)?;
        place.keep();
        Ok((id, receiver))
    }

    /// Gives a stream up, waiting neither for room nor for an answer.
    pub(crate) fn abort(&self, stream: RequestId) {
        let (place, _nobody_waits) = self.enqueue(None);
        // The store may be closed already; then there is nothing left to forget.
        if self.mailbox.push(Input::Request(place.id, Request::PutAbort { stream })).is_ok() {
            place.keep();
        }
    }

    pub(crate) fn ask(&self, request: Request) -> Result<Reply, Error> {
        let (place, receiver) = self.enqueue(request.holds_memory().then(|| self.turns.take()));
        let id = place.id;
        // A question is answered on this thread if the engine is at rest.
        let request = if request.only_reads() { self.shared_loop.try_ask(id, request) } else { Err(request) };
        if let Err(request) = request {
            self.mailbox.send(Input::Request(id, request)).map_err(|_| Error::Closed)?;
        }
        place.keep();
        settle(receiver.recv().map_err(|_| Error::Closed)?)
    }

    pub(crate) async fn send_async(
        &self,
        mut request: Request,
    ) -> Result<(RequestId, oneshot::Receiver<Reply>), Error> {
        if !request.holds_memory() {
            let (place, receiver) = self.enqueue(None);
            let id = place.id;
            self.mailbox.send_async(Input::Request(id, request)).await.map_err(|_| Error::Closed)?;
            place.keep();
            return Ok((id, receiver));
        }
        loop {
            self.mailbox.room().await.map_err(|_| Error::Closed)?;
            // Nothing is waited for with a turn in hand: a future that nobody polls would keep it from the others.
            let (place, receiver) = self.enqueue(Some(self.turns.take_async().await));
            let id = place.id;
            match self.mailbox.offer(Input::Request(id, request)).map_err(|_| Error::Closed)? {
                // Others were faster; the turn is given back with the place.
                Some(Input::Request(_, back)) => request = back,
                _ => {
                    place.keep();
                    return Ok((id, receiver));
                }
            }
        }
    }

    pub(crate) async fn ask_async(&self, request: Request) -> Result<Reply, Error> {
        let assumed = planted(Mistake::AnswerAssumed) && matches!(request, Request::Heads(_));
        let (_, receiver) = self.send_async(request).await?;
        if assumed {
            futures_lite::future::yield_now().await;
            return settle(receiver.try_recv().map_err(|_| Error::Closed)?);
        }
        settle(receiver.await.map_err(|_| Error::Closed)?)
    }

    /// How many requests wait for their answer, or are taken to.
    #[cfg(planted)]
    pub(crate) fn unanswered(&self) -> usize {
        self.waiting.len()
    }

    fn close(&self) -> Result<(), Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            return Ok(());
        }
        match self.ask(Request::Close) {
            // Closed, or ended by itself: either way the engine's task is at its end.
            Ok(_) | Err(Error::Closed) => self.let_go(self.ended.block(), open.take()),
            // The disk is full, say. The store stays open, so that closing can be tried again.
            Err(error) => Err(error),
        }
    }

    async fn close_async(&self) -> Result<(), Error> {
        let (_, receiver) = match self.send_async(Request::Close).await {
            Ok(sent) => sent,
            Err(_closed_already) => return self.end_async().await,
        };
        if planted(Mistake::EndNotAwaited) {
            return self.let_go(true, self.open.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
        match receiver.await.map(settle) {
            Ok(Err(error)) if !matches!(error, Error::Closed) => Err(error),
            _ => self.end_async().await,
        }
    }

    /// Waits for the end of the engine's task, which is at its end, and lets go of the locks.
    async fn end_async(&self) -> Result<(), Error> {
        let in_order = if planted(Mistake::EndAssumed) {
            futures_lite::future::yield_now().await;
            true
        } else {
            self.ended.wait().await
        };
        // Whoever closes at the same time is told when the locks are free.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.let_go(in_order, open.take())
    }

    /// Lets go of the locks once nothing is left of the engine's task, which is at its end.
    fn let_go(&self, in_order: bool, open: Option<Open>) -> Result<(), Error> {
        let Some(Open { join, locks }) = open else { return Ok(()) };
        let joined = join();
        drop(locks);
        if in_order && joined {
            return Ok(());
        }
        tracing::error!("the engine panicked");
        Err(Error::Closed)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let closed = if self.may_block { self.close() } else { Err(Error::Closed) };
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let (Err(error), Some(open)) = (closed, open) {
            tracing::warn!(%error, "the store could not be closed in order; nothing acknowledged is lost");
            self.mailbox.hang_up();
            let in_order = !self.may_block || self.ended.block();
            let _already_told = self.let_go(in_order, Some(open));
        }
    }
}

pub(crate) fn settle(reply: Reply) -> Result<Reply, Error> {
    match reply {
        Reply::Failed(failure) => Err(failure.into()),
        reply => Ok(reply),
    }
}

impl Db {
    /// Says where a store lies and how to open it.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The same store for async programs.
    #[must_use]
    pub fn asynchronous(&self) -> AsyncDb {
        AsyncDb::new(self.client.clone())
    }

    /// The part of this that needs no keys: what [`Builder::open_keyless`] gives for a store whose keys are elsewhere.
    #[must_use]
    pub fn maintenance(&self) -> Maintenance {
        Maintenance::new(self.client.clone())
    }

    /// The limits this store was opened with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.client.limits
    }

    /// What opening found: whether the index was made anew, and what was damaged.
    #[must_use]
    pub fn opened(&self) -> &Opened {
        &self.client.opened
    }

    /// Where the store lies: its own directory, its log's, and its index's.
    #[must_use]
    pub fn directories(&self) -> &[PathBuf; 3] {
        &self.client.directories
    }

    /// Writes a value under a key, following the key's winner.
    ///
    /// # Errors
    /// [`Error`]; then nothing was written, unless it is [`Error::Closed`]: the store ended meanwhile, and the write may be there.
    pub fn put(&self, key: &KeyName, value: impl Into<Bytes>, options: PutOptions) -> Result<Written, Error> {
        ops::put(key, PutSource::Value(value.into()), options).wait(&self.client)
    }

    /// Writes many values with few syncs. Each has its own outcome.
    ///
    /// # Errors
    /// [`Error::Closed`] when the store was closed meanwhile; some of the values may then be there.
    pub fn put_many(&self, puts: Vec<Put>) -> Result<Vec<Result<Written, Error>>, Error> {
        let mut results = Vec::with_capacity(puts.len());
        let mut parts = ops::Parts::new(puts, &self.client.limits);
        let mut pending = VecDeque::new();
        loop {
            while pending.len() < ops::PARTS_AHEAD
                && let Some(part) = parts.next()
            {
                pending.push_back((part.len(), self.client.send(Request::Put(part))?.1));
            }
            let Some((count, receiver)) = pending.pop_front() else { return Ok(results) };
            results.extend(ops::outcomes(count, receiver.recv().map_err(|_| Error::Closed)?));
        }
    }

    /// Writes everything that `input` gives, of any length, in bounded memory.
    ///
    /// # Errors
    /// [`Error`]; then nothing was written, unless it is [`Error::Closed`]: the store ended meanwhile, and the write may be there.
    pub fn put_reader(&self, key: &KeyName, input: &mut dyn Read, options: PutOptions) -> Result<Written, Error> {
        stream::put_reader(&self.client, key, input, options)
    }

    /// Adds a version with the content and attributes of another: restores, or copies without moving a byte.
    ///
    /// # Errors
    /// [`Error`].
    pub fn put_same(&self, key: &KeyName, as_version: BlobId, options: PutOptions) -> Result<Written, Error> {
        ops::put(key, PutSource::SameAs(as_version), options).wait(&self.client)
    }

    /// Makes an old version of a key its newest.
    ///
    /// # Errors
    /// [`Error`].
    pub fn restore(&self, key: &KeyName, version: BlobId) -> Result<Written, Error> {
        self.put_same(key, version, PutOptions::default())
    }

    /// Adds a version that says "gone". History stays; [`Db::purge`] destroys.
    ///
    /// # Errors
    /// [`Error`].
    pub fn remove(&self, key: &KeyName) -> Result<Written, Error> {
        ops::put(key, PutSource::Gone, PutOptions::default()).wait(&self.client)
    }

    /// Finds and opens a version; small contents come along, others are read with [`Db::read`] or [`Db::write_to`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn get(&self, key: &KeyName, select: Select) -> Result<Got, Error> {
        ops::get(key, select).wait(&self.client)
    }

    /// Finds and opens many versions at once.
    ///
    /// # Errors
    /// [`Error`] when nothing could be asked at all.
    pub fn get_many(&self, keys: Vec<(KeyName, Select)>) -> Result<Vec<Result<Got, Error>>, Error> {
        let mut results = Vec::with_capacity(keys.len());
        let mut keys = keys.into_iter();
        let mut pending = VecDeque::new();
        loop {
            while pending.len() < ops::LOOKUPS_AHEAD {
                let part: Vec<_> = keys.by_ref().take(ops::LOOKUPS).collect();
                if part.is_empty() {
                    break;
                }
                pending.push_back((part.len(), self.client.send(Request::Get(part))?.1));
            }
            let Some((count, receiver)) = pending.pop_front() else { return Ok(results) };
            results.extend(ops::found(count, receiver.recv().map_err(|_| Error::Closed)?));
        }
    }

    /// Opens a version by its id.
    ///
    /// # Errors
    /// [`Error`].
    pub fn get_version(&self, version: BlobId) -> Result<Got, Error> {
        ops::get_version(version).wait(&self.client)
    }

    /// The bytes of a range of a version, in memory. Ranges beyond the end are cut.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read(&self, got: &Got, range: Range<u64>) -> Result<Bytes, Error> {
        if let Some(inline) = &got.inline {
            let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(inline.len());
            let (start, end) = (bound(range.start), bound(range.end));
            return Ok(inline.slice(start.min(end)..end));
        }
        let mut out = Vec::new();
        self.write_to(got, range, &mut out)?;
        Ok(out.into())
    }

    /// Writes a range of a version to `output`, in bounded memory, touching only the chunks it needs. Returns the
    /// number of bytes.
    ///
    /// # Errors
    /// [`Error`]; what was written before it is right.
    pub fn write_to(&self, got: &Got, range: Range<u64>, output: &mut dyn Write) -> Result<u64, Error> {
        stream::write_to(&self.client, got, range, output)
    }

    /// A key's whole current value, in memory.
    ///
    /// # Errors
    /// [`Error`].
    pub fn get_bytes(&self, key: &KeyName) -> Result<Bytes, Error> {
        let got = self.get(key, Select::Winner)?;
        self.read(&got, 0..u64::MAX)
    }

    /// For each version, whether it is there: neither unknown nor purged. Asks the index alone, so that many cost little.
    ///
    /// # Errors
    /// [`Error`].
    pub fn exist(&self, versions: Vec<BlobId>) -> Result<Vec<bool>, Error> {
        ops::exist(versions).wait(&self.client)
    }

    /// The heads of a key, winner first.
    ///
    /// # Errors
    /// [`Error`].
    pub fn heads(&self, key: &KeyName) -> Result<Vec<Version>, Error> {
        ops::versions(Request::Heads(key.clone())).wait(&self.client)
    }

    /// The versions of a key, newest first, continuing after `after`.
    ///
    /// # Errors
    /// [`Error`].
    pub fn log(&self, key: &KeyName, after: Option<(Hlc, BlobId)>, limit: usize) -> Result<Vec<Version>, Error> {
        ops::versions(Request::Log { key: key.clone(), after, limit }).wait(&self.client)
    }

    /// The best common ancestors of versions of one key.
    ///
    /// # Errors
    /// [`Error`].
    pub fn merge_bases(&self, versions: Vec<BlobId>) -> Result<Vec<Version>, Error> {
        ops::versions(Request::MergeBases(versions)).wait(&self.client)
    }

    /// Which bytes differ between two versions.
    ///
    /// # Errors
    /// [`Error`].
    pub fn diff(&self, from: BlobId, to: BlobId) -> Result<DiffReply, Error> {
        ops::diff(from, to).wait(&self.client)
    }

    /// A page of the names that start with a prefix, in byte order.
    ///
    /// # Errors
    /// [`Error`].
    pub fn list(&self, request: ListRequest) -> Result<Page, Error> {
        ops::list(request).wait(&self.client)
    }

    /// Destroys versions for good: tombstones now, the bytes when compaction next comes by.
    /// Returns how many versions were destroyed. To destroy what was removed, purge its key: the version that removed it is
    /// not purged while anything that it removed is there, or that would be back one day.
    ///
    /// # Errors
    /// [`Failure::WouldReturn`](ouroboros_engine::node::Failure::WouldReturn), and other [`Error`]s.
    pub fn purge(&self, target: PurgeTarget) -> Result<u64, Error> {
        ops::purge(target).wait(&self.client)
    }

    maintenance::blocking_upkeep!();

    /// Closes the store in an orderly way and lets go of its locks. What is under way fails; this and other clones get
    /// [`Error::Closed`] from then on.
    ///
    /// # Errors
    /// [`Error`]: the store is still open (the disk is full, say), and closing may be tried again.
    pub fn close(&self) -> Result<(), Error> {
        self.client.close()
    }
}

#[cfg(test)]
mod tests;
