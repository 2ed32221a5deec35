//! What was really said: the probes' oracle. It sees every probe from inside, and believes only what it has seen.

use super::{Noted, Session};
use crate::oracle::{Broken, Promise, demand};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A session: by whom, with whom, and in which life of theirs.
#[derive(Debug)]
struct Made {
    from: u8,
    to: u8,
    life: u64,
}

#[derive(Debug)]
struct Said {
    from: u8,
    body: Bytes,
    heard: bool,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sessions: BTreeMap<Session, Made>,
    letters: BTreeMap<(Session, u64), Said>,
    pub(crate) counts: ProbeCounts,
}

/// What probes did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeCounts {
    /// Letters that were sent, each once in a session.
    pub said: u64,
    /// Sendings that were repeated.
    pub said_again: u64,
    /// Letters that were heard.
    pub heard: u64,
    /// Letters whose sender knows that they were.
    pub thanked: u64,
    /// Letters that were given up.
    pub given_up: u64,
    /// Letters for which there was no room in the queue.
    pub no_room: u64,
    /// Frames that nobody believed.
    pub refused: u64,
    /// Sessions that were begun.
    pub opened: u64,
    /// Of these, in place of one that had come to nothing.
    pub opened_anew: u64,
}

impl ProbeCounts {
    /// Adds another run's counts.
    pub const fn add(&mut self, other: &Self) {
        self.said += other.said;
        self.said_again += other.said_again;
        self.heard += other.heard;
        self.thanked += other.thanked;
        self.given_up += other.given_up;
        self.no_room += other.no_room;
        self.refused += other.refused;
        self.opened += other.opened;
        self.opened_anew += other.opened_anew;
    }
}

impl core::fmt::Display for ProbeCounts {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { said, said_again, heard, thanked, given_up, no_room, refused, opened, opened_anew } = self;
        write!(
            f,
            "{said} letters said, {said_again} sendings again, {heard} heard, {thanked} thanked for, {given_up} given up, \
             {no_room} without room, {refused} frames refused, {opened} sessions, {opened_anew} of them anew"
        )
    }
}

impl Ledger {
    /// Enters what a node's probe did in a life of its process.
    ///
    /// # Errors
    /// P8 when it believed what nobody said to it.
    pub(crate) fn enter(&mut self, node: u8, life: u64, noted: Noted) -> Result<(), Broken> {
        let counts = &mut self.counts;
        match noted {
            Noted::Welcomed { peer, session } => {
                self.sessions.insert(session, Made { from: peer, to: node, life });
            }
            Noted::Said { session, number, body, .. } => {
                counts.said += 1;
                self.letters.insert((session, number), Said { from: node, body, heard: false });
            }
            Noted::SaidAgain => counts.said_again += 1,
            Noted::Heard { peer, session, number, body } => {
                counts.heard += 1;
                let made = self.sessions.get(&session);
                let its_own = made.is_some_and(|made| (made.from, made.to, made.life) == (peer, node, life));
                demand!(P8, its_own, "node {node} takes a letter of {peer}'s from a session that is none of this life");
                let said = self.letters.get_mut(&(session, number)).filter(|said| said.from == peer);
                let Some(said) = said else {
                    let what = format!("node {node} takes letter {number} for {peer}'s, who never wrote it");
                    return Err(Broken::new(Promise::P8, what));
                };
                demand!(P8, said.body == body, "node {node} takes letter {number} of {peer}'s, which was altered");
                demand!(P8, !said.heard, "node {node} takes letter {number} of {peer}'s again");
                said.heard = true;
            }
            Noted::Thanked { peer, session, number, .. } => {
                counts.thanked += 1;
                let said = self.letters.remove(&(session, number));
                let heard = said.is_some_and(|said| said.from == node && said.heard);
                demand!(P8, heard, "node {node} believes that {peer} has letter {number}, which it never heard");
            }
            Noted::Opened { anew } => {
                counts.opened += 1;
                counts.opened_anew += u64::from(anew);
            }
            Noted::GivenUp => counts.given_up += 1,
            Noted::Refused => counts.refused += 1,
        }
        Ok(())
    }
}
