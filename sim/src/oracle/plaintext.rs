//! The search for what must be on no disk.

use super::records::Holdings;
use super::{Broken, Oracle, Promise};
use crate::disk::FaultyDisk;
use crate::workload::{NAME_MARKER, SECRET_BYTE, VALUE_MARKER};
use memchr::memmem::Finder;
use ouroboros_engine::env::Volume;
use ouroboros_engine::id::Secret;
use ouroboros_engine::keys::{DedupScope, Keyring};
use ouroboros_engine::node::StoreConfig;
use ouroboros_engine::seal::{Chunker, Coding, Scratch, identify, seal};

/// Of so many contents the keys of the first chunk are looked for.
const CONTENTS: usize = 2;

/// The first so many are looked for at any time.
const MARKERS: usize = 3;

/// Looks for markers and keys in all files of a disk.
#[derive(Debug)]
pub(crate) struct Plaintext {
    finders: Vec<(&'static str, Finder<'static>)>,
}

fn finder(key: &Secret) -> Finder<'static> {
    Finder::new(key.expose()).into_owned()
}

impl Plaintext {
    /// What stands in values and names, and the keys that a store works with under which these scopes share seals.
    pub(crate) fn new(keys: &Keyring, scopes: &[DedupScope]) -> Self {
        let mut finders = vec![
            ("a value", Finder::new(VALUE_MARKER)),
            ("a key's name", Finder::new(NAME_MARKER)),
            ("the master secret", Finder::new(&[SECRET_BYTE; 32]).into_owned()),
        ];
        let realm = keys.realm_secret(keys.realm_epoch());
        finders.extend(realm.ok().map(|key| ("the realm's secret", finder(key))));
        let group = keys.group_key(keys.group_epoch());
        finders.extend(group.ok().map(|key| ("the group's key", finder(key))));
        finders.push(("the index's key", finder(&keys.index_key(&[0; 16]))));
        for scope in scopes {
            let of_scope = keys.scope_keys(scope);
            finders.push(("what turns plaintext into keys", finder(&of_scope.convergent)));
            finders.push(("what turns roots into names of chunks", finder(&of_scope.chunk_id)));
            finders.push(("what says where contents are cut", finder(&of_scope.cdc)));
        }
        Self { finders }
    }

    /// Looks for all of it.
    ///
    /// # Errors
    /// P8, with the file and what stands in it.
    pub(crate) fn check(&self, disk: &FaultyDisk) -> Result<(), Broken> {
        look(disk, &self.finders)
    }

    /// Looks for what a value, a name and the master secret would show.
    ///
    /// # Errors
    /// P8, with the file and what stands in it.
    pub(crate) fn check_markers(&self, disk: &FaultyDisk) -> Result<(), Broken> {
        look(disk, &self.finders[..MARKERS])
    }

    /// Looks for all of it in a frame.
    ///
    /// # Errors
    /// P8, with what stands in it.
    pub(crate) fn check_frame(&self, frame: &[u8]) -> Result<(), Broken> {
        let found = self.finders.iter().find(|(_, finder)| finder.find(frame).is_some());
        found.map_or(Ok(()), |(what, _)| Err(Broken::new(Promise::P8, format!("{what} stands in a frame"))))
    }
}

impl Oracle {
    /// Looks for keys of chunks of which something is sealed.
    ///
    /// # Errors
    /// P8, with the file and what stands in it.
    pub(crate) fn check_chunk_keys(
        &self,
        disk: &FaultyDisk,
        log: &Holdings,
        keys: &Keyring,
        config: &StoreConfig,
        scratch: &mut Scratch,
    ) -> Result<(), Broken> {
        // What is compressed into a version's body has no keys of its own.
        let sealed = log.versions().filter(|(_, header)| !log.seals_of(header).is_empty());
        let known = sealed.filter_map(|(id, _)| {
            let content = self.model.live(id)?.content.as_ref()?;
            Some((content, self.scopes.get(&id)?.of_seals?))
        });
        let mut finders = Vec::new();
        for (content, scope) in known.take(CONTENTS) {
            let of_scope = keys.scope_keys(&scope);
            let len = Chunker::new(&config.chunker, &of_scope).cut(content, true).unwrap_or(0);
            let plain = content.slice(..len);
            let identified = identify(&of_scope, &plain);
            let sealed = seal(&of_scope, &identified, &plain, config.compression, Coding::default(), scratch);
            finders.push(("the root of a chunk", finder(&identified.root)));
            finders.push(("the secret of a seal", finder(&sealed.secret)));
        }
        look(disk, &finders)
    }
}

fn look(disk: &FaultyDisk, finders: &[(&'static str, Finder<'static>)]) -> Result<(), Broken> {
    for volume in [Volume::Blocks, Volume::Index] {
        for (name, _) in disk.files(volume) {
            let bytes = disk.contents(volume, &name).unwrap_or_default();
            for (what, finder) in finders {
                if let Some(at) = finder.find(&bytes) {
                    return Err(Broken::new(Promise::P8, format!("{what} stands in {volume}/{name} at {at}")));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FaultPlan;
    use crate::swarm::Signatures;
    use crate::workload::keyring;
    use ouroboros_engine::env::{Disk, DiskFile, FileName, OpenMode};

    #[test]
    fn whatever_must_not_be_there_is_found_in_a_file_and_in_a_frame() {
        let (keys, scope) = (keyring(Signatures::Cheap), DedupScope::None([1; 32]));
        let plaintext = Plaintext::new(&keys, &[DedupScope::Realm, scope]);
        let of_scope = keys.scope_keys(&scope);
        let realm = keys.realm_secret(keys.realm_epoch()).unwrap();
        let secrets = [realm, &of_scope.convergent, &of_scope.chunk_id, &of_scope.cdc].map(|key| &key.expose()[..]);
        let shown = [VALUE_MARKER, NAME_MARKER, &[SECRET_BYTE; 32]];
        for (at, leak) in shown.into_iter().chain(secrets).enumerate() {
            let disk = FaultyDisk::new(FaultPlan::new(0));
            let file = disk.open(Volume::Index, &FileName::new("a").unwrap(), OpenMode::CreateNew).unwrap();
            file.write_at(700, &[leak]).unwrap();
            assert!(plaintext.check(&disk).is_err());
            let shows = at < shown.len();
            assert_eq!((plaintext.check_markers(&disk).is_err(), plaintext.check_frame(leak).is_err()), (shows, true));
        }
        assert!(plaintext.check(&FaultyDisk::new(FaultPlan::new(0))).is_ok());
    }
}
