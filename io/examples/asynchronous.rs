//! The same store for async programs: futures that need no particular executor.
//!
//! `cargo run -p ouroborosdb --example asynchronous`
#![allow(clippy::print_stdout)]

use futures_lite::future;
use ouroborosdb::engine::id::EngineRng;
use ouroborosdb::engine::keys::Keyring;
use ouroborosdb::engine::names::KeyName;
use ouroborosdb::engine::node::{Put, PutOptions, PutSource, Select};
use ouroborosdb::entropy::os_seed;
use ouroborosdb::{AsyncDb, Db, Error};
use std::time::Instant;

async fn one_stream(db: &AsyncDb, name: &str, piece: u8) -> Result<(), Error> {
    // `send` waits when the store has enough on its hands: back-pressure, not growth.
    let mut upload = db.put_stream(&KeyName::new(name)?, PutOptions::default()).await?;
    for _ in 0..16 {
        upload.send(vec![piece; 256 << 10].into()).await?;
    }
    let written = upload.finish().await?;
    println!("{name} is durable as {:.12}…", written.id.to_string());
    Ok(())
}

async fn run(db: AsyncDb) -> Result<(), Error> {
    // Two uploads share one thread and one commit.
    let (left, right) = future::zip(one_stream(&db, "left", b'<'), one_stream(&db, "right", b'>')).await;
    left.and(right)?;

    let started = Instant::now();
    let mut puts = Vec::new();
    for number in 0..10_000 {
        let (key, source) =
            (KeyName::new(format!("n/{number:05}"))?, PutSource::Value(format!("value {number}").into()));
        puts.push(Put { key, source, options: PutOptions::default() });
    }
    let written = db.put_many(puts).await?;
    let done = written.iter().filter(|result| result.is_ok()).count();
    println!("{done} small values, {:.0} a second", done as f64 / started.elapsed().as_secs_f64());

    let got = db.get(&KeyName::new("n/04711")?, Select::Winner).await?;
    println!("n/04711 holds {:?}", db.read(&got, 0..got.version.len).await?.concat().escape_ascii().to_string());
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let keyring = Keyring::generate(&mut EngineRng::from_seed(os_seed()?));
    let db = Db::builder().directory(directory.path()).keyring(keyring).create()?;
    future::block_on(run(db.asynchronous()))?;
    Ok(db.close()?)
}
