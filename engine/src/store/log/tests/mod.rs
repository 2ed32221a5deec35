//! What the log promises, as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod basics;
mod crash;
mod crash_disk;
mod cut_end;
mod faults;
mod healed;
mod late_parity;
mod reads;
mod reclaim;
mod refused;
mod refused_end;
mod rest;
mod restored;
mod rot;
mod rotten_end;
mod torn_parity;
mod unsynced_rest;
