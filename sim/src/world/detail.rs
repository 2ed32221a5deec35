//! Where the world's choices about a slot stand on the tape.

use super::World;
use crate::swarm::Disruption;
use crate::tape::place::DETAILS;
use crate::tape::{Purpose, StreamId};

/// A choice of the world about one slot. Each has a position of its own: a position asked for two things would be one
/// thing in the recorded schedule.
#[derive(Clone, Copy)]
pub(super) enum Detail {
    /// What happens: the first position of the slot.
    Disruption,
    /// Turns of the node until a disruption strikes.
    Turns,
    /// Whether the power fails by turns of the node, or by operations of the disk.
    PowerByTurns,
    /// Operations of the disk until the power fails.
    PowerAfter,
    /// Whether these are many.
    PowerLate,
    /// What room the disk has left.
    Room,
    /// How far the wall clock jumps.
    JumpFar,
    /// Which way.
    JumpBack,
    /// Whether the node finishes what it does of its own accord before anybody looks.
    Finishes,
    /// Whether a process that only reads goes on.
    ReadsOn,
    /// What becomes of the index while nobody runs.
    IndexMeanwhile,
    /// Seconds of rest.
    Rest,
    /// What a process without keys is to do.
    Upkeep,
    /// Which file rots.
    RotFile,
    /// Which sector of it.
    RotSector,
    /// How.
    RotDamage,
    /// Numbers for how.
    RotNumber,
    /// Whether clients meet the rot first.
    RotBrowsed,
    /// What happens while they do.
    BrowseMeanwhile,
    /// Turns of mending until it does.
    BrowseTurns,
    /// Whether the power fails within the next few operations, or at a sync.
    PowerSoon,
    /// Whether the power fails while the store is kept up.
    UpkeepCut,
    /// Whether the room is a tenth of that.
    RoomSmall,
    /// Whether the store rots when it is open again.
    RotInService,
    /// How many neighbouring sectors rot, or that it is slices of one seal.
    RotBurst,
    /// Whether the end of a process rots that was killed right after a deletion.
    RotPurged,
    /// What else happens while nobody runs: the wall clock jumps, the power fails.
    Meanwhile,
    /// How long a process gets no turn.
    PauseLong,
    /// Days for which a node is gone.
    GoneDays,
    /// Whether its process ends in order before the node goes, or its disk does.
    Abrupt,
    /// Whether it is the index's volume alone that has little room left.
    TightIndex,
    /// For how many more rounds.
    TightRounds,
    /// No choice: how many there are.
    Count,
}

const _: () = assert!(Detail::Count as u64 <= DETAILS);

impl World {
    /// What happens in the round that begins with a slot.
    pub(super) fn disruption(&self, node: usize, slot: u32) -> Option<Disruption> {
        let (stream, position) = place(node, slot, Detail::Disruption);
        let rare = self.tape.rare_at(stream, position, &self.swarm.disruptions);
        Disruption::ALL.get(usize::try_from(rare.checked_sub(1)?).ok()?).copied()
    }

    /// A choice below `bound` about a slot.
    pub(super) fn detail(&self, node: usize, slot: u32, detail: Detail, bound: u64) -> u64 {
        let (stream, position) = place(node, slot, detail);
        self.tape.below_at(stream, position, bound)
    }
}

const fn place(node: usize, slot: u32, detail: Detail) -> (StreamId, u64) {
    (StreamId::new(Purpose::World, node as u8), slot as u64 * DETAILS + detail as u64)
}
