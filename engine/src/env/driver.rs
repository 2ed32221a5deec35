//! The one driver loop: what the real runtime, the simulator and the tests all run.
//!
//! A turn is always the same four steps, and the engine's promises rest on their order:
//!
//! 1. **handle** every input that has arrived, and what is due;
//! 2. **drain** the outputs after each and deliver them: none of these depends on what is not yet durable;
//! 3. **commit** once, if an acknowledgement waits for it (group commit);
//! 4. **drain** again and deliver the acknowledgements.

use super::{Disk, Instant, Now};
use crate::node::{Activity, Engine, Event, Job, JobDone, JobId, Output, PeerId, Reply, Request, RequestId};
use bytes::Bytes;

/// Where time comes from.
pub trait Clock {
    /// The time now. The instant never goes back; the wall time may.
    fn now(&self) -> Now;
}

/// Where frames go. Delivery is not assured; frames are opaque.
pub trait Network {
    /// Hands a frame to the transport. Never blocks; may drop.
    fn send(&mut self, peer: PeerId, frame: Bytes);
}

/// A network with nobody on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNetwork;

impl Network for NoNetwork {
    fn send(&mut self, _peer: PeerId, _frame: Bytes) {}
}

/// Who asked: takes replies and events, and runs jobs wherever it likes.
pub trait Host {
    /// Runs `job` anywhere, at any time, and feeds its result back as [`Input::JobDone`].
    fn run(&mut self, id: JobId, job: Job);
    /// Takes the answer to a request.
    fn reply(&mut self, id: RequestId, reply: Reply);
    /// Takes note of an event.
    fn event(&mut self, event: Event);
    /// Is told of a step before it is taken, and may ask what the node was doing until then: for tables of what was going on
    /// when something failed. The default does not ask, which costs nothing.
    fn before(&mut self, _step: Step<'_>, _doing: impl FnOnce() -> Activity) {}
}

/// A step of a turn.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// An input is handled.
    Input(&'a Input),
    /// What is due is done.
    Timeout,
    /// What was accepted becomes durable.
    Commit,
}

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// A client asks.
    Request(RequestId, Request),
    /// A frame came from a peer.
    Message(PeerId, Bytes),
    /// A job has finished.
    JobDone(JobDone),
}

/// An engine with its clock and its network.
#[derive(Debug)]
pub struct Driver<C, D: Disk, N> {
    engine: Engine<D>,
    clock: C,
    network: N,
}

impl<C: Clock, D: Disk, N: Network> Driver<C, D, N> {
    /// Puts the parts together.
    pub fn new(engine: Engine<D>, clock: C, network: N) -> Self {
        Self { engine, clock, network }
    }

    /// The engine, to look at.
    pub const fn engine(&self) -> &Engine<D> {
        &self.engine
    }

    /// The clock.
    pub const fn clock(&self) -> &C {
        &self.clock
    }

    /// Takes the parts asunder.
    pub fn into_parts(self) -> (Engine<D>, C, N) {
        (self.engine, self.clock, self.network)
    }

    /// One turn of the loop; returns the instant at which the next turn is due even if no input arrives.
    pub fn turn(&mut self, inputs: impl IntoIterator<Item = Input>, host: &mut impl Host) -> Option<Instant> {
        for input in inputs {
            let now = self.clock.now();
            host.before(Step::Input(&input), || self.engine.activity());
            match input {
                Input::Request(id, request) => self.engine.handle_request(now, id, request),
                Input::Message(peer, frame) => self.engine.handle_message(now, peer, frame),
                Input::JobDone(done) => self.engine.handle_job_done(now, done),
            }
            // At once, so that jobs run while the next inputs are handled.
            self.drain(host);
        }
        let now = self.clock.now();
        if self.engine.poll_timeout().is_some_and(|due| due <= now.instant) {
            host.before(Step::Timeout, || self.engine.activity());
            self.engine.handle_timeout(now);
        }
        self.drain(host);
        if self.engine.wants_commit() {
            host.before(Step::Commit, || self.engine.activity());
            self.engine.commit();
            self.drain(host);
        }
        self.engine.poll_timeout()
    }

    fn drain(&mut self, host: &mut impl Host) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Send { peer, frame } => self.network.send(peer, frame),
                Output::Reply { id, reply } => host.reply(id, reply),
                Output::Run { id, job } => host.run(id, job),
                Output::Event(event) => host.event(event),
            }
        }
    }
}
