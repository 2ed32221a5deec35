//! Three-way merge of texts, line by line.

use super::{Bytes3, Conflict, Marked, MergeInput, Needs, Resolution, Resolver, Side, Value, Why};
use bytes::Bytes;
use diffy::MergeOptions;

/// Longest text that is merged line by line, in bytes. Longer ones are left to [`Bytes3`]'s rule.
pub const MAX_TEXT_LEN: usize = 8 * 1024 * 1024;
/// Most lines of such a text: comparing two texts that have nothing in common takes time as the square of this.
pub const MAX_TEXT_LINES: usize = 32_768;

/// First [`Bytes3`]'s rule, which needs no text; then changes to different lines are joined (diff3: Khanna, Kunal and Pierce,
/// "A Formal Investigation of Diff3", FSTTCS 2007). Changes to the same or touching lines conflict. Any encoding without
/// zero bytes will do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text3;

impl Resolver for Text3 {
    fn name(&self) -> &str {
        "text3"
    }

    fn needs(&self) -> Needs {
        Needs::SidesAndBases
    }

    fn resolve(&self, input: &MergeInput) -> Result<Resolution, Conflict> {
        // PA
        let whole = Bytes3.resolve(input);
        match &whole {
            Err(conflict) if conflict.why == Why::Overlap || conflict.why == Why::BasesDisagree => {}
            _ => return whole,
        }
        let mut sides = Vec::new();
        for side in input.different_sides() {
            match text(side) {
                Ok(text) => sides.push((text, side)),
                Err(why) => return Err(input.conflict(why)),
            }
        }
        // By content, so that neither the stamps nor the order in which versions were named has a say.
        sides.sort_by_key(|(text, _)| *text);
        let mut bases = Vec::new();
        for base in input.bases() {
            match text(base) {
                Ok(text) => bases.push(text),
                // What was not there had no lines.
                Err(Why::RemovedAndChanged) => bases.push(&[]),
                Err(why) => return Err(input.conflict(why)),
            }
        }
        if bases.is_empty() {
            bases.push(&[]);
        }
        let mut merged: Option<Vec<u8>> = None;
        for base in bases {
            let result = fold(base, &sides).map_err(|marked| Conflict { marked, ..input.conflict(Why::Overlap) })?;
            if merged.as_ref().is_some_and(|other| *other != result) {
                return Err(input.conflict(Why::BasesDisagree));
            }
            merged = Some(result);
        }
        let merged = merged.unwrap_or_default();
        let equal = sides.iter().find(|(text, _)| *text == merged.as_slice());
        Ok(equal.map_or_else(|| Resolution::Write(Bytes::from(merged.clone())), |(_, side)| Resolution::Take(side.id)))
    }
}

fn text(side: &Side) -> Result<&[u8], Why> {
    match &side.value {
        Value::Gone => Err(Why::RemovedAndChanged),
        Value::Unread => Err(Why::TooLong),
        Value::Bytes(bytes) if bytes.len() > MAX_TEXT_LEN => Err(Why::TooLong),
        Value::Bytes(bytes) if bytes.contains(&0) => Err(Why::NotText),
        Value::Bytes(bytes) if bytes.iter().filter(|byte| **byte == b'\n').count() >= MAX_TEXT_LINES => {
            Err(Why::TooLong)
        }
        Value::Bytes(bytes) => Ok(bytes),
    }
}

/// Joins one side after the other over one base.
fn fold(base: &[u8], sides: &[(&[u8], &Side)]) -> Result<Vec<u8>, Option<Box<Marked>>> {
    let Some(((first, ours), rest)) = sides.split_first() else { return Ok(Vec::new()) };
    let mut merged = first.to_vec();
    for (text, theirs) in rest {
        merged = join(base, &merged, text).map_err(|marked| {
            // With more than two sides, "ours" would already be a mixture that nobody wrote.
            (sides.len() == 2).then(|| Box::new(Marked { text: Bytes::from(marked), ours: ours.id, theirs: theirs.id }))
        })?;
    }
    Ok(merged)
}

fn join(base: &[u8], ours: &[u8], theirs: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
    if ours == theirs || base == theirs {
        return Ok(ours.to_vec());
    }
    if base == ours {
        return Ok(theirs.to_vec());
    }
    MergeOptions::new().merge_bytes(base, ours, theirs)
}
