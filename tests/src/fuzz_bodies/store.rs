//! A store on a faulty disk, driven by bytes, against a model of what clients were told.
//!
//! Each byte string is a script: puts, removals, purges, upkeep, faults that destroy nothing, crashes, lost indexes. What
//! was acknowledged must be there, exactly; what failed may have happened or not, and then stays as it is found.

use super::files::{CHUNKER, coding, key, limits};
use bytes::Bytes;
use ouroboros_engine::id::EngineRng;
use ouroboros_engine::node::{Failure, PurgeTarget, Put, PutOptions, PutSource, Reply, Request, Select};
use ouroboros_sim::disk::{CrashVariant, Fault, FaultPlan, FaultyDisk};
use ouroboros_sim::local::{self, Local};
use std::collections::BTreeMap;

const KEYS: u8 = 4;
const SIZES: [usize; 8] = [0, 1, 100, 4095, 4097, 9000, 20_000, 40_000];
const MAX_STEPS: usize = 48;
/// Faults after which everything acknowledged is still there. They end before the store is opened anew.
const FAULTS: [Fault; 12] = [
    Fault::MetadataError,
    Fault::WriteError,
    Fault::FlippedRead,
    Fault::MisdirectedRead,
    Fault::ShortRead,
    Fault::EarlyEnd,
    Fault::Full,
    Fault::FillsUp,
    Fault::SyncFailure,
    Fault::SyncFailureDroppingCache,
    Fault::DirectorySyncFailure,
    Fault::Slow,
];

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Absent,
    Gone,
    Bytes(Bytes),
}

/// What may be found under a key: the first is what was acknowledged last.
#[derive(Clone, Debug)]
struct Known(Vec<Value>);

impl Default for Known {
    fn default() -> Self {
        Self(vec![Value::Absent])
    }
}

struct Script<'a> {
    bytes: &'a [u8],
}

impl Script<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(first)
    }

    fn number(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    /// Torn sectors among them: none holds anything that was acknowledged before (decision 9).
    fn crash(&mut self) -> CrashVariant {
        let seed = u64::from(self.number());
        match seed % 4 {
            0 => CrashVariant::AllLost,
            1 => CrashVariant::AllKept,
            2 => CrashVariant::Subset(seed),
            _ => CrashVariant::Torn(seed),
        }
    }
}

struct World {
    disk: FaultyDisk,
    /// None while the store is being opened.
    node: Option<Local<FaultyDisk>>,
    known: BTreeMap<u8, Known>,
    /// Faults are under way: failures are no news.
    troubled: bool,
    seed: u64,
}

/// The body of the target `store`.
pub fn store(script: &[u8]) {
    let mut script = Script { bytes: script };
    let disk = FaultyDisk::new(FaultPlan::new(u64::from(script.number())));
    let keys = local::keyring(1);
    let config = local::config(&keys, coding(2, 1), CHUNKER);
    let node = match Local::create(disk.clone(), config, keys, limits(), 1) {
        Ok(node) => node,
        Err(error) => panic!("a disk without faults refused a store: {error}"),
    };
    let mut world = World { disk, node: Some(node), known: BTreeMap::new(), troubled: false, seed: 2 };
    for _ in 0..MAX_STEPS {
        let Some(step) = script.next() else { break };
        world.step(step, &mut script);
    }
    world.disk.calm();
    world.disk.set_capacity(None);
    world.reopen(|disk| disk.restart());
    for key in 0..KEYS {
        world.check(key);
    }
}

impl World {
    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        match step % 16 {
            0..=3 => self.put(script.number() % KEYS, script.number(), script.number()),
            4 => self.remove(script.number() % KEYS),
            5 => self.purge(script.number() % KEYS),
            6..=7 => self.check(script.number() % KEYS),
            8 => self.upkeep(Request::Compact),
            9 => self.upkeep(Request::Scrub { repair: script.number().is_multiple_of(2) }),
            10 => self.upkeep(Request::Recode(coding(1 + script.number() % 4, script.number() % 3))),
            11 => {
                let variant = script.crash();
                self.disk.crash(variant);
                // One opening in two is interrupted as well.
                let interrupted = script.number();
                if interrupted < 128 {
                    self.interrupt_opening(u64::from(interrupted), script.crash());
                }
                self.reopen(FaultyDisk::recover);
            }
            // The power fails a few operations from now, during whatever comes.
            12 => {
                self.disk.crash_at(self.disk.operations_so_far() + u64::from(script.number()));
                self.troubled = true;
            }
            13 => {
                let fault = FAULTS[usize::from(script.number()) % FAULTS.len()];
                self.disk.inject(self.disk.operations_so_far() + u64::from(script.number() % 32), fault);
                self.troubled = true;
            }
            14 => {
                let room = u64::from(script.number()) * 256;
                self.disk.set_capacity(room.checked_add(self.disk.used_bytes()).filter(|_| room > 0));
                self.troubled = true;
            }
            _ => {
                let close = script.number();
                if close.is_multiple_of(2)
                    && let Some(node) = self.node.take()
                {
                    let closed = node.close();
                    assert!(closed.is_ok() || self.troubled, "{closed:?}");
                }
                let lost_index = close % 4 < 2;
                self.reopen(|disk| {
                    let disk = disk.restart();
                    if lost_index {
                        disk.lose_volume(ouroboros_engine::env::Volume::Index);
                    }
                    disk
                });
            }
        }
    }

    /// Asks; after a crash the store is opened anew, and the answer is none.
    fn ask(&mut self, request: Request) -> Result<Reply, Failure> {
        let shown = format!("{request:.80?}");
        let Some(node) = self.node.as_mut() else { return Err(Failure::Closed) };
        let answer = node.ask(request);
        if !self.disk.is_powered() {
            self.reopen(FaultyDisk::recover);
            return Err(answer.err().unwrap_or(Failure::Closed));
        }
        if let Err(failure) = &answer {
            let expected = matches!(failure, Failure::NoSuchKey(_) | Failure::Gone { .. });
            assert!(self.troubled || expected, "{shown}: {failure}");
            // Writing stops after some failures; nothing but opening anew helps.
            if matches!(failure, Failure::Disk(_)) {
                self.reopen(FaultyDisk::restart);
            }
        }
        answer
    }

    /// Opens the store on a machine whose power fails at an operation of the opening, if it has so many.
    fn interrupt_opening(&mut self, operation: u64, variant: CrashVariant) {
        self.node = None;
        self.disk.calm();
        self.disk.set_capacity(None);
        self.disk = self.disk.recover();
        self.disk.crash_at(self.disk.operations_so_far() + operation);
        self.seed += 1;
        let opened = Local::open(self.disk.clone(), local::keyring(1), limits(), self.seed);
        assert!(opened.is_ok() || !self.disk.is_powered(), "{opened:?}");
        drop(opened);
        self.disk.crash(variant);
    }

    /// Ends this life of the node and begins the next. Faults end with it; a crash that was planned may strike yet.
    fn reopen(&mut self, next_life: impl Fn(&FaultyDisk) -> FaultyDisk) {
        self.node = None;
        self.disk.calm();
        self.disk.set_capacity(None);
        self.disk = next_life(&self.disk);
        self.seed += 1;
        match Local::open(self.disk.clone(), local::keyring(1), limits(), self.seed) {
            Ok((node, _)) => self.node = Some(node),
            Err(error) => panic!("a disk that lost nothing: the store does not open: {error}"),
        }
        self.troubled = false;
        // What failed before has happened or has not: it is seen now, and stays so.
        let open: Vec<u8> = self.known.iter().filter(|(_, known)| known.0.len() > 1).map(|(key, _)| *key).collect();
        for key in open {
            self.check(key);
        }
    }

    /// What is asked for may be found from now on: the node may be opened anew before its answer is known.
    fn expect(&mut self, key: u8, value: Value) {
        let known = self.known.entry(key).or_default();
        if !known.0.contains(&value) {
            known.0.push(value);
        }
    }

    fn told(&mut self, key: u8, value: Value, done: bool) {
        let known = self.known.entry(key).or_default();
        if done {
            known.0 = vec![value];
        } else if !known.0.contains(&value) {
            known.0.push(value);
            if !self.troubled {
                // Opened anew in the meantime: what is there now stays.
                self.check(key);
            }
        }
    }

    fn put(&mut self, key_number: u8, size: u8, seed: u8) {
        let value = content(SIZES[usize::from(size) % SIZES.len()], seed % 8);
        self.expect(key_number, Value::Bytes(value.clone()));
        let done = self.write(key_number, PutSource::Value(value.clone()));
        self.told(key_number, Value::Bytes(value), done);
    }

    fn remove(&mut self, key_number: u8) {
        self.expect(key_number, Value::Gone);
        let done = self.write(key_number, PutSource::Gone);
        self.told(key_number, Value::Gone, done);
    }

    fn write(&mut self, key_number: u8, source: PutSource) -> bool {
        let put = Put { key: key_of(key_number), source, options: PutOptions::default() };
        match self.ask(Request::Put(vec![put])) {
            Ok(Reply::Put(results)) => {
                let failure = results.into_iter().find_map(Result::err);
                assert!(failure.is_none() || self.troubled, "{failure:?}");
                if matches!(failure, Some(Failure::Disk(_))) {
                    self.reopen(FaultyDisk::restart);
                }
                failure.is_none()
            }
            Ok(other) => panic!("a put was answered with {other:?}"),
            Err(_) => false,
        }
    }

    fn purge(&mut self, key_number: u8) {
        self.expect(key_number, Value::Absent);
        let answer = self.ask(Request::Purge(PurgeTarget::Key(key_of(key_number))));
        match answer {
            Ok(_) => self.told(key_number, Value::Absent, true),
            Err(Failure::NoSuchKey(_)) => {}
            Err(_) => self.told(key_number, Value::Absent, false),
        }
    }

    fn upkeep(&mut self, request: Request) {
        match self.ask(request) {
            Ok(Reply::Scrubbed(report)) => {
                assert!(self.troubled || report.lost.is_empty(), "{report:?}");
            }
            Ok(Reply::Recoded(report)) => assert!(self.troubled || report.damaged.is_empty(), "{report:?}"),
            _ => {}
        }
    }

    /// Reads a key and compares it with what may be there; what is found stays.
    fn check(&mut self, key_number: u8) {
        let Some(found) = self.find(key_number) else { return };
        let known = self.known.entry(key_number).or_default();
        assert!(known.0.contains(&found), "key {key_number} holds {found:.60?}, not one of {:.200?}", known.0);
        if !self.troubled {
            known.0 = vec![found];
        }
    }

    fn find(&mut self, key_number: u8) -> Option<Value> {
        let answer = self.ask(Request::Get(vec![(key_of(key_number), Select::Winner)]));
        let Ok(Reply::Got(mut results)) = answer else { return None };
        match results.pop()? {
            Ok(got) => match got.inline {
                Some(bytes) => Some(Value::Bytes(bytes)),
                None => {
                    let range = 0..got.version.len;
                    match self.ask(Request::Read { blob: got.version.id, range }).ok()? {
                        Reply::Data(pieces) => Some(Value::Bytes(pieces.concat().into())),
                        other => panic!("a read was answered with {other:?}"),
                    }
                }
            },
            Err(Failure::NoSuchKey(_)) => Some(Value::Absent),
            Err(Failure::Gone { .. }) => Some(Value::Gone),
            Err(failure) => {
                assert!(self.troubled, "key {key_number}: {failure}");
                None
            }
        }
    }
}

fn key_of(number: u8) -> ouroboros_engine::names::KeyName {
    key(&format!("dir{}/key{number}", number % 2))
}

/// Equal for equal arguments, so that chunks are shared.
fn content(len: usize, seed: u8) -> Bytes {
    let mut rng = EngineRng::from_seed([seed; 32]);
    let mut out = Vec::with_capacity(len + 256);
    while out.len() < len {
        out.extend_from_slice(&rng.bytes::<256>());
    }
    out.truncate(len);
    out.into()
}
