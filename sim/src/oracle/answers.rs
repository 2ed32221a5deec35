//! Holding what the node answers against what the model says.

use super::learn::{describe, wrong_answer};
use super::{Broken, Excuse, Oracle, Promise, demand};
use crate::workload::Task;
use ouroboros_engine::id::{BlobId, Hlc};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Damage, DamageOutcome, Failure, Got, Reply, Request, Select, Version};
use std::collections::BTreeSet;

/// Whose answers must be the model's, of those in a round.
#[derive(Debug)]
pub(crate) struct Calm {
    /// All: nobody changes anything.
    pub(crate) all: bool,
    /// Those about other keys than these, which somebody changes. None where the process ended meanwhile.
    pub(crate) but: Option<BTreeSet<KeyName>>,
}

impl Oracle {
    /// Checks the answer to a question. Where nobody changes what it is about it must be the model's; else it may be of any
    /// moment, but never a wrong one.
    pub(crate) fn check_answer(&self, task: &Task, calm: &Calm, excuse: Excuse) -> Result<(), Broken> {
        let (Some(request), Some(reply)) = (&task.asked, &task.reply) else { return Ok(()) };
        if let Reply::Failed(failure) = reply
            && (excuse.covers(failure) || self.beyond)
        {
            return self.check_excused(request, failure, excuse);
        }
        // Something may be hidden until a scrub; the oracle's own questions see to that. And where something failed nobody may
        // know yet what came of it.
        let sure = !self.beyond && !excuse.blind;
        let calm = &Calm { all: calm.all && !excuse.struck, but: calm.but.clone() };
        let of_key = |key: &KeyName| sure && (calm.all || calm.but.as_ref().is_some_and(|but| !but.contains(key)));
        let of_version = |id: &BlobId| self.model.versions.get(id).map_or(sure && calm.all, |it| of_key(&it.key));
        let single = sure && calm.all;
        match (request, reply) {
            (Request::Get(wanted), Reply::Got(results)) => {
                demand!(P2, wanted.len() == results.len(), "{} answers to {}", results.len(), describe(task));
                for ((key, select), got) in wanted.iter().zip(results) {
                    if let Ok(got) = got {
                        demand!(P2, got.key == *key, "{key} is asked for, and {} comes", got.key);
                        let right = !matches!(select, Select::Version(id) if *id != got.version.id);
                        demand!(P2, right, "{select:?} is asked for, and {} comes", got.version.id);
                    }
                    let single = match select {
                        Select::Version(id) => of_key(key) && of_version(id),
                        _ => of_key(key),
                    };
                    self.check_got(self.model.select(key, *select), got, single, excuse)?;
                }
            }
            (Request::GetVersion(id), Reply::Got(results)) => {
                let expected = self.model.live(*id).map(|_| *id).ok_or(Failure::NoSuchVersion(*id));
                demand!(P2, results.len() == 1, "{} answers to {}", results.len(), describe(task));
                for got in results {
                    let right = got.as_ref().is_ok_and(|got| got.version.id == *id) || got.is_err();
                    demand!(P2, right, "{id} is asked for, and another version comes");
                    self.check_got(expected.clone(), got, of_version(id), excuse)?;
                }
            }
            (Request::Exist(ids), Reply::Exist(found)) => {
                let expected: Vec<bool> = ids.iter().map(|id| self.model.live(*id).is_some()).collect();
                let single = ids.iter().all(of_version);
                demand!(P1, !single || *found == expected, "of {ids:?} there are {found:?}, not {expected:?}");
            }
            (Request::Read { blob, range }, Reply::Data(pieces)) => {
                let live = self.model.live(*blob).is_some();
                demand!(P3, live || !of_version(blob), "purged version {blob} was read");
                let content = self.model.versions.get(blob).and_then(|version| version.content.clone());
                let content = content.unwrap_or_default();
                let (start, end) = (range.start, range.end.min(content.len() as u64));
                let (start, end) = (start.min(end) as usize, end as usize);
                demand!(P9, range.end.saturating_sub(range.start) <= self.read_len, "{range:?} was read at once");
                demand!(P2, pieces.concat() == content[start..end], "other bytes at {range:?} of {blob}");
            }
            (Request::Read { blob, range }, Reply::Failed(failure)) => match failure {
                Failure::TooLarge { .. } => {
                    demand!(
                        P2,
                        range.end.saturating_sub(range.start) > self.read_len,
                        "{range:?} is too large to read"
                    );
                }
                Failure::NoSuchVersion(id) => {
                    let purged = self.model.live(*blob).is_none();
                    demand!(P1, id == blob && purged, "{blob} is there and cannot be read");
                }
                _ => return Err(wrong_answer(task, reply)),
            },
            (Request::Heads(key), Reply::Versions(versions)) => {
                let heads = self.model.heads(key);
                let shown = ids(versions);
                demand!(P5, !of_key(key) || shown == heads, "the heads of {key} are {heads:?}, not {shown:?}");
            }
            (Request::Heads(key) | Request::Log { key, after: None, .. }, Reply::Failed(Failure::NoSuchKey(_))) => {
                demand!(P1, !of_key(key) || self.model.history(key).is_empty(), "{key} is there, and is not found");
            }
            (Request::Log { key, limit, after }, Reply::Versions(versions)) => {
                let history = self.model.history(key).into_iter();
                let is_next = |entry: &(Hlc, BlobId)| after.is_none_or(|after| *entry < after);
                let history: Vec<BlobId> = history.filter(is_next).map(|(_, id)| id).collect();
                let right = ids(versions) == history[..history.len().min(*limit)];
                demand!(P5, !of_key(key) || right, "the history of {key} is {history:?}, not {:?}", ids(versions));
            }
            (Request::MergeBases(sides), Reply::Versions(bases)) => {
                let expected = self.model.merge_bases(sides);
                let shown = ids(bases);
                let single = sides.iter().all(of_version);
                demand!(P5, !single || shown == expected, "the bases of {sides:?} are {expected:?}, not {shown:?}");
            }
            (Request::MergeBases(sides), Reply::Failed(Failure::NoSuchVersion(id))) => {
                let purged = self.model.live(*id).is_none();
                demand!(P1, sides.contains(id) && purged, "{id} is there, and is not found");
            }
            (Request::Diff { from, to }, Reply::Diff(diff)) => {
                let live = self.model.live(*from).is_some() && self.model.live(*to).is_some();
                demand!(P3, !(of_version(from) && of_version(to)) || live, "a purged version was compared");
                let side = |id: &BlobId| {
                    self.model.versions.get(id).and_then(|version| version.content.clone()).unwrap_or_default()
                };
                check_diff(&side(from), &side(to), &diff.ranges)?;
            }
            (Request::Diff { from, to }, Reply::Failed(Failure::NoSuchVersion(id))) => {
                let purged = self.model.live(*id).is_none();
                demand!(P1, (id == from || id == to) && purged, "{id} is there, and is not found");
            }
            (Request::List(request), Reply::Listing(page)) => {
                let expected = self.model.list(request);
                let limit = request.limit.max(1);
                let expected = &expected[..expected.len().min(limit)];
                let right = page.entries == expected;
                demand!(P1, !single || right, "{request:?} shows {:?}, not {expected:?}", page.entries);
                let next = page.entries.get(limit - 1).map(|last| last.name.clone());
                demand!(P1, page.next == next, "{request:?} goes on behind {:?}, not {next:?}", page.next);
            }
            (Request::Stats, Reply::Stats(stats)) => {
                let versions = self.model.live_versions().count() as u64;
                let counted = stats.versions;
                demand!(P1, !single || counted == versions, "{counted} versions are counted, and there are {versions}");
                demand!(P9, stats.live_bytes <= stats.log_bytes, "more is alive than there is: {stats:?}");
            }
            (Request::Scrub { .. }, Reply::Scrubbed(report)) => {
                // What rotted and nothing refers to stays as it is until a compaction.
                let harmless = |damage: &Damage| {
                    excuse.rotted && damage.outcome != DamageOutcome::Lost || excuse.spoiled && is_of_index(damage)
                };
                let clean = report.damage.iter().all(harmless) && report.lost.is_empty();
                let excused = excuse.damaged || excuse.torn || self.beyond;
                demand!(P2, clean || excused, "a scrub found damage where nothing was damaged: {report:?}");
                demand!(
                    P1,
                    report.lost.is_empty() || self.beyond || excuse.struck,
                    "a scrub calls versions lost: {report:?}"
                );
            }
            (Request::Compact, Reply::Compacted(_)) => {}
            (Request::Recode(_), Reply::Recoded(report)) => {
                let excused = report.damaged.is_empty() || excuse.struck || self.beyond;
                demand!(P1, excused, "a recoding gave up what the redundancy covers: {report:?}");
            }
            (_, reply) => return Err(wrong_answer(task, reply)),
        }
        Ok(())
    }

    /// Even what was done to the node does not excuse everything: a disk that takes no more writes is read, and what has
    /// rotted within the redundancy is made good on the way.
    fn check_excused(&self, request: &Request, failure: &Failure, excuse: Excuse) -> Result<(), Broken> {
        if self.beyond {
            return Ok(());
        }
        let upkeep = matches!(request, Request::Scrub { .. } | Request::Recode(_) | Request::Compact | Request::Close);
        demand!(P10, upkeep || *failure != Failure::Full, "{request:.200?} was refused by a full disk");
        demand!(
            P2,
            upkeep || !matches!(failure, Failure::Disk(_)),
            "{request:.200?} needs no writes, and failed: {failure}"
        );
        let asked: &[&BlobId] = match request {
            Request::GetVersion(id) | Request::Read { blob: id, .. } => &[id],
            Request::Diff { from, to } => &[from, to],
            _ => &[],
        };
        let live = !asked.is_empty() && asked.iter().all(|id| self.model.live(**id).is_some());
        let healed = matches!(failure, Failure::Damaged { .. }) && !excuse.struck;
        demand!(P1, !(live && healed), "{request:.200?} failed within the redundancy: {failure}");
        Ok(())
    }

    fn check_got(
        &self,
        expected: Result<BlobId, Failure>,
        got: &Result<Got, Failure>,
        single: bool,
        excuse: Excuse,
    ) -> Result<(), Broken> {
        let got = match got {
            Err(failure) if excuse.covers(failure) || self.beyond => {
                let refused = *failure == Failure::Full && !self.beyond;
                demand!(P10, !refused, "{expected:?} is asked for, and was refused by a full disk");
                let healed = matches!(failure, Failure::Damaged { .. }) && !excuse.struck && !self.beyond;
                demand!(
                    P1,
                    !(single && healed && expected.is_ok()),
                    "{expected:?} failed within the redundancy: {failure}"
                );
                return Ok(());
            }
            Err(failure) if single => {
                let right = expected.as_ref().err() == Some(failure);
                demand!(P1, right, "{failure:?} instead of {expected:?}");
                return Ok(());
            }
            Err(
                Failure::NoSuchKey(_) | Failure::Gone { .. } | Failure::NoSuchVersion(_) | Failure::OtherKey { .. },
            ) => return Ok(()),
            Err(failure) => return Err(Broken::new(Promise::P2, format!("{failure:?} instead of a version"))),
            Ok(got) => got,
        };
        let id = got.version.id;
        demand!(P2, !single || expected == Ok(id), "{expected:?} is asked for, and {id} comes");
        // Somebody else may just have made it.
        let Some(version) = self.model.versions.get(&id) else {
            demand!(P2, !single, "nobody knows version {id}");
            return Ok(());
        };
        let len = version.content.as_ref().map_or(0, |content| content.len() as u64);
        demand!(P2, got.key == version.key, "{id} is of {}, not of {}", version.key, got.key);
        demand!(P2, got.attributes == version.attributes, "{id} has other attributes");
        demand!(P2, got.version.len == len, "{id} has {len} bytes, not {}", got.version.len);
        if let Some(inline) = &got.inline {
            let right = version.content.as_ref().map_or(&[] as &[u8], |content| content.as_ref()) == inline.as_ref();
            demand!(P2, right, "{id} holds other bytes");
        }
        if single {
            let mut others = got.others.clone();
            others.sort_unstable();
            let mut heads = self.model.heads(&version.key);
            heads.retain(|head| *head != id);
            heads.sort_unstable();
            demand!(P5, others == heads, "the other heads of {} are {heads:?}, not {others:?}", version.key);
        }
        Ok(())
    }

    /// The histories and heads of keys that were looked at.
    pub(crate) fn check_keys(&self, histories: &[(KeyName, Vec<Version>)]) -> Result<(), Broken> {
        histories.iter().try_for_each(|(key, shown)| self.check_key(key, shown))
    }

    fn check_key(&self, key: &KeyName, shown: &[Version]) -> Result<(), Broken> {
        let history = self.model.history(key);
        let right = history.len() == shown.len()
            && history
                .iter()
                .zip(shown)
                .all(|((created, id), version)| (*created, *id) == (version.created, version.id));
        let found: Vec<BlobId> = shown.iter().map(|version| version.id).collect();
        demand!(P5, right, "the history of {key} is {history:?}, not {found:?}");
        if let Some(id) = self.model.returned(key) {
            return Err(Broken::new(Promise::P3, format!("{id} of {key} was removed, and is a head again")));
        }
        let heads = self.model.heads(key);
        for version in shown {
            let Some(expected) = self.model.versions.get(&version.id) else { continue };
            let len = expected.content.as_ref().map_or(0, |content| content.len() as u64);
            let id = version.id;
            demand!(P5, version.parents == expected.parents, "{id} follows {:?}", version.parents);
            demand!(P5, version.kind == expected.kind, "{id} is a {:?}", version.kind);
            demand!(P2, version.gone == expected.content.is_none(), "{id} says gone: {}", version.gone);
            demand!(P2, version.len == len, "{id} has {len} bytes, not {}", version.len);
            demand!(P5, version.is_head == heads.contains(&id), "{id} is a head: {}", version.is_head);
            demand!(P2, version.author == self.author, "{id} is signed by somebody else");
        }
        Ok(())
    }
}

/// Whether it is the index that was damaged, and is made anew.
pub(crate) fn is_of_index(damage: &Damage) -> bool {
    damage.place.starts_with("the index")
}

fn ids(versions: &[Version]) -> Vec<BlobId> {
    versions.iter().map(|version| version.id).collect()
}

/// Outside of the reported ranges the contents are equal, and the ranges say how both lie together.
fn check_diff(a: &[u8], b: &[u8], ranges: &[(core::ops::Range<u64>, core::ops::Range<u64>)]) -> Result<(), Broken> {
    let (mut at_a, mut at_b) = (0usize, 0usize);
    let ends = (a.len() as u64..a.len() as u64, b.len() as u64..b.len() as u64);
    for (in_a, in_b) in ranges.iter().chain([&ends]) {
        let (start_a, start_b) = (in_a.start as usize, in_b.start as usize);
        let ordered = at_a <= start_a && at_b <= start_b && start_a <= a.len() && start_b <= b.len();
        demand!(
            P2,
            ordered && in_a.start <= in_a.end && in_b.start <= in_b.end,
            "a difference makes no sense: {ranges:?}"
        );
        demand!(P2, a[at_a..start_a] == b[at_b..start_b], "what is not reported differs: {ranges:?}");
        (at_a, at_b) = (in_a.end as usize, in_b.end as usize);
    }
    demand!(P2, a != b || ranges.is_empty() || a.len() > 4096, "equal contents differ: {ranges:?}");
    Ok(())
}
