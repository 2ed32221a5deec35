//! A run as a text: what it was started with, and every choice that was not calm. Two schedules can be compared by any
//! tool that compares lines.
//!
//! ```text
//! ouroboros-sim schedule 1
//! program 0.1.0
//! seed 42
//! operations 50
//! beyond no
//! breaks P7 version 3f… of "a/b" is lost
//!
//! swarm 0 3 2
//! workload 0 64 1
//! ```
//!
//! A line of choices is a purpose, a node, a position and a value. Lines that begin with `#` are for people. `nodes N`
//! stands there where there are several; `calm yes` and `at SLOT STEP` where a [scenario](crate::scenario) asks for them.

use crate::scenario::{At, Step};
use crate::tape::{Choices, Purpose, StreamId};
use crate::world::MAX_NODES;
use core::fmt;

/// The first line.
const HEAD: &str = "ouroboros-sim schedule 1";

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Seeds what is no choice: the contents of values and the node's own randomness.
    pub seed: u64,
    /// The program that wrote it.
    pub program: String,
    /// How many operations clients ask for, at most.
    pub operations: u32,
    /// How many nodes there are.
    pub nodes: u8,
    /// Whether nothing goes wrong but what the steps say.
    pub calm: bool,
    /// What was to happen, and when.
    pub steps: Vec<(At, Step)>,
    /// Whether the world destroys more than the promises allow for.
    pub beyond: bool,
    /// Whether the oracle takes something right for a broken promise, to show that the simulator is awake.
    pub canary: bool,
    /// The bug that is planted, where the program has it.
    pub planted: Option<String>,
    /// The promise that breaks, and how.
    pub breaks: Option<String>,
    /// Every choice that was not calm.
    pub choices: Choices,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            seed: 0,
            program: String::new(),
            operations: 0,
            nodes: 1,
            calm: false,
            steps: Vec::new(),
            beyond: false,
            canary: false,
            planted: None,
            breaks: None,
            choices: Choices::new(),
        }
    }
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct NotASchedule {
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes = |flag: bool| if flag { "yes" } else { "no" };
        writeln!(f, "{HEAD}\nprogram {}\nseed {}\noperations {}", self.program, self.seed, self.operations)?;
        writeln!(f, "beyond {}", yes(self.beyond))?;
        if self.nodes > 1 {
            writeln!(f, "nodes {}", self.nodes)?;
        }
        if self.calm {
            writeln!(f, "calm yes")?;
        }
        if self.canary {
            writeln!(f, "canary yes")?;
        }
        if let Some(planted) = &self.planted {
            writeln!(f, "planted {planted}")?;
        }
        for (At(slot), step) in &self.steps {
            writeln!(f, "at {slot} {step}")?;
        }
        if let Some(breaks) = &self.breaks {
            writeln!(f, "breaks {}", breaks.replace('\n', " "))?;
        }
        writeln!(f)?;
        for ((stream, position), value) in &self.choices {
            writeln!(f, "{} {} {position} {value}", stream.purpose.name(), stream.node)?;
        }
        Ok(())
    }
}

fn number<T: core::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not the number that belongs here"))
}

fn flag(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => Err(format!("{other:?} is neither yes nor no")),
    }
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// [`NotASchedule`].
    pub fn parse(text: &str) -> Result<Self, NotASchedule> {
        let mut schedule = Self::default();
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let head = lines.next().map(|(_, line)| line);
        if head != Some(HEAD) {
            return Err(NotASchedule { line: 1, what: format!("a schedule begins with {HEAD:?}") });
        }
        for (line, text) in lines {
            schedule.line(text).map_err(|what| NotASchedule { line, what })?;
        }
        Ok(schedule)
    }

    fn line(&mut self, text: &str) -> Result<(), String> {
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let (word, rest) = text.split_once(' ').ok_or_else(|| format!("{text:?} says nothing"))?;
        match word {
            "program" => self.program = rest.to_owned(),
            "seed" => self.seed = number(rest)?,
            "operations" => self.operations = number(rest)?,
            "beyond" => self.beyond = flag(rest)?,
            "canary" => self.canary = flag(rest)?,
            "planted" => self.planted = Some(rest.to_owned()),
            "calm" => self.calm = flag(rest)?,
            "nodes" => {
                let nodes = number(rest)?;
                if !(1..=MAX_NODES).contains(&nodes) {
                    return Err(format!("there may be 1 to {MAX_NODES} nodes, not {nodes}"));
                }
                self.nodes = nodes;
            }
            "at" => {
                let (slot, step) = rest.split_once(' ').ok_or_else(|| format!("{rest:?} is no slot and no step"))?;
                self.steps.push((At(number(slot)?), step.parse()?));
            }
            "breaks" => self.breaks = Some(rest.to_owned()),
            purpose => {
                let purpose = Purpose::named(purpose).ok_or_else(|| format!("there are no choices of {purpose:?}"))?;
                let numbers: Vec<&str> = rest.split_ascii_whitespace().collect();
                let [node, position, value] = numbers[..] else {
                    return Err("a choice is a purpose, a node, a position and a value".to_owned());
                };
                let stream = StreamId::new(purpose, number(node)?);
                self.choices.insert((stream, number(position)?), number(value)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::NodeId;

    #[test]
    fn what_is_printed_is_read_again() {
        let mut schedule = Schedule { seed: 42, program: "0.1.0".into(), operations: 50, ..Schedule::default() };
        schedule.breaks = Some("P7 a version is lost".into());
        schedule.planted = Some("CommitWithoutSync".into());
        assert!(!schedule.to_string().contains("nodes"), "one node is what an older schedule has");
        schedule.nodes = 3;
        schedule.calm = true;
        schedule.steps = vec![(At(4), Step::Crash(NodeId(2))), (At(9), Step::Heal)];
        schedule.choices.insert((StreamId::new(Purpose::Workload, 0), 64), 3);
        schedule.choices.insert((StreamId::new(Purpose::Fault, 2), u64::MAX), u64::MAX);
        assert_eq!(Schedule::parse(&schedule.to_string()), Ok(schedule));
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_its_line() {
        assert_eq!(Schedule::parse("").unwrap_err().line, 1);
        for line in [
            "swarm 0 1",
            "swarm x 1 2",
            "weather 0 1 2",
            "beyond maybe",
            "seed -1",
            "word",
            "nodes 0",
            "nodes 99",
            "at 3",
            "at x heal",
        ] {
            assert_eq!(Schedule::parse(&format!("{HEAD}\n\n{line}\n")).unwrap_err().line, 3, "{line}");
        }
    }
}
