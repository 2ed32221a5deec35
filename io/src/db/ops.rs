//! Every operation as a [`Call`]: the request and how to read its answer, once for both forms.

use super::call::Call;
use crate::error::Error;
use ouroboros_engine::id::BlobId;
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{
    CompactReport, DiffReply, Got, Limits, ListRequest, Page, PurgeTarget, Put, PutOptions, PutSource, RecodeReport,
    Reply, Request, ScrubReport, Select, Stats, Version, Written,
};
use ouroboros_engine::seal::Coding;

// The engine answers every request with its own kind of reply or `Failed`, which is settled before `read` is called.
macro_rules! expect {
    ($pattern:pat => $value:expr) => {
        |reply| match reply {
            $pattern => Ok($value),
            other => unreachable!("the engine answered with {other:?}"),
        }
    };
}

fn only<T>(mut results: Vec<Result<T, ouroboros_engine::node::Failure>>) -> Result<T, Error> {
    match results.pop() {
        Some(result) if results.is_empty() => Ok(result?),
        _ => unreachable!("one question, one answer"),
    }
}

fn each<T>(results: Vec<Result<T, ouroboros_engine::node::Failure>>) -> Vec<Result<T, Error>> {
    results.into_iter().map(|result| result.map_err(Error::from)).collect()
}

pub(crate) fn put(key: &KeyName, source: PutSource, options: PutOptions) -> Call<Written> {
    Call {
        request: Request::Put(vec![Put { key: key.clone(), source, options }]),
        read: |reply| match reply {
            Reply::Put(results) => only(results),
            other => unreachable!("the engine answered with {other:?}"),
        },
    }
}

/// Parts of one long list of puts that may be under way at once.
pub(crate) const PARTS_AHEAD: usize = 4;

/// A long list of puts, in parts that the engine takes in without refusing any: within its limit of versions on their way
/// in (half of it, for others put as well), and of bytes.
pub(crate) struct Parts {
    puts: std::vec::IntoIter<Put>,
    most: usize,
    most_len: usize,
}

impl Parts {
    pub(crate) fn new(puts: Vec<Put>, limits: &Limits) -> Self {
        let share = 2 * PARTS_AHEAD;
        Self {
            puts: puts.into_iter(),
            most: (limits.uploads / share).clamp(1, 256),
            most_len: limits.inflight_len / share,
        }
    }
}

impl Iterator for Parts {
    type Item = Vec<Put>;

    fn next(&mut self) -> Option<Vec<Put>> {
        let mut part = Vec::new();
        let mut len = 0;
        while part.len() < self.most && (part.is_empty() || len < self.most_len) {
            let Some(put) = self.puts.next() else { break };
            if let PutSource::Value(bytes) = &put.source {
                len += bytes.len();
            }
            part.push(put);
        }
        (!part.is_empty()).then_some(part)
    }
}

/// What became of each of `count` puts.
pub(crate) fn outcomes(count: usize, reply: Reply) -> Vec<Result<Written, Error>> {
    match reply {
        Reply::Put(results) => each(results),
        Reply::Failed(failure) => (0..count).map(|_| Err(failure.clone().into())).collect(),
        other => unreachable!("the engine answered with {other:?}"),
    }
}

pub(crate) fn get(key: &KeyName, select: Select) -> Call<Got> {
    Call {
        request: Request::Get(vec![(key.clone(), select)]),
        read: |reply| match reply {
            Reply::Got(results) => only(results),
            other => unreachable!("the engine answered with {other:?}"),
        },
    }
}

/// Keys that are looked up with one request of several: bodies of one are opened while another's are read.
pub(crate) const LOOKUPS: usize = 128;
/// Such requests that may be under way at once.
pub(crate) const LOOKUPS_AHEAD: usize = 4;

/// What became of each of `count` lookups.
pub(crate) fn found(count: usize, reply: Reply) -> Vec<Result<Got, Error>> {
    match reply {
        Reply::Got(results) => each(results),
        Reply::Failed(failure) => (0..count).map(|_| Err(failure.clone().into())).collect(),
        other => unreachable!("the engine answered with {other:?}"),
    }
}

pub(crate) fn get_version(version: BlobId) -> Call<Got> {
    Call {
        request: Request::GetVersion(version),
        read: |reply| match reply {
            Reply::Got(results) => only(results),
            other => unreachable!("the engine answered with {other:?}"),
        },
    }
}

pub(crate) fn exist(versions: Vec<BlobId>) -> Call<Vec<bool>> {
    Call { request: Request::Exist(versions), read: expect!(Reply::Exist(known) => known) }
}

pub(crate) fn versions(request: Request) -> Call<Vec<Version>> {
    Call { request, read: expect!(Reply::Versions(versions) => versions) }
}

pub(crate) fn diff(from: BlobId, to: BlobId) -> Call<DiffReply> {
    Call { request: Request::Diff { from, to }, read: expect!(Reply::Diff(diff) => diff) }
}

pub(crate) fn list(request: ListRequest) -> Call<Page> {
    Call { request: Request::List(request), read: expect!(Reply::Listing(page) => page) }
}

pub(crate) fn purge(target: PurgeTarget) -> Call<u64> {
    Call { request: Request::Purge(target), read: expect!(Reply::Purged { versions } => versions) }
}

pub(crate) fn scrub(repair: bool) -> Call<ScrubReport> {
    Call { request: Request::Scrub { repair }, read: expect!(Reply::Scrubbed(report) => report) }
}

pub(crate) fn recode(coding: Coding) -> Call<RecodeReport> {
    Call { request: Request::Recode(coding), read: expect!(Reply::Recoded(report) => report) }
}

pub(crate) fn compact() -> Call<CompactReport> {
    Call { request: Request::Compact, read: expect!(Reply::Compacted(report) => report) }
}

pub(crate) fn stats() -> Call<Stats> {
    Call { request: Request::Stats, read: expect!(Reply::Stats(stats) => stats) }
}
