//! Body keys wrapped for one reader: X25519, ephemeral against static.
//!
//! The shape is that of HPKE's DHKEM (RFC 9180), with BLAKE3 for HKDF and a key commitment added.

use super::committed::{CommittedKey, TAG_LEN, UnwrapError};
use super::exchange::{KeyExchange, X25519};
use crate::id::{AuthorId, Domain, EngineRng, ReaderId, Secret};
use borsh::io::{Error, ErrorKind, Read, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use std::sync::Arc;
use zeroize::Zeroize;

const WRAP: Domain = Domain::new("ouroborosdb v1 wrap");
const ID: Domain = Domain::new("ouroborosdb v1 reader id");

/// The public half of a reader: an X25519 key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct ReaderPublic([u8; 32]);

impl ReaderPublic {
    /// Wraps 32 bytes. Any will do here; a key of low order is refused when something is wrapped for it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, as they stand on disk and wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash under which the key index knows this reader.
    #[must_use]
    pub fn id(&self) -> ReaderId {
        ReaderId::from_bytes(ID.hash(&[&self.0]))
    }
}

/// The secret half of a reader. Never printed, wiped on drop.
#[derive(Clone)]
pub struct ReaderSecret {
    secret: Secret,
    exchange: Arc<dyn KeyExchange>,
    public: ReaderPublic,
}

impl ReaderSecret {
    /// The key made from 32 secret bytes (clamped as in RFC 7748, section 5).
    #[must_use]
    pub fn from_seed(seed: &Secret) -> Self {
        Self::with_exchange(seed, Arc::new(X25519))
    }

    /// [`Self::from_seed`] with another way to agree on keys. What is wrapped so is no part of the format.
    #[must_use]
    pub fn with_exchange(seed: &Secret, exchange: Arc<dyn KeyExchange>) -> Self {
        // PA
        let public = ReaderPublic(exchange.public(seed));
        Self { secret: seed.clone(), exchange, public }
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> ReaderPublic {
        self.public
    }
}

impl core::fmt::Debug for ReaderSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ReaderSecret({:?})", self.public.id())
    }
}

/// A reader's public key has low order: everybody could read what is wrapped for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the public key of reader {reader} is not a usable X25519 key; ask the reader for a proper one")]
pub struct WeakReaderKey {
    /// The reader.
    pub reader: ReaderId,
}

/// A key wrapped for one reader: 113 bytes, the first of which is the version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderWrap {
    ephemeral: [u8; 32],
    commitment: [u8; 32],
    sealed: [u8; 32 + TAG_LEN],
}

impl ReaderWrap {
    /// Version byte: X25519, BLAKE3, ChaCha20-Poly1305. Others are left for hybrids with a post-quantum exchange.
    pub const VERSION: u8 = 1;
    /// Length of the encoding, in bytes.
    pub const LEN: usize = 1 + 32 + 32 + 32 + TAG_LEN;

    /// Wraps `key`, which opens `object`, so that only `reader` can unwrap it. `grantor` is bound to the wrap but not
    /// proven by it; the signature of a [`super::Grant`] does that.
    ///
    /// # Errors
    /// [`WeakReaderKey`].
    pub fn seal(
        reader: &ReaderPublic,
        object: &[u8],
        grantor: AuthorId,
        key: &Secret,
        rng: &mut EngineRng,
    ) -> Result<Self, WeakReaderKey> {
        Self::seal_by(&X25519, reader, object, grantor, key, rng)
    }

    /// [`Self::seal`] with an exchange of the caller's choice, which has to be the reader's.
    ///
    /// # Errors
    /// [`WeakReaderKey`].
    pub fn seal_by(
        exchange: &dyn KeyExchange,
        reader: &ReaderPublic,
        object: &[u8],
        grantor: AuthorId,
        key: &Secret,
        rng: &mut EngineRng,
    ) -> Result<Self, WeakReaderKey> {
        // PA
        let mut seed: [u8; 32] = rng.bytes();
        let ephemeral = Secret::new(seed);
        seed.zeroize();
        let public = exchange.public(&ephemeral);
        let shared = exchange.agree(&ephemeral, &reader.0).ok_or(WeakReaderKey { reader: reader.id() })?;
        let wrapping = wrapping_key(&shared, &public, reader, object, grantor);
        let commitment = *wrapping.commitment();
        let sealed = wrapping.wrap(&aad(object), key);
        Ok(Self { ephemeral: public, commitment, sealed })
    }

    /// Gives back the key.
    ///
    /// # Errors
    /// [`UnwrapError::WrongKey`] when the wrap was made for another reader or object or by another grantor (a damaged
    /// ephemeral key or commitment cannot be told from that), [`UnwrapError::Damaged`] when the sealed bytes were
    /// altered or the ephemeral key has low order.
    pub fn open(&self, reader: &ReaderSecret, object: &[u8], grantor: AuthorId) -> Result<Secret, UnwrapError> {
        // PA
        let shared = reader.exchange.agree(&reader.secret, &self.ephemeral).ok_or(UnwrapError::Damaged)?;
        let wrapping = wrapping_key(&shared, &self.ephemeral, &reader.public, object, grantor);
        wrapping.unwrap(&self.commitment, &aad(object), &self.sealed)
    }
}

fn wrapping_key(
    shared: &Secret,
    ephemeral: &[u8; 32],
    reader: &ReaderPublic,
    object: &[u8],
    grantor: AuthorId,
) -> CommittedKey {
    let mut hasher = WRAP.hasher();
    hasher.part(shared.expose()).part(ephemeral).part(&reader.0).part(object).part(grantor.as_bytes());
    CommittedKey::from_hash(&hasher)
}

fn aad(object: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + object.len());
    out.push(ReaderWrap::VERSION);
    out.extend_from_slice(object);
    out
}

impl BorshSerialize for ReaderWrap {
    fn serialize<W: Write>(&self, writer: &mut W) -> borsh::io::Result<()> {
        writer.write_all(&[Self::VERSION])?;
        writer.write_all(&self.ephemeral)?;
        writer.write_all(&self.commitment)?;
        writer.write_all(&self.sealed)
    }
}

impl BorshDeserialize for ReaderWrap {
    fn deserialize_reader<R: Read>(reader: &mut R) -> borsh::io::Result<Self> {
        // PA
        let version = u8::deserialize_reader(reader)?;
        if version != Self::VERSION {
            let why = format!("wrap version {version} is not known here (newest known: {})", Self::VERSION);
            return Err(Error::new(ErrorKind::InvalidData, why));
        }
        Ok(Self {
            ephemeral: <[u8; 32]>::deserialize_reader(reader)?,
            commitment: <[u8; 32]>::deserialize_reader(reader)?,
            sealed: <[u8; 32 + TAG_LEN]>::deserialize_reader(reader)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::golden::{fixed_rng, hex, secret};
    use proptest::prelude::*;

    const GRANTOR: AuthorId = AuthorId::from_bytes([4; 32]);

    fn reader() -> ReaderSecret {
        ReaderSecret::from_seed(&secret(3))
    }

    fn sample() -> ReaderWrap {
        ReaderWrap::seal(&reader().public(), b"object", GRANTOR, &secret(2), &mut fixed_rng()).unwrap()
    }

    #[test]
    fn a_wrap_opens_for_its_reader_object_and_grantor_only() {
        let wrap = sample();
        assert_eq!(wrap.open(&reader(), b"object", GRANTOR), Ok(secret(2)));
        let other = ReaderSecret::from_seed(&secret(5));
        assert_eq!(wrap.open(&other, b"object", GRANTOR), Err(UnwrapError::WrongKey));
        assert_eq!(wrap.open(&reader(), b"objec", GRANTOR), Err(UnwrapError::WrongKey));
        let somebody = AuthorId::from_bytes([5; 32]);
        assert_eq!(wrap.open(&reader(), b"object", somebody), Err(UnwrapError::WrongKey));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let bytes = borsh::to_vec(&sample()).unwrap();
        assert_eq!(bytes.len(), ReaderWrap::LEN);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let Ok(wrap) = borsh::from_slice::<ReaderWrap>(&changed) else {
                assert_eq!(bit / 8, 0, "only the version makes bytes unreadable");
                continue;
            };
            let expected = if bit / 8 < 65 { UnwrapError::WrongKey } else { UnwrapError::Damaged };
            assert_eq!(wrap.open(&reader(), b"object", GRANTOR), Err(expected), "bit {bit}");
        }
    }

    /// The points of small order and their non-canonical spellings (RFC 7748, section 7; curve25519 validation list).
    fn low_order_points() -> Vec<[u8; 32]> {
        let mut points = vec![[0; 32]];
        let mut one = [0; 32];
        one[0] = 1;
        points.push(one);
        points.push(from_hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"));
        points.push(from_hex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"));
        for low in [0xec, 0xed, 0xee] {
            let mut point = [0xff; 32];
            point[0] = low;
            point[31] = 0x7f;
            points.push(point);
        }
        let high: Vec<_> = points
            .iter()
            .map(|point| {
                let mut high = *point;
                high[31] |= 0x80;
                high
            })
            .collect();
        points.extend(high);
        points
    }

    fn from_hex(text: &str) -> [u8; 32] {
        *ReaderId::from_hex(text).unwrap().as_bytes()
    }

    #[test]
    fn keys_of_low_order_are_refused_on_both_sides() {
        for point in low_order_points() {
            let weak = ReaderPublic::from_bytes(point);
            let refused = ReaderWrap::seal(&weak, b"object", GRANTOR, &secret(2), &mut fixed_rng());
            assert_eq!(refused, Err(WeakReaderKey { reader: weak.id() }), "{point:02x?}");
            let hostile = ReaderWrap { ephemeral: point, ..sample() };
            assert_eq!(hostile.open(&reader(), b"object", GRANTOR), Err(UnwrapError::Damaged), "{point:02x?}");
        }
    }

    #[test]
    fn the_wrap_is_the_one_in_the_format() {
        assert_eq!(
            hex(reader().public().as_bytes()),
            "5dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef22"
        );
        assert_eq!(
            reader().public().id().to_string(),
            "25da7a3a81469b4ee31674f71840f1cc7a3f0c3c5c4a456a5d5063a349c28966"
        );
        assert_eq!(
            hex(&borsh::to_vec(&sample()).unwrap()),
            "017d82e9da1ada19b21c5644e29b424869fd951f93f0998b47afb32ba69306d422bcc1694f78512f10e817f96f628de1\
            290f4d2a5dd48f3d23b803bba8a8d9d46639ef04a7f20d5c027c6a4985331c4427cabfdb7de733665dca76b5eb8c3165\
            542e148ef67f99b5e772cfe7c1c964c4a9"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_key_survives_its_wrap(
            reader in any::<[u8; 32]>(), key in any::<[u8; 32]>(), seed in any::<[u8; 32]>(),
            grantor in any::<[u8; 32]>(), object in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let (reader, key) = (ReaderSecret::from_seed(&Secret::new(reader)), Secret::new(key));
            let grantor = AuthorId::from_bytes(grantor);
            let mut rng = EngineRng::from_seed(seed);
            let wrap = ReaderWrap::seal(&reader.public(), &object, grantor, &key, &mut rng).unwrap();
            let read: ReaderWrap = borsh::from_slice(&borsh::to_vec(&wrap).unwrap()).unwrap();
            prop_assert_eq!(&read, &wrap);
            prop_assert_eq!(read.open(&reader, &object, grantor), Ok(key));
            let again = ReaderWrap::seal(&reader.public(), &object, grantor, &secret(1), &mut rng).unwrap();
            prop_assert_ne!(again.ephemeral, wrap.ephemeral);
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), ReaderWrap::LEN)) {
            let mut bytes = bytes;
            bytes[0] = ReaderWrap::VERSION;
            let wrap: ReaderWrap = borsh::from_slice(&bytes).unwrap();
            prop_assert!(wrap.open(&reader(), b"object", GRANTOR).is_err());
            prop_assert_eq!(borsh::to_vec(&wrap).unwrap(), bytes);
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", reader()), format!("ReaderSecret({:?})", reader().public().id()));
    }
}
