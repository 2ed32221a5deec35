//! Links between nodes: latency, loss, duplication, reordering, partitions and clogs.
//!
//! A frame that is sent becomes any number of arrivals. The network carries what engines send, which is nothing until
//! they form a cluster; it is tested by itself.

use crate::tape::{Purpose, StreamId, Tape};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What a link does to frames. Rates in parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The least time a frame takes, in nanoseconds.
    pub latency: u64,
    /// How much longer it may take; frames overtake each other by it.
    pub jitter: u64,
    /// Frames that never arrive.
    pub drop: u32,
    /// Frames that arrive twice.
    pub duplicate: u32,
    /// No frame gets through.
    pub partitioned: bool,
    /// Frames wait until this moment.
    pub clogged_until: u64,
}

/// A frame on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it arrives, in virtual nanoseconds.
    pub at: u64,
    /// Who sent it.
    pub from: u8,
    /// Who gets it.
    pub to: u8,
    /// What it is.
    pub frame: Bytes,
}

/// Links between nodes, one for each direction.
#[derive(Debug)]
pub struct SimNetwork {
    tape: Tape,
    links: BTreeMap<(u8, u8), Link>,
    ordinary: Link,
}

impl SimNetwork {
    /// A network on which every link is `ordinary` until it is told otherwise.
    #[must_use]
    pub const fn new(tape: Tape, ordinary: Link) -> Self {
        Self { tape, links: BTreeMap::new(), ordinary }
    }

    /// The link from one node to another, to change.
    pub fn link(&mut self, from: u8, to: u8) -> &mut Link {
        self.links.entry((from, to)).or_insert(self.ordinary)
    }

    /// Cuts one side off from the other, or only what the one sends to the other.
    pub fn partition(&mut self, one: &[u8], other: &[u8], both_ways: bool) {
        for (from, to) in one.iter().flat_map(|from| other.iter().map(move |to| (*from, *to))) {
            self.link(from, to).partitioned = true;
            if both_ways {
                self.link(to, from).partitioned = true;
            }
        }
    }

    /// Every link is ordinary again.
    pub fn heal(&mut self) {
        self.links.clear();
    }

    /// What becomes of a frame that is sent now.
    pub fn send(&mut self, now: u64, from: u8, to: u8, frame: &Bytes) -> Vec<Arrival> {
        let link = *self.link(from, to);
        if link.partitioned {
            return Vec::new();
        }
        let stream = StreamId::new(Purpose::Network, from);
        let fate = self.tape.below(stream, 1_000_000);
        // The calm choice of a fate is 0, so what is rare is counted from the top.
        let from_top = 999_999 - fate;
        let copies = match (u64::from(link.drop), u64::from(link.duplicate)) {
            (drop, _) if fate > 0 && from_top < drop => 0,
            (drop, duplicate) if fate > 0 && from_top < drop + duplicate => 2,
            _ => 1,
        };
        let arrival = || {
            // The calm delay is the mean.
            let spread = match self.tape.below(stream, 8) {
                0 => 4,
                eighth => eighth,
            };
            let at = (now + link.latency + link.jitter / 8 * spread).max(link.clogged_until);
            Arrival { at, from, to, frame: frame.clone() }
        };
        (0..copies).map(|_| arrival()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link = Link { latency: 100, jitter: 800, drop: 0, duplicate: 0, partitioned: false, clogged_until: 0 };

    fn arrivals(network: &mut SimNetwork, count: u64) -> Vec<Arrival> {
        let frame = |number: u64| Bytes::copy_from_slice(&number.to_le_bytes());
        (0..count).flat_map(|number| network.send(number, 0, 1, &frame(number))).collect()
    }

    #[test]
    fn frames_overtake_each_other_and_none_is_lost_on_a_link_that_loses_none() {
        let mut network = SimNetwork::new(Tape::random(1), LINK);
        let arrived = arrivals(&mut network, 1000);
        assert_eq!(arrived.len(), 1000);
        assert!(arrived.windows(2).any(|pair| pair[0].at > pair[1].at));
        assert!(arrived.iter().zip(0..).all(|(arrival, sent)| (sent + 100..=sent + 900).contains(&arrival.at)));
    }

    #[test]
    fn a_link_loses_and_doubles_at_its_rates() {
        let mut network = SimNetwork::new(Tape::random(2), Link { drop: 300_000, ..LINK });
        let left = arrivals(&mut network, 10_000).len();
        assert!((6_700..7_300).contains(&left), "{left}");
        let mut network = SimNetwork::new(Tape::random(2), Link { duplicate: 300_000, ..LINK });
        let doubled = arrivals(&mut network, 10_000).len();
        assert!((12_700..13_300).contains(&doubled), "{doubled}");
    }

    #[test]
    fn a_one_way_partition_stops_one_way_and_healing_ends_it() {
        let mut network = SimNetwork::new(Tape::random(3), LINK);
        network.partition(&[0], &[1, 2], false);
        let frame = Bytes::from_static(b"x");
        assert!(network.send(0, 0, 1, &frame).is_empty() && network.send(0, 0, 2, &frame).is_empty());
        assert_eq!(network.send(0, 1, 0, &frame).len(), 1);
        network.partition(&[0], &[1], true);
        assert!(network.send(0, 1, 0, &frame).is_empty());
        network.heal();
        assert_eq!(network.send(0, 0, 1, &frame).len(), 1);
    }

    #[test]
    fn a_clogged_link_holds_frames_back() {
        let mut network = SimNetwork::new(Tape::random(4), LINK);
        network.link(0, 1).clogged_until = 1_000_000;
        assert!(arrivals(&mut network, 50).iter().all(|arrival| arrival.at == 1_000_000));
    }

    #[test]
    fn a_calm_tape_delivers_each_frame_once_after_the_mean_delay() {
        let link = Link { drop: 900_000, duplicate: 100_000, ..LINK };
        let mut network = SimNetwork::new(Tape::bytes(&[]), link);
        let arrived = arrivals(&mut network, 100);
        assert!(arrived.len() == 100 && arrived.iter().zip(0..).all(|(arrival, sent)| arrival.at == sent + 500));
    }
}
