//! OuroborosDB for embedding: the engine on real files, clocks, entropy and threads.
//!
//! [`Db`] is a store that is open in this process; [`AsyncDb`] is the same for async programs. [`Maintenance`] is a store that is
//! open without its keys: it can be checked, repaired, coded anew and compacted.
//!
//! ```
//! use ouroborosdb::engine::{id::EngineRng, keys::Keyring, names::KeyName, node::PutOptions};
//! use ouroborosdb::{Db, entropy::os_seed};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! // Whoever loses the keyring loses the data: seal it with `keys::Vault`, and keep its phrase on paper.
//! let keyring = Keyring::generate(&mut EngineRng::from_seed(os_seed()?));
//!
//! let db = Db::builder().directory(directory.path()).keyring(keyring).create()?;
//! let key = KeyName::new("greetings/morning")?;
//! let first = db.put(&key, "good morning", PutOptions::default())?;
//! db.put(&key, "top of the morning", PutOptions::default())?;
//!
//! assert_eq!(db.get_bytes(&key)?, "top of the morning");
//! assert_eq!(db.log(&key, None, 10)?.len(), 2);
//! db.restore(&key, first.id)?;
//! assert_eq!(db.get_bytes(&key)?, "good morning");
//! # Ok(())
//! # }
//! ```
//!
//! Streams, concurrent versions and merges, snapshots, deletion, scrubbing and the async form each have an example that runs:
//! `cargo run -p ouroborosdb --example embed` (`stream`, `history`, `merge`, `snapshots`, `deletion`, `scrub`, `asynchronous`).

mod claim;
pub mod clock;
mod db;
pub mod disk;
pub mod entropy;
pub mod env;
mod error;
mod layout;
pub mod lock;
mod machine;
mod mailbox;
#[cfg(planted)]
pub mod planted;
#[cfg(not(planted))]
mod planted;
pub mod pool;
mod runtime;
mod turns;

pub use db::{AsyncDb, AsyncMaintenance, AsyncUpload, Builder, Db, Maintenance, SNAPSHOTS};
pub use error::Error;
pub use machine::Machine;
pub use ouroboros_engine as engine;
