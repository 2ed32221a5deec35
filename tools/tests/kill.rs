//! `kill -9` of the real command during import, at moments drawn from a seed: afterwards `doctor` finds a healthy store,
//! everything acknowledged reads back, and whatever the killed import left reads back exactly or is not there.
//!
//! The long form: `cargo test --release -p ouroboros-tools --test kill -- --ignored --nocapture`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use common::{Home, noise, same, signal, text, wait};
use ouroboros_engine::id::EngineRng;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SEED: u8 = 1;
/// Files in the tree, and how many of them each round writes anew.
const FILES: usize = 240;
const CHANGED: usize = 40;
/// Every so many rounds the first import of all is killed, with the making of the store.
const FRESH: usize = 5;

#[derive(Default, Debug)]
struct Counts {
    /// Kills before the import had written anything.
    before: usize,
    /// Kills in the middle of it.
    within: usize,
    /// Imports that had ended before they were killed.
    after: usize,
    doctors: usize,
    exports: usize,
    values: usize,
}

struct Rounds {
    home: Home,
    rng: EngineRng,
    /// What the tree holds, by key.
    tree: BTreeMap<String, Vec<u8>>,
    /// How long an import of a round's changes takes here, and one that makes the store.
    whole: Duration,
    fresh: Duration,
    counts: Counts,
}

impl Rounds {
    fn new() -> Self {
        let mut rounds = Self {
            home: Home::with_store(),
            rng: EngineRng::from_seed([SEED; 32]),
            tree: BTreeMap::new(),
            whole: Duration::ZERO,
            fresh: Duration::ZERO,
            counts: Counts::default(),
        };
        rounds.home.put("acknowledged", b"before any kill");
        (0..FILES).for_each(|number| rounds.change(number));
        rounds.home.json(&["import", "tree"]);
        rounds.change_some();
        rounds.whole = timed(|| drop(rounds.home.json(&["import", "tree"])));
        let fresh = rounds.fresh_home();
        rounds.fresh = timed(|| drop(fresh.json(&["import", "tree"])));
        rounds
    }

    /// Writes one file anew: mostly small, some of many chunks.
    fn change(&mut self, number: usize) {
        let len = match number % 10 {
            0 => 300_000 + self.rng.next_u64() as usize % 500_000,
            1 => 0,
            _ => self.rng.next_u64() as usize % 10_000,
        };
        let content = noise(self.rng.next_u64(), len);
        let key = format!("tree/{}/{number}", number % 7);
        self.home.write(&key, &content);
        self.tree.insert(key, content);
    }

    fn change_some(&mut self) {
        for _ in 0..CHANGED {
            let number = self.rng.next_u64() as usize % FILES;
            self.change(number);
        }
    }

    /// A moment in what takes `whole`, or a little after it.
    fn moment(&mut self, whole: Duration) -> Duration {
        whole.mul_f64((self.rng.next_u64() % 1000) as f64 / 950.0)
    }

    /// Kills an import at `moment`, and says whether it had ended by itself.
    fn kill(home: &Home, moment: Duration) -> bool {
        let mut child = home.command(&["--json", "import", "tree"]).spawn().unwrap();
        std::thread::sleep(moment);
        signal(&child, Signal::KILL);
        wait(&mut child).success()
    }

    fn round(&mut self) {
        let last = text(&self.home.json(&["snapshots"]).pop().unwrap()["snapshot"]).to_owned();
        let before: BTreeMap<String, String> = self.versions();
        self.change_some();
        let moment = self.moment(self.whole);
        let ended = Self::kill(&self.home, moment);

        self.healthy();
        assert_eq!(self.home.ok(&["get", "acknowledged"]), b"before any kill");
        // What the killed import had stored is what was in the files.
        let after = self.versions();
        let written: Vec<&String> =
            after.iter().filter(|(key, made)| before.get(*key) != Some(made)).map(|(key, _)| key).collect();
        let files: Vec<&&String> = written.iter().filter(|key| self.tree.contains_key(**key)).collect();
        for key in &files {
            assert!(self.home.ok(&["get", key]) == self.tree[**key], "{key} is not what was imported");
            self.counts.values += 1;
        }
        // The machine may be busier or idler than it was: most kills are to strike within.
        self.whole = self.whole.mul_f64(match (ended, files.is_empty()) {
            (true, _) => 0.9,
            (false, true) => 1.1,
            (false, false) => 1.0,
        });
        *match (ended, files.is_empty()) {
            (true, _) => &mut self.counts.after,
            (false, true) => &mut self.counts.before,
            (false, false) => &mut self.counts.within,
        } += 1;
        // The snapshot before is whole: its files read back, all of them.
        let exported = self.home.json(&["export", &last, "before"]).remove(0);
        assert_eq!((exported["problems"].as_u64(), exported["files"].as_u64()), (Some(0), Some(FILES as u64)));
        std::fs::remove_dir_all(self.home.path("before")).unwrap();
        // And the next import does what the killed one was to do.
        self.home.json(&["import", "tree"]);
        self.exported("tree");
    }

    /// The first import of all is killed, with the making of keyring and store.
    fn fresh(&mut self) {
        let moment = self.moment(self.fresh);
        let home = self.fresh_home();
        Self::kill(&home, moment);
        let old = std::mem::replace(&mut self.home, home);
        self.home.json(&["import", "tree"]);
        self.healthy();
        self.exported("tree");
        self.home = old;
    }

    fn fresh_home(&self) -> Home {
        let home = Home::new();
        for (key, content) in self.tree.iter().take(FILES / 4) {
            home.write(key, content);
        }
        home
    }

    fn healthy(&mut self) {
        let findings = self.home.json(&["doctor"]);
        let bad = findings.iter().find(|finding| matches!(text(&finding["severity"]), "warning" | "lost"));
        assert!(bad.is_none(), "{bad:?}");
        self.counts.doctors += 1;
    }

    fn exported(&mut self, tree: &str) {
        self.home.ok(&["export", "latest", "exported"]);
        assert!(same(&self.home.path(tree), &self.home.path("exported").join(tree)), "the tree came back otherwise");
        std::fs::remove_dir_all(self.home.path("exported")).unwrap();
        self.counts.exports += 1;
    }

    /// When each key was last written.
    fn versions(&self) -> BTreeMap<String, String> {
        let entries = self.home.json(&["ls", "-R"]);
        entries.iter().map(|e| (text(&e["key"]).to_owned(), text(&e["created"]).to_owned())).collect()
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn kills(number: usize) {
    let mut rounds = Rounds::new();
    for round in 0..number {
        if round % FRESH == FRESH - 1 { rounds.fresh() } else { rounds.round() }
    }
    // Once more, value by value: all in the long form, some in the short one.
    for (key, content) in rounds.tree.iter().step_by(if number < 10 { 20 } else { 1 }) {
        assert!(rounds.home.ok(&["get", key]) == *content, "{key}");
        rounds.counts.values += 1;
    }
    let Counts { before, within, after, doctors, exports, values } = rounds.counts;
    eprintln!(
        "kill -9 during import, seed {SEED}: {number} kills ({before} before the first write, {within} within, {after} after the \
         end, {} while the store was made); {doctors} healthy by doctor, {exports} exports and {values} values the same, \
         nothing lost",
        number / FRESH
    );
}

#[test]
fn a_killed_import_loses_nothing() {
    kills(3);
}

#[test]
#[ignore = "takes minutes; run by .ci/long"]
fn fifty_killed_imports_lose_nothing() {
    kills(50);
}
