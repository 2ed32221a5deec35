//! A small protocol between the simulator's own processes, so that the [network](crate::network) has something to carry.
//!
//! Engines send no frames until they have a tunnel. Until then, in a world of several nodes, a *probe* runs beside each
//! node's engine: it writes numbered letters to every other node, with a keyed tag, a handshake of fresh nonces for each
//! pair and direction, a window against what comes twice, retransmission, time limits and queues with room for so many.
//! It is sans-IO like the engine, dies with its process, and keeps nothing on disk. What it believes is held against a
//! ledger of what was really said.
//!
//! ```text
//! A -> B   Hello { a }               a, b: nonces that are never used twice
//! B -> A   Welcome { a, b }          proves to A that B is there now
//! A -> B   Letter { s, 0, body }     s = H(a, b): proves to B that A is
//! B -> A   Thanks { s, 0 }
//! ```

mod frame;
pub(crate) mod ledger;
#[cfg(test)]
mod tests;
mod window;

pub use frame::Session;

use bytes::Bytes;
use frame::{Content, Frame, Key, MAX_BODY, Nonce, short};
use std::collections::VecDeque;
use window::Window;

/// Letters that wait for one peer's thanks, said or not, at most: to say more is refused.
pub const LETTERS: usize = 16;
/// Of these, so many are under way at the same time.
const UNDER_WAY: usize = 6;
/// Greetings of one peer that are kept until it answers.
const GREETINGS: usize = 4;
/// Sendings without an answer after which a session is given up for a new one.
const TRIES: u32 = 6;

/// A mistake on purpose, in a build with the feature `planted`: a simulator that does not see it proves nothing.
#[cfg(feature = "planted")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeFlaw {
    /// Tags are not checked.
    TagUnchecked,
    /// What comes twice is taken twice.
    ReplaysTaken,
    /// What belongs to another session is taken.
    SessionUnchecked,
    /// Nothing is sent again.
    NeverAgain,
}

/// What a probe is started with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) me: u8,
    pub(crate) nodes: u8,
    /// Seeds the key and, with the life, the nonces.
    pub(crate) seed: u64,
    pub(crate) life: u64,
    /// Nanoseconds in which a frame and its answer usually come.
    pub(crate) round_trip: u64,
    #[cfg(feature = "planted")]
    pub(crate) flaw: Option<ProbeFlaw>,
}

/// What a probe did, for who knows what was really said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// It agreed to a session that a peer seems to have asked for.
    Welcomed { peer: u8, session: Session },
    /// It said something, for the first time in this session.
    Said { peer: u8, session: Session, number: u64, body: Bytes },
    /// It said it again.
    SaidAgain,
    /// It took something for said to it.
    Heard { peer: u8, session: Session, number: u64, body: Bytes },
    /// It took something for heard that it had said; `again` if more than once.
    Thanked { peer: u8, session: Session, number: u64, again: bool },
    /// It took up speaking to a peer; `anew` if it had done so before.
    Opened { anew: bool },
    /// A letter was given up, since its time is over.
    GivenUp,
    /// Something came that it does not believe.
    Refused,
}

#[derive(Clone, Debug)]
enum Speaking {
    Silent,
    Greeting { mine: Nonce, tries: u32, due: u64 },
    Open { session: Session, next: u64 },
}

#[derive(Clone, Debug)]
struct Letter {
    body: Bytes,
    /// When it is given up.
    until: u64,
    /// Its number in the present session, once it was said there; how often it was, and when it is again.
    said: Option<(u64, u32, u64)>,
}

/// The session in which a peer speaks.
#[derive(Clone, Copy, Debug)]
struct Hearing {
    /// The greeting with which it began.
    theirs: Nonce,
    session: Session,
    window: Window,
}

/// What there is between a probe and one peer.
#[derive(Clone, Debug)]
struct Peer {
    speaking: Speaking,
    opened: bool,
    letters: VecDeque<Letter>,
    /// Greetings to which no letter came yet: their nonce and ours.
    greetings: VecDeque<(Nonce, Nonce)>,
    hearing: Option<Hearing>,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Probe {
    setup: Setup,
    key: Key,
    nonces: u64,
    letters: u64,
    peers: Vec<Peer>,
    out: Vec<(u8, Bytes)>,
    noted: Vec<Noted>,
}

impl Probe {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("ouroborosdb v1 simulator probe key");
        hasher.update(&setup.seed.to_le_bytes());
        let key = *hasher.finalize().as_bytes();
        let peer = Peer {
            speaking: Speaking::Silent,
            opened: false,
            letters: VecDeque::new(),
            greetings: VecDeque::new(),
            hearing: None,
        };
        let peers = vec![peer; usize::from(setup.nodes)];
        Self { setup, key, nonces: 0, letters: 0, peers, out: Vec::new(), noted: Vec::new() }
    }

    /// Nanoseconds after which everything that waits has come through, on a network on which nothing is wrong any more.
    pub(crate) const fn patience(round_trip: u64) -> u64 {
        round_trip * 1024
    }

    /// A letter nobody thanks for is given up after so many.
    const fn lifetime(&self) -> u64 {
        self.setup.round_trip * 8192
    }

    /// When something is sent again that was sent so often.
    const fn again(&self, now: u64, tries: u32) -> u64 {
        again(self.setup.round_trip, now, tries)
    }

    #[cfg(feature = "planted")]
    fn has(&self, flaw: ProbeFlaw) -> bool {
        self.setup.flaw == Some(flaw)
    }

    /// Says something to a peer; false if too much waits for it already.
    pub(crate) fn say(&mut self, now: u64, to: u8) -> bool {
        let until = now + self.lifetime();
        let number = self.letters;
        let Some(peer) = self.peers.get_mut(usize::from(to)) else { return false };
        if to == self.setup.me || peer.letters.len() >= LETTERS {
            return false;
        }
        self.letters += 1;
        let mut body = vec![number as u8; 8 + number as usize % (MAX_BODY - 7)];
        body[..8].copy_from_slice(&number.to_le_bytes());
        peer.letters.push_back(Letter { body: body.into(), until, said: None });
        self.advance(now, to);
        true
    }

    /// Letters that wait for a peer's thanks.
    pub(crate) fn waiting(&self, peer: u8) -> usize {
        self.peers.get(usize::from(peer)).map_or(0, |peer| peer.letters.len())
    }

    /// Whether no queue holds more than it may.
    pub(crate) fn is_bounded(&self) -> bool {
        self.peers.iter().all(|peer| peer.letters.len() <= LETTERS && peer.greetings.len() <= GREETINGS)
    }

    /// The frames that are to be sent.
    pub(crate) fn frames(&mut self) -> Vec<(u8, Bytes)> {
        core::mem::take(&mut self.out)
    }

    /// What it did since it was last asked.
    pub(crate) fn noted(&mut self) -> Vec<Noted> {
        core::mem::take(&mut self.noted)
    }

    /// When it is to be called next.
    pub(crate) fn due(&self) -> Option<u64> {
        self.peers.iter().filter_map(Peer::due).min()
    }

    fn send(&mut self, to: u8, content: Content) {
        let frame = Frame { from: self.setup.me, to, content };
        self.out.push((to, frame.encode(&self.key)));
    }

    fn nonce(&mut self) -> Nonce {
        let mut hasher = blake3::Hasher::new_derive_key("ouroborosdb v1 simulator probe nonce");
        hasher.update(&self.setup.seed.to_le_bytes());
        hasher.update(&self.setup.life.to_le_bytes());
        hasher.update(&self.nonces.to_le_bytes());
        hasher.update(&[self.setup.me]);
        self.nonces += 1;
        short(&hasher)
    }

    /// Says what there is room for, or greets first.
    fn advance(&mut self, now: u64, to: u8) {
        let Some(peer) = self.peers.get(usize::from(to)) else { return };
        match peer.speaking {
            Speaking::Silent if !peer.letters.is_empty() => {
                let mine = self.nonce();
                let due = self.again(now, 0);
                self.peers[usize::from(to)].speaking = Speaking::Greeting { mine, tries: 1, due };
                self.send(to, Content::Hello { mine });
            }
            Speaking::Open { session, mut next } => {
                let due = self.again(now, 0);
                let mut fresh = Vec::new();
                let peer = &mut self.peers[usize::from(to)];
                // What is said again must still lie in the hearer's window, or it would be taken for heard.
                let oldest = peer.letters.iter().filter_map(|letter| letter.said.map(|(number, ..)| number)).min();
                let end = oldest.unwrap_or(next) + window::WIDTH / 2;
                for letter in peer.letters.iter_mut().take(UNDER_WAY).filter(|letter| letter.said.is_none()) {
                    if next >= end {
                        break;
                    }
                    letter.said = Some((next, 1, due));
                    fresh.push((next, letter.body.clone()));
                    next += 1;
                }
                peer.speaking = Speaking::Open { session, next };
                for (number, body) in fresh {
                    self.noted.push(Noted::Said { peer: to, session, number, body: body.clone() });
                    self.send(to, Content::Letter { session, number, body });
                }
            }
            Speaking::Silent | Speaking::Greeting { .. } => {}
        }
    }

    /// A moment has come that [`due`](Self::due) named.
    pub(crate) fn timeout(&mut self, now: u64) {
        for to in 0..self.setup.nodes {
            if self.peers[usize::from(to)].due().is_some_and(|due| due <= now) {
                self.timeout_of(now, to);
            }
        }
    }

    fn timeout_of(&mut self, now: u64, to: u8) {
        let round_trip = self.setup.round_trip;
        let later = |tries: u32| again(round_trip, now, tries);
        #[cfg(feature = "planted")]
        let silent = self.has(ProbeFlaw::NeverAgain);
        #[cfg(not(feature = "planted"))]
        let silent = false;
        let Some(peer) = self.peers.get_mut(usize::from(to)) else { return };
        let before = peer.letters.len();
        peer.letters.retain(|letter| letter.until > now);
        self.noted.extend((peer.letters.len()..before).map(|_| Noted::GivenUp));
        if peer.letters.is_empty() {
            // Nobody waits for an answer any more.
            if matches!(peer.speaking, Speaking::Greeting { .. }) {
                peer.speaking = Speaking::Silent;
            }
            return;
        }
        let mut resend = Vec::new();
        match &mut peer.speaking {
            Speaking::Greeting { mine, tries, due } if *due <= now => {
                resend.push(Content::Hello { mine: *mine });
                *due = later(*tries);
                *tries += 1;
            }
            Speaking::Open { session, .. } => {
                let session = *session;
                let mut dead = false;
                for letter in &mut peer.letters {
                    let Some((number, tries, due)) = &mut letter.said else { continue };
                    if *due <= now {
                        dead |= *tries >= TRIES;
                        let body = letter.body.clone();
                        resend.push(Content::Letter { session, number: *number, body });
                        *due = later(*tries);
                        *tries += 1;
                    }
                }
                if dead && !silent {
                    // Whoever was there knows nothing of this session any more.
                    peer.letters.iter_mut().for_each(|letter| letter.said = None);
                    peer.speaking = Speaking::Silent;
                    resend.clear();
                }
            }
            _ => {}
        }
        if !silent {
            self.noted.extend(resend.iter().map(|_| Noted::SaidAgain));
            resend.into_iter().for_each(|content| self.send(to, content));
        }
        self.advance(now, to);
    }

    /// A frame has come, from whomever.
    pub(crate) fn receive(&mut self, now: u64, bytes: &Bytes) {
        #[cfg(feature = "planted")]
        let checked = !self.has(ProbeFlaw::TagUnchecked);
        #[cfg(not(feature = "planted"))]
        let checked = true;
        let frame = Frame::decode(&self.key, bytes, checked);
        let Some(Frame { from, to, content }) = frame else { return self.noted.push(Noted::Refused) };
        if to != self.setup.me || from == to || from >= self.setup.nodes {
            return self.noted.push(Noted::Refused);
        }
        match content {
            Content::Hello { mine } => self.greeted(from, mine),
            Content::Welcome { yours, mine } => self.welcomed(now, from, &yours, &mine),
            Content::Letter { session, number, body } => self.told(from, session, number, body),
            Content::Thanks { session, number } => self.thanked(now, from, session, number),
        }
    }

    fn greeted(&mut self, from: u8, theirs: Nonce) {
        let peer = &self.peers[usize::from(from)];
        if peer.hearing.is_some_and(|hearing| hearing.theirs == theirs) {
            // It has the answer already.
            return self.noted.push(Noted::Refused);
        }
        // A greeting that comes again gets the same answer, or a slow peer's would never be answered in time.
        let known = peer.greetings.iter().find(|(greeting, _)| *greeting == theirs).map(|(_, mine)| *mine);
        let mine = known.unwrap_or_else(|| self.nonce());
        if known.is_none() {
            let peer = &mut self.peers[usize::from(from)];
            if peer.greetings.len() >= GREETINGS {
                peer.greetings.pop_front();
            }
            peer.greetings.push_back((theirs, mine));
            self.noted.push(Noted::Welcomed { peer: from, session: Session::of(&theirs, &mine) });
        }
        self.send(from, Content::Welcome { yours: theirs, mine });
    }

    fn welcomed(&mut self, now: u64, from: u8, mine: &Nonce, theirs: &Nonce) {
        let peer = &mut self.peers[usize::from(from)];
        match &peer.speaking {
            Speaking::Greeting { mine: asked, .. } if asked == mine => {
                peer.speaking = Speaking::Open { session: Session::of(mine, theirs), next: 0 };
                self.noted.push(Noted::Opened { anew: peer.opened });
                peer.opened = true;
                self.advance(now, from);
            }
            _ => self.noted.push(Noted::Refused),
        }
    }

    fn told(&mut self, from: u8, session: Session, number: u64, body: Bytes) {
        let peer = &mut self.peers[usize::from(from)];
        if peer.hearing.is_none_or(|hearing| hearing.session != session) {
            let agreed = peer.greetings.iter().position(|(theirs, mine)| Session::of(theirs, mine) == session);
            let greeting = agreed.and_then(|at| peer.greetings.remove(at)).map(|(theirs, _)| theirs);
            #[cfg(feature = "planted")]
            let greeting = match self.setup.flaw {
                Some(ProbeFlaw::SessionUnchecked) => greeting.or(Some([0; 16])),
                _ => greeting,
            };
            let Some(theirs) = greeting else { return self.noted.push(Noted::Refused) };
            peer.hearing = Some(Hearing { theirs, session, window: Window::default() });
        }
        let Some(Hearing { window, .. }) = &mut peer.hearing else { return };
        let first = window.take(number);
        #[cfg(feature = "planted")]
        let first = first || self.setup.flaw == Some(ProbeFlaw::ReplaysTaken);
        if first {
            self.noted.push(Noted::Heard { peer: from, session, number, body });
        }
        // The thanks for what comes twice may have been lost.
        self.send(from, Content::Thanks { session, number });
    }

    fn thanked(&mut self, now: u64, from: u8, session: Session, number: u64) {
        let peer = &mut self.peers[usize::from(from)];
        if !matches!(peer.speaking, Speaking::Open { session: current, .. } if current == session) {
            return self.noted.push(Noted::Refused);
        }
        let waits = |letter: &Letter| letter.said.is_some_and(|(said, ..)| said == number);
        let Some(at) = peer.letters.iter().position(waits) else { return };
        let letter = peer.letters.remove(at);
        let again = letter.and_then(|letter| letter.said).is_some_and(|(_, tries, _)| tries > 1);
        self.noted.push(Noted::Thanked { peer: from, session, number, again });
        self.advance(now, from);
    }
}

/// When something is sent again that was sent so often: ever later, up to 64 round trips.
const fn again(round_trip: u64, now: u64, tries: u32) -> u64 {
    now + round_trip * 2 * (1 << if tries > 5 { 5 } else { tries })
}

impl Peer {
    fn due(&self) -> Option<u64> {
        let over = self.letters.front()?.until;
        let again = match &self.speaking {
            Speaking::Silent => None,
            Speaking::Greeting { due, .. } => Some(*due),
            Speaking::Open { .. } => self.letters.iter().filter_map(|letter| letter.said.map(|(_, _, due)| due)).min(),
        };
        Some(again.map_or(over, |again| again.min(over)))
    }
}
