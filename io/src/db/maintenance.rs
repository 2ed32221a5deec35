//! What can be done to a store without its keys.

use super::{Client, ops};
use crate::error::Error;
use ouroboros_engine::node::{CompactReport, Opened, RecodeReport, ScrubReport, Stats};
use ouroboros_engine::seal::Coding;
use std::path::PathBuf;
use std::sync::Arc;

/// What needs no keys, once for [`Maintenance`] and [`Db`](super::Db).
macro_rules! blocking_upkeep {
    () => {
        /// Re-reads and re-hashes everything; heals what is rotten if told to. Without keys, the store's index is not
        /// looked at.
        ///
        /// # Errors
        /// [`Error`] when the scrub itself could not run; damage is in the report.
        pub fn scrub(&self, repair: bool) -> Result<ScrubReport, Error> {
            ops::scrub(repair).wait(&self.client)
        }

        /// Changes the coding of everything stored, in place, and of everything stored from now on.
        ///
        /// # Errors
        /// [`Error`].
        pub fn recode(&self, coding: Coding) -> Result<RecodeReport, Error> {
            ops::recode(coding).wait(&self.client)
        }

        /// Returns the space of everything dead. Without keys, what cannot be decided without them is kept.
        ///
        /// # Errors
        /// [`Error`].
        pub fn compact(&self) -> Result<CompactReport, Error> {
            ops::compact().wait(&self.client)
        }

        /// Figures about the store. Without keys, nobody knows how long the values are.
        ///
        /// # Errors
        /// [`Error`].
        pub fn stats(&self) -> Result<Stats, Error> {
            ops::stats().wait(&self.client)
        }
    };
}

/// The same as futures, once for [`AsyncMaintenance`] and [`AsyncDb`](super::AsyncDb).
macro_rules! async_upkeep {
    () => {
        /// See [`Maintenance::scrub`](crate::Maintenance::scrub).
        ///
        /// # Errors
        /// [`Error`] when the scrub itself could not run; damage is in the report.
        pub async fn scrub(&self, repair: bool) -> Result<ScrubReport, Error> {
            ops::scrub(repair).run(&self.client).await
        }

        /// See [`Maintenance::recode`](crate::Maintenance::recode).
        ///
        /// # Errors
        /// [`Error`].
        pub async fn recode(&self, coding: Coding) -> Result<RecodeReport, Error> {
            ops::recode(coding).run(&self.client).await
        }

        /// See [`Maintenance::compact`](crate::Maintenance::compact).
        ///
        /// # Errors
        /// [`Error`].
        pub async fn compact(&self) -> Result<CompactReport, Error> {
            ops::compact().run(&self.client).await
        }

        /// See [`Maintenance::stats`](crate::Maintenance::stats).
        ///
        /// # Errors
        /// [`Error`].
        pub async fn stats(&self) -> Result<Stats, Error> {
            ops::stats().run(&self.client).await
        }
    };
}

pub(super) use {async_upkeep, blocking_upkeep};

/// A store that is open in this process for what needs no keys, in its blocking form. Clones share it; the last one to be
/// dropped closes it.
///
/// [`Builder::open_keyless`](super::Builder::open_keyless) gives one, and so does [`Db::maintenance`](super::Db::maintenance).
#[derive(Clone, Debug)]
pub struct Maintenance {
    client: Arc<Client>,
}

/// The operations of [`Maintenance`] as futures that need no particular executor.
#[derive(Clone, Debug)]
pub struct AsyncMaintenance {
    client: Arc<Client>,
}

impl Maintenance {
    pub(super) const fn new(client: Arc<Client>) -> Self {
        Self { client }
    }

    /// The same store for async programs.
    #[must_use]
    pub fn asynchronous(&self) -> AsyncMaintenance {
        AsyncMaintenance { client: self.client.clone() }
    }

    /// See [`Db::opened`](super::Db::opened).
    #[must_use]
    pub fn opened(&self) -> &Opened {
        &self.client.opened
    }

    /// See [`Db::directories`](super::Db::directories).
    #[must_use]
    pub fn directories(&self) -> &[PathBuf; 3] {
        &self.client.directories
    }

    blocking_upkeep!();

    /// See [`Db::close`](super::Db::close).
    ///
    /// # Errors
    /// [`Error`]: the store is still open, and closing may be tried again.
    pub fn close(&self) -> Result<(), Error> {
        self.client.close()
    }
}

impl AsyncMaintenance {
    async_upkeep!();

    /// See [`AsyncDb::close`](super::AsyncDb::close).
    ///
    /// # Errors
    /// [`Error`]: the store is still open, and closing may be tried again.
    pub async fn close(&self) -> Result<(), Error> {
        self.client.close_async().await
    }
}
