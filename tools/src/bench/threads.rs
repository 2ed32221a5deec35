//! How long each kind of thread of this process has been on a core, as the kernel counts it.

use std::fs;

/// Seconds on a core.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Spent {
    /// The pool's threads.
    pub(super) workers: f64,
    /// The engine's thread.
    pub(super) engine: f64,
    /// Everything else: who calls.
    pub(super) others: f64,
    /// All programs of this machine, ours among them.
    pub(super) machine: f64,
}

/// In what the kernel counts time in `/proc/stat`: a part of its interface, whatever its own clock.
const TICKS_A_SECOND: f64 = 100.0;

/// How long this thread has been on a core, and how long it waited for one, in seconds; `None` where the kernel does not tell.
pub(super) fn this_thread() -> Option<(f64, f64)> {
    scheduled(&fs::read_to_string("/proc/thread-self/schedstat").ok()?)
}

fn scheduled(schedstat: &str) -> Option<(f64, f64)> {
    let mut counters = schedstat.split_whitespace().map(|nanos| nanos.parse::<u64>().ok());
    let (on_core, waited) = (counters.next()??, counters.next()??);
    Some((on_core as f64 / 1e9, waited as f64 / 1e9))
}

/// How long the cores have not been idle, from `/proc/stat`.
fn busy(stat: &str) -> Option<f64> {
    let counters = stat.lines().next()?.strip_prefix("cpu ")?;
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted as users.
    let ticks: Vec<u64> = counters.split_whitespace().take(8).map_while(|count| count.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, rest @ ..] = ticks.as_slice() else { return None };
    Some((user + nice + system + rest.iter().sum::<u64>()) as f64 / TICKS_A_SECOND)
}

impl Spent {
    /// Until now; `None` where the kernel does not tell.
    pub(super) fn now() -> Option<Self> {
        this_thread()?;
        let mut spent = Self::default();
        for task in fs::read_dir("/proc/self/task").ok()?.flatten() {
            let read = |file| fs::read_to_string(task.path().join(file));
            // Threads end while they are counted.
            let (Ok(name), Ok(counters)) = (read("comm"), read("schedstat")) else { continue };
            let Some((on_core, _)) = scheduled(&counters) else { continue };
            *spent.of(name.trim()) += on_core;
        }
        spent.machine = busy(&fs::read_to_string("/proc/stat").ok()?)?;
        Some(spent)
    }

    /// The kernel keeps the first 15 bytes of a thread's name.
    fn of(&mut self, name: &str) -> &mut f64 {
        match name.strip_prefix("ouroboros-") {
            Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => &mut self.workers,
            Some(rest) if "engine".starts_with(rest) => &mut self.engine,
            _ => &mut self.others,
        }
    }

    /// What was added since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            workers: self.workers - before.workers,
            engine: self.engine - before.engine,
            others: self.others - before.others,
            machine: self.machine - before.machine,
        }
    }

    /// Ours.
    pub(super) fn own(self) -> f64 {
        self.workers + self.engine + self.others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_told_apart_by_the_names_that_the_kernel_keeps() {
        let mut spent = Spent::default();
        for name in ["ouroboros-0", "ouroboros-12", "ouroboros-engin", "ouroboros", "main"] {
            *spent.of(name) += 1.0;
        }
        assert_eq!(spent, Spent { workers: 2.0, engine: 1.0, others: 2.0, machine: 0.0 });
    }

    #[test]
    fn idle_cores_are_not_busy() {
        let stat = "cpu  100 200 300 4000 5000 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(busy(stat), Some(6.21));
        assert_eq!(busy("cpu  1 2"), None);
    }

    #[test]
    fn what_a_thread_computes_is_counted() {
        let Some(before) = Spent::now() else { return };
        let mut hash = blake3::hash(b"");
        let started = std::time::Instant::now();
        while started.elapsed() < std::time::Duration::from_millis(50) {
            hash = blake3::hash(hash.as_bytes());
        }
        std::hint::black_box(hash);
        // Other tests' threads come and go, and take along what they had.
        assert!(Spent::now().unwrap().since(before).machine > 0.0);
        assert!(this_thread().unwrap().0 > 0.0);
    }
}
