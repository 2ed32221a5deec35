//! Work in parallel, which says from time to time how far it is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How often work that takes long says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Threads that a machine has room for.
pub(super) fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(8)
}

/// Does `work` for every number below `count`, until one says that it is enough. Tells on standard error how many of
/// `what` are done.
pub fn in_parallel(what: &str, count: usize, work: &(dyn Fn(usize) -> bool + Sync)) {
    let done = AtomicUsize::new(0);
    let started = Instant::now();
    let said = AtomicUsize::new(0);
    on_threads(all_cores(), count, &|number| {
        let goes_on = work(number);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        let due = (started.elapsed().as_secs() / SAY_EVERY.as_secs()) as usize;
        if said.fetch_max(due, Ordering::Relaxed) < due {
            say(&format!("{done} of {count} {what}, {} s", started.elapsed().as_secs()));
        }
        goes_on
    });
}

/// Does `work` for every number below `count` on so many threads, or with 0 on this one, until one says that it is enough.
pub(super) fn on_threads(threads: usize, count: usize, work: &(dyn Fn(usize) -> bool + Sync)) {
    let next = AtomicUsize::new(0);
    let go = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            if !work(number) {
                next.store(count, Ordering::Relaxed);
            }
        }
    };
    if threads == 0 {
        return go();
    }
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(go);
        }
    });
}

/// Tells whoever waits. Seen at once from these threads; from that of a test, with `--nocapture`.
#[allow(clippy::print_stderr)]
pub(super) fn say(text: &str) {
    eprintln!("    {text}");
}
