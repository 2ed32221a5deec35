//! Snapshots as an import makes them.
//!
//! Each is a key of its own below `.ouroboros/snapshots/`, named after its time, with two versions: first the import's list
//! of what each file looked like ([`super::manifest`]), then, following it, the library's list of versions. Purging the key
//! takes both.

use super::import::Carried;
use super::manifest;
use crate::exit::{Exit, Failure, Outcome};
use crate::store::{Attributes, BlobKind, Db, Got, KeyName, PutOptions, SNAPSHOTS, entropy};
use ouroboros_engine::id::{BlobId, Hlc};

const NAME: &[u8] = b"name";
const ENTRIES: &[u8] = b"entries";

/// A snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// Its version.
    pub(crate) got: Got,
    /// What it is called.
    pub(crate) name: String,
    /// How many entries it has, if whoever made it said so.
    pub(crate) entries: u64,
}

impl Snapshot {
    fn new(got: Got) -> Self {
        let text = |name: &[u8]| got.attributes.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
        // One that another program made has the end of its key for a name.
        let own = || crate::store::escape(got.key.as_bytes().strip_prefix(SNAPSHOTS.as_bytes()).unwrap_or_default());
        let name = text(NAME).unwrap_or_else(own);
        let entries = text(ENTRIES).and_then(|text| text.parse().ok()).unwrap_or(0);
        Self { got, name, entries }
    }

    /// Its version's id, by which people name it.
    pub(crate) fn id(&self) -> BlobId {
        self.got.version.id
    }

    /// The list of its import, which it follows.
    pub(crate) fn list(&self) -> Option<BlobId> {
        self.got.version.parents.first().copied()
    }

    /// When it was made.
    pub(crate) fn created(&self) -> Hlc {
        self.got.version.created
    }
}

/// All snapshots, oldest first.
pub(crate) fn all(db: &Db) -> Outcome<Vec<Snapshot>> {
    let found = db.snapshots()?.into_iter();
    // An import that was cut short leaves its first list alone; that is no snapshot.
    let whole = found.filter(|got| got.version.kind == BlobKind::VersionVector);
    let mut snapshots: Vec<Snapshot> = whole.map(Snapshot::new).collect();
    snapshots.sort_by_key(|snapshot| (snapshot.created(), snapshot.id()));
    Ok(snapshots)
}

/// The snapshot to compare an import called `name` with: the latest of that name, else the latest of all. A wrong choice
/// only costs time, where files are known by their `identity`; where they are not, those of other directories may look alike.
pub(crate) fn choose(mut snapshots: Vec<Snapshot>, name: &str, identity: bool) -> Option<Snapshot> {
    let named = snapshots.iter().rposition(|snapshot| snapshot.name == name);
    match named {
        Some(place) => Some(snapshots.swap_remove(place)),
        None if identity => snapshots.pop(),
        None => None,
    }
}

/// Makes a snapshot of what an import carried, in the order of keys.
pub(crate) fn make(db: &Db, name: &str, carried: &[Carried]) -> Outcome<BlobId> {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ");
    let unique = u32::from_le_bytes(entropy()?);
    let last = format!("{now}-{unique:08x}");
    let failed = |e: &dyn std::fmt::Display| Failure::new(Exit::Failed, format!("cannot name the snapshot: {e}"));
    let key = KeyName::new(format!("{SNAPSHOTS}{last}")).map_err(|e| failed(&e))?;
    let mut attributes = Attributes::new();
    attributes.set(NAME, name).map_err(|e| failed(&e))?;
    attributes.set(ENTRIES, carried.len().to_string()).map_err(|e| failed(&e))?;
    db.put_reader(&key, &mut manifest::encode(carried), PutOptions::default())?;
    let entries = carried.iter().map(|one| (one.key.clone(), one.id));
    Ok(db.snapshot(&last, entries, attributes)?.id)
}
