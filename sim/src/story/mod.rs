//! What happened in a run, for people: entries that a program can draw, and that print as lines.

mod html;

pub use html::page;

use crate::cause::Cause;
use crate::state::State;
use core::fmt;

/// What an entry tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A client begins an operation, the one of this slot.
    Asked {
        /// Its slot.
        slot: u32,
    },
    /// The client is answered.
    Answered {
        /// The operation's slot.
        slot: u32,
        /// It could not be done.
        refused: bool,
    },
    /// Something befell the node while it did this.
    Struck {
        /// What.
        cause: Cause,
        /// While it did what.
        state: State,
    },
    /// The process is gone.
    Down,
    /// The process has closed its store and is gone.
    Closed,
    /// A store could not be opened.
    OpenFailed,
    /// The next process has opened its store.
    Open,
    /// The node reports damage.
    Damage,
    /// The oracle does something, or says what it sees.
    Oracle,
    /// The network does something to a frame or to links.
    Network,
    /// A promise broke.
    Broken,
    /// Something worth knowing.
    Note,
}

/// One entry of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, in virtual nanoseconds.
    pub at: u64,
    /// Whose.
    pub node: u8,
    /// What kind of thing.
    pub told: Told,
    /// In words.
    pub text: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.at / 1_000_000_000, self.at / 1000 % 1_000_000);
        write!(f, "{seconds:>6}.{micros:06} n{} {}", self.node, self.text)
    }
}
