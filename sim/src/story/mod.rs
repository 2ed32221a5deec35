//! What happened in a run, for people: entries that a program can draw, and that print as lines.

mod html;
pub(crate) mod words;

pub use html::page;

use crate::cause::Cause;
use crate::network::NetworkFault;
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
    /// The network does something to links.
    Network,
    /// A frame from one node to another.
    Frame {
        /// Whose link it comes by.
        from: u8,
        /// For whom it is meant, or who gets it.
        to: u8,
        /// What became of it.
        fate: FrameFate,
    },
    /// A promise broke.
    Broken,
    /// Something worth knowing.
    Note,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFate {
    /// It has arrived.
    Arrived,
    /// It has arrived, and no node has sent it like this.
    Forged,
    /// Nobody was there to take it.
    Missed,
    /// Something struck it on its way.
    Struck(NetworkFault),
    /// Its link is down.
    Lost,
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

impl Entry {
    /// Whether it is but one of many frames that went as they should: for pages, too much for lines.
    #[must_use]
    pub const fn is_plain_frame(&self) -> bool {
        matches!(self.told, Told::Frame { fate: FrameFate::Arrived, .. })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.at / 1_000_000_000, self.at / 1000 % 1_000_000);
        write!(f, "{seconds:>6}.{micros:06} n{} {}", self.node, self.text)
    }
}
