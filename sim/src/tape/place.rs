//! Where choices stand: how many positions a slot, an errand and an operation have, and which slot a choice is of.

use super::{Purpose, StreamId};

/// Positions of a slot on the workload's stream.
pub(crate) const FIELDS: u64 = 64;
/// Positions of a slot on the world's stream.
pub(crate) const DETAILS: u64 = 32;
/// Errands of one slot that have positions of their own: a round, openings, a rest.
pub(crate) const ERRANDS: u64 = 64;
/// Operations of the disk, and jobs, of one errand that have.
pub(crate) const OPERATIONS: u64 = 1 << 24;
/// Positions that the details of one fault may take.
pub(crate) const FAULT_DETAILS: u64 = 8;
/// Positions of what one power failure leaves.
pub(crate) const REMAINS: u64 = 2;
/// The slot of what happens when there are no more: far from all of them.
pub(crate) const FINALE: u64 = 1 << 28;

/// The slot that a choice is of; none where it is of the whole run.
pub(crate) const fn slot_of(stream: StreamId, position: u64) -> Option<u64> {
    Some(match stream.purpose {
        Purpose::Swarm | Purpose::Network => return None,
        Purpose::Workload => position / FIELDS,
        Purpose::World => position / DETAILS,
        Purpose::Fault | Purpose::Job => position / OPERATIONS / ERRANDS,
        Purpose::FaultDetail => position / FAULT_DETAILS / OPERATIONS / ERRANDS,
        Purpose::Crash => position / REMAINS / ERRANDS,
    })
}
