#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::fixtures::{coding, noise, sealed};
use super::super::{Compression, OpenError, Sealed, open, recode};
use super::*;
use proptest::prelude::*;

fn a_seal(len: usize, text: &str) -> (Bytes, Sealed) {
    let plain = Bytes::from(noise(5, len));
    let sealed = sealed(&plain, Compression::Raw, coding(text));
    (plain, sealed)
}

fn damage(slice: &mut SealedSlice, at: usize) {
    let mut payload = slice.payload.to_vec();
    let at = at % payload.len();
    payload[at] ^= 1 << (at % 8);
    slice.payload = payload.into();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn up_to_m_missing_or_damaged_slices_heal_and_the_damaged_are_named(
        len in 1_usize..60_000, data in 1_u8..9, parity in 1_u8..4, fate in any::<u64>(), at: usize
    ) {
        let plain = Bytes::from(noise(5, len));
        let sealed = sealed(&plain, Compression::Raw, Coding::new(data, parity).unwrap());
        let total = sealed.slices.len();
        let mut damaged = Vec::new();
        let mut given = sealed.slices.clone();
        let mut hit = Vec::new();
        for step in 0..parity {
            let victim = (fate >> (step * 8)) as usize % total;
            if hit.contains(&victim) {
                continue;
            }
            hit.push(victim);
            if fate >> (step + 56) & 1 == 0 {
                damage(&mut given[victim], at);
                damaged.push(SliceIndex(victim as u8));
            }
        }
        let missing = |index: usize| hit.contains(&index) && !damaged.contains(&SliceIndex(index as u8));
        let mut given: Vec<SealedSlice> =
            (0..).zip(given).filter(|(index, _)| !missing(*index)).map(|(_, slice)| slice).collect();
        // In any order.
        let turn = at % given.len();
        given.rotate_left(turn);

        let ciphertext = assemble(sealed.seal_id, given).unwrap();
        prop_assert_eq!(open(&sealed.secret, &ciphertext).unwrap(), plain);
        damaged.sort();
        let bad_data = |index: &&SliceIndex| index.0 < ciphertext.layout().data();
        prop_assert!(damaged.iter().filter(bad_data).all(|index| ciphertext.damaged().contains(index)));
        prop_assert!(ciphertext.damaged().iter().all(|index| damaged.contains(index)));

        let everything: Vec<SliceIndex> = (0..total as u8).map(SliceIndex).collect();
        prop_assert_eq!(ciphertext.rebuild(&everything).unwrap(), sealed.slices);
    }
}

#[test]
fn every_loss_of_m_heals_and_every_loss_of_more_is_a_clear_error() {
    let (plain, sealed) = a_seal(30_000, "4+2");
    for lost in 0_u32..1 << 6 {
        let given =
            (0..).zip(&sealed.slices).filter(|(index, _)| lost >> index & 1 == 0).map(|(_, slice)| slice.clone());
        let outcome = assemble(sealed.seal_id, given.collect());
        if lost.count_ones() <= 2 {
            assert_eq!(open(&sealed.secret, &outcome.unwrap()).unwrap(), plain);
        } else {
            let error = outcome.unwrap_err();
            let good = 6 - lost.count_ones() as usize;
            let (seal_id, needed) = (sealed.seal_id, if good == 0 { 1 } else { 4 });
            assert_eq!(error, AssembleError::TooFewSlices { seal_id, needed, good, damaged: vec![] });
        }
    }
}

#[test]
fn too_much_damage_is_named_slice_by_slice() {
    let (_, sealed) = a_seal(30_000, "4+1");
    let mut given = sealed.slices.clone();
    damage(&mut given[1], 77);
    damage(&mut given[4], 7777);
    let error = assemble(sealed.seal_id, given).unwrap_err();
    let damaged = vec![SliceIndex(1), SliceIndex(4)];
    assert_eq!(error, AssembleError::TooFewSlices { seal_id: sealed.seal_id, needed: 4, good: 3, damaged });
    assert!(error.to_string().contains("3 good slices where 4 are needed (2 damaged)"), "{error}");
}

#[test]
fn a_good_copy_stands_in_for_a_bad_one() {
    let (plain, sealed) = a_seal(30_000, "4+0");
    let mut bad = sealed.slices[2].clone();
    damage(&mut bad, 5);
    let given = core::iter::once(bad).chain(sealed.slices.clone()).collect();
    let ciphertext = assemble(sealed.seal_id, given).unwrap();
    assert_eq!(open(&sealed.secret, &ciphertext).unwrap(), plain);
    assert_eq!(ciphertext.damaged(), []);
}

#[test]
fn strangers_and_other_codings_do_not_mix() {
    let (plain, sealed) = a_seal(30_000, "4+1");
    let (_, stranger) = a_seal(30_001, "4+1");
    let wide = recode(&assemble(sealed.seal_id, sealed.slices.clone()).unwrap(), coding("6+2"));
    // Three of four, and six of six: only the second coding is complete.
    let given: Vec<SealedSlice> =
        stranger.slices.iter().chain(&sealed.slices[..3]).chain(&wide[2..]).cloned().collect();
    let ciphertext = assemble(sealed.seal_id, given.clone()).unwrap();
    assert_eq!(ciphertext.coding(), wide[0].header.coding());
    assert_eq!(open(&sealed.secret, &ciphertext).unwrap(), plain);
    let mut few = given;
    few.pop();
    assert!(matches!(assemble(sealed.seal_id, few), Err(AssembleError::TooFewSlices { .. })));
    assert!(matches!(assemble(sealed.seal_id, vec![]), Err(AssembleError::TooFewSlices { good: 0, .. })));
}

/// A writer who makes up slices under somebody else's seal id can make them verify; they still are not the seal.
#[test]
fn forged_slices_are_found_out_and_do_not_hide_the_real_ones() {
    let (plain, sealed) = a_seal(30_000, "4+1");
    let (_, other) = a_seal(30_001, "4+1");
    let source = assemble(other.seal_id, other.slices).unwrap();
    let layout = source.layout();
    let trees: Vec<ShardTree> =
        (0..).zip(source.shards()).map(|(index, shard)| tree::hash_shard(&layout, index, shard)).collect();
    let parity = Codes::default().parity(&layout, source.shards());
    let family = Family::new(
        sealed.seal_id,
        source.seal_header(),
        *source.commitment(),
        layout,
        &trees,
        core::slice::from_ref(&parity),
    );
    let forged: Vec<SealedSlice> = (0..)
        .zip(source.shards().iter().chain([&parity]))
        .map(|(index, payload)| SealedSlice {
            header: SliceHeader { family: Arc::clone(&family), index },
            payload: payload.clone(),
        })
        .collect();
    assert!(forged.iter().all(|slice| slice.verify().is_ok()));
    assert_eq!(
        assemble(sealed.seal_id, forged.clone()).unwrap_err(),
        AssembleError::Forged { seal_id: sealed.seal_id }
    );
    let both = forged.into_iter().chain(sealed.slices).collect();
    let ciphertext = assemble(sealed.seal_id, both).unwrap();
    assert_eq!(open(&sealed.secret, &ciphertext).unwrap(), plain);
}

#[test]
fn a_parity_slice_that_was_never_made_from_the_data_is_not_rebuilt() {
    let (_, sealed) = a_seal(30_000, "4+1");
    let source = assemble(sealed.seal_id, sealed.slices.clone()).unwrap();
    let layout = source.layout();
    let trees: Vec<ShardTree> =
        (0..).zip(source.shards()).map(|(index, shard)| tree::hash_shard(&layout, index, shard)).collect();
    let lie = Bytes::from(vec![0; layout.shard_len() as usize]);
    let family = Family::new(
        sealed.seal_id,
        source.seal_header(),
        *source.commitment(),
        layout,
        &trees,
        core::slice::from_ref(&lie),
    );
    let slices: Vec<SealedSlice> = (0..)
        .zip(source.shards().iter().chain([&lie]))
        .map(|(index, payload)| SealedSlice {
            header: SliceHeader { family: Arc::clone(&family), index },
            payload: payload.clone(),
        })
        .collect();
    let honest_data = assemble(sealed.seal_id, slices.clone()).unwrap();
    assert_eq!(honest_data.rebuild(&[SliceIndex(4)]), None);
    assert!(honest_data.rebuild(&[SliceIndex(3)]).is_some());
    assert_eq!(honest_data.rebuild(&[SliceIndex(5)]), None);
    // And it rebuilds nothing itself.
    assert_eq!(
        assemble(sealed.seal_id, slices[1..].to_vec()).unwrap_err(),
        AssembleError::Forged { seal_id: sealed.seal_id }
    );
}

#[test]
fn a_whole_ciphertext_is_not_copied_when_it_is_one_shard() {
    let (_, sealed) = a_seal(30_000, "1+1");
    let ciphertext = assemble(sealed.seal_id, sealed.slices.clone()).unwrap();
    assert_eq!(ciphertext.to_bytes().as_ptr(), sealed.slices[0].payload.as_ptr());
}

#[test]
fn a_ciphertext_of_a_stranger_is_not_opened() {
    let (_, one) = a_seal(30_000, "4+1");
    let (_, other) = a_seal(30_001, "4+1");
    let ciphertext = assemble(one.seal_id, one.slices).unwrap();
    assert!(matches!(open(&other.secret, &ciphertext), Err(OpenError::WrongSecret { .. })));
}
