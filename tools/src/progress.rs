//! The bar on anything longer than a second: rate and time left. Nothing when nobody watches.

use crate::output::Output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// How long to wait before drawing.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the bar is drawn at most, a second.
const FRAMES: u8 = 10;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes, with a rate.
    Bytes,
    /// Things, with a rate.
    Items,
    /// Steps of unlike length: only how long it has taken so far.
    Steps,
}

/// A bar that appears when the work turns out to be long.
pub(crate) struct Bar {
    bar: ProgressBar,
    started: Instant,
    unit: Unit,
    may_draw: bool,
    shown: bool,
}

impl Bar {
    /// A bar for `what`, hidden so far.
    pub(crate) fn new(out: &Output, what: &'static str, unit: Unit) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_prefix(what);
        Self { bar, started: Instant::now(), unit, may_draw: out.may_draw(), shown: false }
    }

    /// Whether anybody will ever see it.
    pub(crate) fn is_wanted(&self) -> bool {
        self.may_draw
    }

    /// Done so far, of a total once that is known.
    pub(crate) fn set(&mut self, done: u64, total: Option<u64>) {
        if !self.may_draw {
            return;
        }
        self.bar.set_position(done);
        match total {
            Some(total) => self.bar.set_length(total.max(done)),
            None => self.bar.unset_length(),
        }
        if !self.shown && self.started.elapsed() >= PATIENCE {
            self.shown = true;
            self.bar.set_style(self.style());
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(FRAMES));
        }
    }

    /// A word beside the bar.
    pub(crate) fn tell(&self, message: impl Into<String>) {
        if self.may_draw {
            self.bar.set_message(message.into());
        }
    }

    fn style(&self) -> ProgressStyle {
        let template = match self.unit {
            Unit::Bytes => "{prefix} {bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left  {wide_msg}",
            Unit::Steps => "{prefix} {spinner} {elapsed}  {wide_msg}",
            Unit::Items => "{prefix} {bar:30} {human_pos}/{human_len} {per_sec} {eta} left  {wide_msg}",
        };
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
    }

    /// Lets something else be printed without the bar in its way.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
