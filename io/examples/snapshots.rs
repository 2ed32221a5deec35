//! A snapshot names one version of each of many keys: the tree as it was, whatever happens to the keys afterwards.
//!
//! `cargo run -p ouroborosdb --example snapshots`
#![allow(clippy::print_stdout)]

use ouroborosdb::engine::blob::Attributes;
use ouroborosdb::engine::id::{BlobId, EngineRng};
use ouroborosdb::engine::keys::Keyring;
use ouroborosdb::engine::names::KeyName;
use ouroborosdb::engine::node::{EntryKind, ListRequest, PutOptions};
use ouroborosdb::entropy::os_seed;
use ouroborosdb::{Db, Error};

/// The winners of all keys below a prefix, a page at a time.
fn winners(db: &Db, prefix: &str) -> Result<Vec<(KeyName, BlobId)>, Error> {
    let mut found = Vec::new();
    let mut request = ListRequest { prefix: prefix.into(), recursive: true, limit: 1000, ..ListRequest::default() };
    loop {
        let page = db.list(request.clone())?;
        for entry in page.entries {
            if let EntryKind::Key { winner, .. } = entry.kind {
                found.push((KeyName::new(entry.name)?, winner));
            }
        }
        match page.next {
            Some(next) => request.after = Some(next),
            None => return Ok(found),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let keyring = Keyring::generate(&mut EngineRng::from_seed(os_seed()?));
    let db = Db::builder().directory(directory.path()).keyring(keyring).create()?;

    for (key, value) in [("site/index.html", "<h1>Hello</h1>"), ("site/style.css", "h1 { color: teal }")] {
        db.put(&KeyName::new(key)?, value, PutOptions::default())?;
    }
    let monday = winners(&db, "site/")?;
    db.snapshot("monday", monday.into_iter(), Attributes::new())?;

    // Then the week takes its course.
    db.put(&KeyName::new("site/index.html")?, "<h1>Hullo</h1>", PutOptions::default())?;
    db.remove(&KeyName::new("site/style.css")?)?;
    db.put(&KeyName::new("site/about.html")?, "<p>us</p>", PutOptions::default())?;

    println!("now:");
    for (key, version) in winners(&db, "site/")? {
        let got = db.get_version(version)?;
        println!("  {key:<16} {}", String::from_utf8_lossy(&db.read(&got, 0..got.version.len)?));
    }
    for snapshot in db.snapshots()? {
        println!("{}:", snapshot.key);
        db.snapshot_entries(&snapshot, &mut |entry| {
            let got = db.get_version(entry.id)?;
            let value = db.read(&got, 0..got.version.len)?;
            println!("  {:<16} {}", got.key.to_string(), String::from_utf8_lossy(&value));
            Ok(())
        })?;
    }
    Ok(())
}
