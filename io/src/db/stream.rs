//! Values larger than memory, in and out, with a bounded number of pieces under way.

use super::{Client, settle};
use crate::error::Error;
use bytes::{Bytes, BytesMut};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Failure, Got, Limits, Put, PutOptions, PutSource, Reply, Request, RequestId, Written};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Bytes of one piece on its way into the engine, at most.
const PIECE_LEN: usize = 4 << 20;
/// Share of the engine's budget for contents under way that one piece may take.
const PIECE_SHARE: usize = 4;
/// Pieces that may be under way before the reader of the input waits.
const PIECES_AHEAD: usize = 2;
/// Read requests that may be under way before the writer of the output waits.
const READS_AHEAD: usize = 4;

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

/// A streamed put under way.
pub(super) struct Upload<'a> {
    client: &'a Client,
    stream: RequestId,
    ready: VecDeque<oneshot::Receiver<Reply>>,
    finished: bool,
}

impl<'a> Upload<'a> {
    pub(super) fn open(client: &'a Client, key: &KeyName, options: PutOptions) -> Result<Self, Error> {
        let put = Put { key: key.clone(), source: PutSource::Stream, options };
        let (stream, receiver) = client.send(Request::PutOpen(Box::new(put)))?;
        let mut upload = Self { client, stream, ready: VecDeque::new(), finished: false };
        upload.ready.push_back(receiver);
        Ok(upload)
    }

    pub(super) fn send(&mut self, data: Bytes) -> Result<(), Error> {
        while self.ready.len() > PIECES_AHEAD {
            self.wait_one()?;
        }
        let (_, receiver) = self.client.send(Request::PutData { stream: self.stream, data })?;
        self.ready.push_back(receiver);
        Ok(())
    }

    fn wait_one(&mut self) -> Result<(), Error> {
        if let Some(receiver) = self.ready.pop_front() {
            settle(receiver.recv().map_err(|_| Error::Closed)?)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Written, Error> {
        while !self.ready.is_empty() {
            self.wait_one()?;
        }
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
    let mut written = 0;
    loop {
        while next < end && pending.len() < READS_AHEAD {
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
            }
            other => unreachable!("the engine answered with {other:?}"),
        }
    }
}
