//! Each stage of the pipeline alone, with the engine's own functions; from them the roofline; then the whole pipeline, how
//! much of the roofline it reaches, and where the rest of the time goes.
//!
//! A stage counts the time that it was on a core, so that other programs of the machine do not make it look slower. The
//! roofline: every byte passes every stage once, so `n` cores cannot take less than an n-th of the sum of the stages; nor can
//! the whole take less than the log needs by the clock, which may wait for its disk. Where the rest goes is measured too: the
//! time that the workers, the engine's thread and the caller's thread spent on a core beyond their stages, what other programs
//! had of the cores, and the time that nobody had anything to do.

use super::threads::{Spent, this_thread};
use super::{Measured, Plan, random_bytes};
use crate::exit::{Exit, Failure, Outcome};
use crate::store::{Coding, Db, KeyName, Keyring, PutOptions, Select, entropy};
use bytes::Bytes;
use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _};
use ouroboros_engine::id::{EngineRng, Epoch, Secret};
use ouroboros_engine::seal::{
    Chunker, ChunkerParams, Ciphertext, Compression, Identified, ScopeKeys, Scratch, Sealed, assemble, identify,
    open_with, recode, seal,
};
use ouroboros_engine::store::Location;
use ouroboros_engine::store::log::{Log, LogOptions, RecordFlags, RecordKind, StoreId};
use ouroborosdb::disk::FileDisk;
use std::hint::black_box;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Instant;

/// A stage works on a sample of at most so many bytes.
const SAMPLE: usize = 64 << 20;
/// Everything is done so often, and the run in the middle counts.
const RUNS: usize = 3;

/// Measures all of it.
pub(crate) fn measure(plan: &Plan) -> Outcome<Vec<Measured>> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let scratch = plan.scratch()?;
    let sample = Bytes::from(random_bytes(5, SAMPLE.min(plan.bytes as usize)));
    let mut stages = Stages::new(&sample);
    let put = stages.put(plan, &scratch.0)?;
    let get = stages.get(plan)?;
    drop(stages);
    let mut pipeline = Pipeline::new(plan, &scratch.0)?;
    let mut measured = Vec::new();
    plan.step("put, the whole pipeline");
    let whole = middle(|| pipeline.put())?;
    report("put", plan.bytes, cores, &put, &whole, &mut measured);
    plan.step("get, the whole pipeline");
    let whole = middle(|| pipeline.get())?;
    report("get", plan.bytes, cores, &get, &whole, &mut measured);
    pipeline.db.close()?;
    Ok(measured)
}

/// One stage, by the thread that it runs on.
struct Stage {
    name: String,
    on: On,
    took: Took,
}

/// Seconds a byte.
#[derive(Clone, Copy)]
struct Took {
    /// On a core.
    core: f64,
    /// By the clock, without what other programs took.
    clock: f64,
}

impl Took {
    /// What is left of it without another.
    fn without(self, other: Self) -> Self {
        Self { core: (self.core - other.core).max(0.0), clock: (self.clock - other.clock).max(0.0) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Workers,
    Engine,
    /// A part of the stage above it, that does not count once more.
    Part,
}

fn middle_of(runs: &[Took]) -> Took {
    let mut runs = runs.to_vec();
    runs.sort_by(|a, b| a.core.total_cmp(&b.core));
    runs[runs.len() / 2]
}

/// The whole pipeline once: seconds by the clock, and seconds on a core of each kind of thread.
struct Whole {
    seconds: f64,
    spent: Option<Spent>,
}

/// The run in the middle of [`RUNS`].
fn middle(mut run: impl FnMut() -> Outcome<Whole>) -> Outcome<Whole> {
    let mut runs = (0..RUNS).map(|_| run()).collect::<Outcome<Vec<_>>>()?;
    runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    Ok(runs.swap_remove(RUNS / 2))
}

/// Puts stages, roofline, the whole and the rest into lines.
fn report(what: &str, bytes: u64, cores: usize, stages: &[Stage], whole: &Whole, lines: &mut Vec<Measured>) {
    let line = |what: String, seconds: f64, remark: &str, share: Option<f64>| {
        let bytes = Some(bytes).filter(|_| share.is_none());
        Measured { what, seconds, bytes, operations: None, remark: remark.into(), share }
    };
    let all = |on: On| stages.iter().filter(|s| s.on == on).map(|s| s.took.core * bytes as f64).sum::<f64>();
    let disk = stages.iter().filter(|s| s.on == On::Engine).map(|s| s.took.clock * bytes as f64).sum::<f64>();
    for stage in stages {
        let remark = match stage.on {
            On::Workers => "",
            On::Engine => "on the engine's thread",
            On::Part => "of it",
        };
        let indent = if stage.on == On::Part { "  " } else { "" };
        lines.push(line(format!("{what}: {indent}{}", stage.name), stage.took.core * bytes as f64, remark, None));
    }
    let (workers, engine) = (all(On::Workers), all(On::Engine));
    let computed = (workers + engine) / cores as f64;
    let roofline = computed.max(disk);
    let cores_text = crate::output::count(cores as u64, "core");
    let why = if disk > computed { "the log waits for its disk".into() } else { format!("all stages on {cores_text}") };
    lines.push(line(format!("{what}: roofline"), roofline, &why, None));
    // All the time there was, on all cores: where it went.
    let there_was = whole.seconds * cores as f64;
    let elsewhere = whole.spent.map_or(0.0, |spent| (spent.machine - spent.own()).max(0.0));
    let mut remark = format!("{:.0} % of the roofline", percent(roofline, whole.seconds));
    if elsewhere > there_was / 50.0 {
        let left = (there_was - elsewhere) / cores as f64;
        remark += &format!(", {:.0} % of it with what other programs left of the cores", percent(roofline, left));
    }
    lines.push(line(format!("{what}: reached"), whole.seconds, &remark, None));
    let mut share = |name: &str, seconds: f64| {
        lines.push(line(format!("{what}: {name}"), seconds, "", Some(seconds / there_was.max(1e-9))));
    };
    share("time in the stages", workers + engine);
    if let Some(spent) = whole.spent {
        share("workers beyond their stages", spent.workers - workers);
        share("engine's thread beyond the log", spent.engine - engine);
        share("caller's thread", spent.others);
        share("cores busy with other programs", elsewhere);
        share("cores without work", there_was - spent.own() - elsewhere);
    } else {
        share("the rest, unknown here", there_was - workers - engine);
    }
}

fn percent(part: f64, of: f64) -> f64 {
    100.0 * part / of.max(1e-9)
}

/// What the stages work on.
struct Stages {
    keys: ScopeKeys,
    chunker: Chunker,
    sample: Bytes,
    chunks: Vec<Bytes>,
    ids: Vec<Identified>,
    sealed: Vec<Sealed>,
    scratch: Scratch,
    log: Option<(Log<FileDisk>, Vec<Location>)>,
}

impl Stages {
    fn new(sample: &Bytes) -> Self {
        let keys = ScopeKeys::derive(&Secret::new([7; 32]), Epoch(0), b"bench");
        let chunker = Chunker::new(&ChunkerParams::default(), &keys);
        let chunks = cut(&chunker, sample);
        let ids = chunks.iter().map(|chunk| identify(&keys, chunk)).collect();
        let mut stages = Self {
            keys,
            chunker,
            sample: sample.clone(),
            chunks,
            ids,
            sealed: Vec::new(),
            scratch: Scratch::new(),
            log: None,
        };
        stages.sealed = stages.seal_all(Compression::default(), Coding::default());
        stages
    }

    fn seal_all(&mut self, compression: Compression, coding: Coding) -> Vec<Sealed> {
        let (keys, scratch) = (&self.keys, &mut self.scratch);
        self.chunks
            .iter()
            .zip(&self.ids)
            .map(|(chunk, id)| seal(keys, id, chunk, compression, coding, scratch))
            .collect()
    }

    /// What it takes for a byte of the sample, in the middle of [`RUNS`] after one that warms up.
    fn time<T>(&mut self, mut work: impl FnMut(&mut Self) -> Outcome<T>) -> Outcome<Took> {
        let runs = (0..=RUNS).map(|_| Ok(self.once(&mut work)?.0)).collect::<Outcome<Vec<_>>>()?;
        Ok(middle_of(&runs[1..]))
    }

    /// One run.
    fn once<T>(&mut self, work: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<(Took, T)> {
        let (started, before) = (Instant::now(), this_thread());
        let made = black_box(work(self)?);
        let clock = started.elapsed().as_secs_f64();
        // What the thread waited for a core, other programs had; what remains is work and waiting for the disk.
        let (core, clock) = before
            .zip(this_thread())
            .map_or((clock, clock), |(before, after)| (after.0 - before.0, clock - (after.1 - before.1)));
        let bytes = self.sample.len() as f64;
        Ok((Took { core: core / bytes, clock: clock / bytes }, made))
    }

    /// Sealing every chunk, one after the other as a worker does: what is sealed is dropped at once.
    fn time_seal(&mut self, compression: Compression, coding: Coding) -> Outcome<Took> {
        self.time(|s| {
            for (chunk, id) in s.chunks.iter().zip(&s.ids) {
                black_box(seal(&s.keys, id, chunk, compression, coding, &mut s.scratch));
            }
            Ok(())
        })
    }

    fn put(&mut self, plan: &Plan, directory: &Path) -> Outcome<Vec<Stage>> {
        let mut stages = Vec::new();
        let mut add = |name: &str, on, took| stages.push(Stage { name: name.into(), on, took });
        plan.step("chunking");
        add("chunking (cdc1)", On::Workers, self.time(|s| Ok(cut(&s.chunker, &s.sample)))?);
        plan.step("hash of the plaintext");
        let hash = self.time(|s| each(&s.chunks, |chunk| identify(&s.keys, chunk)))?;
        add("hash of the plaintext (keyed BLAKE3)", On::Workers, hash);
        plan.step("sealing");
        let (zstd, coding, uncoded) = (Compression::default(), Coding::default(), uncoded()?);
        let whole = self.time_seal(zstd, coding)?;
        let raw = self.time_seal(Compression::Raw, coding)?;
        add(&format!("sealing ({zstd}, {coding})"), On::Workers, whole);
        plan.step("the parts of sealing");
        add("trying compression", On::Part, whole.without(raw));
        add("encryption (ChaCha20-Poly1305)", On::Part, self.encryption()?);
        let hash = self.time(|s| each(&s.chunks, |chunk| blake3::hash(chunk)))?;
        add("hash of the ciphertext (BLAKE3)", On::Part, hash);
        let ciphertexts = self.ciphertexts(uncoded)?;
        let mut recoded = |to: Coding| self.time(|_| each(&ciphertexts, |ciphertext| recode(ciphertext, to)));
        add("coding (Reed-Solomon)", On::Part, recoded(coding)?.without(recoded(uncoded)?));
        plan.step("log");
        add("writing the log", On::Engine, self.log(directory)?);
        Ok(stages)
    }

    fn encryption(&mut self) -> Outcome<Took> {
        let cipher = ChaCha20Poly1305::new(&[6; 32].into());
        let mut buffers: Vec<Vec<u8>> = self.chunks.iter().map(|chunk| chunk.to_vec()).collect();
        self.time(|_| {
            for buffer in &mut buffers {
                let tag = cipher.encrypt_inout_detached(&[0; 12].into(), b"", buffer.as_mut_slice().into());
                black_box(tag.map_err(|_| failed("encryption"))?);
            }
            Ok(())
        })
    }

    fn ciphertexts(&mut self, coding: Coding) -> Outcome<Vec<Ciphertext>> {
        let sealed = self.seal_all(Compression::default(), coding);
        sealed.into_iter().map(|sealed| assemble(sealed.seal_id, sealed.slices).map_err(failed)).collect()
    }

    /// Appends every slice to a log of its own on the disk, and syncs it.
    fn log(&mut self, directory: &Path) -> Outcome<Took> {
        let mut runs = Vec::new();
        for run in 0..=RUNS {
            // The log before is gone with its files: each run writes as much as the first.
            self.log = None;
            let place = directory.join("log");
            if run > 0 {
                std::fs::remove_dir_all(&place).map_err(|e| Failure::file("remove", &place, e))?;
            }
            let disk = FileDisk::create(place.join("blocks"), place.join("index")).map_err(failed)?;
            let mut rng = EngineRng::from_seed([8; 32]);
            let mut log =
                Log::create(disk, LogOptions::default(), StoreId(rng.bytes()), b"bench", &mut rng, |_, _| true)
                    .map_err(failed)?;
            let (took, places) = self.once(|s| {
                let mut places = Vec::new();
                for slice in s.sealed.iter().flat_map(|sealed| &sealed.slices) {
                    let header = slice.header.encode();
                    let parts = [header.as_slice(), &slice.payload];
                    places.push(log.append(RecordKind::Slice, RecordFlags::SPREAD, &parts).map_err(failed)?);
                }
                log.commit(b"").map_err(failed)?;
                Ok(places)
            })?;
            runs.push(took);
            self.log = Some((log, places));
        }
        Ok(middle_of(&runs[1..]))
    }

    fn get(&mut self, plan: &Plan) -> Outcome<Vec<Stage>> {
        let mut stages = Vec::new();
        let mut add = |name: &str, on, took| stages.push(Stage { name: name.into(), on, took });
        plan.step("reading the log");
        let Some((log, places)) = self.log.take() else { return Err(failed("there is no log to read")) };
        // Parity is read only where something is damaged.
        let coding = Coding::default();
        let (data, all) = (usize::from(coding.data()), usize::from(coding.data()) + usize::from(coding.parity()));
        let seconds = self.time(|_| {
            for chunk in places.chunks(all) {
                for place in chunk.iter().take(data) {
                    black_box(log.read(*place).map_err(failed)?);
                }
            }
            Ok(())
        })?;
        add("reading the log", On::Engine, seconds);
        plan.step("opening");
        let seconds = self.time(|s| {
            for sealed in &s.sealed {
                let slices = sealed.slices.iter().take(data).cloned().collect::<Vec<_>>();
                black_box(assemble(sealed.seal_id, slices).map_err(failed)?);
            }
            Ok(())
        })?;
        add("checking the slices (BLAKE3)", On::Workers, seconds);
        let ciphertexts =
            self.sealed.iter().map(|sealed| assemble(sealed.seal_id, sealed.slices.clone()).map_err(failed));
        let ciphertexts = ciphertexts.collect::<Outcome<Vec<_>>>()?;
        let seconds = self.time(|s| {
            for (sealed, ciphertext) in s.sealed.iter().zip(&ciphertexts) {
                black_box(open_with(&sealed.secret, ciphertext, &mut s.scratch).map_err(failed)?);
            }
            Ok(())
        })?;
        add("decryption and decompression", On::Workers, seconds);
        Ok(stages)
    }
}

fn each<T, R>(items: &[T], mut work: impl FnMut(&T) -> R) -> Outcome {
    for item in items {
        black_box(work(item));
    }
    Ok(())
}

fn cut(chunker: &Chunker, data: &Bytes) -> Vec<Bytes> {
    let mut rest = data.clone();
    let mut chunks = Vec::new();
    while let Some(len) = chunker.cut(&rest, true) {
        chunks.push(rest.split_to(len));
    }
    chunks
}

fn uncoded() -> Outcome<Coding> {
    Coding::new(1, 0).map_err(failed)
}

fn failed(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("the measurement failed: {why}"))
}

/// A store, and one large value after the other.
struct Pipeline {
    db: Db,
    key: KeyName,
    piece: Vec<u8>,
    bytes: u64,
    puts: u64,
}

impl Pipeline {
    fn new(plan: &Plan, directory: &Path) -> Outcome<Self> {
        let keyring = Keyring::generate(&mut EngineRng::from_seed(entropy()?));
        let db = Db::builder().directory(directory.join("store")).keyring(keyring).create()?;
        let key = KeyName::new("large").map_err(failed)?;
        Ok(Self { db, key, piece: random_bytes(6, 16 << 20), bytes: plan.bytes, puts: 0 })
    }

    fn timed(work: impl FnOnce() -> Outcome) -> Outcome<Whole> {
        let (before, started) = (Spent::now(), Instant::now());
        work()?;
        let seconds = started.elapsed().as_secs_f64();
        let spent = before.zip(Spent::now()).map(|(before, after)| after.since(before));
        Ok(Whole { seconds, spent })
    }

    fn put(&mut self) -> Outcome<Whole> {
        self.puts += 1;
        let source = Fresh { piece: &self.piece, at: 0, stamp: self.puts << 32 };
        let mut source = source.take(self.bytes);
        Self::timed(|| {
            self.db.put_reader(&self.key, &mut source, PutOptions::default())?;
            Ok(())
        })
    }

    fn get(&mut self) -> Outcome<Whole> {
        Self::timed(|| {
            let got = self.db.get(&self.key, Select::Winner)?;
            self.db.write_to(&got, 0..got.version.len, &mut io::sink())?;
            Ok(())
        })
    }
}

/// Bytes that were never there before: the piece over and over, with another stamp in every page.
struct Fresh<'a> {
    piece: &'a [u8],
    at: usize,
    stamp: u64,
}

impl io::Read for Fresh<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        /// Less than any chunk, in bytes.
        const PAGE: usize = 4096;
        let mut done = 0;
        while done < buffer.len() {
            let rest = &mut buffer[done..];
            let len = rest.len().min(PAGE - self.at % PAGE);
            let from = self.at % self.piece.len();
            rest[..len].copy_from_slice(&self.piece[from..from + len]);
            if self.at.is_multiple_of(PAGE) && len >= 8 {
                let page = self.stamp + (self.at / PAGE) as u64;
                rest[..8].copy_from_slice(&page.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
            }
            self.at += len;
            done += len;
        }
        Ok(done)
    }
}
