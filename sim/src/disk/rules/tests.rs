//! The rules of the disk, each seen to hold and seen to break.

use super::*;

const FILE: FileId = FileId(7);

/// A record and a commit.
fn batch() -> Vec<u8> {
    let mut bytes = b"oRec\x02\0\0\0\x24\0\0\0".to_vec();
    bytes.extend_from_slice(&[1; 12 + 40]);
    bytes.extend_from_slice(b"oRec\x10\0\0\0\x80\0\0\0");
    bytes.extend_from_slice(&[1; 12 + 128]);
    bytes
}

fn told(steps: impl FnOnce(&mut Rules)) -> Option<String> {
    let mut rules = Rules::default();
    rules.created(FILE);
    rules.wrote(FILE, 0, &batch(), &[], true);
    steps(&mut rules);
    rules.told();
    rules.take_broken()
}

/// After a batch that a client was told of.
fn told_of_a_batch() -> Rules {
    let mut rules = Rules::default();
    rules.created(FILE);
    rules.wrote(FILE, 0, &batch(), &[], true);
    rules.synced(FILE);
    rules.directory_synced();
    rules.told();
    rules
}

#[test]
fn a_client_is_told_only_of_what_was_synced_with_its_name() {
    let all = |rules: &mut Rules| {
        rules.synced(FILE);
        rules.directory_synced();
    };
    assert_eq!(told(all), None);
    assert!(told(Rules::directory_synced).is_some_and(|why| why.contains("not synced")));
    assert!(told(|rules| rules.synced(FILE)).is_some_and(|why| why.contains("name")));
    // What follows the commit is of the next.
    assert_eq!(
        told(|rules| {
            all(rules);
            rules.wrote(FILE, batch().len() as u64, &[1; 100], &[], true);
        }),
        None
    );
    // And a commit that was taken back is none.
    assert_eq!(told(|rules| rules.truncated(FILE, 8)), None);
}

#[test]
fn no_later_sync_makes_up_for_one_that_failed_unless_all_is_written_again() {
    let fails = |rules: &mut Rules| {
        rules.directory_synced();
        rules.sync_failed(FILE);
        rules.synced(FILE);
    };
    assert!(told(fails).is_some_and(|why| why.contains("failed")));
    assert_eq!(
        told(|rules| {
            fails(rules);
            rules.wrote(FILE, 0, &batch(), &[], true);
            rules.synced(FILE);
        }),
        None
    );
}

#[test]
fn nobody_is_answered_before_what_was_healed_is_synced() {
    let mut rules = told_of_a_batch();
    rules.serve(true);
    for synced in [true, false] {
        rules.wrote(FILE, 8, &batch()[8..24], &[], true);
        if synced {
            rules.synced(FILE);
        }
        rules.answered();
        assert_eq!(rules.take_broken().is_some(), !synced);
    }
}

#[test]
fn what_comes_through_a_power_failure_is_durable() {
    for (came_through, breaks) in [(batch().len(), false), (batch().len() - 8, true)] {
        let mut rules = told_of_a_batch();
        // An opening copies the batch, and the power fails before its name is synced.
        let other = FileId(8);
        rules.created(other);
        rules.wrote(other, 0, &batch(), &[], true);
        let found = |id, from| if id == other { batch()[from as usize..came_through].to_vec() } else { Vec::new() };
        rules.life_ends(true, &BTreeSet::from([FILE, other]), &found);
        rules.truncated(FILE, 8);
        assert_eq!(rules.take_broken().is_some(), breaks, "{came_through} bytes of the copy came through");
    }
}

#[test]
fn what_a_crash_tore_may_be_made_whole_and_nothing_else() {
    for (new, breaks) in [(7, false), (8, true)] {
        let mut rules = told_of_a_batch();
        let end = batch().len() as u64;
        // Parity, which the crash tears, and a commit behind it.
        rules.wrote(FILE, end, &[7; 64], &[], true);
        for found in [64, 0] {
            rules.life_ends(true, &BTreeSet::from([FILE]), &|_, _| vec![0; found]);
        }
        rules.wrote(FILE, end + 64, &batch(), &[], true);
        rules.synced(FILE);
        rules.told();
        rules.wrote(FILE, end, &[new; 64], &[0; 64], true);
        assert_eq!(rules.take_broken().is_some(), breaks, "{new} is written");
    }
}

#[test]
fn what_was_cut_off_may_be_back_after_a_failed_sync() {
    let mut rules = Rules::default();
    let all = batch();
    rules.created(FILE);
    rules.wrote(FILE, 0, &all, &[], true);
    rules.synced(FILE);
    rules.directory_synced();
    rules.truncated(FILE, 64);
    rules.sync_failed(FILE);
    rules.dropped(FILE, all.len() as u64, |from| all[from as usize..].to_vec());
    rules.synced(FILE);
    // The next process takes it for its own.
    rules.wrote(FILE, all.len() as u64, &all, &[], true);
    rules.synced(FILE);
    rules.told();
    assert_eq!(rules.end_when_told(FILE), Some(2 * all.len() as u64));
    // A repair of it writes what stood there.
    rules.wrote(FILE, 64, &all[64..], &[], true);
    assert_eq!(rules.take_broken(), None);
}

#[test]
fn what_clients_were_told_of_is_neither_cut_nor_written_over_but_with_itself() {
    let mut rules = told_of_a_batch();
    rules.wrote(FILE, 8, &batch()[8..24], &[], true);
    assert_eq!(rules.take_broken(), None);
    rules.wrote(FILE, batch().len() as u64 - 1, b"x!", &[], true);
    assert!(rules.take_broken().is_some());
    rules.truncated(FILE, batch().len() as u64 - 1);
    assert!(rules.take_broken().is_some());
    // What is copied is not needed any more.
    let other = FileId(8);
    rules.created(other);
    rules.wrote(other, 0, &batch(), &[], true);
    rules.truncated(FILE, 8);
    assert!(rules.take_broken().is_some());
    rules.synced(other);
    rules.directory_synced();
    // Nor if what comes after the copy is taken back.
    let end = batch().len() as u64;
    rules.wrote(other, end, &batch(), &[], true);
    rules.truncated(other, end);
    rules.truncated(FILE, 0);
    assert_eq!(rules.take_broken(), None);
    rules.serve(true);
    rules.removed(FILE);
    assert!(rules.take_broken().is_some(), "something is not synced");
}
