//! One BLAKE3 tree over the ciphertext, read twice: its root goes into the seal id, the chaining values of its subtrees
//! into the hashes of the slices.
//!
//! A node of the tree that lies wholly inside one shard is hashed in one go, as wide as the machine allows; a node that
//! straddles shards is split where BLAKE3 splits it (BLAKE3 specification, section 2.1) and merged.

use super::layout::Layout;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

/// The subtrees of one data shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShardTree {
    /// Chaining values of the maximal subtrees inside the shard, from left to right.
    pub(super) subtrees: Vec<ChainingValue>,
    /// The root, if the shard is the whole ciphertext.
    whole: Option<[u8; 32]>,
}

/// Hashes the data shard `index`, whose bytes are `payload`.
pub(super) fn hash_shard(layout: &Layout, index: u8, payload: &[u8]) -> ShardTree {
    // PA
    let start = layout.shard_start(index);
    assert_eq!(payload.len(), layout.payload_len(index) as usize, "a shard has the length its layout gives it");
    let mut out = ShardTree { subtrees: Vec::with_capacity(16), whole: None };
    let end = start + payload.len() as u64;
    walk(layout, 0, u64::from(layout.ciphertext_len()), start..end, &mut |node_start, node_len| {
        let from = (node_start - start) as usize;
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(node_start).update(&payload[from..from + node_len as usize]);
        out.subtrees.push(hasher.finalize_non_root());
        if layout.data() == 1 {
            out.whole = Some(*hasher.finalize().as_bytes());
        }
    });
    out
}

/// The root of the ciphertext's tree: `blake3::hash` of all shards in a row.
pub(super) fn root(layout: &Layout, shards: &[ShardTree]) -> [u8; 32] {
    // PA
    assert_eq!(shards.len(), usize::from(layout.data()), "a root needs every data shard");
    if let [ShardTree { whole: Some(root), .. }] = shards {
        return *root;
    }
    let mut subtrees = shards.iter().flat_map(|shard| &shard.subtrees);
    let len = u64::from(layout.ciphertext_len());
    let left_len = left_subtree_len(len);
    let left = fold(layout, 0, left_len, &mut subtrees);
    let right = fold(layout, left_len, len - left_len, &mut subtrees);
    assert!(subtrees.next().is_none(), "the tree's shape follows from the layout");
    *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
}

/// Calls `leaf(start, len)` for the maximal subtrees that lie inside one shard and inside `wanted`, a run of shards.
fn walk(layout: &Layout, start: u64, len: u64, wanted: core::ops::Range<u64>, leaf: &mut impl FnMut(u64, u64)) {
    // PA
    if start >= wanted.end || start + len <= wanted.start {
        return;
    }
    if layout.in_one_shard(start, len) {
        leaf(start, len);
        return;
    }
    let left_len = left_subtree_len(len);
    walk(layout, start, left_len, wanted.clone(), leaf);
    walk(layout, start + left_len, len - left_len, wanted, leaf);
}

/// Merges the subtrees below one node; the counterpart of [`walk`].
fn fold<'a>(
    layout: &Layout,
    start: u64,
    len: u64,
    subtrees: &mut impl Iterator<Item = &'a ChainingValue>,
) -> ChainingValue {
    // PA
    if layout.in_one_shard(start, len) {
        match subtrees.next() {
            Some(value) => return *value,
            None => unreachable!("walk and fold visit the same subtrees"),
        }
    }
    let left_len = left_subtree_len(len);
    let left = fold(layout, start, left_len, subtrees);
    let right = fold(layout, start + left_len, len - left_len, subtrees);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

#[cfg(test)]
mod tests {
    use super::super::Coding;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_root_is_plain_blake3_however_the_ciphertext_is_cut(
            steps in 1_u32..200, data in 1_u8..40, seed in any::<u8>()
        ) {
            let len = steps * 4096;
            let bytes: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(31) ^ seed ^ (i >> 8) as u8).collect();
            let layout = Layout::plan(len, Coding::new(data, 0).unwrap());
            let shards: Vec<ShardTree> = (0..layout.data())
                .map(|index| {
                    let start = layout.shard_start(index) as usize;
                    hash_shard(&layout, index, &bytes[start..start + layout.payload_len(index) as usize])
                })
                .collect();
            prop_assert_eq!(root(&layout, &shards), *blake3::hash(&bytes).as_bytes());
        }
    }
}
