//! Links between nodes, everything that befalls them, and an attacker in the middle.
//!
//! A frame that is sent becomes any number of [arrivals](Arrival). Each choice about a frame stands on the tape at a
//! position that follows from its link and its number there, each about links at one that follows from the slot, so that
//! clearing one moves no other. A healed network delivers every frame once.

mod attacker;
mod fault;
mod link;
#[cfg(test)]
mod tests;

pub use fault::{NetworkCounts, NetworkFault};
pub use link::Weather;

use crate::tape::{Purpose, StreamId, Tape};
use attacker::Attacker;
use bytes::{Bytes, BytesMut};
use link::{Flap, Link};

/// Frames on their way on one link; those behind them are lost, as on any queue that is full.
const MAX_IN_FLIGHT: usize = 256;
/// What lasts until it is healed.
pub(crate) const FOR_EVER: u32 = u32::MAX;

/// Who of a node's machine a frame is from, and for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    /// The engine.
    Engine,
    /// The [probe](crate::probe).
    Probe,
}

/// A frame on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it arrives, in virtual nanoseconds.
    pub at: u64,
    /// Whose link it comes by.
    pub from: u8,
    /// Who gets it.
    pub to: u8,
    /// At which port.
    pub port: Port,
    /// What it is.
    pub frame: Bytes,
    /// No node has sent it like this.
    pub forged: bool,
}

/// Links between nodes, one for each direction.
#[derive(Debug)]
pub struct SimNetwork {
    tape: Tape,
    nodes: u8,
    links: Vec<Link>,
    weather: Weather,
    healed: bool,
    attacker: Attacker,
    in_flight: usize,
    counts: NetworkCounts,
}

/// Where a choice about a frame, or about the links in a slot, stands behind the frame's or the slot's first position.
#[derive(Clone, Copy)]
enum Field {
    Fate,
    Spread,
    Detail,
    Sides,
    Lasts,
    Far,
}

const FIELDS: u64 = 8;
/// Stands where a frame's receiver does, in the positions of what befalls links.
const LINKS: u8 = u8::MAX;

const fn position(to: u8, number: u64, field: Field) -> u64 {
    // The number of a frame on its link has 48 bits of room.
    ((to as u64) << 48 | (number & 0xffff_ffff_ffff)) * FIELDS + field as u64
}

impl SimNetwork {
    /// A network between so many nodes.
    #[must_use]
    pub fn new(tape: Tape, nodes: u8, weather: Weather) -> Self {
        let links = vec![Link::default(); usize::from(nodes) * usize::from(nodes)];
        let (attacker, counts) = (Attacker::default(), NetworkCounts::default());
        Self { tape, nodes, links, weather, healed: false, attacker, in_flight: 0, counts }
    }

    fn link(&mut self, from: u8, to: u8) -> Option<&mut Link> {
        let place = usize::from(from) * usize::from(self.nodes) + usize::from(to);
        if from < self.nodes && to < self.nodes { self.links.get_mut(place) } else { None }
    }

    /// Sets a fault's rate, in parts per million.
    pub fn set_rate(&mut self, fault: NetworkFault, per_million: u32) {
        self.weather.rates[fault as usize] = per_million;
    }

    /// What it is like.
    #[must_use]
    pub const fn weather(&self) -> &Weather {
        &self.weather
    }

    /// What became of the frames so far.
    #[must_use]
    pub const fn counts(&self) -> &NetworkCounts {
        &self.counts
    }

    /// Frames on their way.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// A node's process begins a life of this number: the attacker tells its frames from those of earlier ones.
    pub fn born(&mut self, node: u8, life: u64) {
        self.attacker.born(node, life);
    }

    /// Cuts one side off from the other, or only what the one sends to the other, until a slot begins.
    pub fn partition(&mut self, one: &[u8], other: &[u8], both_ways: bool, until: u32) {
        self.counts.count(if both_ways { NetworkFault::Partition } else { NetworkFault::OneWay });
        self.between(one, other, both_ways, |link| link.cut = link.cut.max(Some(until)));
    }

    /// Lets the links between two sides go down and up by turns, each for `period` nanoseconds, until a slot begins.
    pub fn flap(&mut self, one: &[u8], other: &[u8], now: u64, period: u64, until: u32) {
        self.counts.count(NetworkFault::Flap);
        let flap = Flap { since: now, period: period.max(1), ends: until };
        self.between(one, other, true, |link| link.flap = Some(flap));
    }

    /// Lets what one node sends to another wait until a moment.
    pub fn clog(&mut self, from: u8, to: u8, until: u64) {
        self.counts.count(NetworkFault::Clog);
        if let Some(link) = self.link(from, to) {
            link.clogged_until = link.clogged_until.max(until);
        }
    }

    /// Lets every frame that a node sends take so much longer, in nanoseconds, until all is healed.
    pub fn slow(&mut self, node: u8, by: u64) {
        self.counts.count(NetworkFault::SlowPeer);
        for to in 0..self.nodes {
            if let Some(link) = self.link(node, to) {
                link.slow = link.slow.max(by);
            }
        }
    }

    fn between(&mut self, one: &[u8], other: &[u8], both_ways: bool, mut change: impl FnMut(&mut Link)) {
        for (from, to) in one.iter().flat_map(|from| other.iter().map(move |to| (*from, *to))) {
            self.link(from, to).map(&mut change);
            if both_ways {
                self.link(to, from).map(&mut change);
            }
        }
    }

    /// Every link is whole again. What is on its way stays on its way, and faults strike on.
    pub fn heal_links(&mut self) {
        self.links.iter_mut().for_each(Link::heal);
    }

    /// The faults have stopped for good, the attacker's too.
    pub fn heal(&mut self) {
        self.heal_links();
        self.healed = true;
    }

    /// A slot begins: what was to last until then ends, and something may begin.
    pub fn slot(&mut self, slot: u32, now: u64) -> Option<NetworkFault> {
        self.links.iter_mut().for_each(|link| link.expire(slot));
        let rates = &self.weather.rates[NetworkFault::OF_FRAMES..];
        if self.healed || self.nodes < 2 || rates.iter().all(|rate| *rate == 0) {
            return None;
        }
        let place = |field| (StreamId::new(Purpose::Network, 0), position(LINKS, u64::from(slot), field));
        let (stream, at) = place(Field::Fate);
        let struck = self.tape.rare_at(stream, at, rates).checked_sub(1)?;
        let fault = *NetworkFault::ALL.get(NetworkFault::OF_FRAMES + usize::try_from(struck).ok()?)?;
        let draw = |field: Field, bound: u64| {
            let (stream, at) = place(field);
            self.tape.below_at(stream, at, bound)
        };
        let (sides, lasts, far) = (draw(Field::Sides, 1 << 16), draw(Field::Lasts, 12), draw(Field::Far, 4));
        let until = slot.saturating_add(1 + lasts as u32);
        let (one, other) = self.sides(sides);
        let unit = self.weather.unit();
        let power = 10u64.pow(far as u32);
        match fault {
            NetworkFault::OneWay => self.partition(&one, &other, false, until),
            NetworkFault::Flap => self.flap(&one, &other, now, unit * power, until),
            NetworkFault::Clog => {
                let (from, to) = (sides as u8 % self.nodes, (sides >> 8) as u8 % self.nodes);
                self.clog(from, if from == to { (to + 1) % self.nodes } else { to }, now + unit * 10 * power);
            }
            NetworkFault::SlowPeer => self.slow(sides as u8 % self.nodes, unit * power),
            _ => self.partition(&one, &other, true, until),
        }
        Some(fault)
    }

    /// Two sides, neither of them empty; the calm choice sets node 0 apart.
    fn sides(&self, choice: u64) -> (Vec<u8>, Vec<u8>) {
        let of = |mask: u64| (0..self.nodes).partition(move |node| mask >> node & 1 == 1);
        let (one, other): (Vec<u8>, Vec<u8>) = of(choice);
        if one.is_empty() || other.is_empty() { of(1 << (choice % u64::from(self.nodes.max(1)))) } else { (one, other) }
    }

    /// What becomes of a frame that is sent now: its arrivals are added to `out`, and what struck it is returned.
    pub fn send(
        &mut self,
        now: u64,
        (from, to): (u8, u8),
        port: Port,
        frame: &Bytes,
        out: &mut Vec<Arrival>,
    ) -> Option<NetworkFault> {
        let weather = self.weather;
        let link = self.link(from, to)?;
        let number = link.sent;
        link.sent += 1;
        let (down, slow, clogged_until) = (link.is_down(now), link.slow, link.clogged_until);
        self.counts.sent += 1;
        self.attacker.record(from, to, port, frame);
        if down {
            return None;
        }
        let struck = self.strikes(from, to, number);
        // The calm delay is the mean.
        let spread =
            match self.tape.below_at(StreamId::new(Purpose::Network, from), position(to, number, Field::Spread), 8) {
                0 => 4,
                eighth => eighth,
            };
        let at = (now + weather.latency + weather.jitter / 8 * spread + slow).max(clogged_until);
        let first = out.len();
        let frame = Arrival { at, from, to, port, frame: frame.clone(), forged: false };
        let struck = match struck {
            Some(fault) if self.strike(fault, number, frame.clone(), out) => {
                self.counts.count(fault);
                Some(fault)
            }
            _ => {
                out.push(frame);
                None
            }
        };
        self.admit(out, first);
        struck
    }

    fn strikes(&self, from: u8, to: u8, number: u64) -> Option<NetworkFault> {
        let rates = &self.weather.rates[..NetworkFault::OF_FRAMES];
        if self.healed || rates.iter().all(|rate| *rate == 0) {
            return None;
        }
        let stream = StreamId::new(Purpose::Network, from);
        let place = self.tape.rare_at(stream, position(to, number, Field::Fate), rates).checked_sub(1)?;
        NetworkFault::ALL.get(usize::try_from(place).ok()?).copied()
    }

    /// Lets a fault strike a frame; false if it cannot, for want of anything that was recorded.
    fn strike(&self, fault: NetworkFault, number: u64, frame: Arrival, out: &mut Vec<Arrival>) -> bool {
        let stream = StreamId::new(Purpose::Network, frame.from);
        let detail = self.tape.below_at(stream, position(frame.to, number, Field::Detail), 1 << 32);
        let unit = self.weather.unit();
        let later = frame.at + unit * (1 + detail % 4);
        let with = |bytes: Bytes| Arrival { frame: bytes, forged: true, ..frame.clone() };
        match fault {
            NetworkFault::Drop => {}
            NetworkFault::Delay => out.push(Arrival { at: frame.at + unit * (10 + detail % 71), ..frame }),
            NetworkFault::Reorder => out.push(Arrival { at: later, ..frame }),
            NetworkFault::Duplicate => out.extend([frame.clone(), Arrival { at: later, ..frame }]),
            NetworkFault::Corrupt => {
                let mut bytes = BytesMut::from(&frame.frame[..]);
                let Some(bit) = detail.checked_rem(bytes.len() as u64 * 8) else { return false };
                bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
                out.push(with(bytes.freeze()));
            }
            NetworkFault::Truncate => {
                let Some(len) = detail.checked_rem(frame.frame.len() as u64) else { return false };
                out.push(with(frame.frame.slice(..len as usize)));
            }
            NetworkFault::Replay | NetworkFault::ReplayOldLife => {
                let kept = match fault {
                    NetworkFault::Replay => self.attacker.any(detail),
                    _ => self.attacker.of_an_earlier_life(detail),
                };
                let Some(kept) = kept else { return false };
                let (from, to, port, again) = (kept.from, kept.to, kept.port, kept.frame.clone());
                out.push(Arrival { at: later, from, to, port, frame: again, forged: false });
                out.push(frame);
            }
            NetworkFault::Alter => out.push(with(Attacker::altered(&frame.frame, detail))),
            NetworkFault::Splice => {
                let Some(other) = self.attacker.any(detail) else { return false };
                let spliced = Attacker::spliced(&frame.frame, &other.frame, detail / 256);
                if spliced == frame.frame {
                    return false;
                }
                out.push(with(spliced));
            }
            NetworkFault::Reflect => {
                out.push(Arrival { at: later, from: frame.to, to: frame.from, ..frame.clone() });
                out.push(frame);
            }
            NetworkFault::Misdeliver => {
                let others: Vec<u8> = (0..self.nodes).filter(|node| ![frame.from, frame.to].contains(node)).collect();
                let Some(which) = detail.checked_rem(others.len() as u64) else { return false };
                out.push(Arrival { to: others[which as usize], ..frame });
            }
            NetworkFault::Inject => {
                out.push(with(self.attacker.made_up(detail)));
                out.push(frame);
            }
            // These strike links.
            NetworkFault::Partition
            | NetworkFault::OneWay
            | NetworkFault::Flap
            | NetworkFault::Clog
            | NetworkFault::SlowPeer => return false,
        }
        true
    }

    /// Lets what there is room for set out.
    fn admit(&mut self, out: &mut Vec<Arrival>, first: usize) {
        let mut at = first;
        while let Some(arrival) = out.get(at) {
            let (from, to) = (arrival.from, arrival.to);
            let room = self.link(from, to).is_some_and(|link| {
                let room = link.in_flight < MAX_IN_FLIGHT;
                link.in_flight += usize::from(room);
                room
            });
            if room {
                self.in_flight += 1;
                at += 1;
            } else {
                self.counts.overflowed += 1;
                out.remove(at);
            }
        }
    }

    /// A frame is at the end of its way; `delivered` if anybody was there to take it.
    pub fn arrived(&mut self, arrival: &Arrival, delivered: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.counts.delivered += u64::from(delivered);
        if let Some(link) = self.link(arrival.from, arrival.to) {
            link.in_flight = link.in_flight.saturating_sub(1);
        }
    }

    /// A frame that was there found no room in the mailbox of a process that gets no turn.
    pub fn overflowed(&mut self) {
        self.counts.overflowed += 1;
    }
}
