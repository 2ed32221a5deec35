//! The oracle's own questions, asked while no fault strikes.

use super::restart::Stop;
use super::trace::What;
use super::{Pumped, World};
use crate::oracle::{Broken, Excuse, Held, Promise, Shown, Sight, demand};
use crate::story::Told;
use crate::workload::Task;
use bytes::Bytes;
use ouroboros_engine::id::BlobId;
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Failure, ListRequest, Reply, Request, Version};
use std::collections::{BTreeMap, BTreeSet};

/// How often a question is asked again that met damage.
const AGAIN: u32 = 3;
/// Once the faults have stopped every request is answered within so much virtual time, in nanoseconds, also one that heals or
/// compacts everything;
const LONGEST: u64 = 60_000_000_000;
/// and within the time that so many operations of the disk take besides.
const MOST_OPERATIONS: u64 = 200_000;

/// Every version that is shown, and each key's history.
type Survey = (Shown, Vec<(KeyName, Vec<Version>)>);

impl World {
    /// Asks, and lets the world go on until the answer is there.
    pub(super) fn ask(&mut self, node: usize, request: Request) -> Result<Reply, Stop> {
        match self.ask_through(node, request)? {
            Some(Reply::Failed(failure)) => Err(Stop::Failed(failure)),
            Some(reply) => Ok(reply),
            None => Err(Broken::new(Promise::P2, "the machine went down while it was looked at").into()),
        }
    }

    /// Asks, come what may; none if the power failed before the answer.
    pub(super) fn ask_through(&mut self, node: usize, request: Request) -> Result<Option<Reply>, Broken> {
        let id = self.send(node, request);
        match self.pump(node, |world| world.nodes[node].replies.contains_key(&id))? {
            Pumped::Done => {}
            Pumped::Down => return Ok(None),
            Pumped::Still => return Err(Broken::new(Promise::P9, "no answer will ever come to the oracle")),
        }
        let reply = self.nodes[node].replies.remove(&id);
        reply.map(Some).ok_or_else(|| Broken::new(Promise::P9, "an answer went astray"))
    }

    /// How often it asks again. Of what no scrub can heal, once.
    const fn patience(&self) -> u32 {
        if self.budget.beyond { 1 } else { AGAIN }
    }

    /// Asks while no fault strikes: what is damaged heals on the way, or by a scrub.
    fn ask_firmly(&mut self, node: usize, request: &Request) -> Result<Reply, Stop> {
        let mut tries = 0;
        loop {
            let failure = match self.ask(node, request.clone()) {
                Err(Stop::Failed(failure @ (Failure::Index(_) | Failure::Damaged { .. }))) => failure,
                Ok(Reply::Got(results)) => match results.iter().find_map(|result| result.as_ref().err()) {
                    Some(failure @ (Failure::Index(_) | Failure::Damaged { .. })) => failure.clone(),
                    _ => return Ok(Reply::Got(results)),
                },
                other => return other,
            };
            tries += 1;
            // What rots within the redundancy is made good on the way, without anybody's help; and what a crash tore was no
            // version yet.
            let it = &self.nodes[node];
            let of_version = matches!(request, Request::GetVersion(_) | Request::Read { .. });
            // Nor has the index shown all that earlier faults have spoiled of it: it is made anew for who comes upon that, who is
            // to try again if it was no question.
            let spoiled = it.has_spoiled_index() && matches!(failure, Failure::Index(_));
            let may = it.torn && !of_version || it.has_faults() || spoiled || self.budget.beyond;
            if !may || tries > self.patience() {
                return Err(Stop::Failed(failure));
            }
            self.tell(node, Told::Oracle, || format!("the oracle's question failed ({failure}): a scrub, and again"));
            self.nodes[node].asked_again += 1;
            match self.ask(node, Request::Scrub { repair: true }) {
                // What it could not heal shows in the answer.
                Ok(_) | Err(Stop::Failed(_)) => {}
                Err(broken) => return Err(broken),
            }
        }
    }

    /// What the node says when it must not fail.
    pub(super) fn must(&mut self, node: usize, request: &Request, promise: Promise) -> Result<Reply, Broken> {
        let asked_at = self.now;
        match self.ask_firmly(node, request) {
            Ok(reply) => {
                let took = self.now - asked_at;
                let most = LONGEST + MOST_OPERATIONS * self.swarm.disk_nanos;
                demand!(P6, !self.healed || took <= most, "{request:.120?} took {took} ns when the faults had stopped");
                Ok(reply)
            }
            Err(Stop::Broken(broken)) => Err(broken),
            Err(Stop::Failed(failure)) => {
                Err(Broken::new(promise, format!("{request:.120?} failed: {failure}")).because(failure))
            }
        }
    }

    /// Everything the node shows of a key; nothing if it knows none.
    fn history(&mut self, node: usize, key: &KeyName, promise: Promise) -> Result<Vec<Version>, Broken> {
        let mut all: Vec<Version> = Vec::new();
        // Page by page at the end alone: each is a question more.
        let limit = if self.nodes[node].over { 3 } else { 50 };
        loop {
            let after = all.last().map(|version| (version.created, version.id));
            let request = Request::Log { key: key.clone(), after, limit };
            match self.ask_firmly(node, &request) {
                Ok(Reply::Versions(page)) => {
                    let last = page.len() < limit;
                    all.extend(page);
                    if last {
                        return Ok(all);
                    }
                }
                Err(Stop::Failed(Failure::NoSuchKey(_))) if after.is_none() => return Ok(all),
                // Of what is not there it may say that it could have been where nothing is recognisable any more.
                Err(Stop::Failed(Failure::Damaged { .. })) if after.is_none() && self.nodes[node].is_excused() => {
                    return Ok(all);
                }
                Err(Stop::Broken(broken)) => return Err(broken),
                Err(Stop::Failed(_)) if self.budget.beyond => return Ok(all),
                Err(Stop::Failed(failure)) => {
                    return Err(Broken::new(promise, format!("{key} has no history: {failure}")).because(failure));
                }
                other => return Err(Broken::new(promise, format!("{other:.200?} is no history of {key}"))),
            }
        }
    }

    /// Everything a version holds.
    pub(super) fn content(&mut self, node: usize, id: BlobId, promise: Promise) -> Result<Held, Broken> {
        let got = match self.must(node, &Request::GetVersion(id), promise)? {
            Reply::Got(mut results) if results.len() == 1 => results.remove(0),
            other => return Err(Broken::new(Promise::P2, format!("{other:.200?} is no answer for {id}"))),
        };
        let got = got.map_err(|failure| Broken::new(promise, format!("version {id} cannot be opened: {failure}")))?;
        let attributes = got.attributes;
        if got.version.gone {
            return Ok(Held { content: None, attributes });
        }
        if let Some(inline) = got.inline {
            return Ok(Held { content: Some(inline), attributes });
        }
        let mut out = Vec::with_capacity(got.version.len as usize);
        let step = self.swarm.limits.read_len;
        while (out.len() as u64) < got.version.len {
            let start = out.len() as u64;
            let asked = step.min(got.version.len - start) as usize;
            match self.must(node, &Request::Read { blob: id, range: start..start + step }, promise)? {
                Reply::Data(data) if data.iter().map(Bytes::len).sum::<usize>() == asked => {
                    data.iter().for_each(|piece| out.extend_from_slice(piece));
                }
                other => return Err(Broken::new(Promise::P2, format!("reading {id} at {start}: {other:.100?}"))),
            }
        }
        Ok(Held { content: Some(out.into()), attributes })
    }

    /// Looks at what operations have done, and with `all` at everything there is, down to every byte.
    pub(super) fn look(&mut self, node: usize, tasks: &[Task], all: bool, excuse: Excuse) -> Result<(), Broken> {
        self.nodes[node].disk.pause(true);
        if self.nodes[node].process.is_none() {
            // Beyond the budget a store may be gone for good, and says so.
            return Ok(());
        }
        let promise = if all { Promise::P7 } else { Promise::P1 };
        let mut keys = self.nodes[node].oracle.touched(tasks);
        if all {
            keys.extend(self.workload.keys().iter().take(self.swarm.keys as usize).cloned());
        }
        if keys.is_empty() {
            return Ok(());
        }
        let (mut shown, mut histories) = match self.survey(node, &keys, promise) {
            // Its index was spoiled, or could not be synced, after its disk had failed it: who may not write cannot make it anew.
            Err(broken)
                if matches!(broken.failure, Some(Failure::Index(_) | Failure::Disk(_)))
                    && self.nodes[node].read_only
                    && self.nodes[node].has_faults() =>
            {
                self.tell(node, Told::Oracle, || "a process that only reads cannot: it is started anew".to_owned());
                self.stop_and_restart(node, false, None)?;
                if self.nodes[node].process.is_none() {
                    // Beyond the budget it may never be opened again.
                    return Ok(());
                }
                self.survey(node, &keys, promise)?
            }
            surveyed => surveyed?,
        };
        // A record of the log that was misread while the index was made anew is hidden until a scrub: an engine that
        // cannot read a record cannot know whose it is.
        // The same is true of a deletion that was misread.
        let oracle = &self.nodes[node].oracle;
        let unsure = oracle.misses(tasks, &keys, &shown) || oracle.shows_purged(tasks, &shown);
        let mut again = self.nodes[node].has_faults();
        if unsure && again {
            again = false;
            (shown, histories) = self.survey_again(node, &keys, promise, "a version is missing or back")?;
        }
        if self.nodes[node].process.is_none() {
            return Ok(());
        }
        let mut contents = BTreeMap::new();
        for id in self.nodes[node].oracle.strangers(tasks, &shown) {
            match self.content(node, id, promise) {
                Ok(held) => drop(contents.insert(id, held)),
                // It says that it cannot be read, and that is all that is asked.
                Err(broken) if self.budget.beyond && broken.promise == promise => drop(shown.remove(&id)),
                Err(broken) => return Err(broken),
            }
        }
        let millis = self.nodes[node].wall_millis(self.now);
        self.nodes[node].walls.say(millis);
        let walls = self.nodes[node].walls;
        let sight = Sight { keys: &keys, shown: &shown, contents: &contents, ended: all, excuse, walls };
        self.nodes[node].oracle.learn(tasks, &sight)?;
        self.nodes[node].walls.least = millis;
        self.trace.event(self.now, node as u8, What::Checked, &[shown.len() as u64]);
        if self.budget.beyond {
            if all {
                self.read_what_is_left(node)?;
                self.keep_copy(node);
            }
            return Ok(());
        }
        // What a purged version followed is known from its tombstone alone, which is neither missed nor back.
        if let Err(broken) = self.nodes[node].oracle.check_keys(&histories) {
            if !again {
                return Err(broken);
            }
            (_, histories) = self.survey_again(node, &keys, promise, &broken.what)?;
            self.nodes[node].oracle.check_keys(&histories)?;
        }
        if all {
            self.read_back(node, &histories)?;
            self.listing(node)?;
            self.keep_copy(node);
            let it = &mut self.nodes[node];
            if !it.has_faults() && !it.rotten {
                it.oracle.settle();
            }
        }
        Ok(())
    }

    /// What the node shows of some keys: all of it before a scrub that some question asked for, or all of it after one.
    fn survey(&mut self, node: usize, keys: &BTreeSet<KeyName>, promise: Promise) -> Result<Survey, Broken> {
        let mut tries = 0;
        loop {
            let before = self.nodes[node].asked_again;
            let survey = self.survey_once(node, keys, promise)?;
            tries += 1;
            if self.nodes[node].asked_again == before || tries > self.patience() {
                return Ok(survey);
            }
        }
    }

    fn survey_once(&mut self, node: usize, keys: &BTreeSet<KeyName>, promise: Promise) -> Result<Survey, Broken> {
        let mut shown = Shown::new();
        let mut histories: Vec<(KeyName, Vec<Version>)> = Vec::new();
        for key in self.in_order(keys) {
            let history = self.history(node, key, promise)?;
            shown.extend(history.iter().map(|version| (version.id, (key.clone(), version.clone()))));
            histories.push((key.clone(), history));
        }
        Ok((shown, histories))
    }

    /// The same after a fault, and after a scrub.
    fn survey_again(
        &mut self,
        node: usize,
        keys: &BTreeSet<KeyName>,
        promise: Promise,
        why: &str,
    ) -> Result<Survey, Broken> {
        self.tell(node, Told::Oracle, || format!("{why} after a fault: a scrub, and the oracle looks again"));
        if self.nodes[node].read_only {
            self.stop_and_restart(node, false, None)?;
        }
        if self.nodes[node].process.is_none() {
            return Ok((Shown::new(), Vec::new()));
        }
        match self.ask(node, Request::Scrub { repair: true }) {
            Err(Stop::Broken(broken)) => return Err(broken),
            // Its log takes nothing more since a sync failed, and nobody had been told.
            Err(Stop::Failed(Failure::Disk(_))) if self.nodes[node].has_faults() => {
                self.stop_and_restart(node, false, None)?;
                if self.nodes[node].process.is_none() {
                    return Ok((Shown::new(), Vec::new()));
                }
            }
            _ => {}
        }
        self.survey(node, keys, promise)
    }

    /// The order in which the oracle asks about keys.
    fn in_order<'a>(&self, keys: &'a BTreeSet<KeyName>) -> Vec<&'a KeyName> {
        #[cfg(feature = "planted")]
        if self.setting.disorder {
            return keys.iter().collect::<std::collections::HashSet<_>>().into_iter().collect();
        }
        keys.iter().collect()
    }

    /// Reads the bytes of what was never read back, of an eighth of the rest, and when all is over of everything.
    fn read_back(&mut self, node: usize, histories: &[(KeyName, Vec<Version>)]) -> Result<(), Broken> {
        for (key, history) in histories {
            for version in history {
                let it = &mut self.nodes[node];
                let first = it.read_back.insert(version.id);
                let turn = u64::from(version.id.as_bytes()[0]) % 8 == it.life % 8;
                if !first && !turn && !it.over {
                    continue;
                }
                // What nothing has destroyed was thrown away.
                let it = &self.nodes[node];
                let unharmed = !it.rotted_before && it.harm() == 0 && it.oracle.crashes == 0;
                let promise = if unharmed { Promise::P4 } else { Promise::P1 };
                let held = self.content(node, version.id, promise)?;
                let expected = self.nodes[node].oracle.model.versions.get(&version.id);
                if expected.is_none_or(|expected| expected.content != held.content) {
                    let what = format!("version {} of {key} holds other bytes", version.id);
                    return Err(Broken::new(Promise::P2, what));
                }
                if expected.is_some_and(|expected| expected.attributes != held.attributes) {
                    let what = format!("version {} of {key} has other attributes", version.id);
                    return Err(Broken::new(Promise::P2, what));
                }
            }
        }
        Ok(())
    }

    /// Beyond the budget each version reads as it was written, or not at all. Each is asked for once: no scrub heals what is
    /// lost.
    fn read_what_is_left(&mut self, node: usize) -> Result<(), Broken> {
        let model = &self.nodes[node].oracle.model;
        let versions: Vec<_> = model.live_versions().map(|(id, version)| (*id, version.clone())).collect();
        for (id, written) in versions {
            let got = match self.ask(node, Request::GetVersion(id)) {
                Ok(Reply::Got(mut results)) if results.len() == 1 => results.remove(0),
                Err(Stop::Failed(failure)) => Err(failure),
                Err(Stop::Broken(broken)) => return Err(broken),
                Ok(other) => return Err(Broken::new(Promise::P2, format!("{other:.200?} is no answer for {id}"))),
            };
            let Ok(got) = got else { continue };
            let len = written.content.as_ref().map_or(0, |content| content.len() as u64);
            let inline = got.inline.filter(|_| !got.version.gone);
            let whole = got.version.gone || inline.is_some();
            let right = got.version.len == len && got.attributes == written.attributes;
            demand!(
                P2,
                right && (!whole || inline == written.content),
                "{id} is other than it was written, and no error"
            );
            if let Some(content) = written.content.filter(|_| !whole) {
                self.read_to_damage(node, id, &content)?;
            }
        }
        Ok(())
    }

    /// Reads a version from its beginning until it cannot be read.
    fn read_to_damage(&mut self, node: usize, id: BlobId, written: &Bytes) -> Result<(), Broken> {
        let mut left = &written[..];
        while !left.is_empty() {
            let start = (written.len() - left.len()) as u64;
            let range = start..start + self.swarm.limits.read_len;
            match self.ask(node, Request::Read { blob: id, range }) {
                Ok(Reply::Data(data)) if !data.is_empty() => {
                    for piece in data {
                        let rest = left.strip_prefix(&piece[..]);
                        let Some(rest) = rest else {
                            let what = format!("{id} reads as something else at {start}");
                            return Err(Broken::new(Promise::P2, what));
                        };
                        left = rest;
                    }
                }
                Err(Stop::Failed(_)) => return Ok(()),
                Err(Stop::Broken(broken)) => return Err(broken),
                Ok(other) => return Err(Broken::new(Promise::P2, format!("reading {id} at {start}: {other:.100?}"))),
            }
        }
        Ok(())
    }

    fn listing(&mut self, node: usize) -> Result<(), Broken> {
        let request = ListRequest { recursive: true, include_gone: true, limit: 100, ..ListRequest::default() };
        match self.must(node, &Request::List(request.clone()), Promise::P1)? {
            Reply::Listing(page) => {
                let expected = self.nodes[node].oracle.model.list(&request);
                if page.entries != expected {
                    let what = format!("the listing shows {:?}, not {expected:?}", page.entries);
                    return Err(Broken::new(Promise::P1, what));
                }
                Ok(())
            }
            other => Err(Broken::new(Promise::P2, format!("{other:.200?} is no listing"))),
        }
    }
}
