//! OuroborosDB for embedding: the engine on real files, clocks, entropy and threads.
//!
//! [`Db`] is a store that is open in this process; [`AsyncDb`] is the same for async programs.

pub mod clock;
mod db;
pub mod disk;
pub mod entropy;
mod error;
mod layout;
pub mod lock;
mod mailbox;
pub mod pool;
mod runtime;

pub use db::{AsyncDb, AsyncUpload, Builder, Db, SNAPSHOTS};
pub use error::Error;
pub use ouroboros_engine as engine;
