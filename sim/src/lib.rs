//! The hostile world in which the engine is tested: seeded, in virtual time, and reproducible to the byte.
//!
//! A [`Sim`] runs whole stores of the real engine under the real driver loop, lets everything befall them that [`disk`] and
//! [`world`] know, and holds every answer against the [`oracle`]'s model of what clients were told. Every choice goes
//! through one [`tape`]: it is drawn from a seed and recorded, replayed from a [`schedule`], [shrunk](mod@shrink), or made by a
//! fuzzer. Draws are integers from a ChaCha20 stream of their own purpose, so that a new fault moves no other.
//!
//! A world has one node or several, each with its own disk, clocks, clients and oracle, in one virtual time. Nodes hold
//! stores of their own: they form no cluster yet. What the [`network`] carries until they do is the traffic of the
//! [`probe`]s that run beside them.
//!
//! [`local`] is the smallest host of the engine, for tests that need no world.

pub mod cause;
pub mod crash;
pub mod crypto;
pub mod disk;
pub mod local;
pub mod network;
pub mod oracle;
pub mod probe;
mod run;
pub mod scenario;
#[cfg(feature = "planted")]
pub mod scenarios;
pub mod schedule;
pub mod shrink;
pub mod sometimes;
pub mod state;
pub mod story;
pub mod swarm;
pub mod table;
pub mod tape;
pub mod workload;
pub mod world;

pub use run::{OPERATIONS, ProbeCounts, Report, Sim};
pub use scenario::{At, NodeId};
pub use world::MAX_NODES;
