//! What a commit record carries beside its batch: the high-water marks that recovery continues from.

use crate::codec::Canonical;
use crate::id::{Hlc, Incarnation, NodeId};
use borsh::{BorshDeserialize, BorshSerialize};

/// Durable with every commit, so that no stamp is ever given twice. Sequence numbers need no
/// mark of their own: every dot ever given stands in a record or in the tombstone that removed it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Note {
    /// Who writes this log.
    pub node: NodeId,
    /// This life of the log.
    pub incarnation: Incarnation,
    /// The highest stamp given or seen.
    pub clock: Hlc,
    /// How many segments were ever removed.
    pub removals: u64,
}

impl Canonical for Note {
    const WHAT: &'static str = "commit note";
    const MAX_LEN: usize = 256;
}
