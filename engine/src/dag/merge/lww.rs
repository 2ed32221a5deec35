//! The last writer wins.

use super::{Conflict, MergeInput, Needs, Resolution, Resolver, Why};

/// The side of the highest `(created, id)` wins whole. Loses the others' changes (they stay in the history): never the
/// default for data.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lww;

impl Resolver for Lww {
    fn name(&self) -> &str {
        "lww"
    }

    fn needs(&self) -> Needs {
        Needs::Nothing
    }

    fn resolve(&self, input: &MergeInput) -> Result<Resolution, Conflict> {
        // PA
        input.winner().map(|side| Resolution::Take(side.id)).ok_or_else(|| input.conflict(Why::NoSides))
    }
}
