//! Merging: reads what a resolver needs, and writes what it says.

use super::{AsyncDb, Db, ops};
use crate::error::Error;
use bytes::Bytes;
use futures_lite::future::block_on;
use ouroboros_engine::blob::BlobKind;
use ouroboros_engine::dag::merge::{MergeInput, Needs, Resolution, Resolver, Side, Value};
use ouroboros_engine::id::{BlobId, Domain};
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::{Base, Failure, Got, PutOptions, PutSource, Version, Written};

const CONTENT: Domain = Domain::new("ouroborosdb v1 merge side");

impl Db {
    /// Merges the heads of a key into one version that follows them all. Returns the winner unchanged when there is
    /// only one head.
    ///
    /// ```
    /// # use ouroborosdb::engine::{dag::merge::UnionLines, id::EngineRng, keys::Keyring, names::KeyName};
    /// # use ouroborosdb::engine::node::{Base, PutOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let keyring = Keyring::generate(&mut EngineRng::from_seed(ouroborosdb::entropy::os_seed()?));
    /// # let db = ouroborosdb::Db::builder().directory(directory.path()).keyring(keyring).create()?;
    /// let key = KeyName::new("to do")?;
    /// let base = db.put(&key, "sleep\n", PutOptions::default())?;
    /// let following = || PutOptions { base: Base::Versions(vec![base.id]), ..PutOptions::default() };
    /// db.put(&key, "sleep\neat\n", following())?;
    /// db.put(&key, "sleep\nread\n", following())?;
    /// assert_eq!(db.heads(&key)?.len(), 2);
    ///
    /// db.merge(&key, &UnionLines)?;
    /// let merged = db.get_bytes(&key)?;
    /// assert!(merged.starts_with(b"sleep\n") && merged.len() == "sleep\neat\nread\n".len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] when `resolver` refuses; other [`Error`]s.
    pub fn merge(&self, key: &KeyName, resolver: &dyn Resolver) -> Result<Written, Error> {
        block_on(self.asynchronous().merge(key, resolver))
    }
}

impl AsyncDb {
    /// See [`Db::merge`]. The resolver runs where the future does.
    ///
    /// # Errors
    /// [`Error::Conflict`] when `resolver` refuses; other [`Error`]s.
    pub async fn merge<R: Resolver + ?Sized>(&self, key: &KeyName, resolver: &R) -> Result<Written, Error> {
        // PA
        let heads = self.heads(key).await?;
        let ids: Vec<BlobId> = heads.iter().map(|head| head.id).collect();
        if let [only] = heads.as_slice() {
            return Ok(Written { id: only.id, created: only.created, heads: ids });
        }
        let needs = resolver.needs();
        let mut sides = Vec::with_capacity(heads.len());
        for head in &heads {
            sides.push(self.side(head, needs >= Needs::Sides).await?);
        }
        let mut bases = Vec::new();
        let known = match self.merge_bases(ids.clone()).await {
            // Who does not look at bases can do without.
            Err(Error::Request(Failure::TooLarge { .. })) if needs < Needs::SidesAndBases => Vec::new(),
            known => known?,
        };
        for base in known {
            bases.push(self.side(&base, needs >= Needs::SidesAndBases).await?);
        }
        let resolution = resolver.resolve(&MergeInput::new(bases, sides)).map_err(Error::Conflict)?;
        let template = match (&resolution, heads.first()) {
            (Resolution::Take(id), _) => *id,
            (_, Some(winner)) => winner.id,
            (_, None) => unreachable!("a key has heads"),
        };
        let mut options = PutOptions { base: Base::Versions(ids), kind: BlobKind::Merger, ..PutOptions::default() };
        match resolution {
            Resolution::Take(id) => self.put_same(key, id, options).await,
            Resolution::Write(bytes) => {
                options.attributes = self.get_version(template).await?.attributes;
                self.put(key, bytes, options).await
            }
            Resolution::Gone => ops::put(key, PutSource::Gone, options).run(&self.client).await,
        }
    }

    async fn side(&self, version: &Version, read: bool) -> Result<Side, Error> {
        let value = if version.gone {
            Value::Gone
        } else if read && version.len <= self.client.limits.merge_len {
            Value::Bytes(self.content(&self.get_version(version.id).await?).await?)
        } else {
            Value::Unread
        };
        // Equal exactly for sides known to hold the same; one that was not read equals itself alone.
        let content = match &value {
            Value::Gone => CONTENT.hash(&[b"gone"]),
            Value::Bytes(bytes) => CONTENT.hash(&[b"bytes", bytes]),
            Value::Unread => CONTENT.hash(&[b"unread", version.id.as_bytes()]),
        };
        Ok(Side { id: version.id, created: version.created, content, value })
    }

    /// All of a version, in memory.
    async fn content(&self, got: &Got) -> Result<Bytes, Error> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < got.version.len {
            let range = at..got.version.len.min(at.saturating_add(self.client.limits.read_len));
            at = range.end;
            for piece in self.read(got, range).await? {
                out.extend_from_slice(&piece);
            }
        }
        Ok(out.into())
    }
}
