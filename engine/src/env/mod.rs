//! The world as the engine sees it: time that is told, a disk that is lent, a network that carries opaque frames.
//!
//! Nothing in here does I/O. `io` implements these traits over the real machine, `sim` over a seeded, hostile one, and
//! [`MemoryDisk`] over plain memory for tests and embedding.

mod clock;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod disk;
mod driver;
mod memory;

pub use clock::{Instant, Now, WallTime};
pub use disk::{Disk, DiskError, DiskFailure, DiskFile, FileName, InvalidFileName, OpenMode, Volume};
pub use driver::{Clock, Driver, Host, Input, Network, NoNetwork, Step};
pub use memory::{MemoryDisk, MemoryFile};
