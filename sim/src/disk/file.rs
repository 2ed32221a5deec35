//! One file: its durable image, its visible image, and the undecided units between them.

use super::crash::{Fate, Fates};
use super::image::{Damage, Image, SECTOR_LEN, Scar, sector_start, sectors};
use super::stream::Stream;
use bytes::Bytes;
use std::collections::BTreeSet;

/// What writing a sector means for its scar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The sector is as the writer meant it.
    Heal,
    /// A part of the sector was written: a scar stays.
    Keep,
    /// The sector is not what anybody meant it to be.
    Scar,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Sector { sector: u64, bytes: Bytes, mark: Mark },
    Length(u64),
    Cut(u64),
}

#[derive(Clone, Debug)]
struct Unit {
    change: Change,
    // A sync that should have made it durable failed: no later one will.
    sync_failed: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    visible: Image,
    durable: Image,
    // The durable image before the last sync that changed it, for stale reads; kept only where they can happen.
    former: Option<Image>,
    undecided: Vec<Unit>,
    pub(super) handles: u32,
}

impl File {
    pub(super) const fn visible(&self) -> &Image {
        &self.visible
    }

    pub(super) fn former(&self) -> &Image {
        self.former.as_ref().unwrap_or(&self.durable)
    }

    pub(super) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.undecided.iter().map(|unit| &unit.change)
    }

    pub(super) fn undecided(&self) -> u64 {
        self.undecided.len() as u64
    }

    fn push(&mut self, change: Change) {
        self.undecided.push(Unit { change, sync_failed: false });
    }

    /// Whether anything is there that a sync has failed to make durable.
    pub(super) fn has_failed_sync(&self) -> bool {
        self.undecided.iter().any(|unit| unit.sync_failed)
    }

    fn grow(&mut self, len: u64) {
        if len > self.visible.len() {
            self.visible.set_len(len);
            self.push(Change::Length(len));
        }
    }

    /// Writes `bytes` at `offset`. With [`Mark::Heal`], sectors that are only partly covered keep their scars.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], mark: Mark) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len() as u64;
        self.grow(end);
        self.visible.copy_in(offset, bytes);
        let range = sectors(offset, bytes.len() as u64);
        let mut whole = vec![0; (range.end - range.start) as usize * SECTOR_LEN];
        self.visible.copy_out(sector_start(range.start), &mut whole);
        let whole = Bytes::from(whole);
        for (place, sector) in range.enumerate() {
            let covered = offset <= sector_start(sector)
                && end >= sector_start(sector).saturating_add(SECTOR_LEN as u64).min(self.visible.len());
            let mark = if mark == Mark::Heal && !covered { Mark::Keep } else { mark };
            let bytes = whole.slice(place * SECTOR_LEN..(place + 1) * SECTOR_LEN);
            apply_mark(&mut self.visible, sector, mark);
            self.push(Change::Sector { sector, bytes, mark });
        }
    }

    /// Pretends to write: the length grows, the old bytes stay and are known to be wrong.
    pub(super) fn write_nothing(&mut self, offset: u64, len: usize) {
        let mut old = vec![0; len];
        self.visible.copy_out(offset, &mut old);
        self.write(offset, &old, Mark::Scar);
    }

    pub(super) fn truncate(&mut self, len: u64) {
        if len < self.visible.len() {
            self.visible.cut(len);
            self.push(Change::Cut(len));
        } else {
            self.grow(len);
        }
    }

    /// Everything since the last good sync becomes durable, save what a failed sync has already given up.
    pub(super) fn sync(&mut self, keep_former: bool) {
        if self.undecided.is_empty() {
            return;
        }
        if keep_former {
            self.former = Some(self.durable.clone());
        }
        let units = core::mem::take(&mut self.undecided);
        let (failed, good): (Vec<_>, Vec<_>) = units.into_iter().partition(|unit| unit.sync_failed);
        self.undecided = failed;
        for unit in good {
            if !self.undecided.is_empty() {
                self.supersede(&unit.change);
            }
            apply(&mut self.durable, &unit.change);
        }
        if !self.undecided.is_empty() {
            self.durable.settle();
        }
    }

    // A later durable write decides what a failed sync had left open at the same place.
    fn supersede(&mut self, change: &Change) {
        match *change {
            Change::Sector { sector, .. } => {
                self.undecided
                    .retain(|unit| !matches!(unit.change, Change::Sector { sector: other, .. } if other == sector));
                // The bytes are durable, so the length that shows them is too.
                let end = sector_start(sector).saturating_add(SECTOR_LEN as u64).min(self.visible.len());
                self.durable.set_len(self.durable.len().max(end));
            }
            Change::Length(_) => self.undecided.retain(|unit| matches!(unit.change, Change::Sector { .. })),
            Change::Cut(len) => self.undecided.retain(|unit| match unit.change {
                Change::Sector { sector, .. } => sector_start(sector).saturating_add(SECTOR_LEN as u64) <= len,
                Change::Length(_) | Change::Cut(_) => false,
            }),
        }
    }

    /// A sync failed: what it covered is undecided for good. True if there was anything.
    pub(super) fn fail_sync(&mut self) -> bool {
        for unit in &mut self.undecided {
            unit.sync_failed = true;
        }
        !self.undecided.is_empty()
    }

    /// A sync failed, and the system threw away what it could not write.
    pub(super) fn drop_cache(&mut self) -> bool {
        let had = !self.undecided.is_empty();
        self.undecided.clear();
        self.visible = self.durable.clone();
        had
    }

    pub(super) fn crash(&mut self, fates: &mut Fates) {
        for unit in core::mem::take(&mut self.undecided) {
            match (fates.next(matches!(unit.change, Change::Sector { .. })), unit.change) {
                (Fate::Lost, _) => {}
                (Fate::Torn { kept, noise }, Change::Sector { sector, bytes, .. }) => {
                    let mut torn = self.durable.sector(sector);
                    if let Some(seed) = noise {
                        Stream::new(seed, "torn sector").fill(&mut torn);
                    }
                    torn[..kept].copy_from_slice(&bytes[..kept]);
                    self.durable.copy_in(sector_start(sector), &torn);
                    self.durable.heal(sector);
                }
                (_, change) => apply(&mut self.durable, &change),
            }
        }
        self.durable.settle();
        self.visible = self.durable.clone();
        self.former = None;
    }

    /// Adds all that decides what a crash may leave to a hash.
    pub(super) fn hash_into(&self, hasher: &mut blake3::Hasher) {
        self.durable.hash_into(hasher);
        for unit in &self.undecided {
            match &unit.change {
                Change::Sector { sector, bytes, .. } => hasher.update(b"s").update(&sector.to_le_bytes()).update(bytes),
                Change::Length(len) => hasher.update(b"l").update(&len.to_le_bytes()),
                Change::Cut(len) => hasher.update(b"c").update(&len.to_le_bytes()),
            };
        }
        hasher.update(b"e");
    }

    pub(super) fn dirty_sectors(&self) -> BTreeSet<u64> {
        let sector = |unit: &Unit| match unit.change {
            Change::Sector { sector, .. } => Some(sector),
            Change::Length(_) | Change::Cut(_) => None,
        };
        self.undecided.iter().filter_map(sector).collect()
    }

    /// Damages a sector at rest. What is not yet written out hides the damage until it is lost. False when the file
    /// has no such sector.
    pub(super) fn damage(&mut self, sector: u64, damage: Damage) -> bool {
        let medium = self.durable.damage(sector, damage);
        let hidden = self.dirty_sectors().contains(&sector);
        medium | (!hidden && self.visible.damage(sector, damage))
    }

    /// The sectors that do not hold what was written to them, as reads see them.
    pub(super) fn damaged(&self) -> impl Iterator<Item = u64> + '_ {
        self.visible.scarred().map(|(sector, _)| sector)
    }
}

fn apply_mark(image: &mut Image, sector: u64, mark: Mark) {
    match mark {
        Mark::Heal => image.heal(sector),
        Mark::Keep => {}
        Mark::Scar => image.mark(sector, Scar::Altered),
    }
}

fn apply(image: &mut Image, change: &Change) {
    match change {
        Change::Sector { sector, bytes, mark } => {
            image.copy_in(sector_start(*sector), bytes);
            apply_mark(image, *sector, *mark);
        }
        Change::Length(len) => image.set_len(*len),
        Change::Cut(len) => image.cut(*len),
    }
}
