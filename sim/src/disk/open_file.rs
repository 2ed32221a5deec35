//! A file of the disk, as who opened it has it.

use super::directory::FileId;
use super::fault::Fault;
use super::faulty::FaultyDisk;
use super::operation::Operation;
use ouroboros_engine::env::{DiskError, DiskFailure, DiskFile, FileName, Volume};
use std::sync::Arc;

/// An open file of a [`FaultyDisk`].
#[derive(Debug)]
pub struct FaultyFile {
    pub(super) disk: FaultyDisk,
    pub(super) id: FileId,
    pub(super) volume: Volume,
    pub(super) name: Arc<FileName>,
    pub(super) writable: bool,
}

impl FaultyFile {
    fn refuse_if_read_only(&self) -> Result<(), DiskFailure> {
        if self.writable { Ok(()) } else { Err(DiskFailure::Io("the file was opened for reading only".to_owned())) }
    }
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        let mut machine = self.disk.lock();
        if machine.life != self.disk.life {
            return;
        }
        if let Some(file) = machine.files.get_mut(&self.id) {
            file.handles = file.handles.saturating_sub(1);
            if file.handles == 0 {
                machine.collect();
            }
        }
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> Result<u64, DiskError> {
        let operation = Operation::Len { volume: self.volume, name: self.name.clone() };
        self.disk.run(operation, |machine, _| machine.len(self.id))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let (volume, name) = (self.volume, self.name.clone());
        let operation = Operation::Read { volume, name, offset, len: buffer.len() as u64 };
        self.disk.run(operation, |machine, fault| machine.read(self.id, offset, buffer, fault))
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        let bytes = parts.concat();
        let (volume, name) = (self.volume, self.name.clone());
        let operation = Operation::Write { volume, name, offset, len: bytes.len() as u64 };
        self.disk.run(operation, |machine, fault| {
            self.refuse_if_read_only()?;
            let told = machine.rules_of(self.volume).map_or(0, |rules| rules.told_of(self.id, offset));
            let visible = machine.visible(self.id, offset, told.min(bytes.len() as u64));
            let written = machine.write(self.id, self.volume, offset, &bytes, fault);
            if let Some(rules) = machine.rules.as_deref_mut().filter(|_| self.volume == Volume::Index) {
                rules.wrote_index(offset, &bytes);
            }
            if let Some(rules) = machine.rules_of(self.volume) {
                rules.wrote(self.id, offset, &bytes, &visible, written.is_ok());
            }
            written
        })
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        let operation = Operation::Truncate { volume: self.volume, name: self.name.clone(), len };
        self.disk
            .run(operation, |machine, fault| {
                self.refuse_if_read_only()?;
                machine.truncate(self.id, len, fault)?;
                if let Some(rules) = machine.rules_of(self.volume) {
                    rules.truncated(self.id, len);
                }
                Ok(())
            })
            .inspect_err(|error| {
                // What a machine without power wishes for is nothing to go by.
                if error.failure != DiskFailure::Crashed
                    && let Some(rules) = self.disk.lock().rules_of(self.volume)
                {
                    rules.not_cut(self.id, len);
                }
            })
    }

    fn sync(&self) -> Result<(), DiskError> {
        let operation = Operation::Sync { volume: self.volume, name: self.name.clone() };
        self.disk.run(operation, |machine, fault| {
            let synced = machine.sync(self.id, fault);
            let Some(mut rules) = machine.rules.take_if(|_| self.volume == Volume::Blocks) else { return synced };
            match &synced {
                Ok(()) => rules.synced(self.id),
                Err(_) => {
                    rules.sync_failed(self.id);
                    if let (Some(Fault::SyncFailureDroppingCache), Ok(len)) = (fault, machine.len(self.id)) {
                        rules.dropped(self.id, len, |from| machine.visible(self.id, from, len.saturating_sub(from)));
                    }
                }
            }
            machine.rules = Some(rules);
            synced
        })
    }
}
