//! The index on real files, with plain redb beside it: what encryption, authentication and the overlay cost.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_types,
    clippy::disallowed_methods
)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ouroboros_engine::env::{Disk, DiskError, DiskFailure, DiskFile, FileName, OpenMode, Volume};
use ouroboros_engine::id::{BlobId, EngineRng, Hlc, KeyHash, Secret};
use ouroboros_engine::store::index::{Index, IndexName, IndexOptions, KeyRow, Keys};
use redb::{Database, ReadableDatabase, TableDefinition};
use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

const PLAIN: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("keys");
const OPTIONS: IndexOptions =
    IndexOptions { file: IndexName::Lasting, cache_bytes: 64 << 20, overlay_bytes: 32 << 20, in_memory: false };
const BATCH: u64 = 100_000;

#[derive(Clone, Debug)]
struct Folder(PathBuf);

#[derive(Debug)]
struct RealFile(File);

fn broken(error: &std::io::Error) -> DiskError {
    let failure = match error.kind() {
        std::io::ErrorKind::NotFound => DiskFailure::NotFound,
        std::io::ErrorKind::AlreadyExists => DiskFailure::AlreadyExists,
        _ => DiskFailure::Io(error.to_string()),
    };
    DiskError { operation: "bench", volume: Volume::Index, file: String::new(), failure }
}

impl Disk for Folder {
    type File = RealFile;

    fn open(&self, _: Volume, name: &FileName, mode: OpenMode) -> Result<RealFile, DiskError> {
        let mut options = File::options();
        options.read(true).write(mode != OpenMode::Read).create_new(mode == OpenMode::CreateNew);
        options.open(self.0.join(name.as_str())).map(RealFile).map_err(|error| broken(&error))
    }

    fn list(&self, _: Volume) -> Result<Vec<FileName>, DiskError> {
        Ok(Vec::new())
    }

    fn rename(&self, _: Volume, from: &FileName, to: &FileName) -> Result<(), DiskError> {
        fs::rename(self.0.join(from.as_str()), self.0.join(to.as_str())).map_err(|error| broken(&error))
    }

    fn remove(&self, _: Volume, name: &FileName) -> Result<(), DiskError> {
        fs::remove_file(self.0.join(name.as_str())).map_err(|error| broken(&error))
    }

    fn sync_directory(&self, _: Volume) -> Result<(), DiskError> {
        Ok(())
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> Result<u64, DiskError> {
        self.0.metadata().map(|metadata| metadata.len()).map_err(|error| broken(&error))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], offset + done as u64).map_err(|error| broken(&error))? {
                0 => break,
                read => done += read,
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        let mut at = offset;
        for part in parts {
            self.0.write_all_at(part, at).map_err(|error| broken(&error))?;
            at += part.len() as u64;
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        self.0.set_len(len).map_err(|error| broken(&error))
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.0.sync_data().map_err(|error| broken(&error))
    }
}

fn folder(name: &str) -> Folder {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("index-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    Folder(path)
}

fn secret() -> Secret {
    Secret::new([1; 32])
}

fn rng() -> EngineRng {
    // Two opens must never share a seed; the benchmark has no other entropy at hand.
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(&SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos().to_le_bytes());
    seed[16..20].copy_from_slice(&std::process::id().to_le_bytes());
    EngineRng::from_seed(seed)
}

fn key(n: u64) -> KeyHash {
    KeyHash::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

fn row(n: u64) -> KeyRow {
    let heads = vec![(Hlc(n), BlobId::from_bytes([n as u8; 32]))];
    KeyRow { name: format!("some/folder/and/name-{n:010}").into_bytes(), heads, winner_gone: false }
}

fn put(index: &mut Index<Folder>, range: std::ops::Range<u64>) {
    for n in range.clone() {
        index.put::<Keys>(&key(n), &row(n));
    }
    index.flush(&range.end.to_le_bytes()).unwrap();
}

fn filled(name: &str, rows: u64) -> (Folder, Index<Folder>) {
    let folder = folder(name);
    let mut index = Index::create(&folder, OPTIONS, &secret(), &mut rng()).unwrap();
    for start in (0..rows).step_by(BATCH as usize) {
        put(&mut index, start..start + BATCH);
    }
    (folder, index)
}

fn plain_put(database: &Database, range: std::ops::Range<u64>) {
    let mut rows: Vec<_> = range.map(|n| (key(n), borsh::to_vec(&row(n)).unwrap())).collect();
    rows.sort_unstable();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(PLAIN).unwrap();
        for (key, row) in &rows {
            table.insert(key.as_bytes().as_slice(), row.as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
}

fn plain(name: &str) -> (Folder, Database) {
    let folder = folder(name);
    let database = Database::builder().set_cache_size(OPTIONS.cache_bytes).create(folder.0.join("plain")).unwrap();
    (folder, database)
}

fn inserts(c: &mut Criterion) {
    let mut group = c.benchmark_group("insert 100k and flush");
    group.sample_size(10).throughput(Throughput::Elements(BATCH)).warm_up_time(Duration::from_millis(1));
    group.bench_function(BenchmarkId::new("index", "empty"), |b| {
        b.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let (_folder, mut index) = filled("insert", 0);
                let start = Instant::now();
                put(&mut index, 0..BATCH);
                spent += start.elapsed();
            }
            spent
        });
    });
    let (_folder, mut index) = filled("insert-more", 10 * BATCH);
    let mut next = 10 * BATCH;
    group.bench_function(BenchmarkId::new("index", "holding 1M+"), |b| {
        b.iter(|| {
            put(&mut index, next..next + BATCH);
            next += BATCH;
        });
    });
    drop(index);
    group.bench_function(BenchmarkId::new("redb", "empty"), |b| {
        b.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let (_folder, database) = plain("insert-plain");
                let start = Instant::now();
                plain_put(&database, 0..BATCH);
                spent += start.elapsed();
            }
            spent
        });
    });
    let (_folder, database) = plain("insert-more-plain");
    for start in (0..10 * BATCH).step_by(BATCH as usize) {
        plain_put(&database, start..start + BATCH);
    }
    let mut next = 10 * BATCH;
    group.bench_function(BenchmarkId::new("redb", "holding 1M+"), |b| {
        b.iter(|| {
            plain_put(&database, next..next + BATCH);
            next += BATCH;
        });
    });
}

fn gets(c: &mut Criterion) {
    let mut group = c.benchmark_group("100k random gets");
    group.sample_size(10).throughput(Throughput::Elements(BATCH));
    for rows in [BATCH, 10 * BATCH] {
        let keys: Vec<_> = (0..BATCH).map(|n| key(n.wrapping_mul(7_919) % rows)).collect();
        let (_folder, index) = filled("get", rows);
        group.bench_function(BenchmarkId::new("index", rows), |b| {
            b.iter(|| keys.iter().for_each(|key| assert!(black_box(index.get::<Keys>(key)).unwrap().is_some())));
        });
        let (_folder, database) = plain("get-plain");
        for start in (0..rows).step_by(BATCH as usize) {
            plain_put(&database, start..start + BATCH);
        }
        let table = database.begin_read().unwrap().open_table(PLAIN).unwrap();
        group.bench_function(BenchmarkId::new("redb", rows), |b| {
            b.iter(|| {
                for key in &keys {
                    let row = table.get(key.as_bytes().as_slice()).unwrap().unwrap();
                    black_box(borsh::from_slice::<KeyRow>(row.value()).unwrap());
                }
            });
        });
    }
}

fn opens(c: &mut Criterion) {
    let mut group = c.benchmark_group("open an index of 1M keys");
    group.sample_size(10);
    let (folder, index) = filled("open", 10 * BATCH);
    drop(index);
    group.bench_function("after a crash", |b| {
        b.iter(|| Index::open(&folder, OPTIONS, &secret(), &mut rng()).unwrap());
    });
    Index::open(&folder, OPTIONS, &secret(), &mut rng()).unwrap().close().unwrap();
    group.bench_function("after a clean close", |b| {
        b.iter(|| Index::open(&folder, OPTIONS, &secret(), &mut rng()).unwrap());
    });
    let bytes = fs::metadata(folder.0.join(IndexName::Lasting.name())).unwrap().len();
    println!("the file of 1M keys is {bytes} bytes long");
}

criterion_group!(index, inserts, gets, opens);
criterion_main!(index);
