//! The union of lines.

use super::{Conflict, MergeInput, Needs, Resolution, Resolver, Value, Why};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Keeps every line that any side has: the oldest side's text, then from each younger one the lines that are not there yet,
/// in their order. A line that a side has several times is kept as often as in the side that has it most. Nothing is ever
/// removed, so it needs no base; a side that is gone has no lines.
///
/// Lines end with a line feed; the last one of the result ends with one too, unless a single content is all there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnionLines;

impl Resolver for UnionLines {
    fn name(&self) -> &str {
        "union"
    }

    fn needs(&self) -> Needs {
        Needs::Sides
    }

    fn resolve(&self, input: &MergeInput) -> Result<Resolution, Conflict> {
        // PA
        let mut different = input.different_sides();
        if let [only] = *different.as_slice() {
            return Ok(Resolution::Take(only.id));
        }
        different.retain(|side| side.value != Value::Gone);
        match *different.as_slice() {
            [] => return Err(input.conflict(Why::NoSides)),
            [only] => return Ok(Resolution::Take(only.id)),
            _ => {}
        }
        let mut out = Vec::new();
        let mut kept: BTreeMap<&[u8], usize> = BTreeMap::new();
        for side in different {
            let Value::Bytes(text) = &side.value else { return Err(input.conflict(Why::TooLong)) };
            let mut here: BTreeMap<&[u8], usize> = BTreeMap::new();
            for line in lines(text) {
                let count = here.entry(line).or_default();
                *count += 1;
                let kept = kept.entry(line).or_default();
                if *count > *kept {
                    *kept = *count;
                    out.extend_from_slice(line);
                    out.push(b'\n');
                }
            }
        }
        Ok(Resolution::Write(Bytes::from(out)))
    }
}

/// The lines of a text without their line feeds.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}
