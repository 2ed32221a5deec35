//! Reads that go wrong, and writes that go elsewhere.

use super::directory::FileId;
use super::fault::Fault;
use super::file::Mark;
use super::image::{Damage, SECTOR_LEN, sectors};
use super::machine::Machine;
use ouroboros_engine::env::{DiskFailure, Volume};

const SECTOR: u64 = SECTOR_LEN as u64;

impl Machine {
    /// Lets a write land elsewhere. False when there is no elsewhere.
    pub(super) fn misdirect(
        &mut self,
        id: FileId,
        volume: Volume,
        offset: u64,
        bytes: &[u8],
        fault: Fault,
    ) -> Result<bool, DiskFailure> {
        let here = fault == Fault::MisdirectedWrite;
        let candidates: Vec<FileId> = if here {
            vec![id]
        } else {
            self.directory(volume).names().map(|(_, other)| other).filter(|other| *other != id).collect()
        };
        // By whole sectors: a device that mistakes an address mistakes a sector's.
        let within = offset % SECTOR;
        let places = |machine: &Self, id: &FileId| {
            machine.files.get(id).map_or(0, |file| file.visible().len().saturating_sub(within).div_ceil(SECTOR))
        };
        let candidates: Vec<FileId> = candidates.into_iter().filter(|id| places(self, id) > u64::from(here)).collect();
        let stream = self.dice.stream(fault);
        let Some(&target) = candidates.get(stream.below(candidates.len() as u64) as usize) else { return Ok(false) };
        let count = places(self, &target);
        let stream = self.dice.stream(fault);
        let mut sector = if here { stream.below(count - 1) } else { stream.below(count) };
        if here && sector >= offset / SECTOR {
            sector += 1;
        }
        if sector >= count {
            return Ok(false);
        }
        if let Some(file) = self.files.get_mut(&id) {
            file.write_nothing(offset, bytes.len());
        }
        if let Some(file) = self.files.get_mut(&target) {
            let place = sector * SECTOR + within;
            let room = file.visible().len().saturating_sub(place).min(bytes.len() as u64) as usize;
            file.write(place, &bytes[..room], Mark::Scar);
        }
        Ok(true)
    }

    pub(super) fn read(
        &mut self,
        id: FileId,
        offset: u64,
        buffer: &mut [u8],
        fault: Option<Fault>,
    ) -> Result<usize, DiskFailure> {
        let len = self.len(id)?;
        let count = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..count];
        if count == 0 {
            return Ok(0);
        }
        if let Some(fault) = fault {
            self.damage_range(id, offset, count as u64, fault);
        }
        let Some(file) = self.files.get(&id) else { return Err(DiskFailure::Io("stale handle".to_owned())) };
        if let Some(sector) = file.visible().unreadable(offset, count as u64, self.dice.physical) {
            return Err(DiskFailure::Io(format!("input/output error: sector {sector} cannot be read")));
        }
        file.visible().copy_out(offset, buffer);
        match fault {
            Some(Fault::StaleRead) => {
                let mut old = vec![0; count];
                file.former().copy_out(offset, &mut old);
                if *buffer != *old {
                    buffer.copy_from_slice(&old);
                    self.strike();
                }
            }
            Some(Fault::MisdirectedRead) => {
                let places = len.div_ceil(SECTOR);
                let sector = self.dice.stream(Fault::MisdirectedRead).below(places);
                let mut other = vec![0; count];
                if let Some(file) = self.files.get(&id) {
                    file.visible().copy_out(sector * SECTOR + offset % SECTOR, &mut other);
                }
                if *buffer != *other {
                    buffer.copy_from_slice(&other);
                    self.strike();
                }
            }
            Some(Fault::FlippedRead) => {
                let bit = self.dice.stream(Fault::FlippedRead).below(count as u64 * 8) as usize;
                buffer[bit / 8] ^= 1 << (bit % 8);
                self.strike();
            }
            Some(Fault::ShortRead) => {
                self.strike();
                return Err(DiskFailure::Io("short read".to_owned()));
            }
            Some(Fault::EarlyEnd) => {
                self.strike();
                return Ok(self.dice.stream(Fault::EarlyEnd).below(count as u64) as usize);
            }
            _ => {}
        }
        Ok(count)
    }

    // Damages a drawn sector of the range that is not hidden by newer bytes in the cache.
    fn damage_range(&mut self, id: FileId, offset: u64, len: u64, fault: Fault) {
        if !matches!(fault, Fault::ReadError | Fault::FlippedBit | Fault::ZeroedSector | Fault::ReplacedSector) {
            return;
        }
        let Some(file) = self.files.get_mut(&id) else { return };
        let dirty = file.dirty_sectors();
        let clean: Vec<u64> = sectors(offset, len).filter(|sector| !dirty.contains(sector)).collect();
        let all = file.visible().len().div_ceil(SECTOR);
        let burst = self.dice.burst;
        let stream = self.dice.stream(fault);
        let neighbours = stream.below(burst);
        let (place, detail) = (stream.below(clean.len() as u64) as usize, stream.below(1 << 32));
        let Some(&sector) = clean.get(place) else { return };
        let damage = match fault {
            Fault::ReadError => Damage::Unreadable,
            Fault::FlippedBit => Damage::FlippedBit { bit: detail as u16 },
            Fault::ZeroedSector => Damage::Zeroed,
            _ => Damage::ReplacedBy { sector: detail.wrapping_mul(all) >> 32 },
        };
        let mut struck = false;
        for sector in (sector..=sector.saturating_add(neighbours)).filter(|sector| !dirty.contains(sector)) {
            struck |= file.damage(sector, damage);
        }
        if struck {
            self.strike();
        }
    }
}
