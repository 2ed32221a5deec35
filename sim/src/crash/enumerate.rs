//! P7: a crash at every operation that changes the disk, and what is left after it.

use super::depth::Depth;
use super::explore::{ENOUGH, Explorer};
use super::parallel::{all_cores, on_threads, say};
use super::recording::Recording;
use super::script::Script;
use super::tally::Crashes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// How often the tests say how far it is, in seconds.
const SAY_EVERY: u64 = 10;

/// Whoever waits for an enumeration: is told after every crash point how far it is, and says whether to go on.
pub type Waiting<'a> = dyn Fn(&Crashes) -> bool + Sync + 'a;

/// Plays the script once, and recovers from a crash at every operation that changes the disk.
///
/// # Errors
/// Text, when the script cannot be played even without a crash.
pub fn enumerate_crashes(script: &Script, depth: &Depth) -> Result<Crashes, String> {
    let (started, said) = (Instant::now(), AtomicU64::new(0));
    enumerate_crashes_while(script, depth, None, all_cores(), &|so_far| {
        let due = started.elapsed().as_secs() / SAY_EVERY;
        if said.fetch_max(due, Ordering::Relaxed) < due {
            say(&format!("{} of {} crash points, {} s", so_far.tried, so_far.points, started.elapsed().as_secs()));
        }
        true
    })
}

/// The same on so many threads, or with 0 on this one, at one crash point alone if that is given, and for as long as `waiting` says so.
///
/// # Errors
/// Text, when the script cannot be played even without a crash.
pub fn enumerate_crashes_while(
    script: &Script,
    depth: &Depth,
    only: Option<usize>,
    threads: usize,
    waiting: &Waiting<'_>,
) -> Result<Crashes, String> {
    let recording = Recording::of(script)?;
    let points = recording.points.len();
    let tally = Mutex::new(Crashes { done: recording.done, points: points as u64, ..Crashes::default() });
    let moments = match only {
        Some(point) => core::iter::once(point..point + 1).collect(),
        None => recording.moments(),
    };
    let stride = stride(moments.len());
    on_threads(threads, moments.len(), &|number| {
        let Some(points) = moments.get(number * stride % moments.len()).cloned() else { return true };
        Explorer::explore(&recording, depth, points, &|found| {
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.add(found);
            tally.violations.len() < ENOUGH && waiting(&tally)
        })
    });
    Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// A step in which all of so many places are come to, those that are near each other at different times: whoever stops early
/// has been everywhere.
fn stride(places: usize) -> usize {
    let common = |mut one: usize, mut other: usize| {
        while other > 0 {
            (one, other) = (other, one % other);
        }
        one
    };
    (places * 5 / 8..places).find(|step| common(*step, places) == 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn strides_come_to_every_place_once() {
        for places in 1..300 {
            let step = stride(places);
            let order: BTreeSet<usize> = (0..places).map(|number| number * step % places).collect();
            assert_eq!(order.len(), places, "{step}");
        }
    }
}
