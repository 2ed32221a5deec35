//! One recovery from a crash, and the verdict on what it left.

use super::judge::{Names, PROBE_KEY, Seen, Sight, check_absence, check_events, check_versions, judge, look, names};
use super::model::{Moment, key_name};
use super::player::{Clerk, ask_keyless, put_now};
use super::recording::{CrashPoint, Recording, Watched};
use super::script::content;
use super::store::Node;
use crate::disk::FaultyDisk;
use ouroboros_engine::env::{Disk as _, Volume};
use ouroboros_engine::id::BlobId;
use ouroboros_engine::node::{OpenError, Opened, Reply, Request};
use ouroboros_engine::store::index::IndexName;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What was asked or answered so many moments before a crash is endangered by it.
const ENDANGERED: Moment = 12;

/// How many different sights of one moment are remembered.
const SIGHTS: usize = 64;

/// How closely a store is looked at after its recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scrutiny {
    /// All keys, heads and histories; values that the crash endangered, and an eighth of the others.
    Light,
    /// Every byte; the store is written to, closed and opened again.
    Full,
    /// And compacted and scrubbed.
    Deep,
}

/// What was seen at one moment and found right: most crashes of a moment leave one of a few states.
#[derive(Debug)]
pub(super) struct Sights {
    names: Names,
    known: Vec<(Sight, Vec<BlobId>)>,
}

impl Sights {
    pub(super) fn of(recording: &Recording) -> Self {
        Self { names: names(&recording.model), known: Vec::new() }
    }

    /// Judges a sight, or remembers that it was; the versions that are there, in the order of their ids.
    fn judge(&mut self, sight: Sight, recording: &Recording, at: Moment) -> Result<&[BlobId], String> {
        let place = match self.known.iter().position(|(known, _)| *known == sight) {
            Some(place) => place,
            None => {
                let present = sight.judge(&recording.model, &self.names, at)?;
                if self.known.len() == SIGHTS {
                    self.known.clear();
                }
                self.known.push((sight, present.into_iter().collect()));
                self.known.len() - 1
            }
        };
        Ok(self.known.get(place).map_or(&[], |(_, present)| present.as_slice()))
    }
}

/// One recovery, and what is done with the store afterwards.
pub(super) struct Recovery<'a> {
    pub(super) recording: &'a Recording,
    /// The moment of the first crash.
    pub(super) at: Moment,
    /// Seeds the processes; those that follow each other have different ones.
    pub(super) seed: u64,
    /// Decides what else is drawn.
    pub(super) draw: u64,
    pub(super) scrutiny: Scrutiny,
    /// A process without keys is the first to open the store.
    pub(super) keyless: bool,
    /// Whether the crash points of the recovery itself are wanted.
    pub(super) watched: bool,
}

/// A recovery that was found right.
#[derive(Default)]
pub(super) struct Recovered {
    pub(super) opened: Opened,
    /// The crash points on the way, if they were wanted.
    pub(super) points: Vec<CrashPoint>,
}

impl Recovery<'_> {
    /// Recovers, and judges. A panic is a verdict, too.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn run(&self, disk: &FaultyDisk, sights: &mut Sights) -> Result<Recovered, String> {
        catch_unwind(AssertUnwindSafe(|| self.recover(disk, sights))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(format!(
                "panic: {}",
                text.or(panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
            ))
        })
    }

    fn recover(&self, disk: &FaultyDisk, sights: &mut Sights) -> Result<Recovered, String> {
        let watched = self.watched.then(|| Watched::of(disk, Clerk::at(self.at)));
        if self.keyless {
            self.go_over_without_keys(disk)?;
        }
        let (mut node, opened) = self.open(disk)?;
        let points = watched.map_or_else(Vec::new, |watched| watched.end(disk, self.at));
        if !opened.damaged.is_empty() {
            return Err(format!("a crash is taken for damage: {opened:?}"));
        }
        let left = disk.list(Volume::Index).map_err(|error| error.to_string())?;
        if left.iter().any(|name| name.as_str() == IndexName::Passing.name()) {
            return Err(format!("the index of a process without keys is left: {left:?}"));
        }
        match self.scrutiny {
            Scrutiny::Light => {
                self.look_over(&mut node, sights)?;
                // What the process would still write at its end is of no interest any more.
                disk.cut_power();
            }
            Scrutiny::Full | Scrutiny::Deep => self.live_on(node, disk)?,
        }
        Ok(Recovered { opened, points })
    }

    fn open(&self, disk: &FaultyDisk) -> Result<(Node, Opened), String> {
        let store = self.recording.script.store;
        match store.open(disk, self.seed) {
            Ok(opened) => Ok(opened),
            // Nobody had been told that there is a store.
            Err(OpenError::NoStore) if self.at < self.recording.made => {
                let node = store
                    .create(disk, self.seed)
                    .map_err(|error| format!("a half-made store is in the way: {error}"))?;
                Ok((node, Opened::default()))
            }
            Err(error) => Err(format!("it does not open: {error}")),
        }
    }

    /// Recovers, compacts and ends without keys.
    fn go_over_without_keys(&self, disk: &FaultyDisk) -> Result<(), String> {
        let (mut node, opened) = match self.recording.script.store.open_keyless(disk, self.seed ^ 2) {
            Ok(opened) => opened,
            Err(OpenError::NoStore) if self.at < self.recording.made => return Ok(()),
            Err(error) => return Err(format!("it does not open without keys: {error}")),
        };
        if !opened.damaged.is_empty() {
            return Err(format!("without keys, a crash is taken for damage: {opened:?}"));
        }
        ask_keyless(&mut node, Request::Compact)?;
        if self.scrutiny == Scrutiny::Deep {
            ask_keyless(&mut node, Request::Scrub { repair: true })?;
        }
        if self.draw.is_multiple_of(2) {
            return Ok(());
        }
        node.close().map_err(|failure| format!("without keys, it does not close: {failure}"))
    }

    /// [`Scrutiny::Light`].
    fn look_over(&self, node: &mut Node, sights: &mut Sights) -> Result<(), String> {
        let model = &self.recording.model;
        let recent = |sent: Moment, told: Moment| sent <= self.at && told.saturating_add(ENDANGERED) > self.at;
        let drawn = |id: &BlobId| (id.as_bytes()[0] ^ self.draw as u8).is_multiple_of(8);
        let present = sights.judge(look(node, true)?, self.recording, self.at)?;
        let endangered = |id: &BlobId| model.versions.get(id).is_some_and(|version| recent(version.sent, version.told));
        let wanted: Vec<BlobId> = present.iter().copied().filter(|id| endangered(id) || drawn(id)).collect();
        let removals = model.removals.iter().filter(|removal| recent(removal.sent, removal.told));
        let removed = removals.flat_map(|removal| removal.versions.iter().copied());
        let removed: Vec<BlobId> = removed.filter(|id| drawn(id) && present.binary_search(id).is_err()).collect();
        check_versions(node, model, &wanted)?;
        check_absence(node, removed)?;
        check_events(node)
    }

    /// [`Scrutiny::Full`] and [`Scrutiny::Deep`].
    fn live_on(&self, mut node: Node, disk: &FaultyDisk) -> Result<(), String> {
        let model = &self.recording.model;
        let deep = self.scrutiny == Scrutiny::Deep;
        let mut seen = judge(&mut node, model, self.at)?;
        let value = content(5000 + (self.draw % 9000) as usize, !self.draw);
        let probe = |node: &mut _, key: usize, seen: Seen| -> Result<Seen, String> {
            let written = put_now(node, key, self.draw, value.clone())?;
            Ok(seen.with(&key_name(key), written.id))
        };
        seen = probe(&mut node, PROBE_KEY, seen)?;
        if deep {
            for request in [Request::Compact, Request::Scrub { repair: false }] {
                match node.ask(request) {
                    Ok(Reply::Scrubbed(report)) if !(report.damage.is_empty() && report.lost.is_empty()) => {
                        return Err(format!("after a compaction: {report:?}"));
                    }
                    Ok(_) => {}
                    Err(failure) => return Err(format!("upkeep fails after recovery: {failure}")),
                }
            }
            if judge(&mut node, model, self.at)? != seen {
                return Err("a compaction changed what there is".to_owned());
            }
        }
        seen = probe(&mut node, PROBE_KEY, seen)?;
        node.close().map_err(|failure| format!("it does not close: {failure}"))?;
        let (mut node, again) = self
            .recording
            .script
            .store
            .open(disk, self.seed ^ 1)
            .map_err(|error| format!("it does not reopen: {error}"))?;
        // An index that is in memory alone learns everything anew.
        if (Opened { replayed: 0, ..again.clone() }) != Opened::default()
            || again.replayed > 0 && !self.recording.script.store.has_index_in_memory()
        {
            return Err(format!("after a clean close: {again:?}"));
        }
        if deep {
            self.recording.script.store.check_index(disk)?;
        }
        let after = if deep { judge(&mut node, model, self.at)? } else { look(&mut node, false)?.seen };
        if after != seen {
            return Err(format!("after a clean close there is {after:?} instead of {seen:?}"));
        }
        Ok(())
    }
}
