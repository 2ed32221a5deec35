//! What a node was doing when something befell it.

use core::fmt;
use ouroboros_engine::env::{Input, Step};
use ouroboros_engine::node::{Activity, Request};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// What a node is doing: of a running process what its engine says, else where it stands between two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// A process runs.
    Doing(Activity),
    /// A store that was closed is opened.
    Opening,
    /// A store is opened whose last process did not close it.
    Recovering,
    /// A store is opened without keys.
    OpeningKeyless,
    /// No process runs, and the last one closed the store.
    AtRest,
    /// No process runs, and the last one did not close the store.
    Dead,
}

impl State {
    /// How many there are.
    pub const COUNT: usize = Activity::ALL.len() + 5;

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self::at)
    }

    /// Its place among all.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Doing(activity) => activity as usize,
            Self::Opening => Activity::ALL.len(),
            Self::Recovering => Activity::ALL.len() + 1,
            Self::OpeningKeyless => Activity::ALL.len() + 2,
            Self::AtRest => Activity::ALL.len() + 3,
            Self::Dead => Activity::ALL.len() + 4,
        }
    }

    const fn at(index: usize) -> Self {
        if index < Activity::ALL.len() {
            return Self::Doing(Activity::ALL[index]);
        }
        match index - Activity::ALL.len() {
            0 => Self::Opening,
            1 => Self::Recovering,
            2 => Self::OpeningKeyless,
            3 => Self::AtRest,
            _ => Self::Dead,
        }
    }

    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Doing(activity) => activity.name(),
            Self::Opening => "opening",
            Self::Recovering => "recovering",
            Self::OpeningKeyless => "opening without keys",
            Self::AtRest => "at rest",
            Self::Dead => "dead",
        }
    }

    /// What a step of a turn belongs to. What the engine was doing until then says that of all but the step's own work: a
    /// question that is asked of an idle node is read for, and what is committed is being committed.
    #[must_use]
    pub fn of_step(step: Step<'_>, until_then: Activity) -> Self {
        let own = match step {
            Step::Timeout => until_then,
            Step::Commit | Step::Input(Input::Request(_, Request::Purge(_))) => Activity::Committing,
            Step::Input(Input::Request(_, request)) => match request {
                Request::Put(_)
                | Request::PutOpen(_)
                | Request::PutData { .. }
                | Request::PutEnd { .. }
                | Request::PutAbort { .. } => Activity::Uploading,
                Request::Scrub { .. } | Request::Recode(_) | Request::Compact | Request::Close => until_then,
                _ => Activity::Reading,
            },
            // The jobs that no activity is named after are a version's on its way in.
            Step::Input(Input::JobDone(_)) => Activity::Committing,
            Step::Input(Input::Message(..)) => until_then,
        };
        Self::Doing(until_then.min(own))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where whoever runs a node writes what it is doing, and its disk looks when a fault strikes. Clones share it.
#[derive(Clone, Debug)]
pub struct StateCell(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: AtomicU8,
    struck: AtomicBool,
}

impl StateCell {
    /// A cell that says this.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self(Arc::new(Shared { state: AtomicU8::new(state.index() as u8), struck: AtomicBool::new(false) }))
    }

    /// What it says.
    #[must_use]
    pub fn get(&self) -> State {
        State::at(usize::from(self.0.state.load(Ordering::Relaxed)))
    }

    /// Lets it say this from now on.
    pub fn set(&self, state: State) {
        self.0.state.store(state.index() as u8, Ordering::Relaxed);
    }

    /// What it says, and that a fault has struck.
    pub(crate) fn struck(&self) -> State {
        self.0.struck.store(true, Ordering::Relaxed);
        self.get()
    }

    /// Whether a fault has struck since this was last asked.
    pub(crate) fn take_struck(&self) -> bool {
        self.0.struck.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_state_has_a_place_and_a_name_of_its_own() {
        let names: BTreeSet<&str> = State::all().map(State::name).collect();
        assert_eq!(names.len(), State::COUNT);
        for (place, state) in State::all().enumerate() {
            assert_eq!(state.index(), place);
            assert_eq!(StateCell::new(state).get(), state);
        }
    }

    #[test]
    fn a_step_belongs_to_what_is_under_way_before_what_it_does_itself() {
        let commit = |until_then| State::of_step(Step::Commit, until_then);
        assert_eq!(commit(Activity::Idle), State::Doing(Activity::Committing));
        assert_eq!(commit(Activity::MovingRecords), State::Doing(Activity::MovingRecords));
    }
}
