//! Bugs on purpose: a simulator that finds none of these proves nothing.
//!
//! Each [`Bug`] breaks one promise by one mechanism, at the place in the engine where a real mistake would break it. None
//! of them is in a product: without the feature `planted`, which only the simulator's `bugs` command is built with,
//! `planted` is `false` for the compiler too, and nothing of a hook is left. With it, a bug is there while a
//! `Planting` is held on the same thread, which runs one world from its beginning to its end.
//!
//! The format is never the bug: a store that was written with one can be read by the product.

macro_rules! bugs {
    ($($(#[doc = $text:literal])+ $name:ident: $promise:literal, $oracle:literal;)+) => {
        /// A planted bug. What each breaks is in its text, which promise in [`Bug::promise`], and who should see it in
        /// [`Bug::oracle`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug {
            $($(#[doc = $text])+ $name,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// The number of the promise that it breaks.
            #[must_use]
            pub const fn promise(self) -> u8 {
                match self { $(Self::$name => $promise),+ }
            }

            /// What should see it, in a few words.
            #[must_use]
            pub const fn oracle(self) -> &'static str {
                match self { $(Self::$name => $oracle),+ }
            }

            /// What is broken.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => concat!($($text),+)),+ }
            }
        }
    };
}

bugs! {
    // The log.
    /// A commit returns without a sync.
    CommitWithoutSync: 7, "read-back after a crash: an acknowledged write is gone";
    /// The sync of a commit comes before its last bytes are written.
    SyncBeforeWrite: 7, "read-back after a crash: an acknowledged write is gone";
    /// A new segment's directory entry is not synced with the first commit in it.
    DirectoryNotSynced: 7, "read-back after a crash: an acknowledged write is gone";
    /// A sync that failed is tried again, and its success is believed.
    FailedSyncRetried: 7, "read-back after a failed sync and a crash";
    /// Opening syncs the proof that it finds at the end and believes it, though a sync of it may have failed before.
    ProofBelieved: 7, "the rules of the disk, and read-back after a failed sync, a new process and a crash";
    /// A commit record that ends where its file does is taken for one that does not fit.
    RoomOffByOne: 7, "read-back after a restart: what was written last is gone";
    /// A commit record does not end where a sector does, so that the next batch rewrites a sector that holds it.
    CommitUnpadded: 7, "read-back after a crash that tears a sector into noise";
    /// Recovery believes the last commit record that it finds, and does not look at what it covers.
    LastBatchTrusted: 7, "every version that is listed after a crash can be read";
    /// Recovery takes a batch for whole as soon as its commit record is.
    TornBatchTaken: 7, "a store opens after a crash, and every version that it lists can be read";
    /// One look decides that the end of the log is torn.
    OneLookDecides: 7, "read-back after an opening to which the disk gave other bytes once";
    /// A batch that failed stays in the log, and the next commit covers it.
    AbandonedBatchKept: 2, "a put that was told to have failed is there after a restart";
    /// Opening stops at the first damaged record instead of reading what follows.
    ReplayStopsAtDamage: 1, "read-back after rot and a crash";
    /// The segment that a compaction has emptied is deleted before the copies are committed.
    SegmentGoesFirst: 7, "read-back after a crash in the middle of a compaction";
    /// Parity that a segment gets later is made of what stands there, rotten or not.
    RotCovered: 6, "what a scrub heals is healed by the next one, too";
    /// The parity of a deletion is not written with it: one rotten sector brings back what was purged.
    TombstoneUncovered: 3, "a purged version is found again after rot and a crash";

    // The node's commit, its index and its checkpoint.
    /// A batch is acknowledged after the commit of the one before it.
    AckBeforeCommit: 7, "read-back after a crash: an acknowledged write is gone";
    /// The index learns of a batch whose commit failed.
    IndexAheadOfLog: 2, "a put that was told to have failed can be read";
    /// The checkpoint is written before the index has learnt of the batch that it names.
    CheckpointTooEarly: 7, "read-back after a crash: an acknowledged write is gone";
    /// After a torn end, sequence numbers go on from the checkpoint, and name two records alike.
    DotsReused: 3, "no two versions have the same dot";
    /// An index is flushed for ever to a place that the disk refuses for good.
    BadPlaceKept: 2, "a store is closed in order where nothing strikes";
    /// A page of the index is believed although a later write to it was lost.
    StalePageBelieved: 2, "read-back on a disk that loses writes to the index";
    /// Replaying skips deletions.
    TombstoneForgotten: 3, "a purged version is found again after a crash";
    /// Replaying a version forgets which seals it refers to, so that they are collected.
    ReferenceLostOnReplay: 4, "read-back after a crash and a compaction";
    /// A merge is noted as following the first of its parents alone.
    EdgeForgotten: 4, "the index of a closed store beside one made anew from its log";
    /// The clock does not go on from what the log says, but from nothing.
    ClockNotRecovered: 5, "the winner of a key is the last write, after a restart and a wall clock that went back";

    // Deleting and compacting.
    /// A compaction drops deletions, though the records that they delete may still stand elsewhere.
    TombstoneDroppedEarly: 3, "a purged version is found again after a compaction and a rebuilt index";
    /// A compaction leaves out the last live record of a step.
    CompactionDropsLive: 4, "read-back after a compaction";
    /// A purged version's record is copied by every compaction, and never goes.
    PurgeLeavesCopy: 3, "the log does not shrink after everything was purged and compacted";
    /// A body that was opened lately is read from though its version was purged.
    BodyOutlivesVersion: 3, "a purged version is read";
    /// Pages of references are never collected, and keep all that they name.
    PagesKept: 3, "no seal is left once everything was purged and compacted";
    /// A removal may be purged as soon as something follows it: once that is purged too, what was removed is back.
    RemovalUnguarded: 3, "what a removal hid is never a head";
    /// Whether a seal is alive is asked of the first version that refers to it alone.
    SharedSealCollected: 4, "read-back after one of two equal values was purged";
    /// A seal that a put under way has just found is collected before that put is logged.
    PinsIgnored: 4, "read-back of a value put while its equal is purged";
    /// A copy of a version does not refer to the seals that it shares.
    CopyRefersToNothing: 4, "read-back of a copy after what it is of was purged";
    /// A chunk is taken for stored although its seal was collected.
    DeadSealReused: 4, "read-back of a value put after its equal was purged";
    /// What a purged version referred to is kept for as long as its key has another version.
    SealsKeptWithKey: 3, "what a compaction leaves in the log, against what is alive";
    /// A compaction copies slices without verifying them.
    SlicesMovedUnverified: 1, "read-back after rot, a compaction and more rot";

    // Versions.
    /// A version forgets one of its parents.
    ForgottenParent: 5, "the heads of a key against the model";
    /// Of several heads the oldest is the winner.
    StaleWinner: 5, "the winner of a key against the model";
    /// A version that names its parents drops the heads that it does not follow.
    ConcurrentHeadLost: 5, "the heads of a key against the model";
    /// A wall clock that goes back is believed.
    ClockGoesBack: 5, "the winner of a key is the last write, whatever the wall clock does";
    /// Who puts a version is told of no other head of its key.
    OtherHeadsUntold: 5, "the heads that a put is told of against the model";
    /// A question that an index made anew answers was answered before, with the failure.
    AnsweredTwice: 2, "each request is answered once";
    /// While seals are scrubbed, keys have no winner.
    KeysHiddenByScrub: 1, "what is asked while a store is scrubbed, against the model";
    /// Of several common ancestors one may be an ancestor of another.
    BaseBelowAnother: 5, "the merge bases of versions against the model";
    /// Who asks for a key at the time of a version is given the one before it.
    AtExclusive: 5, "the version of a key at a time, against the model";
    /// A history has no second page.
    HistoryEndsWithPage: 5, "the history of a key, page by page, against the model";
    /// A listing without removed keys does not say that it goes on.
    ListingEndsWithPage: 1, "where a listing goes on, against the model";
    /// The versions made by one job are handed back to the wrong puts.
    OutcomesSwapped: 2, "each put is told the id of a version of its own key";

    // Seals.
    /// A chunk's key follows from its length, and so two chunks share a key and a nonce.
    KeyFromLength: 8, "no two seals have the same secret";
    /// Slices are put together unverified; what is rotten spoils what parity could have made good.
    SlicesUnverified: 1, "read-back after rot within the coding's parity";
    /// Of a seal with several slices to spare, only one may be rotten.
    OneSliceSpared: 1, "read-back after as many slices of a seal have rotted as it has to spare";
    /// The coding that was asked for last is forgotten by the next process.
    PolicyForgotten: 1, "the coding in force after a restart, against what was asked for";
    /// A seal with as many slices as were asked for is left as it is, whatever their parts.
    RecodeByTotal: 1, "the coding of every seal, against what a recoding asked for";
    /// What a put asks of its own coding is ignored.
    PutCodingIgnored: 1, "the coding of every seal, against what its puts asked for";
    /// The slices of a seal lie side by side, and are marked as if they lay apart.
    SlicesTogether: 1, "read-back after a burst of bad sectors within the coding's parity";
    /// A scrub says that it has mended a seal, and writes nothing.
    MendWritesNothing: 1, "read-back after rot, a scrub and more rot";
    /// A seal that is lost counts as whole again once a slice of it has moved.
    LostSealReused: 1, "read-back of a value put after its equal was lost";
    /// What is healed in a segment is not synced.
    RepairNotSynced: 7, "the rules of the disk: a client is answered before what was healed is synced";
    /// Rotten parity stays as it is.
    ParityLeftRotten: 6, "the look at the log at the end: a record is not as it was written";
    /// What could not be read for want of a handle counts as damaged.
    ShortageIsDamage: 2, "nothing is called damaged where handles were short alone";
    /// Of more damaged places than are remembered the rest is forgotten.
    UntoldForgotten: 1, "what may be lost is named before it goes: read-back after a compaction, and the scrub's last word";
    /// A scrub leaves out the seals.
    ScrubSkipsSeals: 1, "a scrub names rot in a slice; read-back after rot, a scrub and more rot";
    /// A scrub that is not to repair does not look.
    LookingScrubSleeps: 2, "a scrub names what is rotten, whether it repairs or not";
    /// A range is cut one byte short at the end of a chunk.
    RangeOffByOne: 2, "every range that is read against the model";

    // Secrets and budgets.
    /// Whatever scope a put asks for, its seals are shared with everybody's.
    ScopeIgnored: 8, "who shares a seal, against the scopes of their puts";
    /// A range of any length is read at once.
    RangesUnlimited: 9, "every range that is read, against the limit";
    /// A header of the index has its own number for a nonce, which a page may have had.
    NonceReused: 8, "no two records of the index have one nonce";
    /// The path in a public header is the key's name itself.
    NameInClear: 8, "the marker in key names is on no disk";
    /// Whoever reads is never asked to wait.
    ReadsUnbounded: 9, "the bounds on what a node holds";
    /// What an upload still held when it was given up is held against all that follow.
    FailureChargedForEver: 9, "the bytes that a node holds when it has rested";
    /// Streams are never asked to wait.
    StreamsNeverWait: 9, "the bytes that a node holds, against its limits";
    /// Uploads are taken without a limit.
    UploadsUnlimited: 9, "Busy is answered beyond the limit of uploads";
    /// Updates that the index's disk does not take come together without end.
    BacklogUnbounded: 9, "the bytes that wait for the index, against its limit";
    /// A version that is made waits for another commit.
    MadeWaitsForCommit: 9, "no answer waits for the clock";
    /// Whatever the disk refuses ends writing for good.
    RefusalEndsWriting: 10, "a process that writes no more has seen a sync fail";
    /// A full disk ends writing for good.
    FullDiskForEver: 10, "writing goes on once space was freed";
}

/// Whether a bug is planted. Never, in a product.
#[cfg(not(feature = "planted"))]
pub(crate) const fn planted(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
pub(crate) use selection::planted;
#[cfg(feature = "planted")]
pub use selection::{Planting, plant};

/// The one place in the engine that keeps state per thread, which `lib.rs` lets pass with the feature alone. `tools/purity.sh`
/// sees to it that no product has the feature.
#[cfg(feature = "planted")]
mod selection {
    use super::Bug;
    use core::cell::Cell;

    std::thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// While it is held, its bug is in every engine on this thread.
    #[derive(Debug)]
    #[must_use = "the bug is gone when this is dropped"]
    pub struct Planting(core::marker::PhantomData<*const ()>);

    impl Drop for Planting {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }

    /// Plants a bug on this thread, in place of whatever was planted.
    pub fn plant(bug: Bug) -> Planting {
        PLANTED.set(Some(bug));
        Planting(core::marker::PhantomData)
    }

    /// Whether a bug is planted.
    pub(crate) fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_promise_about_one_node_has_its_bugs() {
        assert!(Bug::ALL.len() >= 30);
        for promise in [1, 2, 3, 4, 5, 7, 8, 9, 10] {
            assert!(Bug::ALL.iter().any(|bug| bug.promise() == promise), "P{promise}");
        }
        assert!(Bug::ALL.iter().all(|bug| !bug.text().is_empty() && !bug.oracle().is_empty()));
    }

    #[test]
    fn nothing_is_planted_unless_it_was_asked_for() {
        assert!(Bug::ALL.iter().all(|bug| !planted(*bug)));
    }
}
