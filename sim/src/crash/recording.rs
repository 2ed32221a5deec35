//! A script, played once without a crash, with the disk as it was before every operation that changes it.

use super::judge::judge;
use super::model::{Model, Moment};
use super::player::{Clerk, Done, Player};
use super::script::Script;
use crate::disk::{FaultPlan, FaultyDisk, Operation};
use core::fmt;
use core::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// The disk right before an operation.
pub(super) struct CrashPoint {
    pub(super) disk: FaultyDisk,
    pub(super) at: Moment,
    pub(super) operation: NextOperation,
}

/// What did not happen any more.
#[derive(Clone)]
pub(super) struct NextOperation(Option<(u64, Operation)>);

impl fmt::Display for NextOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((number, operation)) => write!(f, "{number}, {operation:?}"),
            None => f.write_str("the end"),
        }
    }
}

/// The operations of a disk, as they come.
#[derive(Clone, Default)]
pub(super) struct Watched(Arc<Mutex<Vec<CrashPoint>>>);

impl Watched {
    /// Writes down every crash point of a disk from now on, with the moment as the clerk has it.
    pub(super) fn of(disk: &FaultyDisk, clerk: Clerk) -> Self {
        let watched = Self::default();
        let points = watched.clone();
        disk.watch(move |number, operation, disk| {
            points.push(CrashPoint {
                disk,
                at: clerk.now(),
                operation: NextOperation(Some((number, operation.clone()))),
            });
        });
        watched
    }

    fn push(&self, point: CrashPoint) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(point);
    }

    /// All of them: the last is that after the last operation.
    pub(super) fn end(self, disk: &FaultyDisk, at: Moment) -> Vec<CrashPoint> {
        disk.unwatch();
        self.push(CrashPoint { disk: disk.snapshot(), at, operation: NextOperation(None) });
        core::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// See the module's text.
pub(super) struct Recording {
    pub(super) script: Script,
    pub(super) points: Vec<CrashPoint>,
    pub(super) model: Model,
    /// When the store had been made.
    pub(super) made: Moment,
    pub(super) done: Done,
}

impl Recording {
    /// Plays the script.
    ///
    /// # Errors
    /// Text, when it cannot be played even without a crash.
    pub(super) fn of(script: &Script) -> Result<Self, String> {
        let disk = FaultyDisk::new(FaultPlan::new(script.seed));
        disk.limit_log(0);
        let clerk = Clerk::default();
        let watched = Watched::of(&disk, clerk.clone());
        let mut player = Player::new(script.store, disk, clerk.clone());
        let mut made = 0;
        for stage in 0..script.stages {
            player.start(script, stage).map_err(|error| format!("stage {stage}: {error}"))?;
            if stage == 0 {
                made = clerk.tick();
            }
            let mut stream = script.stream(stage);
            for _ in 0..script.groups {
                let asks = script.group(&mut stream, &player.model);
                player.play(asks)?;
                if let Some((ask, failure)) = player.failed.pop() {
                    return Err(format!("{ask:?} failed on a good disk: {failure}"));
                }
            }
            let model = player.model.clone();
            judge(player.node()?, &model, Moment::MAX)
                .map_err(|why| format!("without any crash, stage {stage}: {why}"))?;
            player.end(stage).map_err(|failure| format!("the store does not close: {failure}"))?;
            if script.keyless {
                player.visit_keyless(script, stage).map_err(|why| format!("after stage {stage}: {why}"))?;
            }
        }
        let points = watched.end(&player.disk, clerk.now());
        Ok(Self { script: *script, points, model: player.model, made, done: player.done })
    }

    /// The crash points, those together between which nobody asked or was told anything: among them a crash may leave the
    /// very same disk.
    pub(super) fn moments(&self) -> Vec<Range<usize>> {
        let mut moments: Vec<Range<usize>> = Vec::new();
        for (number, point) in self.points.iter().enumerate() {
            match moments.last_mut() {
                Some(last) if self.points.get(last.start).is_some_and(|first| first.at == point.at) => {
                    last.end = number + 1;
                }
                _ => moments.push(number..number + 1),
            }
        }
        moments
    }
}
