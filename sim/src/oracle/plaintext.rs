//! The search for what must be on no disk.

use super::records::Holdings;
use super::{Broken, Oracle, Promise};
use crate::crypto::seeds;
use crate::disk::FaultyDisk;
use crate::workload::{NAME_MARKER, SECRET_BYTE, VALUE_MARKER};
use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use ouroboros_engine::env::Volume;
use ouroboros_engine::id::Secret;
use ouroboros_engine::keys::{DedupScope, Keyring};
use ouroboros_engine::node::StoreConfig;
use ouroboros_engine::seal::{Chunker, Coding, Scratch, identify, seal};

/// Of so many contents the keys of the first chunk are looked for.
const CONTENTS: usize = 2;
/// Of so many bodies.
const BODIES: usize = 24;

/// The first so many are looked for at any time.
const MARKERS: usize = 3;

/// Looks for markers and keys in all files of a disk.
#[derive(Debug)]
pub(crate) struct Plaintext {
    all: Search,
    markers: Search,
}

/// What must not stand anywhere, and what each of it is.
#[derive(Debug)]
struct Search {
    names: Vec<&'static str>,
    searcher: AhoCorasick,
}

/// Something that must not stand anywhere, and what it is.
type Wanted = (&'static str, Vec<u8>);

fn key(what: &'static str, key: &Secret) -> Wanted {
    (what, key.expose().to_vec())
}

impl Search {
    fn new(wanted: &[Wanted]) -> Self {
        // Only so, and for a few dozen patterns, it goes through files many bytes at a time. Which automaton stands behind that hardly
        // matters then, and making a denser one takes longer than all looking.
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::LeftmostFirst).kind(Some(AhoCorasickKind::NoncontiguousNFA));
        let searcher = builder.dense_depth(1).build(wanted.iter().map(|it| &it.1));
        let Ok(searcher) = searcher else { unreachable!("a few short patterns make no large automaton") };
        Self { names: wanted.iter().map(|(what, _)| *what).collect(), searcher }
    }

    /// What is found first, and where.
    fn find(&self, bytes: &[u8]) -> Option<(&'static str, usize)> {
        let found = self.searcher.find(bytes)?;
        Some((self.names[found.pattern().as_usize()], found.start()))
    }

    /// Looks through all files of a disk.
    fn look(&self, disk: &FaultyDisk) -> Result<(), Broken> {
        for volume in [Volume::Blocks, Volume::Index] {
            for (name, _) in disk.files(volume) {
                let bytes = disk.contents(volume, &name).unwrap_or_default();
                if let Some((what, at)) = self.find(&bytes) {
                    return Err(Broken::new(Promise::P8, format!("{what} stands in {volume}/{name} at {at}")));
                }
            }
        }
        Ok(())
    }
}

impl Plaintext {
    /// What stands in values and names, and the keys that a store works with under which these scopes share seals.
    pub(crate) fn new(keys: &Keyring, scopes: &[DedupScope]) -> Self {
        let mut wanted = vec![
            ("a value", VALUE_MARKER.to_vec()),
            ("a key's name", NAME_MARKER.to_vec()),
            ("the master secret", vec![SECRET_BYTE; 32]),
        ];
        let realm = keys.realm_secret(keys.realm_epoch());
        wanted.extend(realm.ok().map(|secret| key("the realm's secret", secret)));
        let group = keys.group_key(keys.group_epoch());
        wanted.extend(group.ok().map(|secret| key("the group's key", secret)));
        wanted.push(key("the index's key", &keys.index_key(&[0; 16])));
        wanted.extend(seeds([SECRET_BYTE; 32]).iter().map(|seed| key("what somebody signs or reads with", seed)));
        let of_names = keys.name_keys();
        let of_names = [of_names.key_hash, of_names.component_iv, of_names.component_key, of_names.partition];
        wanted.extend(of_names.iter().map(|secret| key("what hides names", secret)));
        for scope in scopes {
            let of_scope = keys.scope_keys(scope);
            wanted.push(key("what turns plaintext into keys", &of_scope.convergent));
            wanted.push(key("what turns roots into names of chunks", &of_scope.chunk_id));
            wanted.push(key("what says where contents are cut", &of_scope.cdc));
        }
        Self { all: Search::new(&wanted), markers: Search::new(&wanted[..MARKERS]) }
    }

    /// Looks for all of it.
    ///
    /// # Errors
    /// P8, with the file and what stands in it.
    pub(crate) fn check(&self, disk: &FaultyDisk) -> Result<(), Broken> {
        self.all.look(disk)
    }

    /// Looks for what a value, a name and the master secret would show.
    ///
    /// # Errors
    /// P8, with the file and what stands in it.
    pub(crate) fn check_markers(&self, disk: &FaultyDisk) -> Result<(), Broken> {
        self.markers.look(disk)
    }

    /// Looks for all of it in a frame.
    ///
    /// # Errors
    /// P8, with what stands in it.
    pub(crate) fn check_frame(&self, frame: &[u8]) -> Result<(), Broken> {
        let found = self.all.find(frame);
        found.map_or(Ok(()), |(what, _)| Err(Broken::new(Promise::P8, format!("{what} stands in a frame"))))
    }
}

impl Oracle {
    /// Looks for keys of bodies in a log, and for those of chunks of which something is sealed.
    ///
    /// # Errors
    /// P8, with the file and what stands in it.
    pub(crate) fn check_drawn_keys(
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
        let bodies = log.body_keys(keys).take(BODIES);
        let mut wanted: Vec<Wanted> = bodies.map(|secret| key("the key of a body", &secret)).collect();
        for (content, scope) in known.take(CONTENTS) {
            let of_scope = keys.scope_keys(&scope);
            let len = Chunker::new(&config.chunker, &of_scope).cut(content, true).unwrap_or(0);
            let plain = content.slice(..len);
            let identified = identify(&of_scope, &plain);
            let sealed = seal(&of_scope, &identified, &plain, config.compression, Coding::default(), scratch);
            wanted.push(key("the root of a chunk", &identified.root));
            wanted.push(key("the secret of a seal", &sealed.secret));
        }
        Search::new(&wanted).look(disk)
    }
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
        let secrets = [realm, &of_scope.convergent, &of_scope.chunk_id, &of_scope.cdc, &keys.name_keys().key_hash];
        let secrets = secrets.into_iter().cloned().chain(seeds([SECRET_BYTE; 32])).map(|key| key.expose().to_vec());
        let shown = [VALUE_MARKER, NAME_MARKER, &[SECRET_BYTE; 32]].map(<[u8]>::to_vec);
        for (at, leak) in shown.into_iter().chain(secrets).enumerate() {
            let disk = FaultyDisk::new(FaultPlan::new(0));
            let file = disk.open(Volume::Index, &FileName::new("a").unwrap(), OpenMode::CreateNew).unwrap();
            file.write_at(700, &[&leak]).unwrap();
            assert!(plaintext.check(&disk).is_err());
            let shows = at < MARKERS;
            assert_eq!((plaintext.check_markers(&disk).is_err(), plaintext.check_frame(&leak).is_err()), (shows, true));
        }
        assert!(plaintext.check(&FaultyDisk::new(FaultPlan::new(0))).is_ok());
    }
}
