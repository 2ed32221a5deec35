//! All nodes together: rounds in which each has its part, what a scenario asks for, and the end of all faults.

use super::detail::Detail;
use super::rounds::MAX_TOGETHER;
use super::{Setting, World};
use crate::cause::Cause;
use crate::disk::{FaultPlan, FaultyDisk};
use crate::network::FOR_EVER;
use crate::oracle::{Broken, Excuse, Oracle, Violation};
use crate::scenario::{At, NodeId, Step};
use crate::story::Told;
use crate::swarm::{Disruption, Swarm};
use crate::tape::Tape;
use crate::workload::{Kind, Slot, Task};
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Nodes of a world, at most.
pub const MAX_NODES: u8 = 16;

/// So much more seldom a world of one node loses what makes its history long.
const TAKEN_ALONE: u32 = 8;

/// What a run is like.
pub(crate) fn swarm(setting: &Setting, tape: &Tape) -> Swarm {
    let mut swarm = Swarm::draw(tape, setting.nodes);
    if setting.calm {
        swarm.calm();
    }
    if setting.nodes < 2 && !setting.beyond {
        for disruption in Disruption::ALL.into_iter().filter(|disruption| disruption.takes_the_store()) {
            swarm.disruptions[disruption as usize] /= TAKEN_ALONE;
        }
    }
    swarm
}

fn numbers(nodes: &[NodeId]) -> Vec<u8> {
    nodes.iter().map(|node| node.0).collect()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

impl World {
    /// Runs everything, and says what broke.
    pub(crate) fn run(&mut self) -> Option<Violation> {
        let result = self.live();
        for node in 0..self.nodes.len() {
            self.account(node);
            self.counts.faults.add(&self.nodes[node].disk.fault_counts());
        }
        self.counts.network = *self.network.counts();
        self.counts.probe = self.ledger.counts;
        if result.is_err() {
            // What panicked may do so again when it is dropped.
            for process in self.nodes.iter_mut().filter_map(|node| node.process.take()) {
                let _ = catch_unwind(AssertUnwindSafe(|| drop(process)));
            }
        }
        result.err().map(|Broken { promise, what, .. }| {
            let node = self.about;
            self.tell(node, Told::Broken, || format!("BROKEN: {promise} {what}"));
            Violation { promise, what, at_virtual_ns: self.now, node: node as u8 }
        })
    }

    fn add_node(&mut self, number: u8) {
        let Swarm { disk_nanos, slow_nanos, burst, physical, .. } = self.swarm;
        let plan = FaultPlan::new(0).latency(disk_nanos, slow_nanos).burst(burst).physical(physical);
        let disk = FaultyDisk::new(plan);
        disk.limit_log(0);
        disk.choose_by(self.tape.clone(), number);
        if !self.setting.beyond {
            disk.hold_to_rules();
        }
        let mut oracle =
            Oracle::new(self.keys.author(), self.setting.canary, self.config.coding, self.swarm.limits.read_len);
        oracle.beyond = self.setting.beyond;
        let drift = self.swarm.drift_of(&self.tape, number);
        self.nodes.push(super::node::Node::new(number, disk, oracle, drift));
    }

    /// The whole life of all nodes.
    fn live(&mut self) -> Result<(), Broken> {
        (0..self.setting.nodes).for_each(|number| self.add_node(number));
        for node in 0..self.nodes.len() {
            self.about = node;
            self.create(node)?;
        }
        let slots = self.setting.operations.div_ceil(u32::from(self.setting.nodes));
        let mut slot = 0;
        // Beyond the budget a store may be gone for good, and says so.
        while slot < slots && self.nodes.iter().any(|node| node.process.is_some() || node.held) {
            slot = self.round(slot, slots)?;
        }
        self.steps(u32::MAX)?;
        self.faults_stop()?;
        for node in 0..self.nodes.len() {
            self.about = node;
            self.finish(node)?;
        }
        self.converge()
    }

    /// One round of all nodes; returns the slot with which the next begins.
    fn round(&mut self, first: u32, slots: u32) -> Result<u32, Broken> {
        self.steps(first)?;
        if let Some(fault) = self.network.slot(first, self.now) {
            for node in 0..self.nodes.len() {
                let state = self.nodes[node].doing();
                self.counts.table.count(Cause::Network(fault), state);
            }
            self.tell(0, Told::Network, || format!("{fault} begins"));
        }
        let mut serving: Vec<usize> =
            (0..self.nodes.len()).filter(|node| self.nodes[*node].process.is_some()).collect();
        let (slot, parts) = self.draft(&serving, first, slots);
        let mut disruptions = vec![None; self.nodes.len()];
        for (node, tasks) in serving.iter().copied().zip(parts) {
            let upkeep = tasks.iter().any(|task| matches!(task.kind, Kind::Compact | Kind::Scrub | Kind::Recode));
            let cut = || self.may_befall(Disruption::PowerLoss) && self.detail(node, first, Detail::UpkeepCut, 6) == 1;
            disruptions[node] =
                self.disruption(node, first).or_else(|| (upkeep && cut()).then_some(Disruption::PowerLoss));
            self.begin(node, first, tasks, disruptions[node]);
        }
        self.converse()?;
        while let Some(node) = self.next_over(&serving)? {
            serving.retain(|other| *other != node);
            self.about = node;
            self.settling = Some(node);
            self.settle(node, first, disruptions[node])?;
            self.settling = None;
        }
        let goes = |(node, what): (usize, &Option<Disruption>)| (*what == Some(Disruption::Gone)).then_some(node);
        for node in disruptions.iter().enumerate().filter_map(goes) {
            self.about = node;
            self.leave(node, first)?;
        }
        Ok(slot)
    }

    /// The tasks of a round, for each node that serves. All nodes go through the slots together.
    fn draft(&mut self, serving: &[usize], first: u32, slots: u32) -> (u32, Vec<Vec<Task>>) {
        let mut slot = first;
        let mut parts: Vec<Vec<Task>> = serving.iter().map(|_| Vec::new()).collect();
        loop {
            let together = Slot::new(&self.tape, 0, slot).together(&self.swarm);
            for (node, tasks) in serving.iter().zip(&mut parts) {
                let draws = Slot::new(&self.tape, *node as u8, slot);
                let oracle = &mut self.nodes[*node].oracle;
                let task = self.workload.draft(slot, &draws, &self.swarm, &oracle.model);
                task.iter().flat_map(|task| &task.to_seal).for_each(|value| oracle.asked.put(value));
                tasks.extend(task);
            }
            slot += 1;
            if !together || parts.iter().any(|tasks| tasks.len() >= MAX_TOGETHER) || slot >= slots {
                return (slot, parts);
            }
        }
    }

    /// Lets the world go on until the part of one of these nodes is over; none if there are none.
    fn next_over(&mut self, nodes: &[usize]) -> Result<Option<usize>, Broken> {
        let first = self.trace.events();
        // After this look only what happens to a node can end its part.
        let mut over = nodes.iter().copied().find(|node| self.is_over(*node));
        while over.is_none() && !nodes.is_empty() {
            if let Some(stuck) = nodes.iter().find(|node| self.nodes[**node].pending == 0) {
                self.about = *stuck;
                return Err(self.stuck(*stuck));
            }
            let whose = self.next(first)?;
            over = whose.filter(|node| nodes.contains(node) && self.is_over(*node));
        }
        Ok(over)
    }

    /// What a scenario asks for until a slot.
    fn steps(&mut self, slot: u32) -> Result<(), Broken> {
        while let Some((At(at), _)) = self.steps.front() {
            if *at > slot {
                break;
            }
            let Some((_, step)) = self.steps.pop_front() else { break };
            let whom = step.nodes().first().map_or(0, |node| usize::from(node.0));
            self.about = whom;
            self.tell(whom, Told::Note, || format!("as the scenario says: {step}"));
            self.step(slot, step)?;
        }
        Ok(())
    }

    fn step(&mut self, slot: u32, step: Step) -> Result<(), Broken> {
        let now = self.now;
        match step {
            Step::Partition { one, other } => self.network.partition(&numbers(&one), &numbers(&other), true, FOR_EVER),
            Step::PartitionOneWay { from, to } => {
                self.network.partition(&numbers(&from), &numbers(&to), false, FOR_EVER)
            }
            Step::Flap { one, other, period } => {
                self.network.flap(&numbers(&one), &numbers(&other), now, nanos(period), FOR_EVER);
            }
            Step::Clog { from, to, lasts } => self.network.clog(from.0, to.0, now + nanos(lasts)),
            Step::Slow { node, by } => self.network.slow(node.0, nanos(by)),
            Step::Weather { fault, per_million } => self.network.set_rate(fault, per_million),
            Step::Rest { lasts } => {
                self.make_room();
                return self.pass(now + nanos(lasts));
            }
            Step::Heal => self.network.heal_links(),
            Step::Crash(node) => self.take_down(usize::from(node.0), slot, Disruption::PowerLoss),
            Step::Kill(node) => self.take_down(usize::from(node.0), slot, Disruption::Kill),
            Step::Restart(node) => return self.restart(usize::from(node.0), slot),
            Step::Pause { node, lasts } => {
                let node = usize::from(node.0);
                if self.nodes[node].process.is_some() {
                    self.pause(node, nanos(lasts));
                }
            }
            Step::Gone { node, lasts } => return self.exchange(node, slot, Disruption::Gone, nanos(lasts)),
            Step::Reinstall(node) => return self.exchange(node, slot, Disruption::Reinstall, 0),
            Step::LoseDisk(node) => return self.exchange(node, slot, Disruption::LoseDisk, 0),
            Step::RollBack(node) => return self.exchange(node, slot, Disruption::RollBack, 0),
            Step::Fault { node, fault } => self.nodes[usize::from(node.0)].disk.strike_once(fault),
            Step::WallJump { node, millis } => {
                let node = usize::from(node.0);
                self.disrupted(node, Disruption::WallJump, || format!("the wall clock jumps by {millis} ms"));
                self.nodes[node].jump(self.now, millis);
            }
        }
        Ok(())
    }

    /// A node goes down, and stays down.
    fn take_down(&mut self, node: usize, slot: u32, how: Disruption) {
        if self.nodes[node].process.is_some() {
            self.disrupt(node, slot, how);
            self.stop(node, how == Disruption::PowerLoss);
            self.nodes[node].held = true;
        }
    }

    /// A node that is down is started, one that is up is started anew.
    fn restart(&mut self, node: usize, slot: u32) -> Result<(), Broken> {
        if !self.nodes[node].held {
            return self.reopen(node, slot, Disruption::Reopen);
        }
        self.nodes[node].held = false;
        self.start(node, None)?;
        self.look(node, &[], true, Excuse { beyond: self.budget.beyond, ..Excuse::default() })
    }

    /// A machine is carried away, or is given another disk, whether it is up or down.
    fn exchange(&mut self, node: NodeId, slot: u32, what: Disruption, gone_for: u64) -> Result<(), Broken> {
        let node = usize::from(node.0);
        let down = core::mem::take(&mut self.nodes[node].held);
        self.replace(node, slot, what, gone_for, down)
    }

    fn faults_stop(&mut self) -> Result<(), Broken> {
        self.tell(0, Told::Note, || "the faults stop".to_owned());
        self.make_room();
        self.nodes.iter().for_each(|node| node.disk.calm());
        self.healed = true;
        self.network.heal();
        for node in 0..self.nodes.len() {
            self.about = node;
            self.resume(node);
            if core::mem::take(&mut self.nodes[node].held) {
                self.start(node, None)?;
            }
        }
        Ok(())
    }
}
