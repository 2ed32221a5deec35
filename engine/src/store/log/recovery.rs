//! Opening a log.
//!
//! Opening finds the last intact commit (`tail`), verifies its batch, shows all of history to the visitor, and copies
//! what was in doubt, if it is whole, into a fresh segment that is synced before anybody builds on it: whatever is read
//! after a crash or a failed sync may exist in the system's cache alone (Rebello et al., ATC'20). What is torn was never
//! acknowledged; it is dropped and reported.

use super::commit::{Batch, FoundCommit};
use super::handles::Handles;
use super::inventory::Inventory;
use super::place::{Damage, Damages, Point};
use super::proof::{Unread, lost_proof, unread_end};
use super::record::{HEADER_LEN, RecordHeader, record_len};
use super::replay::{Stretches, dead_between, dead_bytes, replay};
use super::rest::Rest;
use super::scan::{Fetched, fetch};
use super::segment::BLOCK_LEN;
use super::segments::Segments;
use super::tail::{Tail, either_finds, examine};
use super::verdict::{Verdict, found, is_rotten, judge, look_for_tail};
use super::{DamagedRange, Location, Log, LogError, LogOptions, LogPosition, RecordKind, RecordView};
use super::{Segment, SegmentId, StoreId, Verify};
use crate::codec::Canonical;
use crate::env::{Disk, Volume};
use crate::id::EngineRng;
use std::collections::{BTreeMap, BTreeSet};

/// How many segments may be missing. A list that names more is of a directory that is not all there, or was forged.
const MISSING_LIMIT: usize = 1 << 16;

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The store that the log belongs to.
    pub store: Option<StoreId>,
    /// The configuration that the log was created with.
    pub config: Vec<u8>,
    /// The note of the last commit that counts.
    pub note: Vec<u8>,
    /// A batch that was dropped because it is not whole: its commit had not returned.
    pub torn: Option<TornBatch>,
    /// Bytes behind the last commit, which nobody was promised and which are dropped.
    pub uncommitted_bytes: u64,
    /// Records of the last batch that were copied into a fresh segment.
    pub rewritten: u64,
    /// There was no room for such a copy: the last batch was made durable where it stands.
    pub kept_in_place: bool,
    /// What is damaged in what was replayed. Repair these segments, then scan them: records that could not be shown to the
    /// visitor are shown by the scan once they are healed.
    pub damaged: Vec<DamagedRange>,
    /// Where that is not all: the first segment in which a version, a deletion or a commit may be damaged and is not named.
    pub untold: Option<SegmentId>,
    /// What opening healed after it had shown the records: some of `damaged` may be whole by now. Open once more to be
    /// shown them.
    pub healed: Vec<DamagedRange>,
    /// What rot opening made good before it wrote where that lies.
    pub mended: Vec<DamagedRange>,
    /// Segments that belong to the log and whose files are gone.
    pub missing: Vec<SegmentId>,
    /// Bytes behind the checkpoint that batches which were given up have left, by the segment that they stand in.
    pub dead_bytes: BTreeMap<SegmentId, u64>,
    /// Segments that hold bytes but neither headers nor anything that could replace them; their files were renamed to
    /// `orphan-….log` if they are younger than the last commit.
    pub unreadable: Vec<SegmentId>,
}

/// A batch that was not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornBatch {
    /// Where its commit record is, or was.
    pub commit: LogPosition,
    /// How many records the commit record speaks of.
    pub records: u64,
    /// How many of them are intact.
    pub intact: u64,
}

impl<D: Disk> Log<D> {
    pub(super) fn blank(
        disk: D,
        options: LogOptions,
        store: StoreId,
        config: Vec<u8>,
        rng: &mut EngineRng,
        verify: Verify,
    ) -> Self {
        let options = options.clamped();
        Self {
            handles: Handles::new(disk.clone(), options.open_files as usize),
            disk,
            options,
            store,
            config,
            salts: EngineRng::from_seed(rng.bytes()),
            segments: BTreeMap::new(),
            next_id: SegmentId(1),
            active: None,
            has_content: false,
            rest: Rest::Unproven,
            ends_with_proof: false,
            unsealed: BTreeSet::new(),
            refused: BTreeMap::new(),
            sure_upkeep: BTreeSet::new(),
            durable: LogPosition::default(),
            durable_from: Point::default(),
            note: Vec::new(),
            batch: Batch::new(),
            short_of_room: false,
            list: Location { segment: SegmentId(0), offset: 0, len: 0 },
            condemned: BTreeSet::new(),
            removing: BTreeSet::new(),
            absent: BTreeSet::new(),
            list_outdated: false,
            names_given_up: false,
            durable_list: Location { segment: SegmentId(0), offset: 0, len: 0 },
            directory_dirty: false,
            verify,
            poisoned: None,
        }
    }

    /// Opens a log and shows every content record behind `from`, or all of them, to `visit`, in order; of slices the
    /// slice header only. `verify` is asked for records whose durability is in doubt, and for those that parity is made
    /// of later than they were written.
    ///
    /// # Errors
    /// [`LogError::NoLog`], [`LogError::Foreign`], [`LogError::CheckpointAhead`] of `from` or of what is
    /// [proven](LogOptions::proven), [`LogError::Visitor`], and
    /// [`LogError::Disk`], also when what is in doubt cannot be read, or not be copied for want of space.
    pub fn open(
        disk: D,
        options: LogOptions,
        from: Option<LogPosition>,
        rng: &mut EngineRng,
        verify: Verify,
        visit: &mut dyn FnMut(RecordView<'_>) -> Result<(), LogError>,
    ) -> Result<(Self, Recovery), LogError> {
        // PA
        let handles = Handles::new(disk.clone(), options.open_files as usize);
        let mut inventory = Inventory::take(&disk, &handles)?.ok_or(LogError::NoLog)?;
        let newest = inventory.segments.last_key_value().map_or(SegmentId::default(), |(id, _)| *id);
        inventory.refuses_nothing_behind(newest)?;
        let proven = from.max(options.proven);
        let mut tail = look_for_tail(&inventory, &handles, proven)?.ok_or(LogError::NoLog)?;
        inventory.refuses_nothing_behind(tail.last.at.segment)?;
        let mut log = Self::blank(disk, options, inventory.store, inventory.config.clone(), rng, verify);
        let mut mended = Vec::new();
        let unread = match &tail.refused {
            Some(refused) if tail.last.at.start_point() <= refused.at => {
                let unread = unread_end(&inventory, &handles, &tail)?;
                // What stands behind the last batch says that it was acknowledged: what is damaged of it is rot.
                let mut is_whole = unread.is_some() && examine(&inventory, &handles, &tail.last, &verify)?.whole;
                if unread.is_some() && !is_whole {
                    log.heal_before(&inventory, tail.last.at.end_point(), &mut mended)?;
                    is_whole = log.heal_batch(&inventory, &tail.last, &mut mended)?;
                }
                if !is_whole {
                    return Err(refused.error.clone().into());
                }
                unread
            }
            _ => None,
        };
        let mut recovery = Recovery {
            store: Some(inventory.store),
            config: inventory.config.clone(),
            unreadable: inventory.unreadable.keys().copied().collect(),
            mended,
            ..Recovery::default()
        };
        if let Some(Unread::Proof(range)) = unread {
            recovery.mended.push(range);
        }
        let mut lost_proof = either_finds(|| lost_proof(&inventory, &handles, &tail, proven))?;
        if let Some(proof) = &lost_proof {
            let last = tail.last.at;
            // What is cut off says that the last batch was acknowledged: not before all of that is there without it, also what
            // stands in earlier segments.
            if log.heal_before(&inventory, last.end_point(), &mut recovery.mended)?
                && log.heal_batch(&inventory, &tail.last, &mut recovery.mended)?
            {
                let newest = inventory.segments.get(&proof.segment);
                recovery.uncommitted_bytes = u64::from(newest.map_or(0, |newest| newest.len.saturating_sub(proof.to)));
                handles.forget(last.segment);
                // What else of its parity has rotted with it is made good first: by what is left of that is known what it was.
                log.mend_upkeep(&inventory, proof.segment, &mut recovery.mended)?;
                // What it proves stays as it is: should a crash tear parity and proof at once, it would never be made again.
                let is_written = log.write_last_proof(&inventory, proof)?;
                inventory.cut(&log.disk, Point { segment: proof.segment, offset: proof.to })?;
                recovery.mended.push(*proof);
                if is_written {
                    tail = look_for_tail(&inventory, &handles, proven)?.ok_or(LogError::NoLog)?;
                    lost_proof = None;
                }
            } else {
                lost_proof = None;
            }
        }
        let (from, sure_to) = match lost_proof {
            Some(_) => (from.map(|from| from.min(tail.last.at)), Some(tail.last.at)),
            None => (from, proven),
        };
        let mut verdict = judge(&inventory, &handles, &tail, sure_to, &verify)?;
        // What has nothing in it may have had a commit, and come back with it: a fresh segment's list leaves it out for good.
        verdict.clean &= inventory.stubs.is_empty();
        // Between the last commit and the one before there is none; unless the last does not count.
        let counts =
            verdict.proven == tail.last.at || verdict.kept.as_ref().is_some_and(|kept| kept.at == tail.last.at);
        if let Some(refused) = tail.refused.as_ref().filter(|_| unread.is_none() && !counts) {
            return Err(refused.error.clone().into());
        }
        if verdict.effective.as_ref().is_none_or(|effective| effective.at < verdict.proven) {
            // An older note and an older list would bring back what was removed since.
            is_rotten(&inventory, &handles, verdict.proven)?;
        }
        recovery.torn = verdict.torn;
        if let Some(effective) = &verdict.effective {
            recovery.note.clone_from(&effective.commit.note);
            log.list = effective.commit.segments;
            log.durable_list = log.list;
        }
        log.note.clone_from(&recovery.note);
        log.durable = verdict.proven;
        let proving = found(&tail).find(|found| found.at == verdict.proven);
        log.durable_from = proving.map_or(verdict.proven.start_point(), FoundCommit::unproven_from);

        // What a checkpoint or a later commit proves is durable. Of this one it is only known that it can be read.
        let sure = sure_to.is_some_and(|proven| proven >= tail.last.at);
        let in_place = !sure && verdict.proven == tail.last.at;
        if in_place {
            log.make_sure(&inventory, &tail, &mut recovery.mended)?;
        }
        let Survey { obsolete, gaps, highest, names_given_up } =
            log.survey(&inventory, &handles, &tail, from, &verdict, visit, &mut recovery)?;
        let cut = verdict.proven.end_point();
        log.next_id = inventory.highest.max(highest).next();
        for (id, present) in &inventory.segments {
            if *id <= cut.segment && !obsolete.contains(id) {
                let len = if *id == cut.segment { cut.offset } else { present.len };
                log.segments.insert(*id, Segment { binding: present.binding.clone(), len });
            } else {
                log.condemned.insert(*id);
            }
        }
        let dead = dead_between(&inventory, &gaps);
        recovery.dead_bytes = dead_bytes(&inventory, &gaps);
        recovery.dead_bytes.retain(|id, _| log.segments.contains_key(id));
        log.condemned.extend(&dead);
        log.segments.retain(|id, _| !log.condemned.contains(id));

        let mut headers = Damages::new(log.options.damaged_places);
        for (id, present) in inventory.segments.iter().filter(|(id, _)| log.segments.contains_key(id)) {
            for (copy, _) in present.damaged_headers.iter().enumerate().filter(|(_, damaged)| **damaged) {
                let from = (copy * BLOCK_LEN) as u32;
                let (to, what) = (from + BLOCK_LEN as u32, Damage::SegmentHeader);
                headers.note(DamagedRange { segment: *id, from, to, what });
            }
        }
        recovery.damaged.append(&mut headers.told);

        if verdict.torn_parity {
            // What cannot be written now is healed by a later scrub.
            match log.repair(tail.last.at.segment) {
                Ok(report) => recovery.healed.extend(report.healed),
                Err(error) if log.poisoned.is_some() => return Err(error),
                Err(_) => {}
            }
        }
        if verdict.clean {
            // The list still names what is dead: its files go when a commit has a list without them, or they would be
            // missed later, when nobody looks at the gap any more.
            for id in inventory.stubs.iter().chain(log.condemned.difference(&dead)) {
                let _ = log.disk.remove(Volume::Blocks, &id.file_name());
            }
            log.names_given_up = names_given_up;
            log.list_outdated = names_given_up || !dead.is_empty();
            log.condemned = dead;
            log.resume(&tail.last, !sure, &mut recovery.healed)?;
        } else {
            // What the checkpoint proves stays, also where the commit that said so is damaged.
            let end = tail.last.at.max(verdict.proven);
            let dropped = log.drop_uncommitted(&mut inventory, &tail, end, &mut recovery.mended)?;
            // A proof, and its parity, were no write of anybody's.
            recovery.uncommitted_bytes += if lost_proof.is_some() { 0 } else { dropped };
            log.condemned.retain(|id| *id <= end.segment);
            log.condemned.extend(inventory.stubs.iter().copied());
            log.start_anew(&inventory, &verdict, &verify, visit, &mut recovery)?;
        }
        log.cut_dead_ends(&inventory, &gaps, cut, verdict.clean, &mut recovery.mended)?;
        log.mend_proofs(&mut recovery)?;
        // Also where a checkpoint proves the end: who made it may have been killed while an earlier segment was owed its parity.
        log.seal_earlier()?;
        Ok((log, recovery))
    }
}

/// What opening learns before it decides what to do about the end.
struct Survey {
    /// Segments that a list has left out.
    obsolete: BTreeSet<SegmentId>,
    /// Stretches of history that are dead.
    gaps: Vec<(Point, Point)>,
    /// The newest segment that a list names.
    highest: SegmentId,
    /// The list names segments that are missing, and of which nothing counts.
    names_given_up: bool,
}

impl<D: Disk> Log<D> {
    /// Shows all of history to `visit`, and mends what it has to on the way.
    #[expect(clippy::too_many_arguments, reason = "what opening has found so far, and where its report goes")]
    fn survey(
        &mut self,
        inventory: &Inventory,
        handles: &Handles<D>,
        tail: &Tail,
        from: Option<LogPosition>,
        verdict: &Verdict,
        visit: &mut dyn FnMut(RecordView<'_>) -> Result<(), LogError>,
        recovery: &mut Recovery,
    ) -> Result<Survey, LogError> {
        // PA
        let mut list = read_list(inventory, handles, self.list)?;
        if list.is_none() && self.list.len > 0 {
            list = self.mend_list(inventory, handles, recovery)?;
        }
        let cut = verdict.proven.end_point();
        let obsolete: BTreeSet<SegmentId> = match &list {
            Some(list) => {
                let listed = inventory.segments.keys().filter(|id| **id <= list.header.segment);
                listed.filter(|id| !list.contains(**id)).copied().collect()
            }
            None => BTreeSet::new(),
        };
        if let Some(list) = &list {
            let unreadable = inventory.unreadable.keys().copied();
            let present = inventory.segments.keys().copied().chain(unreadable).collect();
            recovery.missing = list.missing(&present, MISSING_LIMIT).ok_or(LogError::TooManyMissing(MISSING_LIMIT))?;
        }
        let start = from.map_or(Point::default(), LogPosition::end_point);
        let mut damages = Damages::new(self.options.damaged_places);
        let mut healed = Vec::new();
        let mut mend = |id| {
            let end = inventory.segments.get(&id).map_or(0, |present| present.len);
            self.heal_before(inventory, Point { segment: id, offset: end }, &mut healed).map(drop)
        };
        let Stretches { dead: gaps, disowned } =
            replay(inventory, handles, (start, cut), &obsolete, visit, &mut damages, &mut mend)?;
        recovery.damaged.append(&mut damages.told);
        recovery.untold = damages.untold;
        // A crash may have done it to what is dead, to the parity that was written last, and to what stands behind the end: that
        // is nothing to speak of.
        let last_upkeep = (tail.last.commit.lasting == 0).then_some((tail.last.commit.first, cut));
        let unspoken = |range: &DamagedRange| {
            let at = Point { segment: range.segment, offset: range.from };
            cut <= at || disowned.iter().chain(&last_upkeep).any(|(from, to)| *from <= at && at < *to)
        };
        recovery.mended.extend(healed.into_iter().filter(|range| !unspoken(range)));
        let highest = list.as_ref().map_or(SegmentId(0), |list| list.header.segment);
        // What only a batch that was given up had filled was never made durable, and a crash may have taken it. So it is with
        // what a batch in doubt, which is copied or dropped, has left between itself and history.
        let in_gap = |id: &SegmentId| gaps.iter().any(|(from, to)| from.segment < *id && *id < to.segment);
        let given_up = |id: &SegmentId| *id > cut.segment || in_gap(id);
        let named = recovery.missing.len();
        recovery.missing.retain(|id| !given_up(id));
        let names_given_up = recovery.missing.len() < named;
        let is_listed = |id: &SegmentId| *id > highest || list.as_ref().is_some_and(|list| list.contains(*id));
        let is_of_log = |id: &SegmentId| is_listed(id) && !given_up(id);
        let unreadable = inventory.unreadable.keys().filter(|id| **id <= cut.segment).copied().filter(is_of_log);
        self.absent = recovery.missing.iter().copied().chain(unreadable).collect();
        Ok(Survey { obsolete, gaps, highest, names_given_up })
    }

    /// The list of segments that the last commit names, once its segment's parity has mended it. Without it nobody can say
    /// which segments were removed and which are missing: then it is called damaged.
    fn mend_list(
        &mut self,
        inventory: &Inventory,
        handles: &Handles<D>,
        recovery: &mut Recovery,
    ) -> Result<Option<Segments>, LogError> {
        // PA
        let Location { segment, offset, len } = self.list;
        let Some(present) = inventory.segments.get(&segment) else {
            if !inventory.unreadable.contains_key(&segment) {
                recovery.missing.push(segment);
            }
            return Ok(None);
        };
        self.heal_before(inventory, Point { segment, offset: present.len }, &mut recovery.mended)?;
        let list = read_list(inventory, handles, self.list)?;
        if list.is_none() {
            let to = u32::try_from(u64::from(offset) + record_len(len)).unwrap_or(u32::MAX);
            let what = Damage::Record(RecordKind::Segments);
            recovery.damaged.push(DamagedRange { segment, from: offset, to, what });
        }
        Ok(list)
    }
}

/// The list that stands at a place, by a second look where the first does not find it.
fn read_list<D: Disk>(inventory: &Inventory, handles: &Handles<D>, at: Location) -> Result<Option<Segments>, LogError> {
    // PA
    either_finds(|| read_list_once(inventory, handles, at))
}

fn read_list_once<D: Disk>(
    inventory: &Inventory,
    handles: &Handles<D>,
    at: Location,
) -> Result<Option<Segments>, LogError> {
    // PA
    let Some(present) = inventory.segments.get(&at.segment) else { return Ok(None) };
    let room = u64::from(present.len.saturating_sub(at.offset));
    if record_len(at.len) > room {
        return Ok(None);
    }
    let mut bytes = vec![0; HEADER_LEN + at.len as usize];
    let Fetched::Bytes(_) = fetch(&*handles.get(at.segment)?, u64::from(at.offset), &mut bytes)? else {
        return Ok(None);
    };
    let header = RecordHeader::decode(&bytes, &present.binding, at.offset, room);
    let payload = bytes.get(HEADER_LEN..).unwrap_or_default();
    Ok(header
        .filter(|header| header.kind == RecordKind::Segments && header.len == at.len && header.checks(payload))
        .and_then(|_| Segments::decode(payload).ok()))
}
