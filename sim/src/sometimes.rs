//! States that a campaign must reach: a world that is never in them tests nothing of what they need. Each is judged from
//! outside, by what befell a node while it did what, by what openings say, and by answers.

use core::fmt;

macro_rules! sometimes {
    ($($name:ident: $text:literal;)+) => {
        /// A state that must be reached, once in a thousand seeds at least.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Sometimes {
            $(#[doc = concat!("It came to this: ", $text, ".")] $name,)+
        }

        impl Sometimes {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// What it came to, in words.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }

        /// How often each was reached.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct SometimesCounts([u64; [$(Sometimes::$name),+].len()]);

        impl Default for SometimesCounts {
            fn default() -> Self {
                Self([0; [$(Sometimes::$name),+].len()])
            }
        }
    };
}

sometimes! {
    // The power.
    CommitCut: "the power failed while something was being committed";
    UploadCut: "the power failed while versions were on their way in";
    StreamCut: "a process ended in the middle of a stream";
    CompactionCut: "the power failed during a compaction";
    MovingCut: "the power failed while a compaction moved records";
    CompactionKilled: "the process was killed during a compaction";
    ScrubCut: "the power failed during a scrub";
    RecodeCut: "the power failed during a recoding";
    MendingCut: "the power failed while damaged seals were written again";
    ClosingCut: "the power failed while the store was being closed";
    OpeningCut: "the power failed while a closed store was being opened";
    RecoveryCut: "the power failed during the recovery from a crash";
    RecoveryCutTwice: "the power failed during two recoveries in a row";
    KeylessCut: "the power failed in a process without keys";
    NothingSurvived: "a power failure left nothing of what was not synced";
    SectorsTorn: "a power failure tore sectors";

    // Opening.
    TornEndDropped: "an opening dropped the torn end of the log";
    KeptInPlace: "an opening found no room to copy the last batch, and kept it in place";
    TailReplayed: "an opening showed an index what it had not seen of the log";
    StaleIndexDiscarded: "an opening discarded an old index";
    LostIndexMade: "an opening made a lost index anew";
    BadIndexDiscarded: "an opening discarded an index that faults had spoiled";
    OpeningFailed: "an opening failed, and a later one did not";
    OpeningHealed: "an opening healed a damaged record";
    MaybeTurnedUp: "a write that nobody was told of was there after a restart";
    MaybeGone: "a write that nobody was told of was gone after a restart";

    // In service.
    IndexMadeInService: "the index was made anew in service";
    ReadOnly: "a disk that failed ended writing until the next opening";
    FullRefused: "a write was refused on a full disk";
    FullRecovered: "a write was accepted after one was refused on a full disk";
    BusyRefused: "a request was refused because too much was under way";
    StreamAborted: "a client gave up a stream";
    StreamWaited: "a client waited until its stream was welcome";
    ManyWritten: "one request wrote several versions";
    HeadsMerged: "a version followed two heads or more";
    Diverged: "a key came to have several heads";
    SharedPurged: "a version was purged whose content another version shares";
    RemovalRefused: "a purge was refused that would have brought content back";
    ClockWentBack: "something was written after the wall clock went back";

    IndexBacklog: "updates came together that a full volume of the index did not take";

    // Upkeep.
    SealRotted: "as many slices of one seal rotted as it can do without";
    RottedTwice: "several sectors of a store at rest rotted at once";
    PagesNamed: "a version named its seals by pages of references";
    ScrubHealedLog: "a scrub healed a record of the log";
    ScrubHealedSlice: "a scrub healed a slice";
    Mended: "a seal that was found damaged was written again";
    SegmentsRemoved: "a compaction removed a segment";
    SealsCollected: "a compaction collected seals";
    CompactedUnasked: "a compaction began unasked";
    Recoded: "a recoding wrote seals in another coding";
    KeylessUpkeep: "a process without keys did the upkeep";

    // Time.
    PausedOver: "a process that got no turn for a while found requests waiting";
    GoneForLong: "a node came back after forty days or more";

    // Machines.
    Reinstalled: "a node was installed anew, and nothing of its old life was there";
    DiskLost: "a node whose disk was gone said so";
    DiskRolledBack: "a node with an old copy of its disk held what it held then";

    // Several nodes. From here on only worlds of several nodes come to it.
    AnsweredMeanwhile: "a node answered its clients while another was down or was looked at";
    LetterSaidAgain: "a letter was said again, and heard";
    LetterGivenUp: "a letter was given up after all sendings";
    LettersHeldBack: "a letter was refused since too many waited";
    GreetedAnew: "a peer that had been started anew was greeted anew";
    MailOverPause: "frames waited for a process that got no turn";
    ForgeryRefused: "a frame that the attacker had made or changed was refused";
    HeardAfterPartition: "all nodes heard each other after a partition";
}

impl Sometimes {
    /// Whether only a world of several nodes can come to it.
    #[must_use]
    pub const fn needs_peers(self) -> bool {
        self as usize >= Self::AnsweredMeanwhile as usize
    }
}

impl SometimesCounts {
    /// How often it came to this.
    #[must_use]
    pub const fn of(&self, what: Sometimes) -> u64 {
        self.0[what as usize]
    }

    /// It came to this.
    pub const fn reached(&mut self, what: Sometimes) {
        self.0[what as usize] += 1;
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// What worlds of so many nodes could have come to and never did.
    pub fn never(&self, nodes: u8) -> impl Iterator<Item = Sometimes> + '_ {
        let possible = Sometimes::ALL.iter().copied().filter(move |what| nodes > 1 || !what.needs_peers());
        possible.filter(|what| self.of(*what) == 0)
    }
}

impl fmt::Display for SometimesCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for what in Sometimes::ALL {
            writeln!(f, "{:>8} x {}", self.of(*what), what.text())?;
        }
        Ok(())
    }
}
