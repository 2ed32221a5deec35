//! What an engineer wants to happen, and when: the steps of a scenario test.

use crate::disk::Fault;
use crate::network::NetworkFault;
use core::fmt;
use core::time::Duration;

/// A node of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u8);

impl NodeId {
    /// The first nodes, as many as are asked for.
    ///
    /// ```
    /// # use ouroboros_sim::NodeId;
    /// let [a, b, c] = NodeId::first();
    /// assert_eq!((a, b, c), (NodeId(0), NodeId(1), NodeId(2)));
    /// ```
    #[must_use]
    pub const fn first<const N: usize>() -> [Self; N] {
        let mut out = [Self(0); N];
        let mut at = 0;
        while at < N {
            out[at] = Self(at as u8);
            at += 1;
        }
        out
    }
}

/// A moment of a scenario: the beginning of the first round that begins with this slot of the workload or a later one. Every
/// node has the same slots; what is to happen after the last of them happens when its round is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(pub u32);

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Two sides cannot hear each other.
    Partition {
        /// One side.
        one: Vec<NodeId>,
        /// The other.
        other: Vec<NodeId>,
    },
    /// What one side sends does not reach the other.
    PartitionOneWay {
        /// Who is not heard.
        from: Vec<NodeId>,
        /// By whom.
        to: Vec<NodeId>,
    },
    /// The links between two sides go down and up by turns.
    Flap {
        /// One side.
        one: Vec<NodeId>,
        /// The other.
        other: Vec<NodeId>,
        /// How long they stay down, and up.
        period: Duration,
    },
    /// What one node sends to another waits.
    Clog {
        /// The sender.
        from: NodeId,
        /// The receiver.
        to: NodeId,
        /// For how long.
        lasts: Duration,
    },
    /// Every frame that a node sends takes longer.
    Slow {
        /// The node.
        node: NodeId,
        /// By how much.
        by: Duration,
    },
    /// A fault of the network strikes at this rate from now on.
    Weather {
        /// Which.
        fault: NetworkFault,
        /// Of a million frames, or slots, so many are struck.
        per_million: u32,
    },
    /// Time passes, and no client asks anything.
    Rest {
        /// How much.
        lasts: Duration,
    },
    /// Every link is whole again.
    Heal,
    /// The power of a node fails, and does not come back by itself.
    Crash(NodeId),
    /// A node's process is killed, and does not come back by itself.
    Kill(NodeId),
    /// A node that is down is started; one that is up is closed and started again.
    Restart(NodeId),
    /// A node's process gets no turn for a while.
    Pause {
        /// The node.
        node: NodeId,
        /// For how long.
        lasts: Duration,
    },
    /// A node is down while time passes, and comes back.
    Gone {
        /// The node.
        node: NodeId,
        /// For how long.
        lasts: Duration,
    },
    /// A node is installed anew: the same identity, an empty disk.
    Reinstall(NodeId),
    /// A node's disk is gone; it says so, and is installed anew.
    LoseDisk(NodeId),
    /// A node's disk is what it was at an earlier moment.
    RollBack(NodeId),
    /// A node's wall clock jumps.
    WallJump {
        /// The node.
        node: NodeId,
        /// By so many milliseconds, forth or back.
        millis: i64,
    },
    /// A fault strikes a node's disk: the first operation from then on that it has a meaning for.
    Fault {
        /// The node.
        node: NodeId,
        /// Which.
        fault: Fault,
    },
}

impl Step {
    /// The nodes it names.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        match self {
            Self::Partition { one, other } | Self::Flap { one, other, .. } => [&one[..], other].concat(),
            Self::PartitionOneWay { from, to } => [&from[..], to].concat(),
            Self::Clog { from, to, .. } => vec![*from, *to],
            Self::Heal | Self::Rest { .. } | Self::Weather { .. } => Vec::new(),
            Self::Slow { node, .. }
            | Self::Pause { node, .. }
            | Self::Gone { node, .. }
            | Self::WallJump { node, .. }
            | Self::Fault { node, .. } => {
                vec![*node]
            }
            Self::Crash(node)
            | Self::Kill(node)
            | Self::Restart(node)
            | Self::Reinstall(node)
            | Self::LoseDisk(node)
            | Self::RollBack(node) => vec![*node],
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// As it stands in schedules, behind the slot: words with spaces between them, nodes of one side with commas, nanoseconds.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |nodes: &[NodeId]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        match self {
            Self::Partition { one, other } => write!(f, "partition {} {}", side(one), side(other)),
            Self::PartitionOneWay { from, to } => write!(f, "one-way {} {}", side(from), side(to)),
            Self::Flap { one, other, period } => write!(f, "flap {} {} {}", side(one), side(other), period.as_nanos()),
            Self::Clog { from, to, lasts } => write!(f, "clog {from} {to} {}", lasts.as_nanos()),
            Self::Slow { node, by } => write!(f, "slow {node} {}", by.as_nanos()),
            Self::Weather { fault, per_million } => write!(f, "weather {fault} {per_million}"),
            Self::Rest { lasts } => write!(f, "rest {}", lasts.as_nanos()),
            Self::Heal => f.write_str("heal"),
            Self::Crash(node) => write!(f, "crash {node}"),
            Self::Kill(node) => write!(f, "kill {node}"),
            Self::Restart(node) => write!(f, "restart {node}"),
            Self::Pause { node, lasts } => write!(f, "pause {node} {}", lasts.as_nanos()),
            Self::Gone { node, lasts } => write!(f, "gone {node} {}", lasts.as_nanos()),
            Self::Reinstall(node) => write!(f, "reinstall {node}"),
            Self::LoseDisk(node) => write!(f, "lose-disk {node}"),
            Self::RollBack(node) => write!(f, "roll-back {node}"),
            Self::WallJump { node, millis } => write!(f, "wall-jump {node} {millis}"),
            Self::Fault { node, fault } => write!(f, "fault {node} {fault}"),
        }
    }
}

impl core::str::FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let senseless = || format!("{text:?} is no step of a scenario");
        let node = |word: &str| word.parse().map(NodeId).map_err(|_| senseless());
        let side = |word: &str| word.split(',').map(node).collect::<Result<Vec<_>, _>>();
        let nanos = |word: &str| word.parse().map(Duration::from_nanos).map_err(|_| senseless());
        Ok(match words[..] {
            ["partition", one, other] => Self::Partition { one: side(one)?, other: side(other)? },
            ["one-way", from, to] => Self::PartitionOneWay { from: side(from)?, to: side(to)? },
            ["flap", one, other, period] => Self::Flap { one: side(one)?, other: side(other)?, period: nanos(period)? },
            ["clog", from, to, lasts] => Self::Clog { from: node(from)?, to: node(to)?, lasts: nanos(lasts)? },
            ["slow", which, by] => Self::Slow { node: node(which)?, by: nanos(by)? },
            ["weather", name, rate] => Self::Weather {
                fault: NetworkFault::ALL.into_iter().find(|fault| fault.name() == name).ok_or_else(senseless)?,
                per_million: rate.parse().map_err(|_| senseless())?,
            },
            ["rest", lasts] => Self::Rest { lasts: nanos(lasts)? },
            ["heal"] => Self::Heal,
            ["crash", which] => Self::Crash(node(which)?),
            ["kill", which] => Self::Kill(node(which)?),
            ["restart", which] => Self::Restart(node(which)?),
            ["pause", which, lasts] => Self::Pause { node: node(which)?, lasts: nanos(lasts)? },
            ["gone", which, lasts] => Self::Gone { node: node(which)?, lasts: nanos(lasts)? },
            ["reinstall", which] => Self::Reinstall(node(which)?),
            ["lose-disk", which] => Self::LoseDisk(node(which)?),
            ["roll-back", which] => Self::RollBack(node(which)?),
            ["wall-jump", which, millis] => {
                Self::WallJump { node: node(which)?, millis: millis.parse().map_err(|_| senseless())? }
            }
            ["fault", which, name] => Self::Fault {
                node: node(which)?,
                fault: Fault::ALL.into_iter().find(|fault| fault.name() == name).ok_or_else(senseless)?,
            },
            _ => return Err(senseless()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_is_printed_is_read_again() {
        let (a, b, c) = (NodeId(0), NodeId(1), NodeId(2));
        let lasts = Duration::from_millis(5);
        let steps = [
            Step::Partition { one: vec![a], other: vec![b, c] },
            Step::PartitionOneWay { from: vec![a, b], to: vec![c] },
            Step::Flap { one: vec![a], other: vec![b], period: lasts },
            Step::Clog { from: a, to: b, lasts },
            Step::Slow { node: a, by: lasts },
            Step::Weather { fault: NetworkFault::Drop, per_million: 1000 },
            Step::Rest { lasts },
            Step::Heal,
            Step::Crash(a),
            Step::Kill(b),
            Step::Restart(c),
            Step::Pause { node: a, lasts },
            Step::Gone { node: b, lasts },
            Step::Reinstall(a),
            Step::LoseDisk(b),
            Step::RollBack(c),
            Step::WallJump { node: a, millis: -5 },
            Step::Fault { node: b, fault: Fault::SyncFailure },
        ];
        for step in steps {
            assert_eq!(step.to_string().parse(), Ok(step));
        }
        for senseless in ["", "partition 0", "crash x", "clog 0 1", "heal 3", "weather", "pause 0 -1", "fault 0 drop"] {
            assert!(senseless.parse::<Step>().is_err(), "{senseless}");
        }
    }
}
