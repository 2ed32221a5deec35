//! The one source of every choice of a run.
//!
//! A choice belongs to a [`StreamId`] (its purpose and its node), stands at a position of it and has a bound. **0 is
//! always the calm choice**: no fault, the mean delay, the operation left out, the smallest size. So a run is known by
//! the choices that were not 0, a sparse map ([`Choices`]): replaying looks each choice up and takes 0 where there is
//! nothing, and clearing one entry moves no other.
//!
//! Draws are integers from one ChaCha20 stream per purpose and node, so that a new purpose moves nothing elsewhere.
//! Positions are given by what is decided (the number of an operation of the disk, the slot of the workload) wherever
//! that is possible, so that leaving one thing out leaves the others where they were.

#[cfg(debug_assertions)]
mod bounds;
pub(crate) mod place;
mod source;

use source::{Bytes, Random};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a stream of choices is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// What this run is like: which faults exist, how often, sizes, limits, the mix of operations.
    Swarm,
    /// What clients ask for, by slot.
    Workload,
    /// What the world does to a node, by slot: crashes, clock jumps, rot, rests.
    World,
    /// Which fault strikes an operation of the disk, by its number.
    Fault,
    /// How it strikes, by the operation's number.
    FaultDetail,
    /// How long jobs take.
    Job,
    /// What a power failure leaves, by incarnation.
    Crash,
    /// What links do to frames.
    Network,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 8] = [
        Self::Swarm,
        Self::Workload,
        Self::World,
        Self::Fault,
        Self::FaultDetail,
        Self::Job,
        Self::Crash,
        Self::Network,
    ];

    /// The name in schedules.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Swarm => "swarm",
            Self::Workload => "workload",
            Self::World => "world",
            Self::Fault => "fault",
            Self::FaultDetail => "fault-detail",
            Self::Job => "job",
            Self::Crash => "crash",
            Self::Network => "network",
        }
    }

    /// The purpose of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }
}

/// One stream of choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// What for.
    pub purpose: Purpose,
    /// Whose; 0 where no node is meant.
    pub node: u8,
}

impl StreamId {
    /// A node's stream of one purpose.
    #[must_use]
    pub const fn new(purpose: Purpose, node: u8) -> Self {
        Self { purpose, node }
    }
}

/// The choices of a run that were not calm: by stream and position.
pub type Choices = BTreeMap<(StreamId, u64), u64>;

#[derive(Debug)]
enum Source {
    Random(Random),
    Replay(Choices),
    Bytes(Bytes),
}

#[derive(Debug)]
struct Core {
    source: Source,
    /// Where the next choice of each stream stands that does not say where.
    next: Vec<u64>,
    taken: Choices,
    /// The bound that each position was asked with, by stream.
    #[cfg(debug_assertions)]
    bounds: Vec<bounds::Bounds>,
}

/// See the module's text. Clones share it.
#[derive(Clone, Debug)]
pub struct Tape(Arc<Mutex<Core>>);

const PURPOSES: usize = Purpose::ALL.len();

const fn slot(stream: StreamId) -> usize {
    stream.node as usize * PURPOSES + stream.purpose as usize
}

impl Tape {
    fn over(source: Source) -> Self {
        Self(Arc::new(Mutex::new(Core {
            source,
            next: Vec::new(),
            taken: Choices::new(),
            #[cfg(debug_assertions)]
            bounds: Vec::new(),
        })))
    }

    /// Choices drawn from a seed, and recorded.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        Self::over(Source::Random(Random::new(seed)))
    }

    /// The choices of an earlier run; calm where it has none.
    #[must_use]
    pub fn replay(choices: Choices) -> Self {
        Self::over(Source::Replay(choices))
    }

    /// Choices that a fuzzer makes: each takes a byte or two of the input, and after its end all is calm.
    #[must_use]
    pub fn bytes(input: &[u8]) -> Self {
        Self::over(Source::Bytes(Bytes::new(input)))
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A choice below `bound` at a given position; 0 when `bound` is 0 or 1.
    pub fn below_at(&self, stream: StreamId, position: u64, bound: u64) -> u64 {
        self.lock().take(stream, position, bound, |draw| scale(draw, bound))
    }

    /// The next choice below `bound` of a stream.
    pub fn below(&self, stream: StreamId, bound: u64) -> u64 {
        let mut core = self.lock();
        let position = core.advance(stream);
        core.take(stream, position, bound, |draw| scale(draw, bound))
    }

    /// One of several things that may happen, each with its rate in parts per million: its place from 1 on, or 0 for
    /// none of them.
    pub fn rare_at(&self, stream: StreamId, position: u64, rates: &[u32]) -> u64 {
        let choose = |draw| {
            let mut left = scale(draw, 1_000_000);
            for (place, rate) in rates.iter().enumerate() {
                match left.checked_sub(u64::from(*rate)) {
                    Some(rest) => left = rest,
                    None => return place as u64 + 1,
                }
            }
            0
        };
        // What cannot happen is not chosen: a schedule of it would have it happen.
        let may = |place: u64| place == 0 || rates.get(place as usize - 1).is_some_and(|rate| *rate > 0);
        self.lock().take_of(stream, position, rates.len() as u64 + 1, choose, may)
    }

    /// A choice below the number of weights, by these: the same positions and meanings as a choice by [`Self::below_at`] of
    /// that many, which is drawn evenly. None is drawn if all weights are 0: that is 0.
    pub fn leaning_at(&self, stream: StreamId, position: u64, weights: &[u32]) -> u64 {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        self.lock().take(stream, position, weights.len() as u64, |draw| {
            let mut left = scale(draw, total);
            for (place, weight) in weights.iter().enumerate() {
                match left.checked_sub(u64::from(*weight)) {
                    Some(rest) => left = rest,
                    None => return place as u64,
                }
            }
            0
        })
    }

    /// One of several things by their weights: its place from 1 on. 0, which is never drawn unless all weights are,
    /// stands for leaving it.
    pub fn weighted_at(&self, stream: StreamId, position: u64, weights: &[u32]) -> u64 {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        self.lock().take(stream, position, weights.len() as u64 + 1, |draw| {
            let mut left = scale(draw, total);
            for (place, weight) in weights.iter().enumerate() {
                match left.checked_sub(u64::from(*weight)) {
                    Some(rest) => left = rest,
                    None => return place as u64 + 1,
                }
            }
            0
        })
    }

    /// Whether the choices were made before: what was chosen then happens whatever its rate is now.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        matches!(self.lock().source, Source::Replay(_))
    }

    /// How many choices were not calm, so far. How many were asked for says nothing: a replay asks for more.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.lock().taken.len() as u64
    }

    /// The choices that were not calm, so far.
    #[must_use]
    pub fn taken(&self) -> Choices {
        self.lock().taken.clone()
    }
}

/// A 64-bit draw brought below a bound, by multiplying and shifting.
const fn scale(draw: u64, bound: u64) -> u64 {
    ((draw as u128 * bound as u128) >> 64) as u64
}

impl Core {
    fn advance(&mut self, stream: StreamId) -> u64 {
        let slot = slot(stream);
        if self.next.len() <= slot {
            self.next.resize(slot + 1, 0);
        }
        let position = self.next[slot];
        self.next[slot] += 1;
        position
    }

    /// A position may be asked again, but for the same thing: of two things a recorded schedule has room for one.
    #[cfg(debug_assertions)]
    fn check_bound(&mut self, stream: StreamId, position: u64, bound: u64) {
        let slot = slot(stream);
        if self.bounds.len() <= slot {
            self.bounds.resize_with(slot + 1, bounds::Bounds::default);
        }
        let before = self.bounds[slot].of(position, bound);
        assert_eq!(before, bound, "position {position} of {stream:?} is asked for two things");
    }

    #[cfg(not(debug_assertions))]
    const fn check_bound(&self, _stream: StreamId, _position: u64, _bound: u64) {}

    fn take(&mut self, stream: StreamId, position: u64, bound: u64, choose: impl FnOnce(u64) -> u64) -> u64 {
        self.take_of(stream, position, bound, choose, |_| true)
    }

    /// A choice; of those that a fuzzer makes, one that may be.
    fn take_of(
        &mut self,
        stream: StreamId,
        position: u64,
        bound: u64,
        choose: impl FnOnce(u64) -> u64,
        may: impl FnOnce(u64) -> bool,
    ) -> u64 {
        self.check_bound(stream, position, bound);
        let value = match &mut self.source {
            Source::Random(random) => choose(random.draw(stream, position)),
            // A schedule may come from another version of the program, whose bounds were others.
            Source::Replay(choices) => {
                choices.get(&(stream, position)).copied().unwrap_or(0).min(bound.saturating_sub(1))
            }
            Source::Bytes(bytes) => {
                let value = bytes.below_at(stream, position, bound);
                if may(value) { value } else { 0 }
            }
        };
        if value != 0 {
            self.taken.insert((stream, position), value);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: StreamId = StreamId::new(Purpose::Workload, 0);
    const FAULT: StreamId = StreamId::new(Purpose::Fault, 0);

    fn some_choices(tape: &Tape) -> Vec<u64> {
        let mut out = Vec::new();
        for position in 0..200 {
            out.push(tape.below_at(WORK, position * 7, 10));
            out.push(tape.below(FAULT, 3));
            out.push(tape.rare_at(StreamId::new(Purpose::Fault, 1), position, &[10_000, 20_000]));
            out.push(tape.weighted_at(StreamId::new(Purpose::World, 0), position, &[3, 0, 1]));
        }
        out
    }

    #[test]
    fn a_recorded_run_replays_from_its_sparse_map() {
        let tape = Tape::random(7);
        let drawn = some_choices(&tape);
        assert!(drawn.contains(&0) && drawn.iter().any(|choice| *choice > 0));
        let again = Tape::replay(tape.taken());
        assert_eq!(some_choices(&again), drawn);
        assert_eq!(again.taken(), tape.taken());
        assert_eq!(some_choices(&Tape::random(7)), drawn);
        assert_ne!(some_choices(&Tape::random(8)), drawn);
    }

    #[test]
    fn a_cleared_entry_is_calm_and_moves_no_other() {
        let tape = Tape::random(7);
        let drawn = some_choices(&tape);
        let mut choices = tape.taken();
        let entry = *choices.keys().find(|(stream, _)| *stream == FAULT).unwrap();
        choices.remove(&entry);
        let replayed = some_choices(&Tape::replay(choices));
        let differing = drawn.iter().zip(&replayed).filter(|(a, b)| a != b).count();
        assert_eq!(differing, 1);
    }

    #[test]
    fn a_choice_does_not_depend_on_the_order_in_which_streams_and_positions_are_asked() {
        let (a, b) = (Tape::random(3), Tape::random(3));
        let forward: Vec<u64> = (0..50).map(|position| a.below_at(WORK, position, 1000)).collect();
        let mut backward: Vec<u64> = (0..50).rev().map(|position| b.below_at(WORK, position, 1000)).collect();
        backward.reverse();
        assert_eq!(forward, backward);
    }

    #[test]
    fn a_fuzzers_bytes_are_choices_and_calm_follows_them() {
        let tape = Tape::bytes(&[5, 255, 9]);
        assert_eq!(tape.below_at(WORK, 0, 10), 5);
        assert_eq!(tape.below_at(WORK, 1, 10), 5);
        assert_eq!(tape.below_at(WORK, 2, 10), 9);
        assert!((3..100).all(|position| tape.below_at(WORK, position, 10) == 0));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "is asked for two things")]
    fn a_position_is_not_asked_for_two_things() {
        let tape = Tape::random(1);
        tape.below_at(WORK, 5, 10);
        tape.below_at(WORK, 5, 10);
        tape.below_at(WORK, 5, 11);
    }

    #[test]
    fn a_leaning_choice_is_drawn_by_its_weights_and_means_the_same_as_an_even_one() {
        let tape = Tape::random(4);
        let mut counts = [0; 3];
        (0..8000).for_each(|at| counts[tape.leaning_at(WORK, at, &[5, 0, 3]) as usize] += 1);
        assert!((4_800..5_200).contains(&counts[0]) && counts[1] == 0, "{counts:?}");
        let again = Tape::replay(tape.taken());
        assert!((0..8000).all(|at| again.below_at(WORK, at, 3) == tape.leaning_at(WORK, at, &[5, 0, 3])));
    }

    #[test]
    fn rates_are_kept() {
        let tape = Tape::random(1);
        let stream = StreamId::new(Purpose::Fault, 0);
        let struck = (0..100_000).filter(|at| tape.rare_at(stream, *at, &[50_000, 50_000]) != 0).count();
        assert!((9_000..11_000).contains(&struck), "{struck}");
    }
}
