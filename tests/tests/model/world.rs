//! A node and its model side by side: sends what an operation says to the one, and tells the other what came of it.

mod learn;

use super::ops::{Follow, How, Op, Reopening, Scope, Setting, Value, chunker, key, limits};
use bytes::Bytes;
use ouroboros_engine::blob::{Attributes, BlobKind};
use ouroboros_engine::env::{Disk, MemoryDisk, Volume};
use ouroboros_engine::id::{AuthorId, BlobId};
use ouroboros_engine::keys::{DedupScope, Keyring};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Base, Failure, PurgeTarget, Put, PutOptions, PutSource, Reply, Request, RequestId};
use ouroboros_engine::seal::{Chunker, Coding, Compression, Form, Scratch, compress, identify};
use ouroboros_sim::local::{Local, config, keyring};
use ouroboros_sim::oracle::model::{Chunk, Model};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// One version that was asked for, and what it must be like if it comes to be.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(crate) key: KeyName,
    pub(crate) content: Option<Bytes>,
    pub(crate) attributes: Attributes,
    pub(crate) chunks: BTreeSet<Chunk>,
    /// Exactly what it follows; none: the winner.
    pub(crate) parents: Option<Vec<BlobId>>,
    /// Why it must fail, as things stood when it was sent.
    pub(crate) refusal: Option<Failure>,
    /// What it copies.
    pub(crate) source: Option<BlobId>,
}

/// One operation under way.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) op: Op,
    /// What is still to be sent.
    sends: VecDeque<Send>,
    pub(crate) wants: Vec<Want>,
    pub(crate) purge: Option<PurgeTarget>,
    pub(crate) asked: Option<Request>,
    patient: bool,
    stream: Option<RequestId>,
    awaited: Vec<RequestId>,
    /// The request whose reply is the outcome.
    last: Option<RequestId>,
    pub(crate) aborted: bool,
    /// The outcome, once it is there.
    pub(crate) reply: Option<Reply>,
}

#[derive(Debug)]
enum Send {
    Whole(Request),
    Open(Box<Put>),
    Data(Bytes),
    End,
    Abort,
}

pub(crate) struct World {
    disk: MemoryDisk,
    pub(crate) keys: Arc<Keyring>,
    pub(crate) node: Local<MemoryDisk>,
    pub(crate) model: Model,
    setting: Setting,
    pub(crate) limits: u8,
    openings: u64,
    wall: u64,
    draws: u64,
    chunkers: BTreeMap<Vec<u8>, Chunker>,
}

impl World {
    pub(crate) fn new(setting: &Setting) -> Self {
        let keys = keyring(1);
        let disk = MemoryDisk::new();
        let coding = Coding::new(setting.coding.0, setting.coding.1).unwrap();
        let config = config(&keys, coding, chunker(setting.chunker));
        let node = Local::create(disk.clone(), config, keys.clone(), limits(setting.limits), 1).unwrap();
        let mut world = Self {
            disk,
            keys,
            node,
            model: Model::default(),
            setting: setting.clone(),
            limits: setting.limits,
            openings: 1,
            wall: 1_700_000_000_000,
            draws: 0,
            chunkers: BTreeMap::new(),
        };
        world.start();
        world
    }

    fn start(&mut self) {
        self.node.set_time(self.openings, self.wall);
        if let Some(seed) = self.setting.disorder {
            let panics = u64::from(self.setting.panics);
            let mut count = seed;
            self.node.disorder(seed ^ self.openings, move |_| {
                count = count.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (count >> 33) % 1000 < panics
            });
        }
    }

    /// A failure that a planted panic explains.
    pub(crate) fn has_panics(&self) -> bool {
        self.setting.panics > 0
    }

    pub(crate) fn is_planted(&self, failure: &Failure) -> bool {
        let text = failure.to_string();
        self.setting.panics > 0 && text.contains("planted")
    }

    fn draw(&mut self, limit: usize) -> usize {
        self.draws = self.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.draws >> 33) as usize % limit.max(1)
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        match op {
            Op::Jump(by) => {
                self.wall = self.wall.saturating_add_signed(i64::from(*by));
                self.node.set_time(self.openings, self.wall);
            }
            Op::Reopen(how, limits) => self.reopen(*how, *limits),
            Op::Together(ops) => self.together(ops),
            Op::Kill(ops, steps, limits) => self.kill(ops, *steps, *limits),
            single => self.together(std::slice::from_ref(single)),
        }
    }

    pub(crate) fn finish(&mut self) {
        self.check_all(true);
        self.reopen(Reopening::Drop, self.limits);
        self.reopen(Reopening::DropAndLoseIndex, self.limits);
    }

    fn together(&mut self, ops: &[Op]) {
        let mut tasks: Vec<Task> = ops.iter().filter_map(|op| self.task(op)).collect();
        self.send_all(&mut tasks, usize::MAX);
        self.node.settle();
        for task in &mut tasks {
            self.collect(task);
            assert!(task.reply.is_some() && task.awaited.is_empty(), "no answer ever came to {task:?}");
        }
        self.learn(&tasks, false);
        let single = tasks.len() == 1;
        for task in &tasks {
            self.check_answer(task, single);
        }
        self.check_all(false);
    }

    /// The node dies with requests under way.
    fn kill(&mut self, ops: &[Op], steps: u8, limits: u8) {
        let mut tasks: Vec<Task> = ops.iter().filter_map(|op| self.task(op)).collect();
        self.send_all(&mut tasks, usize::from(steps));
        for task in &mut tasks {
            self.collect(task);
        }
        self.restart(false, limits);
        self.learn(&tasks, true);
        self.check_all(true);
    }

    fn reopen(&mut self, how: Reopening, limits: u8) {
        let lose = matches!(how, Reopening::CloseAndLoseIndex | Reopening::DropAndLoseIndex);
        if matches!(how, Reopening::Close | Reopening::CloseAndLoseIndex) {
            let fresh = Local::create(
                MemoryDisk::new(),
                self.node.engine().config().clone(),
                self.keys.clone(),
                self.node.engine().limits().clone(),
                1,
            );
            std::mem::replace(&mut self.node, fresh.unwrap()).close().unwrap();
        }
        self.restart(lose, limits);
        self.check_all(true);
    }

    /// Opens what is on the disk, by a process that knows nothing else.
    fn restart(&mut self, lose_index: bool, budget: u8) {
        if lose_index {
            for name in self.disk.list(Volume::Index).unwrap() {
                self.disk.remove(Volume::Index, &name).unwrap();
            }
        }
        self.limits = budget;
        self.openings += 1;
        let (node, opened) = Local::open(self.disk.clone(), self.keys.clone(), limits(budget), self.openings).unwrap();
        assert!(opened.damaged.is_empty(), "{opened:?}");
        assert!(!lose_index || opened.index_rebuilt);
        self.node = node;
        self.start();
    }

    /// Sends everything, a piece here and a piece there, with so many turns in between.
    fn send_all(&mut self, tasks: &mut [Task], mut steps: usize) {
        loop {
            let open: Vec<usize> = (0..tasks.len()).filter(|n| !tasks[*n].sends.is_empty()).collect();
            if open.is_empty() {
                return;
            }
            let at = open[self.draw(open.len())];
            let task = &mut tasks[at];
            if task.patient && !self.is_welcome(task) {
                // Somebody else may be able to go on; if not, the node must.
                let patient = open.iter().all(|n| {
                    let task = &mut tasks[*n];
                    task.patient && !self.is_welcome(task)
                });
                if patient {
                    let more = self.node.step();
                    let stuck = !more && tasks.iter_mut().all(|task| task.sends.is_empty() || !self.is_welcome(task));
                    assert!(!stuck, "nobody is ever asked for more data");
                }
            } else {
                self.send_one(&mut tasks[at]);
            }
            if self.draw(3) == 0 {
                self.node.step();
                steps = steps.saturating_sub(1);
                if steps == 0 {
                    return;
                }
            }
        }
    }

    fn is_welcome(&mut self, task: &mut Task) -> bool {
        let node = &mut self.node;
        task.awaited.retain(|id| node.take(*id).is_none());
        task.awaited.is_empty()
    }

    fn send_one(&mut self, task: &mut Task) {
        let Some(send) = task.sends.pop_front() else { return };
        let stream = task.stream.unwrap_or(RequestId(0));
        match send {
            Send::Whole(request) => task.last = Some(self.node.send(request)),
            Send::Open(put) => {
                let id = self.node.send(Request::PutOpen(put));
                task.stream = Some(id);
                task.awaited.push(id);
            }
            Send::Data(data) => task.awaited.push(self.node.send(Request::PutData { stream, data })),
            Send::End => task.last = Some(self.node.send(Request::PutEnd { stream })),
            Send::Abort => {
                task.aborted = true;
                task.last = Some(self.node.send(Request::PutAbort { stream }));
            }
        }
    }

    fn collect(&mut self, task: &mut Task) {
        task.reply = task.last.and_then(|id| self.node.take(id));
        let node = &mut self.node;
        task.awaited.retain(|id| node.take(*id).is_none());
    }

    fn task(&mut self, op: &Op) -> Option<Task> {
        let mut task = Task {
            op: op.clone(),
            sends: VecDeque::new(),
            wants: Vec::new(),
            purge: None,
            asked: None,
            patient: false,
            stream: None,
            awaited: Vec::new(),
            last: None,
            aborted: false,
            reply: None,
        };
        match op {
            Op::Put(name, value, how) => {
                let (put, want) = self.put(*name, PutSource::Value(value.bytes()), Some(value), how);
                task.wants.push(want);
                task.sends.push_back(Send::Whole(Request::Put(vec![put])));
            }
            Op::PutMany(values) => {
                let plain = How { follow: Follow::Winner, coding: None, scope: Scope::Realm, attribute: 0 };
                let mut puts = Vec::new();
                for (name, value) in values {
                    let (put, want) = self.put(*name, PutSource::Value(value.bytes()), Some(value), &plain);
                    puts.push(put);
                    task.wants.push(want);
                }
                task.sends.push_back(Send::Whole(Request::Put(puts)));
            }
            Op::Stream { key, value, how, cuts, patient, abort } => {
                let (put, want) = self.put(*key, PutSource::Stream, Some(value), how);
                task.patient = *patient;
                task.sends.push_back(Send::Open(Box::new(put)));
                for piece in pieces(&value.bytes(), cuts) {
                    task.sends.push_back(Send::Data(piece));
                }
                match abort {
                    Some(after) => {
                        task.sends.truncate(1 + usize::from(*after));
                        task.sends.push_back(Send::Abort);
                        task.aborted = true;
                    }
                    None => {
                        task.wants.push(want);
                        task.sends.push_back(Send::End);
                    }
                }
            }
            Op::Copy(name, from, how) => {
                let source = self.model.pick(*from)?;
                let (put, want) = self.put(*name, PutSource::SameAs(source), None, how);
                task.wants.push(want);
                task.sends.push_back(Send::Whole(Request::Put(vec![put])));
            }
            Op::Remove(name, how) => {
                let (put, want) = self.put(*name, PutSource::Gone, None, how);
                task.wants.push(want);
                task.sends.push_back(Send::Whole(Request::Put(vec![put])));
            }
            Op::PurgeKey(name) => task.purge = Some(PurgeTarget::Key(key(*name))),
            Op::PurgeVersion(pick) => task.purge = Some(PurgeTarget::Version(self.model.pick(*pick)?)),
            Op::Jump(_) | Op::Together(_) | Op::Reopen(..) | Op::Kill(..) => return None,
            query => task.asked = Some(self.question(query)?),
        }
        let whole = task.purge.clone().map(Request::Purge).or_else(|| task.asked.clone());
        task.sends.extend(whole.map(Send::Whole));
        Some(task)
    }

    fn put(&mut self, name: u8, source: PutSource, value: Option<&Value>, how: &How) -> (Put, Want) {
        let key = key(name);
        let base = match &how.follow {
            Follow::Winner => Base::Winner,
            Follow::Heads => Base::Versions(self.model.heads(&key)),
            Follow::Some(picks) => {
                let history = self.model.history(&key);
                let picks = picks.iter().filter(|_| !history.is_empty());
                Base::Versions(picks.map(|pick| history[usize::from(*pick) % history.len()].1).collect())
            }
            Follow::Any(pick) => Base::Versions(self.model.pick(*pick).into_iter().collect()),
        };
        let scope = match how.scope {
            Scope::Realm => DedupScope::Realm,
            Scope::User => DedupScope::User(AuthorId::from_bytes([3; 32])),
            Scope::None(seed) => DedupScope::None([seed; 32]),
        };
        let mut attributes = Attributes::new();
        if how.attribute > 0 {
            attributes.set("note", vec![how.attribute]).unwrap();
        }
        let mut refusal = None;
        let parents = match &base {
            Base::Winner => None,
            Base::Versions(parents) => {
                for parent in parents {
                    refusal = refusal.or_else(|| match self.model.live(*parent) {
                        None => Some(Failure::NoSuchVersion(*parent)),
                        Some(version) if version.key != key => {
                            Some(Failure::OtherKey { version: *parent, key: key.clone() })
                        }
                        Some(_) => None,
                    });
                }
                let sorted: BTreeSet<BlobId> = parents.iter().copied().collect();
                Some(sorted.into_iter().collect())
            }
        };
        let mut want = Want {
            key: key.clone(),
            content: None,
            attributes,
            chunks: BTreeSet::new(),
            parents,
            refusal,
            source: None,
        };
        match &source {
            PutSource::Gone => {}
            PutSource::SameAs(from) => match self.model.versions.get(from) {
                Some(version) => {
                    want.source = Some(*from);
                    want.content = version.content.clone();
                    want.chunks = version.chunks.clone();
                    if want.attributes.is_empty() {
                        want.attributes = version.attributes.clone();
                    }
                    if version.purged {
                        want.refusal = want.refusal.or(Some(Failure::NoSuchVersion(*from)));
                    }
                }
                None => unreachable!("picked from the model"),
            },
            PutSource::Value(_) | PutSource::Stream => {
                let bytes = value.unwrap().bytes();
                want.chunks = self.cut(&scope, &bytes);
                want.content = Some(bytes);
            }
        }
        let options = PutOptions {
            attributes: if how.attribute > 0 { want.attributes.clone() } else { Attributes::new() },
            base,
            kind: BlobKind::Child,
            coding: how.coding.map(|(data, parity)| Coding::new(data, parity).unwrap()),
            scope,
        };
        (Put { key, source, options }, want)
    }

    /// The chunks of a value, by the chunker alone and in one piece.
    fn cut(&mut self, scope: &DedupScope, bytes: &Bytes) -> BTreeSet<Chunk> {
        if bytes.len() <= 4096 {
            return BTreeSet::new();
        }
        let params = chunker(self.setting.chunker);
        // What compresses to so little lives in the body as well.
        if bytes.len() <= (params.max_len as usize).min(65_536)
            && let Form::Zstd(frame) = compress(bytes, Compression::default(), &mut Scratch::new())
            && frame.len() <= 4096
        {
            return BTreeSet::new();
        }
        let keys = self.keys.scope_keys(scope);
        let name = scope.to_bytes();
        let chunker = self.chunkers.entry(name.clone()).or_insert_with(|| Chunker::new(&params, &keys));
        let mut rest = bytes.clone();
        let mut found = BTreeSet::new();
        while let Some(len) = chunker.cut(&rest, true) {
            found.insert((name.clone(), identify(&keys, &rest.split_to(len)).chunk_id));
        }
        found
    }
}

fn pieces(bytes: &Bytes, cuts: &[u16]) -> Vec<Bytes> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut) * bytes.len() / 65_536).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut start = 0;
    let mut out = Vec::new();
    for end in ends {
        out.push(bytes.slice(start..end));
        start = end;
    }
    out
}
