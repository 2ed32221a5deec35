//! Concurrent versions of one key all stay, as heads, until somebody merges them: here with a resolver of one's own.
//!
//! `cargo run -p ouroborosdb --example merge`
#![allow(clippy::print_stdout)]

use ouroborosdb::Db;
use ouroborosdb::engine::dag::merge::{Conflict, Custom, MergeInput, Needs, Resolution, Text3, Value, Why};
use ouroborosdb::engine::id::EngineRng;
use ouroborosdb::engine::keys::Keyring;
use ouroborosdb::engine::names::KeyName;
use ouroborosdb::engine::node::{Base, PutOptions};
use ouroborosdb::entropy::os_seed;

fn following(version: ouroborosdb::engine::id::BlobId) -> PutOptions {
    PutOptions { base: Base::Versions(vec![version]), ..PutOptions::default() }
}

/// A counter that was raised on several sides: what each added to the common base is added to it.
fn add_up(input: &MergeInput) -> Result<Resolution, Conflict> {
    let number = |value: &Value| match value {
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.trim().parse::<i64>().ok(),
        Value::Gone | Value::Unread => None,
    };
    let refuse = || input.conflict(Why::Refused("a side is not a number".into()));
    let base = input.bases().first().map_or(Some(0), |base| number(&base.value)).ok_or_else(refuse)?;
    let mut total = base;
    for side in input.sides() {
        total += number(&side.value).ok_or_else(refuse)? - base;
    }
    Ok(Resolution::Write(total.to_string().into()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let keyring = Keyring::generate(&mut EngineRng::from_seed(os_seed()?));
    let db = Db::builder().directory(directory.path()).keyring(keyring).create()?;

    let counter = KeyName::new("visitors")?;
    let base = db.put(&counter, "100", PutOptions::default())?;
    // Two devices that did not see each other.
    db.put(&counter, "103", following(base.id))?;
    db.put(&counter, "110", following(base.id))?;
    println!(
        "{} has {} heads; until they are merged, {:?} wins",
        counter,
        db.heads(&counter)?.len(),
        db.get_bytes(&counter)?
    );

    db.merge(&counter, &Custom::new("add up", Needs::SidesAndBases, add_up))?;
    println!("merged by adding up: {:?}, {} head", db.get_bytes(&counter)?, db.heads(&counter)?.len());

    // The resolvers that come along: the last writer, the union of lines, three-way text and bytes.
    let list = KeyName::new("shopping")?;
    let base = db.put(&list, "bread\nmilk\ntea\n", PutOptions::default())?;
    db.put(&list, "rye bread\nmilk\ntea\n", following(base.id))?;
    db.put(&list, "bread\nmilk\ntea\ncoffee\n", following(base.id))?;
    db.merge(&list, &Text3)?;
    println!("\nmerged line by line:\n{}", String::from_utf8_lossy(&db.get_bytes(&list)?));

    let base = db.heads(&list)?.first().ok_or("no head")?.id;
    db.put(&list, "wine\n", following(base))?;
    db.put(&list, "beer\n", following(base))?;
    let Err(conflict) = db.merge(&list, &Text3) else { return Err("wine and beer went together".into()) };
    println!("some things people must decide: {conflict}");
    Ok(())
}
