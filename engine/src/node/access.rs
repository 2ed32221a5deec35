//! With what a store is opened: its keys, or nothing.
//!
//! Whatever is sealed can be verified, repaired, coded anew and moved without a key, and what is alive follows from the public
//! headers and the tombstones. So a process without keys keeps an index of its own, which holds no more than they say,
//! and throws it away when it ends; the store's own index is sealed under the keyring and not looked at
//! (decision 14).

use super::{Limits, OpenError};
use crate::env::Disk;
use crate::id::{EngineRng, Secret};
use crate::keys::Keyring;
use crate::store::index::{Index, IndexError, IndexName, IndexOptions};
use std::sync::Arc;

/// With what a store is opened.
#[derive(Clone, Debug)]
pub enum Access {
    /// With the keys of its realm: for everything.
    Keys(Arc<Keyring>),
    /// Without: for [`Request::Scrub`](super::Request::Scrub), [`Recode`](super::Request::Recode),
    /// [`Compact`](super::Request::Compact) and [`Stats`](super::Request::Stats). Everything else is
    /// answered with [`Failure::NoKeys`](super::Failure::NoKeys).
    Keyless,
}

impl Access {
    /// The keys, if there are any.
    #[must_use]
    pub const fn keys(&self) -> Option<&Arc<Keyring>> {
        match self {
            Self::Keys(keys) => Some(keys),
            Self::Keyless => None,
        }
    }
}

/// The index of a node: which file, and under which secret.
pub(super) struct IndexPlace {
    options: IndexOptions,
    secret: Secret,
}

impl IndexPlace {
    pub(super) fn new(keys: Option<&Keyring>, limits: &Limits, rng: &mut EngineRng) -> Self {
        let (file, secret) = match keys {
            Some(keys) => (IndexName::Lasting, keys.index_key(&[0; 16])),
            // Nobody reads it after this process.
            None => (IndexName::Passing, Secret::new(rng.bytes())),
        };
        let options = IndexOptions {
            file,
            cache_bytes: limits.index_cache_len,
            overlay_bytes: limits.index_overlay_len,
            in_memory: limits.index_in_memory,
        };
        Self { options, secret }
    }

    /// The index that is there.
    pub(super) fn open<D: Disk>(&self, disk: &D, rng: &mut EngineRng) -> Result<Index<D>, IndexError> {
        match self.options.file {
            _ if self.options.in_memory => Err(IndexError::Missing),
            IndexName::Lasting => Index::open(disk, self.options, &self.secret, rng),
            // What another process has left may be of another log by now.
            IndexName::Passing => Err(IndexError::Missing),
        }
    }

    /// An empty one in place of what is there.
    pub(super) fn make<D: Disk>(&self, disk: &D, rng: &mut EngineRng) -> Result<Index<D>, IndexError> {
        Index::destroy(disk, self.options.file)?;
        Index::create(disk, self.options, &self.secret, rng)
    }
}

/// Removes what a process without keys has left of its index. That it fails does no harm: nobody reads it.
pub(super) fn clear_passing_index<D: Disk>(disk: &D) {
    if let Err(error) = Index::destroy(disk, IndexName::Passing) {
        tracing::warn!(%error, "an index that is of no use any more could not be removed");
    }
}

/// The keys, where nothing goes on without.
pub(super) fn needed(access: &Access) -> Result<&Arc<Keyring>, OpenError> {
    access.keys().ok_or(OpenError::NoKeys)
}
