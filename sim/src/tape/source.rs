//! Where choices come from.

use super::{Purpose, StreamId, slot};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;

/// One ChaCha20 stream per purpose and node, each of which can be entered anywhere.
#[derive(Debug)]
pub(super) struct Random {
    seed: u64,
    streams: Vec<Option<Positioned>>,
}

/// How many draws are made together: a generator makes four blocks of ChaCha20 at a time.
const STRETCH: u64 = 32;

/// A stream, and the stretch of it that was drawn from last: choices that belong together stand side by side.
#[derive(Debug)]
struct Positioned {
    rng: ChaCha20Rng,
    stretch: Option<u64>,
    draws: [u64; STRETCH as usize],
}

impl Positioned {
    fn draw(&mut self, position: u64) -> u64 {
        let stretch = position / STRETCH;
        if self.stretch != Some(stretch) {
            // A draw takes two words.
            self.rng.set_word_pos(u128::from(stretch * STRETCH) * 2);
            self.draws.fill_with(|| self.rng.next_u64());
            self.stretch = Some(stretch);
        }
        self.draws[(position % STRETCH) as usize]
    }
}

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed, streams: Vec::new() }
    }

    /// The 64 bits at a position of a stream.
    pub(super) fn draw(&mut self, stream: StreamId, position: u64) -> u64 {
        let slot = slot(stream);
        if self.streams.len() <= slot {
            self.streams.resize_with(slot + 1, || None);
        }
        let seed = self.seed;
        let place = self.streams[slot].get_or_insert_with(|| Positioned {
            rng: generator(seed, stream),
            stretch: None,
            draws: [0; STRETCH as usize],
        });
        place.draw(position)
    }
}

fn generator(seed: u64, stream: StreamId) -> ChaCha20Rng {
    let mut hasher = blake3::Hasher::new_derive_key("ouroborosdb v1 simulator tape");
    hasher.update(&seed.to_le_bytes());
    hasher.update(&[stream.node]);
    hasher.update(stream.purpose.name().as_bytes());
    ChaCha20Rng::from_seed(*hasher.finalize().as_bytes())
}

/// A fuzzer's input.
#[derive(Debug)]
pub(super) struct Bytes {
    input: Vec<u8>,
    at: usize,
    /// What was answered: a position that is asked twice gives one answer, as it does in the schedule of the run.
    answers: BTreeMap<(StreamId, u64), u64>,
}

impl Bytes {
    pub(super) fn new(input: &[u8]) -> Self {
        Self { input: input.to_vec(), at: 0, answers: BTreeMap::new() }
    }

    fn byte(&mut self) -> u64 {
        let byte = self.input.get(self.at).copied().unwrap_or(0);
        self.at = self.at.saturating_add(1);
        u64::from(byte)
    }

    /// The choice at a position of a stream.
    pub(super) fn below_at(&mut self, stream: StreamId, position: u64, bound: u64) -> u64 {
        if let Some(answer) = self.answers.get(&(stream, position)) {
            return (*answer).min(bound.saturating_sub(1));
        }
        let answer = self.below(stream, bound);
        self.answers.insert((stream, position), answer);
        answer
    }

    /// One byte is one choice wherever it can be, so that a changed byte changes one thing.
    fn below(&mut self, stream: StreamId, bound: u64) -> u64 {
        if bound <= 1 || self.at >= self.input.len() {
            return 0;
        }
        let value = self.byte();
        if matches!(stream.purpose, Purpose::Fault) {
            // Asked at every operation of the disk: most bytes let it pass.
            return value.saturating_sub(224).min(bound - 1);
        }
        if bound <= 256 { value % bound } else { (value << 8 | self.byte()) % bound }
    }
}
