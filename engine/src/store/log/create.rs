//! Creating a log.

use super::handles::Handles;
use super::inventory::Inventory;
use super::segment::{FIRST_RECORD, MAX_CONFIG_LEN};
use super::tail::{either_finds, find_tail};
use super::{Log, LogError, LogOptions, SegmentId, StoreId, Verify};
use crate::env::{Disk, DiskFile, Volume};
use crate::id::EngineRng;

/// A file no longer than this, without any commit, is what a crash left of [`Log::create`].
const ABANDONED_LEN: u32 = FIRST_RECORD + (16 << 10);

impl<D: Disk> Log<D> {
    /// Creates a log in an empty directory. `config` is kept in every segment; `verify` as for [`Self::open`].
    ///
    /// # Errors
    /// [`LogError::AlreadyExists`], [`LogError::TooLong`], [`LogError::Disk`], [`LogError::Poisoned`].
    pub fn create(
        disk: D,
        options: LogOptions,
        store: StoreId,
        config: &[u8],
        rng: &mut EngineRng,
        verify: Verify,
    ) -> Result<Self, LogError> {
        // PA
        if config.len() > MAX_CONFIG_LEN {
            let (len, limit) = (config.len() as u64, MAX_CONFIG_LEN as u64);
            return Err(LogError::TooLong { what: "configuration", len, limit });
        }
        let handles = Handles::new(disk.clone(), 1);
        let mut log = Self::blank(disk, options, store, config.to_vec(), rng, verify);
        log.next_id = log.clear_abandoned(&handles)?.next();
        log.create_segment()?;
        // The file is durable before the first commit: whoever finds a commit finds a header.
        log.disk.sync_directory(Volume::Blocks)?;
        log.settle()?;
        Ok(log)
    }

    /// Removes what a crash left of an earlier `create`; returns the highest segment id seen.
    fn clear_abandoned(&self, handles: &Handles<D>) -> Result<SegmentId, LogError> {
        // PA
        if let Some(inventory) = Inventory::take(&self.disk, handles)?
            && let Some(tail) = either_finds(|| find_tail(&inventory, handles, None))?
        {
            return Err(LogError::AlreadyExists(tail.last.at.segment));
        }
        let mut highest = SegmentId::default();
        for name in self.disk.list(Volume::Blocks)? {
            let Some(id) = SegmentId::from_file_name(&name) else { continue };
            if handles.get(id)?.len()? > u64::from(ABANDONED_LEN) {
                return Err(LogError::AlreadyExists(id));
            }
            handles.forget(id);
            self.disk.remove(Volume::Blocks, &name)?;
            highest = highest.max(id);
        }
        Ok(highest)
    }
}
