//! What the network carries: the frames of engines, once they send any, and until then those of the probes beside them.

use super::node::Node;
use super::trace::What;
use super::{Happening, World};
use crate::cause::Cause;
use crate::network::{Arrival, NetworkFault, Port};
use crate::oracle::{Broken, Promise};
use crate::probe::{Noted, Probe, Setup};
use crate::sometimes::Sometimes;
use crate::state::State;
use crate::story::{FrameFate, Told};
use bytes::Bytes;
use ouroboros_engine::env::{Input, Instant};
use ouroboros_engine::node::PeerId;

/// Frames that lead to each other, one after the other, until the last is taken for one of an endless row.
const ANSWERS: u32 = 1000;
/// Frames for which a process that gets no turn has room.
const MAIL: usize = 256;

impl World {
    fn round_trip(&self) -> u64 {
        self.network.weather().unit() * 2
    }

    /// A process has begun: its probe begins with it, if there is anybody to speak to.
    pub(super) fn give_probe(&mut self, node: usize) {
        if self.setting.nodes < 2 {
            return;
        }
        let it = &self.nodes[node];
        self.network.born(it.number, it.life);
        let setup = Setup {
            me: it.number,
            nodes: self.setting.nodes,
            seed: self.setting.seed,
            life: it.life,
            round_trip: self.round_trip(),
            #[cfg(feature = "planted")]
            flaw: self.setting.flaw,
        };
        self.nodes[node].probe = Some(Probe::new(setup));
    }

    /// Every node writes to every other.
    pub(super) fn converse(&mut self) -> Result<(), Broken> {
        for node in 0..self.nodes.len() {
            if self.is_up(node) && !self.is_paused(node) {
                self.probe(node, |probe, now, nodes| {
                    (0..nodes).map(|peer| u64::from(!probe.say(now, peer))).sum::<u64>().saturating_sub(1)
                })?;
            }
        }
        Ok(())
    }

    /// Lets a node's probe do something, and sees to what comes of it. What is done returns how many letters were refused.
    fn probe(&mut self, node: usize, act: impl FnOnce(&mut Probe, u64, u8) -> u64) -> Result<(), Broken> {
        let it = &mut self.nodes[node];
        let now = it.now(self.now).instant.as_nanos();
        let Some(probe) = &mut it.probe else { return Ok(()) };
        let refused = act(probe, now, self.setting.nodes);
        self.ledger.counts.no_room += refused;
        let (noted, frames, due, bounded) = (probe.noted(), probe.frames(), probe.due(), probe.is_bounded());
        if refused > 0 {
            self.counts.reached(Sometimes::LettersHeldBack);
        }
        for noted in noted {
            self.enter(node, noted)?;
        }
        if !bounded {
            self.about = node;
            return Err(Broken::new(Promise::P9, "a probe's queue holds more than there is room for"));
        }
        for (to, frame) in frames {
            self.transmit(node, to, Port::Probe, &frame)?;
        }
        let Some(due) = due else { return Ok(()) };
        let at = self.nodes[node].world_nanos(Instant::from_nanos(due)).max(self.now + 1);
        let it = &mut self.nodes[node];
        if it.probe_at.is_none_or(|planned| planned > at) {
            it.probe_at = Some(at);
            let happening = Happening::Probe { node: it.number, life: it.life };
            self.schedule(at, happening);
        }
        Ok(())
    }

    fn enter(&mut self, node: usize, noted: Noted) -> Result<(), Broken> {
        match &noted {
            Noted::Thanked { again: true, .. } => self.counts.reached(Sometimes::LetterSaidAgain),
            Noted::GivenUp => self.counts.reached(Sometimes::LetterGivenUp),
            Noted::Opened { anew: true } => self.counts.reached(Sometimes::GreetedAnew),
            Noted::Heard { peer, number, .. } => {
                self.trace.event(self.now, node as u8, What::Heard, &[u64::from(*peer), *number]);
            }
            _ => {}
        }
        let life = self.nodes[node].life;
        let entered = self.ledger.enter(node as u8, life, noted);
        if entered.is_err() {
            self.about = node;
        }
        entered
    }

    /// Hands a frame to the network.
    ///
    /// # Errors
    /// P8, if it says what no wire may carry.
    pub(super) fn transmit(&mut self, node: usize, to: u8, port: Port, frame: &Bytes) -> Result<(), Broken> {
        let from = self.nodes[node].number;
        // Today these are the probes' letters; of engines it says something once they send any.
        if let Err(broken) = self.plaintext.check_frame(frame) {
            self.about = node;
            return Err(broken);
        }
        let mut arrivals = Vec::new();
        let struck = self.network.send(self.now, (from, to), port, frame, &mut arrivals);
        let lost = arrivals.is_empty() && struck.is_none();
        for arrival in arrivals {
            let (number, at) = (self.scheduled, arrival.at);
            self.arrivals.insert(number, arrival);
            self.schedule(at, Happening::Arrive { arrival: number });
        }
        if let Some(fault) = struck {
            let state = self.nodes.get(usize::from(to)).map_or(State::Dead, Node::doing);
            self.counts.table.count(Cause::Network(fault), state);
            let told = Told::Frame { from, to, fate: FrameFate::Struck(fault) };
            self.tell(node, told, || format!("{fault} strikes a frame from {from} to {to}, which was {state}"));
        } else if lost {
            let told = Told::Frame { from, to, fate: FrameFate::Lost };
            self.tell(node, told, || format!("a frame from {from} to {to} is lost: the link is down, or full"));
        }
        Ok(())
    }

    /// A frame is at the end of its way.
    pub(super) fn arrive(&mut self, number: u64) -> Result<(), Broken> {
        let Some(arrival) = self.arrivals.remove(&number) else { return Ok(()) };
        let to = usize::from(arrival.to);
        let details = [u64::from(arrival.from), arrival.frame.len() as u64];
        self.trace.event(self.now, arrival.to, What::Frame, &details);
        let takes = self.is_up(to) && (arrival.port == Port::Engine || self.nodes[to].probe.is_some());
        self.network.arrived(&arrival, takes);
        let fate = match (takes, arrival.forged) {
            (false, _) => FrameFate::Missed,
            (true, false) => FrameFate::Arrived,
            (true, true) => FrameFate::Forged,
        };
        let told = Told::Frame { from: arrival.from, to: arrival.to, fate };
        self.tell(to, told, || {
            let what = match fate {
                FrameFate::Missed => ", and nobody takes it",
                FrameFate::Forged => ", which nobody has sent like this",
                _ => "",
            };
            format!("a frame of {} B arrives from {}{what}", arrival.frame.len(), arrival.from)
        });
        if !takes {
            return Ok(());
        }
        let Arrival { from, frame, forged, .. } = arrival;
        if arrival.port == Port::Engine {
            self.nodes[to].inbox.push(Input::Message(PeerId(u64::from(from)), frame));
            self.wake(to, self.now);
            return Ok(());
        }
        if self.is_paused(to) {
            self.keep_mail(to, frame, forged);
            return Ok(());
        }
        self.take_frame(to, &frame, forged)
    }

    /// A process that gets no turn finds it later, if there is room.
    fn keep_mail(&mut self, node: usize, frame: Bytes, forged: bool) {
        let it = &mut self.nodes[node];
        if it.mail.len() >= MAIL {
            self.network.overflowed();
            return;
        }
        it.mail.push((frame, forged));
        if it.mail.len() == 1 {
            let (until, happening) = (it.paused_until, Happening::Mail { node: it.number, life: it.life });
            self.schedule(until, happening);
        }
    }

    /// All at once.
    pub(super) fn open_mail(&mut self, node: usize, life: u64) -> Result<(), Broken> {
        if self.nodes[node].life != life || self.nodes[node].mail.is_empty() {
            return Ok(());
        }
        if self.is_paused(node) {
            let until = self.nodes[node].paused_until;
            self.schedule(until, Happening::Mail { node: node as u8, life });
            return Ok(());
        }
        self.counts.reached(Sometimes::MailOverPause);
        for (frame, forged) in core::mem::take(&mut self.nodes[node].mail) {
            self.take_frame(node, &frame, forged)?;
        }
        Ok(())
    }

    fn take_frame(&mut self, node: usize, frame: &Bytes, forged: bool) -> Result<(), Broken> {
        let refused = self.ledger.counts.refused;
        self.probe(node, |probe, now, _| {
            probe.receive(now, frame);
            0
        })?;
        if forged && self.ledger.counts.refused > refused {
            self.counts.reached(Sometimes::ForgeryRefused);
        }
        Ok(())
    }

    /// A moment has come that a probe waited for.
    pub(super) fn probe_due(&mut self, node: usize, life: u64, at: u64) -> Result<(), Broken> {
        let it = &mut self.nodes[node];
        if it.life != life || it.probe_at != Some(at) {
            return Ok(());
        }
        it.probe_at = None;
        if !self.is_up(node) {
            return Ok(());
        }
        if self.is_paused(node) {
            let until = self.nodes[node].paused_until;
            self.nodes[node].probe_at = Some(until);
            self.schedule(until, Happening::Probe { node: node as u8, life });
            return Ok(());
        }
        self.probe(node, |probe, now, _| {
            probe.timeout(now);
            0
        })
    }

    /// Letters that wait for thanks of somebody who is there.
    fn waiting(&self) -> usize {
        let there: Vec<u8> = self
            .nodes
            .iter()
            .filter(|node| node.probe.is_some() && node.process.is_some())
            .map(|node| node.number)
            .collect();
        let probes = self.nodes.iter().filter_map(|node| node.probe.as_ref());
        probes.map(|probe| there.iter().map(|peer| probe.waiting(*peer)).sum::<usize>()).sum()
    }

    /// The faults have stopped: within a bounded time every node hears every other, and nothing is under way any more.
    pub(super) fn converge(&mut self) -> Result<(), Broken> {
        if self.setting.nodes < 2 {
            return Ok(());
        }
        self.converse()?;
        let first = self.trace.events();
        let until = self.now + Probe::patience(self.round_trip());
        while self.waiting() > 0 {
            let next = self.heap.peek().map(|next| next.0.0);
            if next.is_none_or(|next| next > until) {
                let what = format!("{} letters were not heard in time after the faults had stopped", self.waiting());
                return Err(Broken::new(Promise::P6, what));
            }
            self.next(first)?;
        }
        let counts = self.network.counts();
        if counts.of(NetworkFault::Partition) + counts.of(NetworkFault::OneWay) > 0 {
            self.counts.reached(Sometimes::HeardAfterPartition);
        }
        // What was held back or clogged while there were faults arrives now, and may be answered.
        for _ in 0..ANSWERS {
            let Some(last) = self.arrivals.values().map(|arrival| arrival.at).max() else { break };
            self.pass(last)?;
        }
        let (waiting, under_way) = (self.waiting(), self.network.in_flight());
        if waiting + under_way > 0 {
            let what =
                format!("{waiting} letters wait and {under_way} frames are under way after everything was heard");
            return Err(Broken::new(Promise::P9, what));
        }
        Ok(())
    }
}
