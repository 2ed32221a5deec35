//! A seeded disk in memory that loses, tears, rots and lies, exactly as much as it was told to.
//!
//! # What survives a crash
//!
//! Each file has an image that is durable, an image that reads see, and between them a list of *undecided units*: one
//! per 512-byte sector of every unsynced write (with the sector's whole content at that time, since that is what a
//! device is given), one per change of length, one per truncation. Each directory has durable entries, visible
//! entries, and a unit per create, rename or remove. At a [`FaultyDisk::crash`] any subset of the units survives; as a
//! sector's units hold whole contents, every subset and every order of device writes is some subset of units. Size may
//! survive without data (the bytes are then zeros) and data without size (they are then beyond the end). A rename is
//! one unit: it happened or it did not.
//!
//! # What can go wrong before
//!
//! See [`Fault`]: each kind strikes at a given operation, by a [`FaultPlan`]'s rate, or both; and [`Damage`] is done at
//! a given place. Sources: ALICE (OSDI'14), CORDS (FAST'17), PAR (FAST'18), Rebello et al. (ATC'20), Bairavasundaram
//! et al. (FAST'08).

mod crash;
mod directory;
mod fault;
mod faulty;
mod file;
mod image;
mod machine;
mod misdirect;
mod nonces;
mod open_file;
mod operation;
mod plan;
mod power;
mod rules;
mod stream;
#[cfg(test)]
mod tests;
mod undecided;
mod watcher;

pub use crash::CrashVariant;
pub use fault::{Fault, FaultCounts, Strike};
pub use faulty::FaultyDisk;
pub use image::{Damage, SECTOR_LEN};
pub use open_file::FaultyFile;
pub use operation::{LogEntry, Operation};
pub use plan::{FaultPlan, Injection};
pub use stream::Stream;
pub use undecided::Undecided;
