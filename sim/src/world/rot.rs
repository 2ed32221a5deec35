//! A place of the log rots at rest: which, how, and whether it is there still.

use super::World;
use super::detail::Detail;
use crate::disk::{Damage, FaultyDisk};
use crate::oracle::{Broken, Excuse, records};
use crate::sometimes::Sometimes;
use crate::state::State;
use crate::swarm::Disruption;
use ouroboros_engine::env::{FileName, Volume};
use std::ops::Range;

/// Sectors of a segment's ends of which but one rots at a time.
const EDGE: u64 = 24;
/// Neighbouring sectors that rot at once.
const MOST_IN_A_ROW: u64 = 4;

impl World {
    /// What is to rot of a store at rest: one place, unless the budget is no matter.
    pub(super) fn choose_rot(&self, node: usize, slot: u32) -> Option<Rot> {
        let burst = 1 + self.detail(node, slot, Detail::RotBurst, 8);
        if burst > MOST_IN_A_ROW
            && let Some(rot) = self.choose_slices(node, slot)
        {
            return Some(rot);
        }
        let rests = self.nodes[node].state.get() == State::AtRest;
        let disk = &self.nodes[node].disk;
        let files: Vec<_> = disk.files(Volume::Blocks).into_iter().filter(|(_, len)| *len > 0).collect();
        let count = files.len() as u64;
        let (name, len) = files.get(self.detail(node, slot, Detail::RotFile, count) as usize)?;
        let sectors = len.div_ceil(512);
        let sector = self.detail(node, slot, Detail::RotSector, sectors);
        // At the end of a log that did not rest stands what was acknowledged and nothing covers yet: a store that
        // cannot read it stays shut, rightly. There such a sector becomes noise.
        let readable = !rests && files.last().is_some_and(|(last, _)| last == name);
        // A burst is one place, but not at either end of a segment: there the second copy of what the first says lies near.
        let inside = sector >= EDGE && sector + EDGE < sectors && !self.budget.beyond;
        let count = if inside { (burst - 1) % MOST_IN_A_ROW + 1 } else { 1 };
        let physical = self.swarm.physical;
        // Nor is all of a longer sector.
        let damage = self.rot_damage(node, slot, sectors, readable || physical > 1 && !inside);
        let mut place = sector..sector + count;
        if damage == Damage::Unreadable && physical > 1 {
            place = sector / physical * physical..(sector / physical + 1) * physical;
        }
        let mut rot = Rot::new(disk, name.clone(), place, damage);
        rot.ends_the_log = sector + EDGE >= sectors && files.last().is_some_and(|(last, _)| last == name);
        Some(rot)
    }

    /// As many slices of one seal as it can do without, where nothing but its other slices makes them good: a bit of each, so
    /// that nothing beside them rots.
    fn choose_slices(&self, node: usize, slot: u32) -> Option<Rot> {
        let it = &self.nodes[node];
        let alive = it.oracle.model.live_versions().map(|(id, _)| *id).collect();
        let seals = records::spread_seals(&it.disk, &alive);
        let number = self.detail(node, slot, Detail::RotNumber, 4096) as usize;
        let seal = seals.get(number.checked_rem(seals.len())?)?;
        let first = number / seals.len() % seal.slices.len();
        let chosen = seal.slices.iter().cycle().skip(first).take(seal.spare);
        let mut rots = chosen.map(|slice| {
            let middle = u64::from(slice.offset) + u64::from(slice.len) * 2 / 3;
            let damage = Damage::FlippedBit { bit: (middle % 512 * 8) as u16 };
            Rot::new(&it.disk, slice.segment.file_name(), middle / 512..middle / 512 + 1, damage)
        });
        let mut rot = rots.next()?;
        rot.others = rots.collect();
        Some(rot)
    }

    /// How it rots.
    fn rot_damage(&self, node: usize, slot: u32, sectors: u64, readable: bool) -> Damage {
        let detail = self.detail(node, slot, Detail::RotNumber, 4096);
        match self.detail(node, slot, Detail::RotDamage, 5) {
            0 => Damage::FlippedBit { bit: detail as u16 },
            1 => Damage::Zeroed,
            2 => Damage::ReplacedBy { sector: detail % sectors },
            3 if !readable => Damage::Unreadable,
            _ => Damage::Garbage { seed: detail },
        }
    }

    /// It rots.
    pub(super) fn rot(&mut self, node: usize, rot: Option<Rot>) {
        let it = &self.nodes[node];
        // What was healed is rotten on the disk still, where its sync failed: nobody who reads sees that before a power failure.
        let rotten = it.rotten || it.healed_rot.iter().any(|place| place.may_come_back(&it.disk));
        let Some(mut rot) = rot.filter(|_| self.budget.permits_rot(rotten)) else { return };
        // Without parity nothing may be lost.
        if !self.budget.beyond && self.swarm.codings.iter().any(|(_, parity)| *parity == 0) {
            return;
        }
        let disk = self.nodes[node].disk.clone();
        let (damage, sectors, name) = (rot.damage, rot.sectors.clone(), rot.name.clone());
        let others: Vec<String> = rot.others.iter().map(ToString::to_string).collect();
        self.nodes[node].rotten = rot.strike(&disk);
        if !others.is_empty() {
            self.counts.reached(Sometimes::SealRotted);
        }
        if sectors.end - sectors.start > 1 {
            self.counts.reached(Sometimes::RottedTwice);
        }
        let former = self.nodes[node].rot.replace(rot);
        self.nodes[node].former_rot.extend(former);
        let state = self.nodes[node].doing();
        self.nodes[node].rotted_before = true;
        self.disrupted(node, Disruption::Rot, || format!("the store rots while {state}"));
        self.rotted(node, damage, || format!("sectors {sectors:?} of {name} rot: {damage:?}; {others:?}"));
    }

    /// The only copy of a deletion has parity as soon as the client knows of it: the process is killed, and the end of its log
    /// rots, as it was when the client was told. What upkeep has copied behind it since has no parity yet.
    pub(super) fn rot_of_a_deletion(&mut self, node: usize, slot: u32) -> Result<(), Broken> {
        let it = &self.nodes[node];
        let files = it.disk.files(Volume::Blocks);
        let Some((name, len)) = files.last().cloned().filter(|_| !it.rotten && self.may_befall(Disruption::Rot)) else {
            return Ok(());
        };
        let Some(end) = it.disk.end_when_told(&name) else { return Ok(()) };
        let sectors = len.min(end).div_ceil(512);
        if sectors < 2 * EDGE || self.detail(node, slot, Detail::RotPurged, 3) != 1 {
            return Ok(());
        }
        // But for the last: a log whose end cannot be told from a torn one.
        let sector = sectors - 2 - self.detail(node, slot, Detail::RotSector, EDGE);
        let damage = self.rot_damage(node, slot, sectors, true);
        let rot = Rot::new(&self.nodes[node].disk, name, sector..sector + 1, damage);
        self.kill(node);
        self.rot(node, Some(rot));
        self.stop_and_restart(node, false, None)?;
        self.look(node, &[], true, Excuse { beyond: self.budget.beyond, ..Excuse::default() })
    }
}

/// A place of the log's that rotted, or is to.
#[derive(Clone, Debug)]
pub(super) struct Rot {
    name: FileName,
    /// The file's length then.
    len: usize,
    sectors: Range<u64>,
    damage: Damage,
    /// It is where the last word of the log stands, which nothing covers, and which an opening makes good alone.
    pub(super) ends_the_log: bool,
    before: Vec<u8>,
    /// What it held then; `None` if the disk refuses to read it.
    rotten: Option<Vec<u8>>,
    /// What rots with it elsewhere.
    others: Vec<Self>,
}

impl core::fmt::Display for Rot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "sectors {} to {} of {}, which rotted", self.sectors.start, self.sectors.end - 1, self.name)
    }
}

impl Rot {
    /// The file.
    pub(super) const fn name(&self) -> &FileName {
        &self.name
    }

    /// Whether the segment that rotted is the one of a place that is told of in words.
    pub(super) fn is_in_segment_of(&self, place: &str) -> bool {
        let digits = self.name.as_str().strip_prefix("seg-").and_then(|rest| rest.strip_suffix(".log"));
        digits.is_some_and(|digits| place.contains(&format!("segment {digits}")))
    }

    /// Its first byte.
    pub(super) const fn start(&self) -> u64 {
        self.sectors.start * 512
    }

    /// Each of the places that rotted at once.
    pub(super) fn places(&self) -> impl Iterator<Item = &Self> {
        core::iter::once(self).chain(&self.others)
    }

    fn new(disk: &FaultyDisk, name: FileName, sectors: Range<u64>, damage: Damage) -> Self {
        let before = bytes_of(disk, &name, &sectors);
        let len = disk.contents(Volume::Blocks, &name).map_or(0, |bytes| bytes.len());
        Self { name, len, sectors, damage, ends_the_log: false, before, rotten: None, others: Vec::new() }
    }

    /// Whether nothing has been written there since.
    pub(super) fn is_as_chosen(&self, disk: &FaultyDisk) -> bool {
        self.before == bytes_of(disk, &self.name, &self.sectors)
            && self.others.iter().all(|other| other.is_as_chosen(disk))
    }

    fn strike(&mut self, disk: &FaultyDisk) -> bool {
        let mut struck = self.others.iter_mut().fold(false, |struck, other| other.strike(disk) | struck);
        for sector in self.sectors.clone() {
            let damage = match self.damage {
                Damage::Garbage { seed } => Damage::Garbage { seed: seed + sector - self.sectors.start },
                damage => damage,
            };
            struck |= disk.damage(Volume::Blocks, &self.name, sector, damage);
        }
        self.rotten = match self.damage {
            Damage::Unreadable => None,
            _ => Some(bytes_of(disk, &self.name, &self.sectors)),
        };
        struck
    }

    /// Whether what was written there since is in the system's cache alone.
    fn may_come_back(&self, disk: &FaultyDisk) -> bool {
        disk.is_undecided(Volume::Blocks, &self.name, self.sectors.clone())
    }

    /// Whether anything of this place still is as it rotted, or still cannot be read, beside what was healed of it: a repair
    /// leaves what nothing refers to. Other bytes may have been written since by right: the end of a log is cut off and
    /// written anew.
    pub(super) fn is_there(&self, disk: &FaultyDisk) -> bool {
        // For what the disk refuses, zeros stand in a slice beside what was healed.
        let zeros = vec![0; self.before.len()];
        let rotten = self.rotten.as_ref().unwrap_or(&zeros);
        let unreadable = disk.damaged_sectors();
        let is_unreadable = |at| unreadable.contains(&(Volume::Blocks, self.name.clone(), at));
        if self.rotten.is_none() && self.sectors.clone().any(is_unreadable) {
            return true;
        }
        // Parity holds zeros by right, too, and may have been written where the end of the file was cut off.
        let len = disk.contents(Volume::Blocks, &self.name).map_or(0, |bytes| bytes.len());
        let now = bytes_of(disk, &self.name, &self.sectors);
        if now.iter().all(|byte| *byte == 0) && len != self.len {
            return false;
        }
        // One byte may stand there by right again; a whole sector does not.
        let each = || now.iter().zip(rotten).zip(&self.before);
        now.len() >= rotten.len()
            && each().all(|((now, rotten), before)| now == rotten || now == before)
            && each().any(|((now, rotten), before)| now == rotten && rotten != before)
    }

    /// Whether a stretch of a file holds any of it.
    pub(super) fn touches(&self, name: &FileName, bytes: &Range<u64>) -> bool {
        self.name == *name && bytes.start < self.sectors.end * 512 && self.sectors.start * 512 < bytes.end
            || self.others.iter().any(|other| other.touches(name, bytes))
    }
}

/// The bytes of some sectors, as far as the file goes.
fn bytes_of(disk: &FaultyDisk, name: &FileName, sectors: &Range<u64>) -> Vec<u8> {
    let bytes = disk.contents(Volume::Blocks, name).unwrap_or_default();
    let end = bytes.len().min(sectors.end as usize * 512);
    bytes[end.min(sectors.start as usize * 512)..end].to_vec()
}
