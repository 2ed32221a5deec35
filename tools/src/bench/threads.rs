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
}

impl Spent {
    /// Until now; `None` where the kernel does not tell.
    pub(super) fn now() -> Option<Self> {
        let mut spent = Self::default();
        for task in fs::read_dir("/proc/self/task").ok()?.flatten() {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            let counters = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let nanos: u64 = counters.split_whitespace().next()?.parse().ok()?;
            *spent.of(name.trim()) += nanos as f64 / 1e9;
        }
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
        }
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
        assert_eq!(spent, Spent { workers: 2.0, engine: 1.0, others: 2.0 });
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
        assert!(Spent::now().unwrap().since(before).others > 0.0);
    }
}
