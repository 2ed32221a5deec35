//! The same store for async programs, on any executor.

use super::{Client, ops};
use crate::error::Error;
use crate::planted::{Mistake, planted};
use bytes::Bytes;
use ouroboros_engine::id::{BlobId, Hlc};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{
    CompactReport, DiffReply, Failure, Got, ListRequest, Page, PurgeTarget, Put, PutOptions, PutSource, RecodeReport,
    Reply, Request, ScrubReport, Select, Stats, Version, Written,
};
use ouroboros_engine::seal::Coding;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// A store that is open in this process, in its async form: the operations of [`Db`](super::Db) as futures that need no
/// particular executor. Dropping a future gives up the answer, not the operation.
///
/// ```
/// # use ouroborosdb::engine::{id::EngineRng, keys::Keyring, names::KeyName, node::{PutOptions, Select}};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let keyring = Keyring::generate(&mut EngineRng::from_seed(ouroborosdb::entropy::os_seed()?));
/// # let db = ouroborosdb::Db::builder().directory(directory.path()).keyring(keyring).create()?;
/// let db = db.asynchronous();
/// futures_lite::future::block_on(async {
///     let key = KeyName::new("a key")?;
///     let mut upload = db.put_stream(&key, PutOptions::default()).await?;
///     upload.send("piece by ".into()).await?;
///     upload.send("piece".into()).await?;
///     upload.finish().await?;
///
///     let got = db.get(&key, Select::Winner).await?;
///     assert_eq!(db.read(&got, 0..got.version.len).await?.concat(), b"piece by piece");
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AsyncDb {
    pub(super) client: Arc<Client>,
}

/// A streamed put under way; see [`AsyncDb::put_stream`].
#[derive(Debug)]
pub struct AsyncUpload {
    client: Arc<Client>,
    stream: ouroboros_engine::node::RequestId,
    /// A piece is on its way: if nobody waits for it any more, nobody knows whether it arrived.
    sending: bool,
    /// There is no stream to give up any more.
    finished: bool,
}

impl AsyncDb {
    pub(super) fn new(client: Arc<Client>) -> Self {
        Self { client }
    }

    /// See [`Db::put`](super::Db::put).
    ///
    /// # Errors
    /// [`Error`]; then nothing was written, unless it is [`Error::Closed`]: the store ended meanwhile, and the write may be there.
    pub async fn put(&self, key: &KeyName, value: impl Into<Bytes>, options: PutOptions) -> Result<Written, Error> {
        ops::put(key, PutSource::Value(value.into()), options).run(&self.client).await
    }

    /// See [`Db::put_many`](super::Db::put_many).
    ///
    /// # Errors
    /// [`Error::Closed`] when the store was closed meanwhile; some of the values may then be there.
    pub async fn put_many(&self, puts: Vec<Put>) -> Result<Vec<Result<Written, Error>>, Error> {
        let mut results = Vec::with_capacity(puts.len());
        let mut parts = ops::Parts::new(puts, &self.client.limits);
        let mut pending = VecDeque::new();
        loop {
            while pending.len() < ops::PARTS_AHEAD
                && let Some(part) = parts.next()
            {
                pending.push_back((part.len(), self.client.send_async(Request::Put(part)).await?.1));
            }
            let Some((count, receiver)) = pending.pop_front() else { return Ok(results) };
            results.extend(ops::outcomes(count, receiver.await.map_err(|_| Error::Closed)?));
        }
    }

    /// Opens a stream for a value of any length; feed it with [`AsyncUpload::send`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn put_stream(&self, key: &KeyName, options: PutOptions) -> Result<AsyncUpload, Error> {
        let put = Put { key: key.clone(), source: PutSource::Stream, options };
        let (stream, receiver) = self.client.send_async(Request::PutOpen(Box::new(put))).await?;
        // Before the answer is waited for: if that is given up, so is the stream.
        let finished = planted(Mistake::OpeningForgotten);
        let mut upload = AsyncUpload { client: self.client.clone(), stream, sending: false, finished };
        super::settle(receiver.await.map_err(|_| Error::Closed)?)?;
        upload.finished = false;
        Ok(upload)
    }

    /// See [`Db::put_same`](super::Db::put_same).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn put_same(&self, key: &KeyName, as_version: BlobId, options: PutOptions) -> Result<Written, Error> {
        ops::put(key, PutSource::SameAs(as_version), options).run(&self.client).await
    }

    /// See [`Db::restore`](super::Db::restore).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn restore(&self, key: &KeyName, version: BlobId) -> Result<Written, Error> {
        ops::put(key, PutSource::SameAs(version), PutOptions::default()).run(&self.client).await
    }

    /// See [`Db::remove`](super::Db::remove).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn remove(&self, key: &KeyName) -> Result<Written, Error> {
        ops::put(key, PutSource::Gone, PutOptions::default()).run(&self.client).await
    }

    /// See [`Db::get`](super::Db::get).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get(&self, key: &KeyName, select: Select) -> Result<Got, Error> {
        ops::get(key, select).run(&self.client).await
    }

    /// See [`Db::get_many`](super::Db::get_many).
    ///
    /// # Errors
    /// [`Error`] when nothing could be asked at all.
    pub async fn get_many(&self, keys: Vec<(KeyName, Select)>) -> Result<Vec<Result<Got, Error>>, Error> {
        let mut results = Vec::with_capacity(keys.len());
        let mut keys = keys.into_iter();
        let mut pending = VecDeque::new();
        loop {
            while pending.len() < ops::LOOKUPS_AHEAD {
                let part: Vec<_> = keys.by_ref().take(ops::LOOKUPS).collect();
                if part.is_empty() {
                    break;
                }
                pending.push_back((part.len(), self.client.send_async(Request::Get(part)).await?.1));
            }
            let Some((count, receiver)) = pending.pop_front() else { return Ok(results) };
            results.extend(ops::found(count, receiver.await.map_err(|_| Error::Closed)?));
        }
    }

    /// See [`Db::get_version`](super::Db::get_version).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_version(&self, version: BlobId) -> Result<Got, Error> {
        ops::get_version(version).run(&self.client).await
    }

    /// At most [`Limits::read_len`](ouroboros_engine::node::Limits::read_len) bytes of a version, in pieces that were
    /// not copied together; call it again for more.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn read(&self, got: &Got, range: Range<u64>) -> Result<Vec<Bytes>, Error> {
        let end = range.end.min(got.version.len);
        let start = range.start.min(end);
        if let Some(inline) = &got.inline {
            let bounds = usize::try_from(start).ok().zip(usize::try_from(end).ok());
            return match bounds.filter(|(_, end)| *end <= inline.len()) {
                Some((start, end)) => Ok(vec![inline.slice(start..end)]),
                None => Err(Failure::Damaged {
                    place: format!("version {}: its content is shorter than it says", got.version.id),
                }
                .into()),
            };
        }
        match self.client.ask_async(Request::Read { blob: got.version.id, range: start..end }).await? {
            Reply::Data(pieces) => Ok(pieces),
            other => unreachable!("the engine answered with {other:?}"),
        }
    }

    /// See [`Db::exist`](super::Db::exist).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn exist(&self, versions: Vec<BlobId>) -> Result<Vec<bool>, Error> {
        ops::exist(versions).run(&self.client).await
    }

    /// See [`Db::heads`](super::Db::heads).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn heads(&self, key: &KeyName) -> Result<Vec<Version>, Error> {
        ops::versions(Request::Heads(key.clone())).run(&self.client).await
    }

    /// See [`Db::log`](super::Db::log).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn log(&self, key: &KeyName, after: Option<(Hlc, BlobId)>, limit: usize) -> Result<Vec<Version>, Error> {
        ops::versions(Request::Log { key: key.clone(), after, limit }).run(&self.client).await
    }

    /// See [`Db::merge_bases`](super::Db::merge_bases).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn merge_bases(&self, versions: Vec<BlobId>) -> Result<Vec<Version>, Error> {
        ops::versions(Request::MergeBases(versions)).run(&self.client).await
    }

    /// See [`Db::diff`](super::Db::diff).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn diff(&self, from: BlobId, to: BlobId) -> Result<DiffReply, Error> {
        ops::diff(from, to).run(&self.client).await
    }

    /// See [`Db::list`](super::Db::list).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list(&self, request: ListRequest) -> Result<Page, Error> {
        ops::list(request).run(&self.client).await
    }

    /// See [`Db::purge`](super::Db::purge).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn purge(&self, target: PurgeTarget) -> Result<u64, Error> {
        ops::purge(target).run(&self.client).await
    }

    super::maintenance::async_upkeep!();

    /// See [`Db::close`](super::Db::close). What needs no thread to stand still, unlike dropping the last handle, which waits
    /// for the end of the engine on the thread that drops it.
    ///
    /// # Errors
    /// [`Error`]: the store is still open, and closing may be tried again.
    pub async fn close(&self) -> Result<(), Error> {
        self.client.close_async().await
    }

    /// How many requests wait for their answer, or are taken to.
    #[cfg(planted)]
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.client.unanswered()
    }
}

impl AsyncUpload {
    /// Sends the next bytes; returns when more is welcome. Dropping the future gives the stream up: nobody can tell then whether
    /// these bytes are part of it.
    ///
    /// # Errors
    /// [`Error`]; the stream is then of no further use.
    pub async fn send(&mut self, data: Bytes) -> Result<(), Error> {
        self.check_whole()?;
        self.sending = true;
        self.client.ask_async(Request::PutData { stream: self.stream, data }).await?;
        self.sending = false;
        Ok(())
    }

    /// Refuses to go on where a piece may be missing.
    fn check_whole(&self) -> Result<(), Error> {
        if self.sending && !planted(Mistake::PieceLost) {
            let why = "a piece of this stream was refused, or given up on its way; begin anew";
            return Err(Failure::Invalid(why.to_owned()).into());
        }
        Ok(())
    }

    /// Ends the stream; the value is durable when this returns. Dropping the future leaves open whether it will be.
    ///
    /// # Errors
    /// [`Error`]; then nothing was written, unless it is [`Error::Closed`]: the store ended meanwhile, and the write may be there.
    pub async fn finish(mut self) -> Result<Written, Error> {
        self.check_whole()?;
        self.finished = planted(Mistake::EndForgotten);
        let (_, receiver) = self.client.send_async(Request::PutEnd { stream: self.stream }).await?;
        // From here on it ends by itself.
        self.finished = true;
        match super::settle(receiver.await.map_err(|_| Error::Closed)?)? {
            Reply::Put(results) => match results.into_iter().next() {
                Some(result) => Ok(result?),
                None => unreachable!("one stream, one outcome"),
            },
            other => unreachable!("the engine answered with {other:?}"),
        }
    }
}

impl Drop for AsyncUpload {
    fn drop(&mut self) {
        if !self.finished {
            self.client.abort(self.stream);
        }
    }
}
