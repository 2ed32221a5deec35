//! What clients were told of their keys.

use bytes::Bytes;
use ouroborosdb::engine::names::KeyName;
use ouroborosdb::engine::node::{Failure, Select};
use ouroborosdb::{AsyncDb, Error};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One key.
#[derive(Debug, Default)]
struct Key {
    /// What was acknowledged last; `None` when it holds nothing.
    now: Option<Bytes>,
    /// What was asked for and not answered: it may be there, or come yet.
    open: Vec<Option<Bytes>>,
}

/// What each key may hold. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Known(Arc<Mutex<BTreeMap<u64, Key>>>);

impl Known {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was asked for: from now on it may be there.
    pub fn asked(&self, key: u64, value: Option<Bytes>) {
        self.lock().entry(key).or_default().open.push(value);
    }

    /// It was acknowledged.
    pub fn told(&self, key: u64, value: Option<Bytes>) {
        self.refused(key, &value);
        self.lock().entry(key).or_default().now = value;
    }

    /// It failed, and was not done.
    pub fn refused(&self, key: u64, value: &Option<Bytes>) {
        let mut known = self.lock();
        let open = &mut known.entry(key).or_default().open;
        if let Some(at) = open.iter().rposition(|other| other == value) {
            open.remove(at);
        }
    }

    /// The keys that something was asked for.
    #[must_use]
    pub fn keys(&self) -> Vec<u64> {
        self.lock().keys().copied().collect()
    }

    /// Reads a key and says what is wrong with it. What is found, stays, if all is `settled`.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn check(&self, db: &AsyncDb, key: u64, settled: bool) -> Result<(), String> {
        let found = match read(db, &name(key)).await {
            Ok(found) => found,
            Err(Error::Closed) if !settled => return Ok(()),
            Err(error) => return Err(format!("key {key} cannot be read: {error}")),
        };
        let mut known = self.lock();
        let Key { now, open } = known.entry(key).or_default();
        if found != *now && !open.contains(&found) {
            let show = |value: &Option<Bytes>| {
                value.as_ref().map(|value| (value.len(), value.clone().split_to(value.len().min(12))))
            };
            let open: Vec<_> = open.iter().map(show).collect();
            return Err(format!("key {key} holds {:?}, not {:?} or one of {open:?}", show(&found), show(now)));
        }
        if settled {
            *now = found;
            open.clear();
        }
        Ok(())
    }
}

/// The name of a key.
#[must_use]
pub fn name(key: u64) -> KeyName {
    match KeyName::new(format!("clients/{}/{key}", key % 3)) {
        Ok(name) => name,
        Err(error) => unreachable!("{error}"),
    }
}

/// A key's value; none if it has none.
///
/// # Errors
/// Those of the store.
pub async fn read(db: &AsyncDb, key: &KeyName) -> Result<Option<Bytes>, Error> {
    let got = match db.get(key, Select::Winner).await {
        Ok(got) => got,
        Err(Error::Request(Failure::NoSuchKey(_) | Failure::Gone { .. })) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(db.read(&got, 0..got.version.len).await?.concat().into()))
}
