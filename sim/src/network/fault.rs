//! What can befall frames and links.

use core::fmt;

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal $text:literal;)+) => {
        /// A fault of the network. Those before [`Self::Partition`] strike one frame, the others links or a peer for a while.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum NetworkFault {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl NetworkFault {
            /// All of them: first those that strike a frame, then those that strike links.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant),+];

            /// How many there are.
            pub const COUNT: usize = [$($name),+].len();

            /// The name in lists and stories.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it does, in one line.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

faults! {
    /// A frame never arrives.
    Drop "link-drop" "a frame never arrives";
    /// A frame takes much longer than others.
    Delay "link-delay" "a frame takes up to eighty times as long as others";
    /// A frame is overtaken.
    Reorder "link-reorder" "a frame is held back until those behind it have overtaken it";
    /// A frame arrives twice.
    Duplicate "link-duplicate" "a frame arrives twice";
    /// A bit of a frame flips.
    Corrupt "link-corrupt" "a bit of a frame flips";
    /// The end of a frame is missing.
    Truncate "link-truncate" "the end of a frame is missing";
    /// The attacker sends again what he has recorded.
    Replay "attacker-replay" "an attacker in the middle sends a frame again that he has recorded";
    /// The attacker sends again what belongs to an earlier life.
    ReplayOldLife "attacker-replay-old-life" "he sends a frame again of which the sender or the receiver has been started anew since";
    /// The attacker changes some bytes.
    Alter "attacker-alter" "he changes some bytes of a frame";
    /// The attacker joins two frames.
    Splice "attacker-splice" "he joins the head of a frame to the tail of another";
    /// The attacker sends a frame back.
    Reflect "attacker-reflect" "he sends a frame back to who sent it";
    /// The attacker gives a frame to somebody else.
    Misdeliver "attacker-misdeliver" "he gives a frame to another node than it is meant for";
    /// The attacker makes a frame up.
    Inject "attacker-inject" "he makes up a frame: noise, or a recorded one's head with a body and a tag of his own";
    /// Two sides cannot hear each other.
    Partition "link-partition" "no frame gets from one side of the cluster to the other, both ways";
    /// One side cannot hear the other.
    OneWay "link-one-way" "no frame gets from one side of the cluster to the other, one way";
    /// Links between two sides fail and recover by turns.
    Flap "link-flap" "the links between two sides go down and up by turns";
    /// Frames wait.
    Clog "link-clog" "frames wait until a moment, and then come all at once";
    /// A peer is slow for good.
    SlowPeer "slow-peer" "a peer answers slowly, for ever: each frame it sends takes up to a thousand times as long";
}

impl NetworkFault {
    /// How many of them strike a frame.
    pub const OF_FRAMES: usize = Self::Partition as usize;

    /// Whether it strikes one frame; else links, for a while.
    #[must_use]
    pub const fn is_of_a_frame(self) -> bool {
        (self as usize) < Self::OF_FRAMES
    }

    /// Whether it is the work of the attacker in the middle.
    #[must_use]
    pub const fn is_attack(self) -> bool {
        matches!(
            self,
            Self::Replay
                | Self::ReplayOldLife
                | Self::Alter
                | Self::Splice
                | Self::Reflect
                | Self::Misdeliver
                | Self::Inject
        )
    }
}

impl fmt::Display for NetworkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What became of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounts {
    /// Frames that were sent.
    pub sent: u64,
    /// Frames that arrived where somebody was.
    pub delivered: u64,
    /// Frames for which there was no room any more, on a link or in a paused process's mailbox.
    pub overflowed: u64,
    faults: [u64; NetworkFault::COUNT],
}

impl NetworkCounts {
    /// How often a fault struck: a frame, or for links how often it began.
    #[must_use]
    pub const fn of(&self, fault: NetworkFault) -> u64 {
        self.faults[fault as usize]
    }

    /// A fault has struck.
    pub(crate) const fn count(&mut self, fault: NetworkFault) {
        self.faults[fault as usize] += 1;
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.overflowed += other.overflowed;
        for (mine, theirs) in self.faults.iter_mut().zip(other.faults) {
            *mine += theirs;
        }
    }

    /// The faults that struck, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (NetworkFault, u64)> + '_ {
        NetworkFault::ALL.into_iter().map(|fault| (fault, self.of(fault))).filter(|(_, count)| *count > 0)
    }
}

impl fmt::Display for NetworkCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, delivered, overflowed, .. } = self;
        write!(f, "{sent} frames sent, {delivered} delivered, {overflowed} without room")?;
        self.iter().try_for_each(|(fault, count)| write!(f, ", {fault} {count}"))
    }
}
