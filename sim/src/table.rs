//! What befell nodes, and while they did what: the coverage of a campaign. A cell that stays empty is a gap, unless it is
//! one of those that are [impossible].

use crate::cause::{Cause, Rot};
use crate::disk::Fault;
use crate::state::State;
use crate::swarm::Disruption;
use core::fmt;
use ouroboros_engine::node::Activity;

/// How often each cause struck in each state.
#[derive(Clone, PartialEq, Eq)]
pub struct FaultTable(Vec<u64>);

impl Default for FaultTable {
    fn default() -> Self {
        Self(vec![0; Cause::COUNT * State::COUNT])
    }
}

impl fmt::Debug for FaultTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(cause, state, count)| ((cause.name(), state.name()), count))).finish()
    }
}

const fn place(cause: Cause, state: State) -> usize {
    cause.index() * State::COUNT + state.index()
}

impl FaultTable {
    /// How often a cause struck in a state.
    #[must_use]
    pub fn of(&self, cause: Cause, state: State) -> u64 {
        self.0[place(cause, state)]
    }

    /// How often a cause struck.
    #[must_use]
    pub fn total(&self, cause: Cause) -> u64 {
        State::all().map(|state| self.of(cause, state)).sum()
    }

    /// A cause has struck in a state.
    pub fn count(&mut self, cause: Cause, state: State) {
        self.0[place(cause, state)] += 1;
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    /// The rows: what befalls frames and links where there are any, that is in worlds of several nodes.
    fn causes(&self) -> impl Iterator<Item = Cause> {
        let of_network = |cause: &Cause| matches!(cause, Cause::Network(_));
        let networked = Cause::all().filter(of_network).any(|cause| self.total(cause) > 0);
        Cause::all().filter(move |cause| networked || !of_network(cause))
    }

    /// How many cells can be filled.
    #[must_use]
    pub fn possible(&self) -> usize {
        self.cells().filter(|(cause, state)| impossible(*cause, *state).is_none()).count()
    }

    fn cells(&self) -> impl Iterator<Item = (Cause, State)> {
        self.causes().flat_map(|cause| State::all().map(move |state| (cause, state)))
    }

    /// The cells that are empty and need not be, a line for each cause.
    #[must_use]
    pub fn gaps_in_words(&self) -> String {
        let mut out = String::new();
        for cause in self.causes() {
            let states: Vec<&str> =
                self.gaps().filter(|(other, _)| *other == cause).map(|(_, state)| state.name()).collect();
            if !states.is_empty() {
                out.push_str(&format!("no {cause} while: {}\n", states.join(", ")));
            }
        }
        out
    }

    /// The cells that are not empty.
    pub fn iter(&self) -> impl Iterator<Item = (Cause, State, u64)> + '_ {
        self.cells().map(|(cause, state)| (cause, state, self.of(cause, state))).filter(|(_, _, count)| *count > 0)
    }

    /// The cells that are empty and need not be.
    pub fn gaps(&self) -> impl Iterator<Item = (Cause, State)> + '_ {
        self.cells().filter(|(cause, state)| self.of(*cause, *state) == 0 && impossible(*cause, *state).is_none())
    }

    /// The cells that are not empty and were thought to have to be: the list of [impossible] ones is wrong then.
    pub fn surprises(&self) -> impl Iterator<Item = (Cause, State)> + '_ {
        self.iter()
            .map(|(cause, state, _)| (cause, state))
            .filter(|(cause, state)| impossible(*cause, *state).is_some())
    }
}

/// Why a cause cannot strike in a state within the budget; none if it can.
#[must_use]
pub const fn impossible(cause: Cause, state: State) -> Option<&'static str> {
    match cause {
        Cause::Disk(Fault::EarlyEnd) => Some("the disk's contract forbids it; only tests ask for it"),
        Cause::Disk(fault) => impossible_for_disk(fault, state),
        // Links are struck when a round begins, whether a node is there or not.
        Cause::Network(fault) if !fault.is_of_a_frame() => match state {
            State::AtRest | State::Dead => None,
            _ => impossible_between_rounds(state),
        },
        // Others write whatever the node does for which a frame is meant.
        Cause::Network(_) => None,
        // The power fails at an operation of the disk, or between two turns of a process.
        Cause::Power(_) => match state {
            State::AtRest => Some("nothing is under way that a power failure could take"),
            _ => None,
        },
        Cause::Rot(Rot::Unreadable) if matches!(state, State::Dead) => {
            Some("a log that did not rest stays shut where its end cannot be read: there rot is noise")
        }
        Cause::Rot(_) | Cause::Befell(Disruption::Rot) => match state {
            State::AtRest | State::Dead | State::Doing(Activity::Idle) => None,
            _ => Some("what rots within the budget has parity: a store that was closed, and the end of a deletion"),
        },
        Cause::Befell(Disruption::LoseIndex | Disruption::OldIndex) => match state {
            State::AtRest | State::Dead => None,
            _ => Some("nobody takes the index away from under a running process"),
        },
        Cause::Befell(Disruption::Gone | Disruption::Reinstall | Disruption::LoseDisk | Disruption::RollBack) => {
            match state {
                State::AtRest | State::Dead => None,
                _ => Some("a machine is gone, or is given another disk, when its process has ended"),
            }
        }
        // A machine may come back with another time than it had.
        Cause::Befell(Disruption::WallJump) if matches!(state, State::Dead) => None,
        Cause::Befell(Disruption::Reopen | Disruption::Keyless | Disruption::Rest) => impossible_between_rounds(state),
        Cause::Befell(
            Disruption::PowerLoss | Disruption::Kill | Disruption::WallJump | Disruption::TightDisk | Disruption::Pause,
        ) => impossible_between_turns(state),
    }
}

const fn impossible_for_disk(fault: Fault, state: State) -> Option<&'static str> {
    let directories = matches!(fault, Fault::DirectorySyncFailure | Fault::LyingDirectorySync);
    let elsewhere = matches!(fault, Fault::MisdirectedWriteElsewhere);
    match state {
        State::AtRest | State::Dead => Some("without a process nothing is asked of the disk"),
        State::Doing(Activity::Idle) => Some("who has nothing to do asks nothing of the disk"),
        // What writes is the index, which goes on as a cache: it is made anew, or flushed.
        State::Doing(Activity::ReadOnly) if elsewhere => Some("the index's volume has one file"),
        State::Doing(Activity::Closed) if directories => Some("the index's file is there when it is closed"),
        State::Doing(Activity::Unsettled) => match fault {
            Fault::Crash
            | Fault::WriteError
            | Fault::Full
            | Fault::FillsUp
            | Fault::SyncFailure
            | Fault::SyncFailureDroppingCache
            // The first commit of a segment owes it.
            | Fault::DirectorySyncFailure
            // And where that fails it is read again.
            | Fault::Exhausted
            | Fault::Away
            | Fault::Slow => None,
            _ => Some("all that is done is to write the parity of the log's end and to sync it"),
        },
        // Of the files that may be destroyed only processes without keys have a second in their volume.
        State::Doing(Activity::Closing | Activity::Uploading | Activity::Reading)
        | State::Opening
        | State::Recovering
            if elsewhere =>
        {
            Some("the index's volume has one file, but for who opens without keys")
        }
        _ => None,
    }
}

/// What waits until clients have their answers, and closes the store or leaves it alone.
const fn impossible_between_rounds(state: State) -> Option<&'static str> {
    match state {
        State::Doing(
            Activity::Closed
            | Activity::Closing
            | Activity::ScrubbingLog
            | Activity::ScrubbingSeals
            | Activity::ScrubbingVersions
            | Activity::ScrubbingIndex
            | Activity::Recoding
            | Activity::Uploading,
        ) => Some("clients wait for the end of what they have asked for"),
        State::Doing(_) => None,
        _ => Some("it begins with a process in service"),
    }
}

/// What strikes between two turns of a process in service.
const fn impossible_between_turns(state: State) -> Option<&'static str> {
    match state {
        State::Doing(Activity::Closed | Activity::Closing) => Some("no round is under way while a store is closed"),
        State::Doing(_) => None,
        State::Opening | State::Recovering | State::OpeningKeyless => Some("an opening is one step of the process"),
        State::AtRest | State::Dead => Some("no process runs"),
    }
}

/// Short enough for a column.
fn short(count: u64) -> String {
    match count {
        0..=9_999 => count.to_string(),
        10_000..=9_999_999 => format!("{}k", count / 1000),
        _ => format!("{}M", count / 1_000_000),
    }
}

/// The letter of a column.
fn letter(state: State) -> char {
    (b'a' + state.index() as u8) as char
}

impl fmt::Display for FaultTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "While a node was …")?;
        let legend: Vec<String> = State::all().map(|state| format!("{} {}", letter(state), state.name())).collect();
        for line in legend.chunks(4) {
            let line: String = line.iter().map(|entry| format!("  {entry:<30}")).collect();
            writeln!(f, "{}", line.trim_end())?;
        }
        writeln!(f, "… it was struck so often by (· never, blank: impossible)")?;
        write!(f, "{:<28}", "")?;
        State::all().try_for_each(|state| write!(f, "{:>6}", letter(state)))?;
        writeln!(f, "{:>8}", "sum")?;
        for cause in self.causes() {
            let mut line = format!("{:<28}", cause.name());
            for state in State::all() {
                let cell = match (self.of(cause, state), impossible(cause, state)) {
                    (0, Some(_)) => String::new(),
                    (0, None) => "·".to_owned(),
                    (count, _) => short(count),
                };
                line.push_str(&format!("{cell:>6}"));
            }
            line.push_str(&format!("{:>8}", short(self.total(cause))));
            writeln!(f, "{}", line.trim_end())?;
        }
        let (gaps, possible) = (self.gaps().count(), self.possible());
        writeln!(f, "{} of {possible} possible cells are filled", possible - gaps)?;
        for (cause, state) in self.surprises() {
            writeln!(f, "not impossible after all: {cause} while {state}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::NetworkFault;

    #[test]
    fn what_is_called_impossible_is_seldom_and_has_a_reason() {
        let empty = FaultTable::default();
        let (possible, all) = (empty.possible(), empty.cells().count());
        assert!(possible * 2 > all, "{possible} of {all}");
        assert!(empty.gaps_in_words().contains("no kill while: read-only, rebuilding the index"));
        let mut surprised = FaultTable::default();
        surprised.count(Cause::Disk(Fault::Slow), State::AtRest);
        assert!(surprised.to_string().contains("not impossible after all: slow while at rest"));
    }

    #[test]
    fn a_strike_is_found_where_it_was_counted_and_sums_add_up() {
        let mut table = FaultTable::default();
        let state = State::Doing(Activity::MovingRecords);
        table.count(Cause::Disk(Fault::Crash), state);
        let mut sum = table.clone();
        sum.add(&table);
        assert_eq!(sum.iter().collect::<Vec<_>>(), [(Cause::Disk(Fault::Crash), state, 2)]);
        assert_eq!(sum.gaps().count(), sum.possible() - 1);
    }

    #[test]
    fn what_befalls_frames_has_rows_where_there_are_frames() {
        let mut table = FaultTable::default();
        let alone = table.possible();
        let of_frames = NetworkFault::OF_FRAMES * State::COUNT;
        let links = || NetworkFault::ALL.into_iter().filter(|fault| !fault.is_of_a_frame());
        let may = |(fault, state): &(NetworkFault, State)| impossible(Cause::Network(*fault), *state).is_none();
        let of_links = links().flat_map(|fault| State::all().map(move |state| (fault, state))).filter(may).count();
        assert!(of_links < links().count() * State::COUNT);
        assert!(!table.to_string().contains("link-drop") && !table.gaps_in_words().contains("link-delay"));
        table.count(Cause::Network(NetworkFault::Drop), State::Dead);
        assert!(table.to_string().contains("link-drop") && table.gaps_in_words().contains("no link-delay while"));
        assert_eq!(table.possible(), alone + of_frames + of_links);
    }
}
