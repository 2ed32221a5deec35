//! The attacker in the middle: he sees every frame, keeps the last of them, and knows no key.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// Frames that he keeps.
const KEPT: usize = 256;
/// Bytes of what he makes up, at most.
const MADE_UP: usize = 96;

/// A frame that went by.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) from: u8,
    pub(super) to: u8,
    /// The lives of the processes at both ends, then.
    from_life: u64,
    to_life: u64,
    pub(super) port: super::Port,
    pub(super) frame: Bytes,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Attacker {
    recorded: VecDeque<Recorded>,
    /// Each node's present life.
    lives: Vec<u64>,
}

impl Attacker {
    pub(super) fn born(&mut self, node: u8, life: u64) {
        let at = usize::from(node);
        if self.lives.len() <= at {
            self.lives.resize(at + 1, 0);
        }
        self.lives[at] = life;
    }

    fn life(&self, node: u8) -> u64 {
        self.lives.get(usize::from(node)).copied().unwrap_or(0)
    }

    pub(super) fn record(&mut self, from: u8, to: u8, port: super::Port, frame: &Bytes) {
        if self.recorded.len() == KEPT {
            self.recorded.pop_front();
        }
        let (from_life, to_life) = (self.life(from), self.life(to));
        self.recorded.push_back(Recorded { from, to, from_life, to_life, port, frame: frame.clone() });
    }

    /// Any frame that he has kept.
    pub(super) fn any(&self, choice: u64) -> Option<&Recorded> {
        let count = self.recorded.len() as u64;
        self.recorded.get(usize::try_from(choice.checked_rem(count)?).ok()?)
    }

    /// One of which an end has been started anew since.
    pub(super) fn of_an_earlier_life(&self, choice: u64) -> Option<&Recorded> {
        let start = choice.checked_rem(self.recorded.len() as u64)? as usize;
        let from_there = self.recorded.iter().skip(start).chain(self.recorded.iter().take(start));
        from_there.into_iter().find(|kept| kept.from_life < self.life(kept.from) || kept.to_life < self.life(kept.to))
    }

    /// Some bytes are others: up to four.
    pub(super) fn altered(frame: &Bytes, choice: u64) -> Bytes {
        let mut out = BytesMut::from(&frame[..]);
        let len = out.len() as u64;
        let noise = noise(choice);
        for part in 0..1 + choice % 4 {
            let Some(at) = u64::from(noise[part as usize]).checked_rem(len) else { break };
            // Never by nothing: an altered frame differs.
            out[at as usize] ^= noise[8 + part as usize] | 1;
        }
        out.freeze()
    }

    /// The head of one, the tail of another.
    pub(super) fn spliced(head: &Bytes, tail: &Bytes, choice: u64) -> Bytes {
        let cut = (1 + choice as usize % head.len().saturating_sub(1).max(1)).min(head.len());
        let mut out = BytesMut::from(&head[..cut]);
        out.extend_from_slice(tail.get(cut..).unwrap_or_default());
        out.freeze()
    }

    /// Noise, or a recorded frame's first half with noise behind it.
    pub(super) fn made_up(&self, choice: u64) -> Bytes {
        let mut noise = [0; MADE_UP];
        let mut hasher = blake3::Hasher::new_derive_key("ouroborosdb v1 simulator attacker");
        hasher.update(&choice.to_le_bytes());
        hasher.finalize_xof().fill(&mut noise);
        match self.any(choice / 2) {
            Some(kept) if choice.is_multiple_of(2) => {
                let half = kept.frame.len() / 2;
                let mut out = BytesMut::from(&kept.frame[..half]);
                out.extend_from_slice(&noise[..(kept.frame.len() - half).min(MADE_UP)]);
                out.freeze()
            }
            _ => Bytes::copy_from_slice(&noise[..choice as usize % MADE_UP]),
        }
    }
}

fn noise(choice: u64) -> [u8; 32] {
    *blake3::hash(&choice.to_le_bytes()).as_bytes()
}
