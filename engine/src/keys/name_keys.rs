//! What hides key names from those who store them.

use crate::id::{Domain, Epoch, KeyHash, Partition, Secret};

const KEY_NAME: Domain = Domain::new("ouroborosdb v1 key-name");
const PARTITION: Domain = Domain::new("ouroborosdb v1 partition");
const COMPONENT_IV: Domain = Domain::new("ouroborosdb v1 component-iv");
const COMPONENT_KEY: Domain = Domain::new("ouroborosdb v1 component-key");

/// The keys that turn names into key hashes, sealed paths and partitions.
///
/// They always come from the realm secret of epoch 0 and the realm scope: a name must hash and seal to the same bytes
/// for as long as the realm lives, whatever epoch its content is sealed under.
#[derive(Clone, Debug)]
pub struct NameKeys {
    /// Hashes whole names.
    pub key_hash: Secret,
    /// Makes the synthetic IV of a path component.
    pub component_iv: Secret,
    /// Makes the key stream of a path component.
    pub component_key: Secret,
    /// Spreads key hashes over partitions.
    pub partition: Secret,
}

impl NameKeys {
    /// `K_x = derive("ouroborosdb v1 <x>", realm secret || epoch || scope)`.
    #[must_use]
    pub fn derive(realm_secret: &Secret, epoch: Epoch, scope: &[u8]) -> Self {
        // PA
        let epoch = epoch.0.to_le_bytes();
        let key = |domain| realm_secret.derive(domain, &[&epoch, scope]);
        Self {
            key_hash: key(KEY_NAME),
            component_iv: key(COMPONENT_IV),
            component_key: key(COMPONENT_KEY),
            partition: key(PARTITION),
        }
    }

    /// What a storage node sees instead of the name.
    #[must_use]
    pub fn key_hash(&self, name: &[u8]) -> KeyHash {
        KeyHash::from_bytes(self.key_hash.keyed_hash(name))
    }

    /// The partition of a key when there are `2^bits` of them; at most 16 bits count. The partitions are the leading bits
    /// of one hash, so that partition `p` splits into `2p` and `2p + 1` when `bits` grows by one.
    #[must_use]
    pub fn partition(&self, key: &KeyHash, bits: u32) -> Partition {
        let hash = self.partition.keyed_hash(key.as_bytes());
        let leading = u32::from(u16::from_be_bytes([hash[0], hash[1]]));
        Partition((leading >> (16 - bits.min(16))) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::DedupScope;
    use crate::keys::golden::{hex, secret};

    fn keys() -> NameKeys {
        NameKeys::derive(&secret(1), Epoch(0), &DedupScope::Realm.to_bytes())
    }

    #[test]
    fn partitions_split_in_two_when_a_bit_is_added() {
        let keys = keys();
        for name in 0..200u32 {
            let key = keys.key_hash(&name.to_le_bytes());
            assert_eq!(keys.partition(&key, 0), Partition(0));
            for bits in 0..16 {
                assert_eq!(keys.partition(&key, bits + 1).0 >> 1, keys.partition(&key, bits).0);
            }
            assert_eq!(keys.partition(&key, 17), keys.partition(&key, 16));
            assert_eq!(keys.partition(&key, u32::MAX), keys.partition(&key, 16));
        }
    }

    #[test]
    fn partitions_fill_evenly() {
        let keys = keys();
        let mut filled = [0u32; 16];
        for name in 0..16_000u32 {
            filled[usize::from(keys.partition(&keys.key_hash(&name.to_le_bytes()), 4).0)] += 1;
        }
        assert!(filled.iter().all(|count| (850..1150).contains(count)), "{filled:?}");
    }

    #[test]
    fn the_derivations_are_those_in_the_format() {
        let keys = keys();
        assert_eq!(hex(keys.key_hash.expose()), "e2f56ff6714d17feb2dbffe42a8fcb24f0b35458478a46bb389861396cb12cfa");
        assert_eq!(hex(keys.component_iv.expose()), "baf3b7d01aacb71a6a843f57880c08e88c5e736a2286adb9248a8751dc08c035");
        assert_eq!(
            hex(keys.component_key.expose()),
            "03b17900a5c2f8a55012557f92fcee4cf72b2048d847c6424fd5b64d470a1235"
        );
        assert_eq!(hex(keys.partition.expose()), "bb04de3f279958062ef4fe10b618e9d8099c4262b8658fe2b45c15ad0cb05273");
        assert_eq!(
            keys.key_hash(b"photos/2024/a.jpg").to_string(),
            "97e11c9785eb711b71a9900456ed4e79c9531f0d7ff123b694298091fdbb9479"
        );
        assert_eq!(keys.partition(&keys.key_hash(b"photos/2024/a.jpg"), 12), Partition(1134));
    }
}
