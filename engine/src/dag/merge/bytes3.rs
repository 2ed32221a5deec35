//! Three-way merge of whole values.

use super::{Conflict, MergeInput, Needs, Resolution, Resolver, Side, Value, Why};

/// If only one side changed the value (or all that did, did the same), that change is taken; otherwise conflict. Compares
/// commitments, so it joins values of any size without reading them. A removal is a change like any other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes3;

impl Resolver for Bytes3 {
    fn name(&self) -> &str {
        "bytes3"
    }

    fn needs(&self) -> Needs {
        Needs::Nothing
    }

    fn resolve(&self, input: &MergeInput) -> Result<Resolution, Conflict> {
        // PA
        let different = input.different_sides();
        match *different.as_slice() {
            [] => return Err(input.conflict(Why::NoSides)),
            [only] => return Ok(Resolution::Take(only.id)),
            _ => {}
        }
        let mut taken: Option<&Side> = None;
        for base in input.bases() {
            let mut changed = different.iter().copied().filter(|side| !side.holds_same(base));
            let (Some(change), None) = (changed.next(), changed.next()) else {
                return Err(input.conflict(clash(&different)));
            };
            if taken.is_some_and(|taken| taken.id != change.id) {
                return Err(input.conflict(Why::BasesDisagree));
            }
            taken = Some(change);
        }
        taken.map(|side| Resolution::Take(side.id)).ok_or_else(|| input.conflict(clash(&different)))
    }
}

fn clash(different: &[&Side]) -> Why {
    if different.iter().any(|side| side.value == Value::Gone) { Why::RemovedAndChanged } else { Why::Overlap }
}
