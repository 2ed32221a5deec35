//! Values larger than memory, in and out, with a bounded number of pieces under way.

use super::{Client, settle};
use crate::error::Error;
use bytes::{Bytes, BytesMut};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Failure, Got, Limits, Put, PutOptions, PutSource, Reply, Request, RequestId, Written};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Bytes of one piece on its way into the engine, at most.
const PIECE_LEN: usize = 4 << 20;
/// Share of the engine's budget for contents under way that one piece may take.
const PIECE_SHARE: usize = 4;
/// Reads of all versions that are written elsewhere, together, for which the writers of their outputs do not wait yet; each has
/// one beside. One alone goes no faster with more.
const READS_AHEAD: usize = 3;

/// Buffers of pieces. One that the engine has let go of is filled anew: memory fresh from the system would be zeroed first,
/// which costs as much as sealing what is in it.
#[derive(Debug)]
pub(crate) struct Pieces {
    len: usize,
    /// Buffers kept, at most: together no more than the budget for contents under way.
    most: usize,
    kept: Mutex<VecDeque<Bytes>>,
}

impl Pieces {
    pub(crate) fn new(limits: &Limits) -> Self {
        let len = PIECE_LEN.min(limits.inflight_len / PIECE_SHARE).max(1);
        Self { len, most: (limits.inflight_len / len).max(1), kept: Mutex::default() }
    }

    /// A buffer of the length of a piece; what is in it is of no meaning.
    fn take(&self) -> BytesMut {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let free = kept.iter().position(Bytes::is_unique).and_then(|free| kept.remove(free));
        drop(kept);
        free.and_then(|buffer| buffer.try_into_mut().ok()).unwrap_or_else(|| {
            // Not asked of the allocator as zeros: it may have memory that was used before, and need not fault in fresh pages.
            let mut fresh = BytesMut::with_capacity(self.len);
            fresh.resize(self.len, 0);
            fresh
        })
    }

    /// Remembers a buffer for when the engine lets go of it.
    fn keep(&self, buffer: Bytes) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= self.most {
            kept.pop_front();
        }
        kept.push_back(buffer);
    }
}

/// How many reads ahead are left: what was read waits in memory, and the engine has answered and counts it no more.
#[derive(Debug)]
pub(crate) struct ReadsAhead(AtomicUsize);

/// One of them. Given back on drop.
struct ReadAhead<'a>(&'a ReadsAhead);

impl ReadsAhead {
    pub(crate) const fn new() -> Self {
        Self(AtomicUsize::new(READS_AHEAD))
    }

    /// One of them, if any is left. Nobody waits for one: with the read that everybody has, everybody goes on.
    fn take(&self) -> Option<ReadAhead<'_>> {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        taken.ok().map(|_| ReadAhead(self))
    }
}

impl Drop for ReadAhead<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A streamed put under way.
pub(super) struct Upload<'a> {
    client: &'a Client,
    stream: RequestId,
    /// The engine holds one piece of each stream beyond what it may hold of all: so the next is not sent before it has said that
    /// more is welcome. The input is read meanwhile.
    ready: Option<oneshot::Receiver<Reply>>,
    finished: bool,
}

impl<'a> Upload<'a> {
    pub(super) fn open(client: &'a Client, key: &KeyName, options: PutOptions) -> Result<Self, Error> {
        let put = Put { key: key.clone(), source: PutSource::Stream, options };
        let (stream, receiver) = client.send(Request::PutOpen(Box::new(put)))?;
        Ok(Self { client, stream, ready: Some(receiver), finished: false })
    }

    pub(super) fn send(&mut self, data: Bytes) -> Result<(), Error> {
        self.wait()?;
        let (_, receiver) = self.client.send(Request::PutData { stream: self.stream, data })?;
        self.ready = Some(receiver);
        Ok(())
    }

    /// Waits until more is welcome.
    fn wait(&mut self) -> Result<(), Error> {
        if let Some(receiver) = self.ready.take() {
            settle(receiver.recv().map_err(|_| Error::Closed)?)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Written, Error> {
        self.wait()?;
        self.finished = true;
        match self.client.ask(Request::PutEnd { stream: self.stream })? {
            Reply::Put(results) => match results.into_iter().next() {
                Some(result) => Ok(result?),
                None => unreachable!("one stream, one outcome"),
            },
            other => unreachable!("the engine answered with {other:?}"),
        }
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // The store may be closed already; then there is nothing left to forget.
            let _ = self.client.ask(Request::PutAbort { stream: self.stream });
        }
    }
}

/// Fills `buffer` up to its length unless the input ends; returns how much there is.
fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("reading the input", error)),
        }
    }
    Ok(filled)
}

pub(crate) fn put_reader(
    client: &Client,
    key: &KeyName,
    input: &mut dyn Read,
    options: PutOptions,
) -> Result<Written, Error> {
    let mut upload = Upload::open(client, key, options)?;
    loop {
        let mut piece = client.pieces.take();
        let len = fill(input, &mut piece)?;
        let (piece, whole) = (piece.freeze(), client.pieces.len);
        client.pieces.keep(piece.clone());
        if len > 0 {
            upload.send(piece.slice(..len))?;
        }
        if len < whole {
            return upload.finish();
        }
    }
}

pub(crate) fn write_to(client: &Client, got: &Got, range: Range<u64>, output: &mut dyn Write) -> Result<u64, Error> {
    // PA
    let end = range.end.min(got.version.len);
    let start = range.start.min(end);
    let write = |output: &mut dyn Write, bytes: &[u8]| {
        output.write_all(bytes).map_err(|error| Error::io("writing the output", error))
    };
    if let Some(inline) = &got.inline {
        let bounds = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let bytes = bounds.and_then(|(start, end)| inline.get(start..end)).ok_or_else(|| Failure::Damaged {
            place: format!("version {}: its content is shorter than it says", got.version.id),
        })?;
        write(output, bytes)?;
        return Ok(end - start);
    }
    let step = client.limits.read_len;
    let mut next = start;
    let mut pending: VecDeque<oneshot::Receiver<Reply>> = VecDeque::new();
    // For each of them but one.
    let mut ahead = Vec::new();
    let mut written = 0;
    loop {
        while next < end {
            if !pending.is_empty() {
                let Some(one) = client.ahead.take() else { break };
                ahead.push(one);
            }
            let piece = next..end.min(next.saturating_add(step));
            next = piece.end;
            pending.push_back(client.send(Request::Read { blob: got.version.id, range: piece })?.1);
        }
        let Some(receiver) = pending.pop_front() else { return Ok(written) };
        match settle(receiver.recv().map_err(|_| Error::Closed)?)? {
            Reply::Data(pieces) => {
                for piece in pieces {
                    write(output, &piece)?;
                    written += piece.len() as u64;
                }
                ahead.pop();
            }
            other => unreachable!("the engine answered with {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;
    use crate::db::tests::standing;
    use ouroboros_engine::id::EngineRng;
    use ouroboros_engine::keys::Keyring;
    use ouroboros_engine::node::{Base, Select};
    use std::sync::Arc;
    use std::time::Duration;

    const LEN: u64 = 1 << 20;

    /// A store whose reads are short, with a version of many of them.
    fn store(directory: &tempfile::TempDir) -> (Db, Got) {
        let keyring = Keyring::generate(&mut EngineRng::from_seed([3; 32]));
        let limits = Limits { read_len: LEN / 32, ..Limits::default() };
        let db = Db::builder().directory(directory.path()).keyring(keyring).limits(limits).create().unwrap();
        let key = KeyName::new("a").unwrap();
        db.put(&key, vec![7; LEN as usize], PutOptions::default()).unwrap();
        let got = db.get(&key, Select::Winner).unwrap();
        (db, got)
    }

    /// Counts what is read of it.
    struct Counted(Arc<AtomicUsize>);

    impl Read for Counted {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let len = buffer.len().min((6 * PIECE_LEN).saturating_sub(self.0.load(Ordering::SeqCst)));
            self.0.fetch_add(len, Ordering::SeqCst);
            Ok(len)
        }
    }

    #[test]
    fn a_stream_has_one_piece_unanswered_and_one_in_hand() {
        let directory = tempfile::tempdir().unwrap();
        let (db, stood, go) = standing(directory.path());
        let options = || PutOptions { base: Base::Versions(Vec::new()), ..PutOptions::default() };
        let key = |name| KeyName::new(name).unwrap();
        db.put(&key("a"), vec![1], options()).unwrap();
        let read = Arc::new(AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| db.put(&key("a"), vec![2], options()).unwrap());
            stood.recv().unwrap();
            scope.spawn(|| db.put_reader(&key("b"), &mut Counted(read.clone()), options()).unwrap());
            std::thread::sleep(Duration::from_millis(300));
            let held = read.load(Ordering::SeqCst) / PIECE_LEN;
            drop(go);
            assert!(held <= 2, "{held} pieces are held of a stream that nobody answers");
        });
        assert_eq!(read.load(Ordering::SeqCst), 6 * PIECE_LEN);
    }

    /// Begins another download in the middle of its own, and says how many reads all of them have asked for by then.
    struct Nested<'a> {
        client: &'a Client,
        got: &'a Got,
        deeper: usize,
        asked: &'a mut u64,
    }

    impl Write for Nested<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.deeper > 0 {
                let deeper = std::mem::take(&mut self.deeper) - 1;
                let mut nested = Nested { client: self.client, got: self.got, deeper, asked: self.asked };
                if *nested.asked == 0 && deeper == 0 {
                    *nested.asked = self.client.next.load(Ordering::Relaxed);
                }
                write_to(self.client, self.got, 0..LEN, &mut nested).unwrap();
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn reads_of_no_bytes_are_of_one() {
        let directory = tempfile::tempdir().unwrap();
        let keyring = Keyring::generate(&mut EngineRng::from_seed([3; 32]));
        let limits = Limits { read_len: 0, ..Limits::default() };
        let db = Db::builder().directory(directory.path()).keyring(keyring).limits(limits).create().unwrap();
        assert!(db.limits().read_len > 0, "no download would ever end");
        let key = KeyName::new("a").unwrap();
        let bytes: Vec<u8> = EngineRng::from_seed([4; 32]).bytes::<10_000>().to_vec();
        db.put(&key, bytes.clone(), PutOptions::default()).unwrap();
        let (mut written, got) = (Vec::new(), db.get(&key, Select::Winner).unwrap());
        db.write_to(&got, 0..u64::MAX, &mut written).unwrap();
        assert!(written == bytes);
    }

    #[test]
    fn downloads_share_what_is_read_ahead() {
        let directory = tempfile::tempdir().unwrap();
        let (db, got) = store(&directory);
        let before = db.client.next.load(Ordering::Relaxed);
        let mut asked = 0;
        let mut output = Nested { client: &db.client, got: &got, deeper: 20, asked: &mut asked };
        assert_eq!(write_to(&db.client, &got, 0..LEN, &mut output).unwrap(), LEN);
        let held = asked - before;
        assert!((20..=20 + READS_AHEAD as u64).contains(&held), "{held} reads are held by 20 downloads");
        assert_eq!(db.client.ahead.0.load(Ordering::Relaxed), READS_AHEAD);
    }
}
