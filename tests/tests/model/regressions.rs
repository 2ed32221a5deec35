//! What the model test found, each under the name of what it was.

use super::ops::{Follow, How, Op, Scope, Setting, Texture, Value};
use super::run;

fn how() -> How {
    How { follow: Follow::Winner, coding: None, scope: Scope::Realm, attribute: 0 }
}

fn noise(head: u8, len: usize) -> Value {
    Value { texture: Texture::Noise, head: (head, len), tail: (10, 0) }
}

/// Its seals waited to be committed while the sweep looked for dead ones, and were committed right after it.
#[test]
fn a_compaction_collects_the_seals_of_an_upload_that_was_given_up_before_anything_was_committed() {
    for limits in [0, 32, 255] {
        let setting = Setting { chunker: 0, coding: (8, 1), limits, disorder: None, panics: 0 };
        let cuts = vec![20_000, 40_000];
        let stream = Op::Stream { key: 0, value: noise(1, 60_000), how: how(), cuts, patient: false, abort: Some(2) };
        run(&setting, &[stream, Op::Compact]);
    }
}

#[test]
fn a_compaction_collects_the_seals_of_an_upload_of_which_a_job_panicked() {
    for seed in 0..12 {
        let disorder = Some(14_880_939_529_934_404_502 + seed);
        let setting = Setting { chunker: 0, coding: (8, 1), limits: 32, disorder, panics: 40 };
        let value = Value { texture: Texture::Noise, head: (0, 16_383), tail: (10, 16_383) };
        let stream = Op::Stream { key: 0, value, how: how(), cuts: vec![], patient: true, abort: None };
        let text = Value { texture: Texture::Text, head: (0, 85_217), tail: (10, 0) };
        run(&setting, &[Op::Together(vec![stream, Op::Put(0, text, how())]), Op::Compact]);
    }
}

/// The test's own mistake: it took the purge of a version whose put was never answered for one too many.
#[test]
fn a_version_may_be_purged_before_its_put_is_answered() {
    let empty = noise(0, 0);
    let part = Value { texture: Texture::Noise, head: (0, 2), tail: (10, 4095) };
    for steps in 0..6 {
        let setting = Setting { chunker: 1, coding: (8, 1), limits: 1, disorder: None, panics: 0 };
        let killed = vec![Op::PurgeKey(2), Op::PutMany(vec![(2, empty), (0, part)])];
        run(&setting, &[Op::Put(0, empty, how()), Op::Put(0, empty, how()), Op::Kill(killed, steps, 0)]);
    }
}
