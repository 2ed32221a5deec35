//! What is said beside the values is merged entry by entry.

use crate::blob::Attributes;
use crate::codec::DecodeError;
use crate::id::{BlobId, Hlc};
use std::collections::BTreeSet;

/// One version's attributes, taking part in a merge.
#[derive(Clone, Copy, Debug)]
pub struct AttributeSide<'a> {
    /// When the version was made.
    pub created: Hlc,
    /// The version.
    pub id: BlobId,
    /// Its attributes.
    pub attributes: &'a Attributes,
}

/// Joins attributes: for each name the change of the only sides that changed it, seen from every base; where sides changed it
/// differently, the highest `(created, id)` among those that did. Never a conflict: attributes follow the value.
/// Commutative and idempotent.
///
/// # Errors
/// [`DecodeError`] when the joined attributes exceed their limits, which no side does alone.
pub fn merge_attributes(bases: &[&Attributes], sides: &[AttributeSide<'_>]) -> Result<Attributes, DecodeError> {
    let every = bases.iter().copied().chain(sides.iter().map(|side| side.attributes));
    let names: BTreeSet<&[u8]> = every.flat_map(|attributes| attributes.iter().map(|(name, _)| name)).collect();
    let mut merged = Attributes::new();
    for name in names {
        let is_change = |side: &&AttributeSide<'_>| {
            let value = side.attributes.get(name);
            bases.is_empty() || bases.iter().any(|base| base.get(name) != value)
        };
        let last = |side: &&AttributeSide<'_>| (side.created, side.id);
        let changed = sides.iter().filter(is_change).max_by_key(last);
        let chosen = changed.or_else(|| sides.iter().max_by_key(last));
        if let Some(value) = chosen.and_then(|side| side.attributes.get(name)) {
            merged.set(name, value)?;
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::sample::blob;
    use proptest::prelude::*;

    fn any_attributes() -> impl Strategy<Value = Attributes> {
        prop::collection::btree_map(0u8..4, 0u8..3, 0..4).prop_map(|pairs| {
            let mut attributes = Attributes::new();
            for (name, value) in pairs {
                attributes.set([name], [value]).unwrap();
            }
            attributes
        })
    }

    proptest! {
        #[test]
        fn attributes_merge_in_any_order(bases in prop::collection::vec(any_attributes(), 0..3), sides in prop::collection::vec((any_attributes(), 0u64..3), 1..4)) {
            let bases: Vec<&Attributes> = bases.iter().collect();
            let mut list: Vec<AttributeSide<'_>> = sides.iter().enumerate()
                .map(|(n, (attributes, created))| AttributeSide { created: Hlc(*created), id: blob(n as u32), attributes })
                .collect();
            let merged = merge_attributes(&bases, &list).unwrap();
            list.reverse();
            list.push(list[0]);
            prop_assert_eq!(&merge_attributes(&bases, &list).unwrap(), &merged);
            for (name, value) in merged.iter() {
                prop_assert!(list.iter().any(|side| side.attributes.get(name) == Some(value)));
            }
        }

        #[test]
        fn equal_attributes_stay_and_unchanged_ones_have_no_say(base in any_attributes(), one in any_attributes()) {
            let side = |n: u32, attributes| AttributeSide { created: Hlc(u64::from(n)), id: blob(n), attributes };
            prop_assert_eq!(&merge_attributes(&[&base], &[side(1, &one), side(2, &one)]).unwrap(), &one);
            prop_assert_eq!(&merge_attributes(&[&base], &[side(1, &one), side(2, &base)]).unwrap(), &one);
        }
    }

    #[test]
    fn of_two_changes_of_an_attribute_the_last_counts() {
        let with = |value: u8| {
            let mut attributes = Attributes::new();
            attributes.set([1], [value]).unwrap();
            attributes
        };
        let (base, early, late) = (with(0), with(1), with(2));
        let side = |n: u32, created, attributes| AttributeSide { created: Hlc(created), id: blob(n), attributes };
        let sides = [side(9, 1, &early), side(1, 2, &late)];
        assert_eq!(merge_attributes(&[&base], &sides).unwrap(), late);
        assert_eq!(merge_attributes(&[], &sides).unwrap(), late);
        // Who changed nothing has no say, whenever that was.
        assert_eq!(merge_attributes(&[&base], &[side(9, 1, &early), side(1, 2, &base)]).unwrap(), early);
    }
}
