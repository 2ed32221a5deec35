//! The store as a whole: one large value, many small ones, and redb alone beside it.

use super::{Measured, Plan, random_bytes, time_bytes, time_operations};
use crate::exit::{Exit, Failure, Outcome};
use crate::store::{Db, Got, KeyName, Keyring, Put, PutOptions, PutSource, Select, entropy};
use bytes::Bytes;
use ouroboros_engine::id::EngineRng;
use redb::{ReadableDatabase as _, TableDefinition};
use std::io::{self, Read as _};

/// Values put in one call.
const BATCH: usize = 1000;

/// Measures all of it.
pub(crate) fn measure(plan: &Plan) -> Outcome<Vec<Measured>> {
    let scratch = plan.scratch()?;
    let keyring = Keyring::generate(&mut EngineRng::from_seed(entropy()?));
    let db = Db::builder().directory(scratch.0.join("store")).keyring(keyring).create()?;
    let mut measured = large(&db, plan)?;
    let values = values(plan)?;
    if !values.is_empty() {
        measured.extend(small(&db, &values)?);
        measured.extend(redb_alone(&scratch.0.join("redb"), &values)?);
    }
    db.close()?;
    Ok(measured)
}

fn large(db: &Db, plan: &Plan) -> Outcome<Vec<Measured>> {
    let key = key("large")?;
    let piece = random_bytes(1, 16 << 20);
    // Each repetition is made another by a counter, so that nothing is found twice.
    let mut stream = Counting { piece, at: 0, round: 0 }.take(plan.bytes);
    let (put, _) =
        time_bytes("put random bytes", plan.bytes, || Ok(db.put_reader(&key, &mut stream, PutOptions::default())?))?;
    let (get, _) = time_bytes("get them", plan.bytes, || {
        let got = db.get(&key, Select::Winner)?;
        Ok(db.write_to(&got, 0..got.version.len, &mut io::sink())?)
    })?;
    Ok(vec![put, get])
}

struct Counting {
    piece: Vec<u8>,
    at: usize,
    round: u64,
}

impl io::Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            self.at = 0;
            self.round += 1;
            // Every 4 KiB changes, which is less than any chunk.
            let round = self.round.to_le_bytes();
            self.piece
                .chunks_mut(4096)
                .for_each(|page| page.iter_mut().zip(round).for_each(|(b, r)| *b = b.wrapping_add(r)));
        }
        let len = buffer.len().min(self.piece.len() - self.at);
        buffer[..len].copy_from_slice(&self.piece[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

fn key(text: &str) -> Outcome<KeyName> {
    KeyName::new(text).map_err(|e| Failure::new(Exit::Failed, e.to_string()))
}

/// Values of 100 to 1,000 bytes.
fn values(plan: &Plan) -> Outcome<Vec<(KeyName, Bytes)>> {
    let pool = Bytes::from(random_bytes(2, 1 << 20));
    let mut rng = EngineRng::from_seed([3; 32]);
    (0..plan.values)
        .map(|number| {
            let len = 100 + (rng.next_u64() % 901) as usize;
            let start = (rng.next_u64() % (pool.len() - len) as u64) as usize;
            Ok((key(&format!("small/{:03}/{number}", number % 1000))?, pool.slice(start..start + len)))
        })
        .collect()
}

fn small(db: &Db, values: &[(KeyName, Bytes)]) -> Outcome<Vec<Measured>> {
    let count = values.len() as u64;
    let (put, ()) = time_operations("put small values, batched", count, || {
        for batch in values.chunks(BATCH) {
            let put = |(key, value): &(KeyName, Bytes)| Put {
                key: key.clone(),
                source: PutSource::Value(value.clone()),
                options: PutOptions::default(),
            };
            for written in db.put_many(batch.iter().map(put).collect())? {
                written?;
            }
        }
        Ok(())
    })?;
    let order = shuffled(values.len());
    let check = |index: usize, got: &Got| {
        let (key, value) = &values[index];
        if db.read(got, 0..got.version.len)? == *value {
            return Ok(());
        }
        Err(Failure::new(Exit::Damaged, format!("{key} reads back wrong")))
    };
    let (batched, ()) = time_operations("get them in another order, batched", count, || {
        for batch in order.chunks(BATCH) {
            let wanted = batch.iter().map(|index| (values[*index].0.clone(), Select::Winner)).collect();
            for (index, got) in batch.iter().zip(db.get_many(wanted)?) {
                check(*index, &got?)?;
            }
        }
        Ok(())
    })?;
    let (single, ()) = time_operations("get them in another order, one by one", count, || {
        order.iter().try_for_each(|index| check(*index, &db.get(&values[*index].0, Select::Winner)?))
    })?;
    Ok(vec![put, batched, single])
}

fn shuffled(len: usize) -> Vec<usize> {
    let mut rng = EngineRng::from_seed([4; 32]);
    let mut order: Vec<usize> = (0..len).collect();
    for last in (1..len).rev() {
        order.swap(last, (rng.next_u64() % (last as u64 + 1)) as usize);
    }
    order
}

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("values");

fn redb_alone(path: &std::path::Path, values: &[(KeyName, Bytes)]) -> Outcome<Vec<Measured>> {
    let failed = |e: redb::Error| Failure::new(Exit::Failed, format!("redb: {e}"));
    let count = values.len() as u64;
    let db = redb::Database::create(path).map_err(|e| failed(e.into()))?;
    let write = || -> Result<(), redb::Error> {
        for batch in values.chunks(BATCH) {
            let transaction = db.begin_write()?;
            {
                let mut table = transaction.open_table(TABLE)?;
                for (key, value) in batch {
                    table.insert(key.as_bytes(), &value[..])?;
                }
            }
            transaction.commit()?;
        }
        Ok(())
    };
    let read = || -> Result<u64, redb::Error> {
        let table = db.begin_read()?.open_table(TABLE)?;
        let mut bytes = 0;
        for index in shuffled(values.len()) {
            bytes += table.get(values[index].0.as_bytes())?.map_or(0, |value| value.value().len() as u64);
        }
        Ok(bytes)
    };
    let (put, ()) = time_operations("redb alone: put", count, || write().map_err(failed))?;
    let (get, _) = time_operations("redb alone: get", count, || read().map_err(failed))?;
    Ok(vec![put, get])
}
