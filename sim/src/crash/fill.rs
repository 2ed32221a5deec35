//! P10: the disk fills at every operation that could fill it.

use super::judge::judge;
use super::model::Moment;
use super::parallel::in_parallel;
use super::player::{Clerk, Player, Stage};
use super::script::{Ask, Script, Value, content};
use crate::disk::{CrashVariant, Fault, FaultPlan, FaultyDisk, Operation};
use core::fmt;
use ouroboros_engine::node::{Failure, OpenError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

const ENOUGH: usize = 12;

/// What was tried, and what was wrong.
#[derive(Clone, Debug, Default)]
pub struct Fills {
    /// Operations at which the disk filled.
    pub points: u64,
    /// Runs.
    pub runs: u64,
    /// Requests that were refused for want of space, and done once there was some.
    pub refused: u64,
    /// Stores opened while the disk was full.
    pub opened_full: u64,
    /// What was wrong.
    pub violations: Vec<String>,
}

impl fmt::Display for Fills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fill points: {}, runs: {}, requests refused and repeated: {}, stores opened while full: {}, violations: {}",
            self.points,
            self.runs,
            self.refused,
            self.opened_full,
            self.violations.len()
        )?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}

/// An operation at which the disk fills.
struct FillPoint {
    stage: usize,
    number: u64,
    fault: Fault,
    operation: String,
}

fn record(script: &Script, once_too: bool) -> Result<(Vec<Stage>, Vec<FillPoint>), String> {
    let disk = FaultyDisk::new(FaultPlan::new(script.seed));
    disk.limit_log(0);
    let mut player = Player::new(script.store, disk.clone(), Clerk::default());
    let mut stages = Vec::new();
    let mut points = Vec::new();
    for stage in 0..script.stages {
        stages.push(player.stage());
        let found = Arc::new(Mutex::new(Vec::new()));
        let shared = found.clone();
        disk.watch(move |number, operation, _| {
            let faults: &[Fault] = match operation {
                Operation::Write { .. } | Operation::Truncate { .. } if once_too => &[Fault::FillsUp, Fault::Full],
                Operation::Write { .. } | Operation::Truncate { .. } => &[Fault::FillsUp],
                Operation::Open { .. } => &[Fault::Full],
                _ => &[],
            };
            let mut found = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let operation = format!("{operation:?}");
            found.extend(faults.iter().map(|fault| FillPoint {
                stage,
                number,
                fault: *fault,
                operation: operation.clone(),
            }));
        });
        player.start(script, stage).map_err(|error| error.to_string())?;
        let mut stream = script.stream(stage);
        for _ in 0..script.groups {
            let asks = script.group(&mut stream, &player.model);
            player.play(asks)?;
        }
        player.end(stage).map_err(|failure| failure.to_string())?;
        disk.unwatch();
        points.append(&mut found.lock().unwrap_or_else(PoisonError::into_inner));
    }
    Ok((stages, points))
}

struct Run<'a> {
    script: &'a Script,
    point: &'a FillPoint,
    player: Player,
    tally: Fills,
    /// The fault struck, and what followed from it was judged.
    over: bool,
    kill: bool,
}

fn says_full(error: &OpenError) -> bool {
    error.to_string().contains("the disk is full")
}

impl Run<'_> {
    fn is_full(&self) -> bool {
        !self.over && self.player.disk.fault_counts().of(self.point.fault) > 0
    }

    fn start(&mut self) -> Result<(), String> {
        let stage = self.point.stage;
        match self.player.start(self.script, stage) {
            Ok(()) => Ok(()),
            Err(error) if says_full(&error) && self.is_full() => {
                self.tally.refused += 1;
                self.player.disk.set_capacity(None);
                self.over = true;
                match self.player.start(self.script, stage) {
                    // Making it had come far enough.
                    Err(OpenError::Exists) if stage == 0 => {
                        self.player.reopen(1).map(|_| ()).map_err(|error| format!("half made: {error}"))
                    }
                    other => other.map_err(|error| format!("with space again, it does not open: {error}")),
                }
            }
            Err(error) => Err(format!("it does not open: {error}")),
        }
    }

    fn judge(&mut self, when: &str) -> Result<(), String> {
        let model = self.player.model.clone();
        judge(self.player.node()?, &model, Moment::MAX).map(|_| ()).map_err(|why| format!("{when}: {why}"))
    }

    /// The disk is full: what was acknowledged is there. Then there is space again: everything goes on.
    fn live_through(&mut self) -> Result<(), String> {
        self.judge("while the disk is full")?;
        // Something small; there may just be room for it.
        let small = Ask::Put { key: 0, value: Value::Bytes(content(100, 77)), base: None, pieces: 0 };
        let mut failed = core::mem::take(&mut self.player.failed);
        self.player.play(vec![small])?;
        failed.append(&mut self.player.failed);
        if let Some((ask, failure)) = failed.iter().find(|(_, failure)| *failure != Failure::Full) {
            return Err(format!("{ask:?} failed with {failure:?} when the disk was full"));
        }
        if self.kill {
            self.player.node = None;
            self.player.disk = self.player.disk.restart();
            match self.player.reopen(self.point.number) {
                Ok(_) => {
                    self.tally.opened_full += 1;
                    self.judge("opened while the disk is full")?;
                }
                Err(error) => return Err(format!("it does not open while the disk is full: {error}")),
            }
        }
        self.player.disk.set_capacity(None);
        self.over = true;
        for (ask, _) in failed {
            self.tally.refused += 1;
            self.player.play(vec![ask])?;
            if let Some((ask, failure)) = self.player.failed.pop() {
                return Err(format!("with space again, {ask:?} fails: {failure:?}"));
            }
        }
        self.judge("with space again")
    }

    fn run(&mut self) -> Result<(), String> {
        self.start()?;
        if self.is_full() {
            self.live_through()?;
        }
        let mut stream = self.script.stream(self.point.stage);
        for _ in 0..self.script.groups {
            let asks = self.script.group(&mut stream, &self.player.model);
            self.player.play(asks)?;
            if self.is_full() {
                self.live_through()?;
            }
            if let Some((ask, failure)) = self.player.failed.pop() {
                return Err(format!("{ask:?} failed although there was space: {failure:?}"));
            }
        }
        if let Err(failure) = self.player.end(self.point.stage) {
            if failure != Failure::Full || !self.is_full() {
                return Err(format!("it does not close: {failure:?}"));
            }
            if self.player.node.is_none() {
                // The last step of closing failed: the store is as after a crash.
                self.player.disk = self.player.disk.restart();
                self.player
                    .reopen(self.point.number)
                    .map_err(|error| format!("it does not open while the disk is full: {error}"))?;
            }
            self.live_through()?;
            self.player
                .end(self.point.stage)
                .map_err(|failure| format!("with space, it does not close: {failure:?}"))?;
        }
        self.player.disk.set_capacity(None);
        let (model, number) = (self.player.model.clone(), self.point.number);
        for disk in [self.player.disk.after_crash(CrashVariant::AllLost), self.player.disk.restart()] {
            disk.calm();
            let (mut node, opened) =
                self.script.store.open(&disk, number).map_err(|error| format!("it does not reopen: {error}"))?;
            if !opened.damaged.is_empty() {
                return Err(format!("a full disk is taken for damage: {opened:?}"));
            }
            judge(&mut node, &model, Moment::MAX).map_err(|why| format!("after reopening: {why}"))?;
            node.close().map_err(|failure| format!("it does not close at the end: {failure}"))?;
        }
        Ok(())
    }
}

/// Plays the script once for every operation that may fill the disk, from the stage on in which that is.
///
/// With `thorough`, writes are also refused once without the disk staying full.
///
/// # Errors
/// Text, when the script cannot be played even with space.
pub fn enumerate_fills(script: &Script, thorough: bool) -> Result<Fills, String> {
    let (stages, points) = record(script, thorough)?;
    let tally = Mutex::new(Fills { points: points.len() as u64, ..Fills::default() });
    in_parallel("fill points", points.len(), &|place| {
        let Some((point, stage)) = points.get(place).and_then(|point| Some((point, stages.get(point.stage)?))) else {
            return true;
        };
        let player = Player::resume(stage);
        player.disk.inject(point.number, point.fault);
        let tally_of_run = Fills { runs: 1, ..Fills::default() };
        let mut run = Run { script, point, player, tally: tally_of_run, over: false, kill: place % 2 == 1 };
        let result = catch_unwind(AssertUnwindSafe(|| run.run())).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(format!(
                "panic: {}",
                text.or(panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
            ))
        });
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.runs += run.tally.runs;
        tally.refused += run.tally.refused;
        tally.opened_full += run.tally.opened_full;
        if let Err(why) = result {
            let place = format!("stage {}, operation {}, {}", point.stage, point.number, point.operation);
            tally.violations.push(format!("{} at {place}: {why}", point.fault));
        }
        tally.violations.len() < ENOUGH
    });
    Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}
