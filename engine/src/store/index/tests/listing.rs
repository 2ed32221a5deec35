use super::create;
use super::disk::TestDisk;
use crate::id::KeyHash;
use crate::store::index::{LevelEntry, Names};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const HASH: KeyHash = KeyHash::from_bytes([5; 32]);

fn name() -> impl Strategy<Value = Vec<u8>> {
    // A tiny alphabet with the delimiter, its neighbours and the highest byte: that is where the edges are.
    prop::collection::vec(prop::sample::select(vec![b'.', b'/', b'0', b'a', 0xff]), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn listings_agree_with_a_filter_over_all_names_page_by_page(
        stored in prop::collection::btree_set(name(), 0..30),
        pending in prop::collection::btree_map(name(), any::<bool>(), 0..12),
        prefix in prop::collection::vec(prop::sample::select(vec![b'/', b'a', 0xff]), 0..3),
        limit in 1..5usize,
    ) {
        let disk = TestDisk::default();
        let mut index = create(&disk);
        let mut names: BTreeSet<Vec<u8>> = stored;
        for name in &names {
            index.put::<Names>(name, &HASH);
        }
        index.flush(b"1").unwrap();
        for (name, keep) in pending {
            if keep {
                index.put::<Names>(&name, &HASH);
                names.insert(name);
            } else {
                index.remove::<Names>(&name);
                names.remove(&name);
            }
        }
        names.retain(|name| name.starts_with(&prefix));

        let mut listed = Vec::new();
        loop {
            let page = index.list(&prefix, listed.last().map(|name: &Vec<u8>| name.as_slice()), limit).unwrap();
            prop_assert!(page.len() <= limit);
            let done = page.len() < limit;
            listed.extend(page.into_iter().map(|(name, _)| name));
            if done { break; }
        }
        prop_assert_eq!(&listed, &names.iter().cloned().collect::<Vec<_>>());

        let mut want = BTreeMap::new();
        for name in &names {
            match name[prefix.len()..].iter().position(|&byte| byte == b'/') {
                Some(end) => {
                    let subtree = name[..=prefix.len() + end].to_vec();
                    want.insert(subtree.clone(), LevelEntry::Prefix(subtree));
                }
                None => { want.insert(name.clone(), LevelEntry::Name(name.clone(), HASH)); }
            }
        }
        let mut level: Vec<LevelEntry> = Vec::new();
        loop {
            let page = index.list_level(&prefix, b'/', level.last().map(LevelEntry::bytes), limit).unwrap();
            let done = page.len() < limit;
            level.extend(page);
            if done { break; }
        }
        prop_assert_eq!(level, want.into_values().collect::<Vec<_>>());
    }
}
