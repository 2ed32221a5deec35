//! Open files, a bounded number of them.

use super::{LogError, SegmentId};
use crate::env::{Disk, OpenMode, Volume};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Open segment files for reading; the one used least recently is closed when there are too many.
#[derive(Debug)]
pub(super) struct Handles<D: Disk> {
    disk: D,
    limit: usize,
    open: Mutex<Open<D::File>>,
}

#[derive(Debug)]
struct Open<F> {
    files: BTreeMap<SegmentId, (u64, Arc<F>)>,
    uses: u64,
}

impl<D: Disk> Handles<D> {
    pub(super) fn new(disk: D, limit: usize) -> Self {
        Self { disk, limit: limit.max(1), open: Mutex::new(Open { files: BTreeMap::new(), uses: 0 }) }
    }

    // A thread that panicked while holding the lock left a map of open files, which is still one.
    fn lock(&self) -> MutexGuard<'_, Open<D::File>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of a segment.
    ///
    /// # Errors
    /// [`LogError::Disk`].
    pub(super) fn get(&self, segment: SegmentId) -> Result<Arc<D::File>, LogError> {
        let mut open = self.lock();
        open.uses += 1;
        let uses = open.uses;
        if let Some((last_use, file)) = open.files.get_mut(&segment) {
            *last_use = uses;
            return Ok(file.clone());
        }
        let file = Arc::new(self.disk.open(Volume::Blocks, &segment.file_name(), OpenMode::Read)?);
        if open.files.len() >= self.limit {
            let oldest = open.files.iter().min_by_key(|(_, (last_use, _))| *last_use).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                open.files.remove(&oldest);
            }
        }
        open.files.insert(segment, (uses, file.clone()));
        Ok(file)
    }

    pub(super) fn forget(&self, segment: SegmentId) {
        self.lock().files.remove(&segment);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::env::MemoryDisk;

    #[test]
    fn no_more_files_stay_open_than_may_and_those_that_were_used_last() {
        let disk = MemoryDisk::new();
        let segments = [1, 2, 3, 4].map(SegmentId);
        for segment in segments {
            disk.open(Volume::Blocks, &segment.file_name(), OpenMode::CreateNew).unwrap();
        }
        let handles = Handles::new(disk, 2);
        let open = || handles.lock().files.keys().copied().collect::<Vec<_>>();
        for segment in [1, 2, 1, 3].map(SegmentId) {
            handles.get(segment).unwrap();
        }
        assert_eq!(open(), [1, 3].map(SegmentId));
        segments.into_iter().for_each(|segment| drop(handles.get(segment).unwrap()));
        assert_eq!(open(), [3, 4].map(SegmentId));
        handles.forget(SegmentId(4));
        assert_eq!(open(), [SegmentId(3)]);
    }
}
