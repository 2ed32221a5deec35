//! Holding what the node says against what the model says.

use super::ops::{KEYS, Op, PREFIXES, Which, key};
use super::world::{Task, Want, World};
use bytes::Bytes;
use ouroboros_engine::id::{BlobId, Hlc};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Entry, Failure, Got, ListRequest, PurgeTarget, Reply, Request, Select, Stats, Version};
use ouroboros_engine::seal::Coding;
use ouroboros_sim::oracle::model::Model;
use std::collections::BTreeMap;

impl World {
    /// Asks, once more if a planted panic spoiled it.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Reply, Failure> {
        loop {
            match self.node.ask(request.clone()) {
                Err(failure) if self.is_planted(&failure) => {}
                Ok(Reply::Got(got))
                    if got.iter().any(|got| got.as_ref().is_err_and(|failure| self.is_planted(failure))) => {}
                answer => return answer,
            }
        }
    }

    /// The whole history of a key, as the node tells it page by page.
    pub(crate) fn node_log(&mut self, key: &KeyName, limit: usize) -> Vec<Version> {
        let mut all: Vec<Version> = Vec::new();
        loop {
            let after = all.last().map(|version| (version.created, version.id));
            let page = match self.ask(&Request::Log { key: key.clone(), after, limit }) {
                Ok(Reply::Versions(page)) => page,
                Err(Failure::NoSuchKey(_)) if after.is_none() => return Vec::new(),
                other => panic!("{other:?} is no history of {key}"),
            };
            assert!(page.len() <= limit);
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// Everything a version holds; none if it says "gone".
    pub(crate) fn node_content(&mut self, id: BlobId) -> Option<Bytes> {
        let Ok(Reply::Got(got)) = self.ask(&Request::GetVersion(id)) else { panic!("version {id} cannot be opened") };
        let got = got.into_iter().next().unwrap().unwrap();
        if got.version.gone {
            return None;
        }
        let mut out = Vec::new();
        let step = self.node.engine().limits().read_len;
        while (out.len() as u64) < got.version.len {
            let start = out.len() as u64;
            match self.ask(&Request::Read { blob: id, range: start..start + step }) {
                Ok(Reply::Data(data)) => data.iter().for_each(|piece| out.extend_from_slice(piece)),
                other => panic!("reading version {id} at {start}: {other:?}"),
            }
            assert!(
                out.len() as u64 > start,
                "version {id} ends at {start}, and should have {} bytes",
                got.version.len
            );
        }
        if let Some(inline) = got.inline {
            assert_eq!(inline, out, "what comes along is what is read");
        }
        Some(out.into())
    }

    /// What the node shows of everything is what the model holds; with `deep`, down to every byte.
    pub(crate) fn check_all(&mut self, deep: bool) {
        for number in 0..KEYS.len() as u8 {
            let key = key(number);
            let history = self.model.history(&key);
            let shown = self.node_log(&key, 3);
            let shown_ids: Vec<(Hlc, BlobId)> = shown.iter().map(|version| (version.created, version.id)).collect();
            assert_eq!(shown_ids, history, "the history of {key}");
            let heads = self.model.heads(&key);
            for version in &shown {
                self.check_version(version, &heads);
            }
            match self.ask(&Request::Heads(key.clone())) {
                Ok(Reply::Versions(shown)) => {
                    let ids: Vec<BlobId> = shown.iter().map(|version| version.id).collect();
                    assert_eq!(ids, heads, "the heads of {key}");
                }
                Err(Failure::NoSuchKey(_)) if heads.is_empty() => {}
                other => panic!("{other:?} are no heads of {key}, {heads:?} are"),
            }
            if deep {
                for (_, id) in history {
                    let content = self.node_content(id);
                    assert!(content == self.model.versions[&id].content, "version {id} of {key} holds other bytes");
                }
            }
        }
        let all = ListRequest { recursive: true, include_gone: true, limit: 1000, ..ListRequest::default() };
        self.check_list(&all);
        self.check_list(&ListRequest { recursive: false, include_gone: false, limit: 2, ..all });
        let stats = self.stats();
        self.check_stats(&stats);
    }

    /// Deletions of versions that the model never knew.
    pub(crate) fn unknown_tombstones(&mut self) -> u64 {
        self.stats().tombstones.checked_sub(self.model.tombstones()).expect("no deletion is forgotten")
    }

    fn stats(&mut self) -> Stats {
        match self.ask(&Request::Stats) {
            Ok(Reply::Stats(stats)) => stats,
            other => panic!("{other:?} are no figures"),
        }
    }

    fn check_stats(&self, stats: &Stats) {
        let live = || self.model.live_versions();
        let keys: std::collections::BTreeSet<&KeyName> = live().map(|(_, version)| &version.key).collect();
        assert_eq!(stats.keys, keys.len() as u64, "{stats:?}");
        assert_eq!(stats.versions, live().count() as u64, "{stats:?}");
        let conflicts = keys.iter().filter(|key| self.model.heads(key).len() > 1).count();
        assert_eq!(stats.conflicts, conflicts as u64, "{stats:?}");
        let len = |content: &Option<Bytes>| content.as_ref().map_or(0, |content| content.len() as u64);
        let logical: u64 = live().map(|(_, version)| len(&version.content)).sum();
        assert_eq!(stats.logical_bytes, Some(logical), "{stats:?}");
        assert_eq!(stats.tombstones, self.model.tombstones(), "{stats:?}");
        // P4: every chunk that a live version needs has its seal.
        assert!(stats.seals >= self.model.live_chunks().len() as u64, "{stats:?}");
        assert!(stats.live_bytes <= stats.log_bytes, "{stats:?}");
    }

    fn check_version(&self, version: &Version, heads: &[BlobId]) {
        let expected = &self.model.versions[&version.id];
        assert_eq!(version.parents, expected.parents);
        assert_eq!(version.kind, expected.kind);
        assert_eq!(version.gone, expected.content.is_none());
        assert_eq!(version.len, expected.content.as_ref().map_or(0, |content| content.len() as u64));
        assert_eq!(version.is_head, heads.contains(&version.id));
        assert_eq!(version.author, self.keys.author());
    }

    fn check_list(&mut self, request: &ListRequest) {
        let expected = self.model.list(request);
        let mut found: Vec<Entry> = Vec::new();
        let mut after = request.after.clone();
        loop {
            let Ok(Reply::Listing(page)) = self.ask(&Request::List(ListRequest { after, ..request.clone() })) else {
                panic!("{request:?} failed")
            };
            assert!(page.entries.len() <= request.limit.max(1), "{request:?}");
            found.extend(page.entries);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{request:?}");
    }

    fn selected(&self, which: Which) -> Option<Select> {
        Some(match which {
            Which::Winner => Select::Winner,
            Which::Version(pick) => Select::Version(self.model.pick(pick)?),
            Which::At(pick, by) => {
                let created = self.model.versions[&self.model.pick(pick)?].created;
                Select::At(Hlc(created.0.saturating_add_signed(i64::from(by))))
            }
        })
    }

    /// The request of an operation that only asks, or that changes nothing that can be seen.
    pub(crate) fn question(&self, op: &Op) -> Option<Request> {
        Some(match op {
            Op::Get(wanted) => Request::Get(
                wanted.iter().filter_map(|(name, which)| Some((key(*name), self.selected(*which)?))).collect(),
            ),
            Op::GetVersion(pick) => Request::GetVersion(self.model.pick(*pick)?),
            Op::Read(pick, from, to) => {
                let blob = self.model.pick(*pick)?;
                let len = self.model.versions[&blob].content.as_ref().map_or(0, |content| content.len() as u64);
                let place = |number: u16| u64::from(number) * (len + len / 8 + 2) / 65_536;
                Request::Read { blob, range: place(*from)..place(*to) }
            }
            Op::Log(name, limit) => Request::Log { key: key(*name), after: None, limit: usize::from(*limit) },
            Op::Bases(picks) => {
                let mut ids: Vec<BlobId> = picks.iter().filter_map(|pick| self.model.pick(*pick)).collect();
                let key = ids.first().map(|id| self.model.versions[id].key.clone());
                ids.retain(|id| Some(&self.model.versions[id].key) == key.as_ref());
                Request::MergeBases(ids)
            }
            Op::Diff(from, to) => Request::Diff { from: self.model.pick(*from)?, to: self.model.pick(*to)? },
            Op::List { prefix, recursive, gone, limit, after } => Request::List(ListRequest {
                prefix: PREFIXES[usize::from(*prefix) % PREFIXES.len()].to_vec(),
                after: after.map(|name| key(name).into_bytes()),
                recursive: *recursive,
                include_gone: *gone,
                limit: usize::from(*limit),
            }),
            Op::Scrub(repair) => Request::Scrub { repair: *repair },
            Op::Compact => Request::Compact,
            Op::Recode(data, parity) => Request::Recode(Coding::new(*data, *parity).unwrap()),
            Op::Stats => Request::Stats,
            _ => return None,
        })
    }

    /// Checks the answer to a question. Asked alone it must be the model's; among others it may be of any moment, but never
    /// a wrong one.
    pub(crate) fn check_answer(&mut self, task: &Task, single: bool) {
        let (Some(request), Some(reply)) = (&task.asked, &task.reply) else { return };
        if let Reply::Failed(failure) = reply
            && self.is_planted(failure)
        {
            return;
        }
        match (request, reply) {
            (Request::Get(wanted), Reply::Got(results)) => {
                assert_eq!(wanted.len(), results.len());
                for ((key, select), got) in wanted.iter().zip(results) {
                    self.check_got(self.model.select(key, *select), got, single);
                }
            }
            (Request::GetVersion(id), Reply::Got(results)) => {
                let expected = self.model.live(*id).map(|_| *id).ok_or(Failure::NoSuchVersion(*id));
                assert_eq!(results.len(), 1);
                self.check_got(expected, &results[0], single);
            }
            (Request::Read { blob, range }, Reply::Data(pieces)) => {
                let live = self.model.live(*blob).is_some();
                assert!(live || !single, "purged version {blob} was read");
                let content = self.model.versions[blob].content.clone().unwrap_or_default();
                let end = (range.end as usize).min(content.len());
                let start = (range.start as usize).min(end);
                assert!(pieces.concat() == content[start..end], "other bytes at {range:?} of {blob}");
            }
            (Request::Read { blob, range }, Reply::Failed(failure)) => {
                let too_long = range.end.saturating_sub(range.start) > self.node.engine().limits().read_len;
                match failure {
                    Failure::TooLarge { .. } => assert!(too_long),
                    Failure::NoSuchVersion(id) => {
                        assert!(id == blob && self.model.versions[blob].purged, "{blob} is there");
                    }
                    other => panic!("reading {range:?} of {blob}: {other:?}"),
                }
            }
            (Request::Log { key, limit, .. }, Reply::Versions(versions)) => {
                let history: Vec<BlobId> = self.model.history(key).into_iter().map(|(_, id)| id).collect();
                let shown: Vec<BlobId> = versions.iter().map(|version| version.id).collect();
                assert!(!single || shown == history[..history.len().min(*limit)], "the history of {key}");
            }
            (Request::Log { key, .. }, Reply::Failed(Failure::NoSuchKey(_))) => {
                assert!(!single || self.model.history(key).is_empty());
            }
            (Request::MergeBases(sides), Reply::Versions(bases)) => {
                let shown: Vec<BlobId> = bases.iter().map(|version| version.id).collect();
                assert!(!single || shown == self.model.merge_bases(sides), "the bases of {sides:?}: {shown:?}");
            }
            (Request::MergeBases(sides), Reply::Failed(Failure::NoSuchVersion(id))) => {
                assert!(sides.contains(id) && self.model.versions[id].purged);
            }
            (Request::Diff { from, to }, Reply::Diff(diff)) => {
                assert!(!single || (self.model.live(*from).is_some() && self.model.live(*to).is_some()));
                let side = |id: &BlobId| self.model.versions[id].content.clone().unwrap_or_default();
                check_diff(&side(from), &side(to), &diff.ranges);
            }
            (Request::Diff { from, to }, Reply::Failed(Failure::NoSuchVersion(id))) => {
                assert!((id == from || id == to) && self.model.versions[id].purged);
            }
            (Request::List(request), Reply::Listing(page)) if single => {
                let expected = self.model.list(request);
                assert_eq!(page.entries, expected[..expected.len().min(request.limit.max(1))]);
                self.check_list(&request.clone());
            }
            (Request::List(_), Reply::Listing(_)) | (Request::Stats, Reply::Stats(_)) => {}
            (Request::Scrub { .. }, Reply::Scrubbed(report)) => {
                assert!(report.damage.is_empty() && report.lost.is_empty(), "{report:?}");
            }
            (Request::Compact, Reply::Compacted(report)) => {
                if single {
                    let stats = self.stats();
                    assert_eq!(report.bytes_after, stats.log_bytes);
                    assert_eq!(stats.seals, self.model.live_chunks().len() as u64, "nothing dead is kept: {stats:?}");
                    assert_eq!(stats.degraded_seals, 0, "{stats:?}");
                    self.check_all(true);
                }
            }
            (Request::Recode(coding), Reply::Recoded(report)) => {
                assert!(report.damaged.is_empty(), "{report:?}");
                // Of several, the one that began last decides.
                if single {
                    assert_eq!(self.node.engine().config().coding, *coding);
                    self.check_all(true);
                }
            }
            (request, reply) => panic!("{reply:?} is no answer to {request:?}"),
        }
    }

    fn check_got(&self, expected: Result<BlobId, Failure>, got: &Result<Got, Failure>, single: bool) {
        match got {
            Err(failure) if self.is_planted(failure) => {}
            Err(failure) if single => assert_eq!(expected.as_ref().err(), Some(failure)),
            Err(
                Failure::NoSuchKey(_) | Failure::Gone { .. } | Failure::NoSuchVersion(_) | Failure::OtherKey { .. },
            ) => {}
            Err(failure) => panic!("{failure:?}"),
            Ok(got) => {
                assert!(!single || expected == Ok(got.version.id), "{expected:?}, not {got:?}");
                let version = &self.model.versions[&got.version.id];
                assert_eq!(got.key, version.key);
                assert_eq!(got.attributes, version.attributes);
                assert_eq!(got.version.len, version.content.as_ref().map_or(0, |content| content.len() as u64));
                if let Some(inline) = &got.inline {
                    assert_eq!(*inline, version.content.clone().unwrap_or_default());
                } else {
                    assert!(got.version.len > 4096, "small contents come along");
                }
                if single {
                    let mut others = got.others.clone();
                    others.sort_unstable();
                    let mut heads = self.model.heads(&version.key);
                    heads.retain(|head| *head != got.version.id);
                    heads.sort_unstable();
                    assert_eq!(others, heads);
                }
            }
        }
    }

    /// A write may fail only because of what it names.
    pub(crate) fn check_refusal(
        &self,
        task: &Task,
        want: &Want,
        failure: &Failure,
        purging: &dyn Fn(BlobId, &KeyName) -> bool,
    ) {
        if self.is_planted(failure) || want.refusal.as_ref() == Some(failure) {
            return;
        }
        let named =
            |id: BlobId| want.source == Some(id) || want.parents.as_ref().is_some_and(|parents| parents.contains(&id));
        let excused = match failure {
            Failure::NoSuchVersion(id) => {
                named(*id)
                    && self.model.versions.get(id).is_none_or(|version| version.purged || purging(*id, &version.key))
            }
            // A stream that was refused at its opening is not there when it ends.
            Failure::Invalid(_) => {
                matches!(task.op, Op::Stream { .. })
                    && (want.refusal.is_some()
                        || self.has_panics()
                        || want.parents.iter().flatten().any(|id| purging(*id, &want.key)))
            }
            _ => false,
        };
        assert!(excused, "{:?} failed: {failure:?}", task.op);
    }

    pub(crate) fn check_parents(
        &self,
        before: &Model,
        want: &Want,
        version: &Version,
        shown: &BTreeMap<BlobId, (KeyName, Version)>,
        purging: bool,
    ) {
        assert_eq!(version.gone, want.content.is_none());
        if let Some(parents) = &want.parents {
            assert_eq!(version.parents, *parents, "it follows what it was told to follow");
            return;
        }
        assert!(version.parents.len() <= 1, "it follows the winner: {version:?}");
        if purging {
            return;
        }
        match version.parents.first() {
            None => assert_eq!(before.winner(&want.key), None, "{version:?} follows nothing"),
            Some(parent) => {
                let fresh = !before.versions.contains_key(parent);
                let known = shown.get(parent).is_some_and(|(key, _)| *key == want.key);
                assert!(known && (fresh || before.winner(&want.key) == Some(*parent)), "{version:?} follows no winner");
                assert!(shown[parent].1.created < version.created);
            }
        }
    }

    pub(crate) fn check_purge(&self, task: &Task, before: &Model, tasks: &[Task]) {
        let (Some(target), Some(reply)) = (&task.purge, &task.reply) else { return };
        let others = tasks.iter().filter(|other| other.purge.is_some()).count() > 1;
        let vanished = |key: &KeyName| {
            let gone = |model: &Model, id: &BlobId| model.versions.get(id).is_some_and(|version| version.purged);
            let of_key = self.model.versions.iter().filter(|(_, version)| version.key == *key);
            of_key.filter(|(id, _)| gone(&self.model, id) && !gone(before, id)).count() as u64
        };
        match (target, reply) {
            (PurgeTarget::Version(id), Reply::Purged { versions }) => {
                assert_eq!(*versions, 1);
                assert!(self.model.versions[id].purged, "{id} was purged and is there");
                assert!(before.live(*id).is_some(), "{id} was purged twice");
                assert!(tasks.len() > 1 || !before.would_return(*id), "purging {id} brought content back");
            }
            (PurgeTarget::Version(id), Reply::Failed(Failure::WouldReturn { removal, .. })) => {
                assert!(id == removal && (others || before.would_return(*id)), "{id} could be purged");
            }
            (PurgeTarget::Key(key), Reply::Purged { versions }) => {
                assert!(before.history(key).iter().all(|(_, id)| self.model.versions[id].purged), "{key} was purged");
                let known = vanished(key);
                let unseen = self.model.unseen - before.unseen;
                let counted = known <= *versions && *versions <= known + unseen;
                assert!(others || counted, "{versions} versions of {key} were purged, {known} of them known");
            }
            (PurgeTarget::Version(id), Reply::Failed(Failure::NoSuchVersion(other))) => {
                assert!(id == other && self.model.versions[id].purged);
            }
            (PurgeTarget::Key(key), Reply::Failed(Failure::NoSuchKey(other))) => {
                assert!(key == other && (others || before.history(key).is_empty()));
            }
            (target, Reply::Failed(failure)) if self.is_planted(failure) => {
                assert!(
                    vanished(&match target {
                        PurgeTarget::Key(key) => key.clone(),
                        PurgeTarget::Version(id) => self.model.versions[id].key.clone(),
                    }) == 0
                        || others
                );
            }
            (target, reply) => panic!("{reply:?} is no answer to purging {target:?}"),
        }
    }
}

/// Outside of the reported ranges the contents are equal, and the ranges say how both lie together.
fn check_diff(a: &[u8], b: &[u8], ranges: &[(std::ops::Range<u64>, std::ops::Range<u64>)]) {
    let (mut at_a, mut at_b) = (0usize, 0usize);
    let ends = (a.len() as u64..a.len() as u64, b.len() as u64..b.len() as u64);
    for (in_a, in_b) in ranges.iter().chain([&ends]) {
        let (start_a, start_b) = (in_a.start as usize, in_b.start as usize);
        assert!(at_a <= start_a && at_b <= start_b && in_a.start <= in_a.end && in_b.start <= in_b.end, "{ranges:?}");
        assert!(a[at_a..start_a] == b[at_b..start_b], "what is not reported differs: {ranges:?}");
        (at_a, at_b) = (in_a.end as usize, in_b.end as usize);
    }
    if a == b {
        assert!(ranges.is_empty() || a.len() > 4096, "equal contents differ: {ranges:?}");
    }
}
