//! A node held against a plain model in memory: whatever is asked in whatever order, every answer is the model's.
//!
//! `cargo test` runs a short slice; `PROPTEST_CASES=10000 cargo test --profile sim --test model -- --ignored` the long one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod check;
mod ops;
mod regressions;
mod world;

use ops::{Op, Setting, op, setting};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::sync::Once;
use world::World;

/// Cases of the short slice.
const SHORT: u32 = 64;
/// Cases of the long run, unless PROPTEST_CASES says otherwise.
const LONG: u32 = 10_000;

fn run(setting: &Setting, ops: &[Op]) {
    let mut world = World::new(setting);
    for op in ops {
        world.apply(op);
    }
    world.finish();
}

fn cases(default: u32, share: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    let cases = asked.unwrap_or(default) / share;
    // Failures are kept as tests in `regressions`, where they have names.
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() }
}

thread_local! {
    /// Panics of this thread are caught and told in the end; on the way there they are only noise.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn hold(config: ProptestConfig, panics: u16, len: usize) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    QUIET.set(true);
    let strategy = (setting(panics), prop::collection::vec(op(), 1..len));
    let result = TestRunner::new(config).run(&strategy, |(setting, ops)| {
        std::panic::catch_unwind(AssertUnwindSafe(|| run(&setting, &ops))).map_err(|panic| {
            let message = panic.downcast_ref::<String>().cloned();
            let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            TestCaseError::fail(message.unwrap_or_default())
        })
    });
    QUIET.set(false);
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, (setting, ops))) => {
            let ops: Vec<String> = ops.iter().map(|op| format!("    {op:?},\n")).collect();
            panic!("{why}\n\n{setting:?}\n[\n{}]", ops.concat());
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn every_answer_of_a_node_is_the_models() {
    hold(cases(SHORT, 1), 0, 24);
}

#[test]
fn jobs_that_panic_fail_what_they_were_for_and_nothing_else() {
    hold(cases(SHORT, 2), 40, 24);
}

#[test]
#[ignore = "minutes: part of `cargo long`"]
fn every_answer_of_a_node_is_the_models_in_ten_thousand_cases() {
    hold(cases(LONG, 1), 0, 40);
}

#[test]
#[ignore = "minutes: part of `cargo long`"]
fn jobs_that_panic_fail_what_they_were_for_and_nothing_else_in_thousands_of_cases() {
    hold(cases(LONG, 4), 40, 40);
}
