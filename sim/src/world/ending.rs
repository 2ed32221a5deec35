//! The end of a world: the faults have stopped, and everything heals, everything is there, and all work ends. Then the store
//! takes writes as on its first day, and forgets all that it is told to forget.

use super::World;
use super::rot::Rot;
use crate::oracle::leftovers;
use crate::oracle::records::{self, Holdings};
use crate::oracle::reindex::{self, Extent};
use crate::oracle::{Broken, Excuse, Promise, demand, is_of_index};
use crate::sometimes::Sometimes;
use crate::tape::place::FINALE;
use bytes::Bytes;
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Damage, DamageOutcome, PurgeTarget, Put, PutOptions, PutSource, Reply, Request};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// How far apart slices lie that nothing but their siblings covers, in bytes (decision 11).
const SPREAD_LEN: u64 = 64 << 10;
/// Length of the value that is written when all is over, which its version holds itself.
const LAST_VALUE_LEN: usize = 100;
/// Length of the stream that is, of several chunks.
pub(super) const LAST_STREAM_LEN: usize = 20_000;

impl World {
    /// The faults have stopped: everything heals, everything is there, and all work ends.
    pub(super) fn finish(&mut self, node: usize) -> Result<(), Broken> {
        self.nodes[node].begin(Some(FINALE));
        let disk = self.nodes[node].disk.clone();
        if self.budget.beyond {
            self.look(node, &[], true, Excuse::default())?;
            return self.plaintext.check(&disk);
        }
        if self.nodes[node].read_only || self.nodes[node].has_faults() {
            self.stop_and_restart(node, false, None)?;
        }
        self.look(node, &[], true, Excuse::default())?;
        if self.nodes[node].oracle.turned_up > 0 {
            self.counts.reached(Sometimes::MaybeTurnedUp);
        }
        if !self.nodes[node].oracle.maybe.is_empty() {
            self.counts.reached(Sometimes::MaybeGone);
        }
        self.nodes[node].oracle.settle();
        let it = &self.nodes[node];
        if let Some(rot) = it.rot.as_ref().filter(|_| !it.torn && it.harm() == 0) {
            // What nothing refers to stays as it rotted, until a compaction.
            let all = it.former_rot.iter().chain([rot]);
            records::check_slices(&it.disk, &|name, bytes| all.clone().any(|rot| rot.touches(name, bytes)))?;
        }
        let it = &self.nodes[node];
        let sound = !it.is_excused() && !it.rotted_before;
        // A page of the index that nobody has read since it was spoiled is found by the first who does.
        let spoiled = it.has_spoiled_index();
        let mut found = self.heal(node)?;
        found.retain(|damage| !(spoiled && is_of_index(damage)));
        demand!(P2, !sound || found.is_empty(), "a scrub found damage where nothing was damaged: {found:?}");
        // Of a batch that a full disk had kept in place, what was torn behind it stays among what came later.
        let it = &self.nodes[node];
        let harmless = |damage: &&Damage| it.torn && damage.outcome == DamageOutcome::Harmless;
        let left: Vec<&str> = found.iter().filter(harmless).map(|damage| damage.place.as_str()).collect();
        records::check_records(&it.disk, &left)?;
        if records::check(&self.nodes[node].disk)? > 0 {
            self.counts.reached(Sometimes::PagesNamed);
        }
        self.plaintext.check(&self.nodes[node].disk)?;
        match self.must(node, &Request::Compact, Promise::P6)? {
            Reply::Compacted(_) => {}
            other => return Err(Broken::new(Promise::P2, format!("{other:.200?} is no answer to compacting"))),
        }
        let it = &self.nodes[node];
        let holdings = Holdings::read(&it.disk)?;
        let alive = it.oracle.model.live_versions().map(|(id, _)| *id).collect();
        holdings.check_compacted(&alive)?;
        holdings.check_whole(&alive)?;
        holdings.check_spread(self.swarm.whims.spread_len.unwrap_or(SPREAD_LEN))?;
        it.oracle.check_sealing(&holdings, self.keys.realm_epoch())?;
        self.nodes[node].over = true;
        self.look(node, &[], true, Excuse::default())?;
        self.stats(node)?;
        self.rest(node)?;
        let it = &mut self.nodes[node];
        self.plaintext.check(&it.disk)?;
        it.oracle.check_drawn_keys(&it.disk, &holdings, &self.keys, &self.config, &mut it.scratch)?;
        // A sector of it may be bad that nobody in service reads: the next opening makes it anew.
        if !self.swarm.limits.index_in_memory && !self.nodes[node].refuses_index() {
            reindex::check(&self.nodes[node].disk, &self.keys, &self.swarm.limits, Extent::Compacted)?;
        }
        self.takes_writes(node)?;
        self.forgets(node)
    }

    /// A scrub heals what is rotten, and the next one, if there was anything, finds nothing. What the first has found.
    pub(super) fn heal(&mut self, node: usize) -> Result<Vec<Damage>, Broken> {
        let found = self.scrub(node, false)?;
        let is_left = !found.is_empty() && !self.scrub(node, true)?.is_empty();
        (self.nodes[node].rotten, self.nodes[node].unread) = (false, false);
        let it = &mut self.nodes[node];
        let former = it.rot.take();
        let (left, healed): (Vec<Rot>, Vec<Rot>) =
            former.iter().flat_map(Rot::places).cloned().partition(|place| place.is_there(&it.disk));
        it.left_rot.retain(|place| place.is_there(&it.disk));
        it.left_rot.extend(left);
        it.healed_rot.extend(healed);
        it.former_rot.extend(former);
        // Where it names nothing, nothing is torn any more.
        it.torn &= is_left;
        Ok(found)
    }

    /// A scrub that repairs. What it found.
    fn scrub(&mut self, node: usize, again: bool) -> Result<Vec<Damage>, Broken> {
        let report = match self.must(node, &Request::Scrub { repair: true }, Promise::P6)? {
            Reply::Scrubbed(report) => report,
            other => return Err(Broken::new(Promise::P2, format!("{other:.200?} is no answer to a scrub"))),
        };
        let left = report.damage.iter().find(|damage| {
            // What nothing refers to is left as it is until a compaction.
            matches!(damage.outcome, DamageOutcome::Lost | DamageOutcome::Healable)
                || again && damage.outcome != DamageOutcome::Harmless
        });
        if let Some(damage) = left {
            return Err(Broken::new(Promise::P6, format!("a scrub that repairs leaves damage: {damage:?}")));
        }
        let it = &self.nodes[node];
        // What a record is filled up with says nothing.
        let says = |place: &&Rot| {
            place.is_there(&it.disk)
                && records::is_of_log(&it.disk, place.name(), place.start())
                && records::shows(&it.disk, place.name(), &|bytes| place.touches(place.name(), bytes))
        };
        if report.damage.is_empty()
            && let Some(rot) = it.rot.iter().flat_map(Rot::places).find(says)
        {
            return Err(Broken::new(Promise::P6, format!("a scrub overlooks {rot}")));
        }
        if !report.lost.is_empty() {
            return Err(Broken::new(Promise::P1, format!("a scrub calls versions lost: {:?}", report.lost)));
        }
        if report.damage.is_empty() {
            let alive = it.oracle.model.live_versions().map(|(id, _)| *id).collect();
            let holdings = Holdings::read(&it.disk)?;
            let there = (holdings.records(), holdings.seals(&alive));
            let all = report.records >= there.0 && report.seals >= there.1;
            demand!(P6, all, "a scrub calls all sound, and has not read {there:?} records and seals: {report:?}");
        }
        Ok(report.damage)
    }

    fn stats(&mut self, node: usize) -> Result<(), Broken> {
        let Reply::Stats(stats) = self.must(node, &Request::Stats, Promise::P6)? else {
            return Err(Broken::new(Promise::P2, "no figures come"));
        };
        let model = &self.nodes[node].oracle.model;
        let keys: BTreeSet<&KeyName> = model.live_versions().map(|(_, version)| &version.key).collect();
        let conflicts = keys.iter().filter(|key| model.heads(key).len() > 1).count() as u64;
        let versions = model.live_versions().count() as u64;
        let len = |content: &Option<Bytes>| content.as_ref().map_or(0, |content| content.len() as u64);
        let logical: u64 = model.live_versions().map(|(_, version)| len(&version.content)).sum();
        let expected = (keys.len() as u64, versions, conflicts, Some(logical), 0);
        let found = (stats.keys, stats.versions, stats.conflicts, stats.logical_bytes, stats.degraded_seals);
        if found != expected {
            let what = format!("keys, versions, conflicts, bytes, degraded seals are {found:?}, not {expected:?}");
            return Err(Broken::new(Promise::P6, what));
        }
        if stats.tombstones < model.tombstones() {
            return Err(Broken::new(Promise::P3, "a deletion is forgotten"));
        }
        Ok(())
    }

    /// Idle means idle: within a minute nothing is left to do.
    fn rest(&mut self, node: usize) -> Result<(), Broken> {
        // What was called for by earlier lives, or called for anew since, never happens.
        let heap = std::mem::take(&mut self.heap);
        self.heap = heap.into_iter().filter(|Reverse((at, _, happening))| self.is_due(*at, happening)).collect();
        self.nodes.iter_mut().for_each(|node| node.pending = 0);
        for Reverse((_, _, happening)) in &self.heap {
            if let Some(node) = happening.of() {
                self.nodes[node].pending += 1;
            }
        }
        let until = self.now + 60_000_000_000;
        self.pump(node, |world| world.heap.peek().is_some_and(|next| next.0.0 > until))?;
        let it = &self.nodes[node];
        if it.pending > 0 || !it.jobs.is_empty() || !it.open.is_empty() {
            let what = format!(
                "a minute after the last request there are {} jobs and {} requests",
                it.jobs.len(),
                it.open.len()
            );
            return Err(Broken::new(Promise::P6, what));
        }
        let Some(held) = it.process.as_ref().map(|process| process.moment().held) else { return Ok(()) };
        let left = [
            ("versions on their way in", held.uploads),
            ("bytes of contents", held.contents_len),
            ("bytes of sealed chunks", held.window_len),
            ("bytes not committed", usize::try_from(held.batch_len).unwrap_or(usize::MAX)),
            ("seals to mend", held.to_mend),
            ("jobs", held.jobs),
            ("questions", held.questions),
            ("bytes on their way out", held.reads_len),
            ("outputs", held.outputs),
        ];
        for (what, left) in left {
            demand!(P6, left == 0, "a minute after the last request the engine still has {left} {what}");
        }
        Ok(())
    }

    /// Whatever struck the store, it takes a value and a stream, and gives them back.
    fn takes_writes(&mut self, node: usize) -> Result<(), Broken> {
        for len in [LAST_VALUE_LEN, LAST_STREAM_LEN] {
            let bytes: Bytes = (0..len).map(|at| (at * 31 + at / 251) as u8).collect();
            let put = |source| Put { key: last_key(), source, options: PutOptions::default() };
            let reply = if len == LAST_VALUE_LEN {
                self.must(node, &Request::Put(vec![put(PutSource::Value(bytes.clone()))]), Promise::P10)?
            } else {
                self.stream(node, put(PutSource::Stream), &bytes)?
            };
            let id = match &reply {
                Reply::Put(results) => results.first().and_then(|result| Some(result.as_ref().ok()?.id)),
                _ => None,
            };
            let Some(id) = id else {
                return Err(Broken::new(Promise::P10, format!("when all is over no write is taken: {reply:.200?}")));
            };
            let held = self.content(node, id, Promise::P1)?;
            demand!(P2, held.content.as_ref() == Some(&bytes), "what was written when all was over reads otherwise");
        }
        Ok(())
    }

    fn stream(&mut self, node: usize, put: Put, bytes: &Bytes) -> Result<Reply, Broken> {
        let stream = self.next_request();
        self.must(node, &Request::PutOpen(Box::new(put)), Promise::P10)?;
        for piece in bytes.chunks(bytes.len() / 3) {
            let data = bytes.slice_ref(piece);
            self.must(node, &Request::PutData { stream, data }, Promise::P10)?;
        }
        self.must(node, &Request::PutEnd { stream }, Promise::P10)
    }

    /// What is purged goes, and what nothing refers to any more with it.
    fn forgets(&mut self, node: usize) -> Result<(), Broken> {
        let model = &self.nodes[node].oracle.model;
        let mut keys: BTreeSet<KeyName> = model.live_versions().map(|(_, version)| version.key.clone()).collect();
        keys.insert(last_key());
        for key in keys {
            let live = self.nodes[node].oracle.model.history(&key).len();
            let there = if key == last_key() { 2 } else { live as u64 };
            match self.must(node, &Request::Purge(PurgeTarget::Key(key.clone())), Promise::P3)? {
                Reply::Purged { versions } => {
                    demand!(P3, versions == there, "of {there} versions of {key} {versions} were purged");
                }
                other => return Err(Broken::new(Promise::P2, format!("{other:.200?} is no answer to purging {key}"))),
            }
        }
        self.must(node, &Request::Compact, Promise::P6)?;
        let Reply::Stats(stats) = self.must(node, &Request::Stats, Promise::P6)? else {
            return Err(Broken::new(Promise::P2, "no figures come"));
        };
        let left = (stats.keys, stats.versions, stats.conflicts, stats.seals, stats.sealed_bytes, stats.logical_bytes);
        demand!(P3, left == (0, 0, 0, 0, 0, Some(0)), "everything was purged, and there is still something: {stats:?}");
        let remains = records::remains(&self.nodes[node].disk)?;
        demand!(P3, remains.is_none(), "everything was purged, and the log still holds {remains:?}");
        if !self.swarm.limits.index_in_memory {
            self.must(node, &Request::Close, Promise::P6)?;
            if !self.nodes[node].refuses_index() {
                leftovers::check(&self.nodes[node].disk, &self.keys)?;
            }
        }
        Ok(())
    }
}

fn last_key() -> KeyName {
    let Ok(key) = KeyName::try_from("the end") else { unreachable!("a short name of letters is one") };
    key
}
