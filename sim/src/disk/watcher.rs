//! Somebody who is shown the disk before every change, to enumerate crash points in a single run.

use super::faulty::FaultyDisk;
use super::operation::Operation;
use core::fmt;
use std::sync::{Arc, Mutex, PoisonError};

type Watch = dyn FnMut(u64, &Operation, FaultyDisk) + Send;

/// What is called before an operation that changes the disk, with its number and a snapshot.
#[derive(Clone)]
pub(super) struct Watcher(Arc<Mutex<Watch>>);

impl Watcher {
    pub(super) fn new(watch: impl FnMut(u64, &Operation, FaultyDisk) + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(watch)))
    }

    pub(super) fn show(&self, number: u64, operation: &Operation, disk: FaultyDisk) {
        let mut watch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watch(number, operation, disk);
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watcher")
    }
}
