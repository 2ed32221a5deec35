//! Mistakes on purpose in the adapters, for the simulators in `sim/adapters` to find. They are compiled with `--cfg planted`
//! alone, which no product is: without it `planted` is `false` for the compiler too, and nothing of a hook is left.

#![cfg_attr(not(planted), allow(unreachable_pub))]

/// A mistake that somebody could make here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mistake {
    /// [`Disk::sync_directory`](ouroboros_engine::env::Disk::sync_directory) does nothing.
    DirectoryNotSynced,
    /// A directory that is made is not made durable in the one above.
    ParentNotSynced,
    /// The store's description is renamed into its place before its bytes are synced.
    RenamedUnsynced,
    /// The rename of the store's description is not made durable.
    RenameNotSynced,
    /// [`DiskFile::sync`](ouroboros_engine::env::DiskFile::sync) does nothing when the file has only grown.
    GrowthNotSynced,
    /// The engine is told the time of the machine's clock.
    OwnClock,
    /// The engine's randomness is the machine's.
    OwnEntropy,
    /// A stream whose opening was given up stays open.
    OpeningForgotten,
    /// A stream whose end was given up before it was sent stays open.
    EndForgotten,
    /// A stream goes on after a piece was given up that may not have arrived.
    PieceLost,
    /// An answer's place is kept for a request that was never sent.
    PlaceKept,
    /// Of those that wait for room one is told, however much room there is.
    OneIsTold,
    /// The store is let go of when the engine was asked to end, and not when it has.
    EndNotAwaited,
    /// The engine's task ends in a turn of its own, and who closes the store waits for one turn, in which it usually does.
    EndAssumed,
    /// Heads are asked for and looked for again a turn later, when the answer usually is there, instead of waited for.
    AnswerAssumed,
}

/// Whether a mistake is made. Never, in a product.
#[cfg(not(planted))]
#[inline]
pub(crate) const fn planted(_mistake: Mistake) -> bool {
    false
}

#[cfg(planted)]
pub(crate) use selection::planted;
#[cfg(planted)]
pub use selection::{Planting, plant};

#[cfg(planted)]
mod selection {
    use super::Mistake;
    use core::cell::Cell;

    std::thread_local! {
        static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
    }

    /// While it is held, its mistake is made on this thread.
    #[derive(Debug)]
    #[must_use = "the mistake is gone when this is dropped"]
    pub struct Planting(core::marker::PhantomData<*const ()>);

    impl Drop for Planting {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }

    /// Makes a mistake on this thread, in place of whatever was made.
    pub fn plant(mistake: Mistake) -> Planting {
        PLANTED.set(Some(mistake));
        Planting(core::marker::PhantomData)
    }

    pub(crate) fn planted(mistake: Mistake) -> bool {
        // A task that is dropped while its thread ends asks too late.
        PLANTED.try_with(Cell::get).ok().flatten() == Some(mistake)
    }
}
