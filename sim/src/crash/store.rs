//! The stores that scripts run on: their sizes and limits, and how they are made and opened.

use crate::disk::FaultyDisk;
use crate::local::{Local, config, keyring};
use crate::oracle::reindex::{self, Extent};
use ouroboros_engine::keys::Keyring;
use ouroboros_engine::node::{Access, Limits, OpenError, Opened};
use ouroboros_engine::seal::{ChunkerKind, ChunkerParams, Coding};
use std::sync::{Arc, OnceLock};

const KEYRING: u8 = 9;

pub(super) type Node = Local<FaultyDisk>;

/// How large everything is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Store {
    /// Small enough that windows, segments, index flushes and compactions come often.
    #[default]
    Usual,
    /// So small that it can be recovered a million times: few versions at a time, most of them a few hundred bytes, in a
    /// few small segments.
    Tiny {
        /// The index is in memory alone: each opening reads the whole log, and nothing but the log is written.
        index_in_memory: bool,
    },
}

/// The keys of the store: made once, since that costs more than opening a small store.
fn keys() -> Arc<Keyring> {
    static KEYS: OnceLock<Arc<Keyring>> = OnceLock::new();
    KEYS.get_or_init(|| keyring(KEYRING)).clone()
}

impl Store {
    /// Whether it is one to be recovered a million times.
    pub(super) const fn is_tiny(self) -> bool {
        matches!(self, Self::Tiny { .. })
    }

    /// Whether each opening makes the index anew, in memory.
    pub(super) const fn has_index_in_memory(self) -> bool {
        matches!(self, Self::Tiny { index_in_memory: true })
    }

    fn limits(self) -> Limits {
        match self {
            Self::Usual => Limits {
                segment_len: 256 << 10,
                window_len: 96 << 10,
                batch_len: 256 << 10,
                index_overlay_len: 48 << 10,
                index_cache_len: 1 << 20,
                body_cache_len: 256 << 10,
                replay_len: 512 << 10,
                upkeep_step_len: 48 << 10,
                inflight_len: 512 << 10,
                ..Limits::default()
            },
            Self::Tiny { index_in_memory } => Limits {
                segment_len: 40 << 10,
                window_len: 12 << 10,
                batch_len: 64 << 10,
                index_overlay_len: 24 << 10,
                index_cache_len: 256 << 10,
                index_in_memory,
                body_cache_len: 64 << 10,
                replay_len: 40 << 10,
                upkeep_step_len: 16 << 10,
                inflight_len: 64 << 10,
                ..Limits::default()
            },
        }
    }

    fn chunker(self) -> ChunkerParams {
        let (min_len, avg_len, max_len) = match self {
            Self::Usual => (2048, 8192, 32768),
            Self::Tiny { .. } => (1024, 2048, 8192),
        };
        ChunkerParams { kind: ChunkerKind::Cdc1, min_len, avg_len, max_len }
    }

    pub(super) fn create(self, disk: &FaultyDisk, seed: u64) -> Result<Node, OpenError> {
        let keys = keys();
        let config = config(&keys, Coding::default(), self.chunker());
        Local::create(disk.clone(), config, keys, self.limits(), seed)
    }

    pub(super) fn open(self, disk: &FaultyDisk, seed: u64) -> Result<(Node, Opened), OpenError> {
        Local::open(disk.clone(), keys(), self.limits(), seed)
    }

    /// Holds the index against one that is made anew from the log.
    pub(super) fn check_index(self, disk: &FaultyDisk) -> Result<(), String> {
        if self.has_index_in_memory() {
            return Ok(());
        }
        reindex::check(disk, &keys(), &self.limits(), Extent::Compacted).map_err(|broken| broken.what)
    }

    /// Opens the store without its keys.
    pub(super) fn open_keyless(self, disk: &FaultyDisk, seed: u64) -> Result<(Node, Opened), OpenError> {
        Local::open_with(disk.clone(), Access::Keyless, self.limits(), seed)
    }
}
