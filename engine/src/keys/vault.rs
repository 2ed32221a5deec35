//! The keyring at rest: a file that only its passphrase opens.
//!
//! ```text
//!   0  16  magic "ouroborosdb keys"
//!  16   1  version, 1
//!  17  12  Argon2id cost: KiB, passes, lanes, each u32 little-endian
//!  29  16  salt
//!  45  32  commitment
//!  77   n  ChaCha20-Poly1305(keyring), n = 16 more than the keyring's encoding
//! end  16  checksum: derive("ouroborosdb v1 vault checksum", all before)[..16]
//! ```
//!
//! The checksum is public and protects from nobody; it tells a damaged file from a wrong passphrase, and before the
//! passphrase is hashed.

use super::committed::{CommittedKey, TAG_LEN};
use super::kdf::{KdfLimit, KdfParams};
use super::keyring::{Keyring, MAX_KEYRING_LEN};
use crate::codec::DecodeError;
use crate::id::{Domain, EngineRng};

const VAULT: Domain = Domain::new("ouroborosdb v1 vault");
const CHECKSUM: Domain = Domain::new("ouroborosdb v1 vault checksum");

const MAGIC: &[u8; 16] = b"ouroborosdb keys";
const HEAD_LEN: usize = 16 + 1 + KdfParams::LEN + 16;
const BOX_AT: usize = HEAD_LEN + 32;
const CHECKSUM_LEN: usize = 16;
const MIN_LEN: usize = BOX_AT + TAG_LEN + CHECKSUM_LEN;

/// Why a keyring file did not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Not a keyring file at all.
    #[error("this is not a keyring file; check the path given with --keyring")]
    NotAVault,
    /// A later program wrote it.
    #[error(
        "keyring file: format version {found} is not known here (newest known: {known}); a newer ouroboros wrote it"
    )]
    Version {
        /// The version found.
        found: u8,
        /// The newest that this build reads.
        known: u8,
    },
    /// The bytes are not those that were written.
    #[error(
        "the keyring file is damaged: {why}; restore it from a copy, or make it anew from the 24 words of the recovery phrase"
    )]
    Damaged {
        /// What was wrong.
        why: &'static str,
    },
    /// The file is whole, but this passphrase does not open it.
    #[error("wrong passphrase for this keyring file")]
    WrongPassphrase,
    /// Hashing the passphrase would cost more than is allowed or available.
    #[error("keyring file: {0}")]
    Cost(#[from] KdfLimit),
    /// The sealed content is of a kind that this build does not know.
    #[error("keyring file: {0}")]
    Content(#[from] DecodeError),
}

/// Sealing and opening keyring files.
#[derive(Debug)]
pub enum Vault {}

impl Vault {
    /// The version byte written.
    pub const VERSION: u8 = 1;
    /// The longest keyring file, in bytes; read no more than this (and one byte, to notice).
    pub const MAX_LEN: usize = MIN_LEN + MAX_KEYRING_LEN;

    /// The bytes of a keyring file. An empty passphrase is allowed and protects nothing.
    ///
    /// # Errors
    /// [`VaultError::Cost`] when the memory for hashing the passphrase is not to be had.
    pub fn seal(
        keyring: &Keyring,
        passphrase: &[u8],
        params: KdfParams,
        rng: &mut EngineRng,
    ) -> Result<Vec<u8>, VaultError> {
        // PA
        let salt: [u8; 16] = rng.bytes();
        let mut out = Vec::with_capacity(Self::MAX_LEN);
        out.extend_from_slice(MAGIC);
        out.push(Self::VERSION);
        out.extend_from_slice(&params.to_bytes());
        out.extend_from_slice(&salt);
        let key = file_key(params, passphrase, &salt, &out)?;
        out.extend_from_slice(key.commitment());
        let sealed = key.seal(&out, &keyring.to_bytes());
        out.extend_from_slice(&sealed);
        out.extend_from_slice(&checksum(&out));
        Ok(out)
    }

    /// The keyring in a file.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn open(bytes: &[u8], passphrase: &[u8]) -> Result<Keyring, VaultError> {
        // PA
        let params = Self::params(bytes)?;
        let (sealed_part, _) = bytes.split_at(bytes.len() - CHECKSUM_LEN);
        let (head, rest) = sealed_part.split_at(BOX_AT);
        let (bound, commitment) = head.split_at(HEAD_LEN);
        let key = file_key(params, passphrase, &fixed(bound, HEAD_LEN - 16)?, bound)?;
        if !key.commits_to(&fixed(commitment, 0)?) {
            return Err(VaultError::WrongPassphrase);
        }
        let plain = key.open(head, rest).ok_or(VaultError::Damaged { why: "its sealed part was altered" })?;
        Ok(Keyring::from_bytes(&plain)?)
    }

    /// What opening a file will cost, after checking that it is whole. Needs no passphrase.
    ///
    /// # Errors
    /// [`VaultError`], but never [`VaultError::WrongPassphrase`].
    pub fn params(bytes: &[u8]) -> Result<KdfParams, VaultError> {
        // PA
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err(VaultError::NotAVault);
        };
        let Some(&version) = rest.first() else {
            return Err(VaultError::Damaged { why: "it ends early" });
        };
        if version != Self::VERSION {
            return Err(VaultError::Version { found: version, known: Self::VERSION });
        }
        if bytes.len() < MIN_LEN {
            return Err(VaultError::Damaged { why: "it ends early" });
        }
        if bytes.len() > Self::MAX_LEN {
            return Err(VaultError::Damaged { why: "it is longer than a keyring can be" });
        }
        let (content, stored) = bytes.split_at(bytes.len() - CHECKSUM_LEN);
        if checksum(content) != *stored {
            return Err(VaultError::Damaged { why: "its checksum does not fit" });
        }
        Ok(KdfParams::from_bytes(&fixed(bytes, 17)?)?)
    }

    /// The bytes of the same keyring under another passphrase and cost. The old file opens with the old passphrase for as
    /// long as a copy of it exists.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn change_passphrase(
        bytes: &[u8],
        old: &[u8],
        new: &[u8],
        params: KdfParams,
        rng: &mut EngineRng,
    ) -> Result<Vec<u8>, VaultError> {
        // PA
        Self::seal(&Self::open(bytes, old)?, new, params, rng)
    }
}

/// The key of one file: everything before the commitment is bound into it.
fn file_key(params: KdfParams, passphrase: &[u8], salt: &[u8; 16], bound: &[u8]) -> Result<CommittedKey, KdfLimit> {
    let stretched = params.stretch(passphrase, salt)?;
    let mut hasher = VAULT.hasher();
    hasher.part(stretched.expose()).part(bound);
    Ok(CommittedKey::from_hash(&hasher))
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut out = [0; CHECKSUM_LEN];
    out.copy_from_slice(&CHECKSUM.hash(&[bytes])[..CHECKSUM_LEN]);
    out
}

fn fixed<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], VaultError> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(VaultError::Damaged { why: "it ends early" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Epoch;
    use crate::keys::MasterSecret;
    use crate::keys::golden::{fixed_rng, hex, secret};
    use proptest::prelude::*;

    fn keyring() -> Keyring {
        Keyring::from_master(MasterSecret::new(secret(1)))
    }

    fn sample() -> Vec<u8> {
        Vault::seal(&keyring(), b"passphrase", KdfParams::TESTING, &mut fixed_rng()).unwrap()
    }

    /// What a hostile writer can do and rot cannot: fit the checksum.
    fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
        let at = bytes.len() - CHECKSUM_LEN;
        let sum = checksum(&bytes[..at]);
        bytes[at..].copy_from_slice(&sum);
        bytes
    }

    #[test]
    fn a_keyring_comes_back_with_its_passphrase_only() {
        let mut keyring = keyring();
        keyring.add_realm_epoch(Epoch(2), secret(9)).unwrap();
        let bytes = Vault::seal(&keyring, b"passphrase", KdfParams::TESTING, &mut fixed_rng()).unwrap();
        assert_eq!(Vault::open(&bytes, b"passphrase").unwrap().to_bytes(), keyring.to_bytes());
        for wrong in [&b""[..], b"Passphrase", b"passphrase ", b"passphrase\0"] {
            assert_eq!(Vault::open(&bytes, wrong).unwrap_err(), VaultError::WrongPassphrase);
        }
    }

    #[test]
    fn the_fullest_keyring_fits() {
        let mut keyring = keyring();
        for epoch in 1..=crate::keys::MAX_EPOCHS as u32 {
            keyring.add_realm_epoch(Epoch(epoch), secret(1)).unwrap();
            keyring.add_group_epoch(Epoch(epoch), secret(2)).unwrap();
        }
        let bytes = Vault::seal(&keyring, b"", KdfParams::TESTING, &mut fixed_rng()).unwrap();
        assert_eq!(bytes.len(), Vault::MAX_LEN);
        assert_eq!(Vault::open(&bytes, b"").unwrap().to_bytes(), keyring.to_bytes());
    }

    #[test]
    fn rot_anywhere_is_told_from_a_wrong_passphrase() {
        let bytes = sample();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let error = Vault::open(&changed, b"passphrase").unwrap_err();
            let fits = match bit / 8 {
                0..16 => error == VaultError::NotAVault,
                16 => matches!(error, VaultError::Version { known: 1, .. }),
                _ => matches!(error, VaultError::Damaged { .. }),
            };
            assert!(fits, "bit {bit}: {error:?}");
        }
    }

    #[test]
    fn forged_bytes_with_a_fitting_checksum_are_refused_too() {
        let bytes = sample();
        for at in 17..bytes.len() - CHECKSUM_LEN {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let error = Vault::open(&with_checksum(changed), b"passphrase").unwrap_err();
            let fits = match at {
                17..29 => matches!(error, VaultError::Cost(_) | VaultError::WrongPassphrase),
                29..BOX_AT => error == VaultError::WrongPassphrase,
                _ => matches!(error, VaultError::Damaged { .. }),
            };
            assert!(fits, "byte {at}: {error:?}");
        }
    }

    #[test]
    fn a_file_cannot_demand_terabytes_or_years() {
        for field in [17, 21, 25] {
            let mut hostile = sample();
            hostile[field..field + 4].copy_from_slice(&[0xff; 4]);
            let error = Vault::open(&with_checksum(hostile), b"passphrase").unwrap_err();
            assert!(matches!(error, VaultError::Cost(KdfLimit::OutOfBounds { .. })), "{error:?}");
        }
    }

    #[test]
    fn cut_and_grown_files_are_damaged() {
        let bytes = sample();
        for cut in 0..bytes.len() {
            let error = Vault::open(&bytes[..cut], b"passphrase").unwrap_err();
            let fits =
                if cut < 16 { error == VaultError::NotAVault } else { matches!(error, VaultError::Damaged { .. }) };
            assert!(fits, "{cut}: {error:?}");
        }
        let mut grown = bytes.clone();
        grown.push(0);
        assert!(matches!(Vault::open(&grown, b"passphrase"), Err(VaultError::Damaged { .. })));
        let huge = [bytes, vec![0; Vault::MAX_LEN]].concat();
        assert!(matches!(Vault::open(&huge, b"passphrase"), Err(VaultError::Damaged { .. })));
    }

    #[test]
    fn a_changed_passphrase_takes_the_place_of_the_old() {
        let mut rng = fixed_rng();
        let old = sample();
        let params = KdfParams::new(16, 2, 2).unwrap();
        let new = Vault::change_passphrase(&old, b"passphrase", b"better", params, &mut rng).unwrap();
        assert_eq!(Vault::params(&new), Ok(params));
        assert_eq!(Vault::open(&new, b"passphrase").unwrap_err(), VaultError::WrongPassphrase);
        assert_eq!(Vault::open(&new, b"better").unwrap().to_bytes(), keyring().to_bytes());
        let refused = Vault::change_passphrase(&old, b"wrong", b"better", params, &mut rng);
        assert_eq!(refused, Err(VaultError::WrongPassphrase));
    }

    #[test]
    fn two_files_of_one_keyring_share_nothing_after_the_cost() {
        let mut rng = fixed_rng();
        let seal = |rng: &mut _| Vault::seal(&keyring(), b"p", KdfParams::TESTING, rng).unwrap();
        let (one, two) = (seal(&mut rng), seal(&mut rng));
        assert_ne!(one[29..45], two[29..45]);
        assert_ne!(one[45..77], two[45..77]);
        assert_ne!(one[77..], two[77..]);
    }

    #[test]
    fn the_file_is_the_one_in_the_format() {
        assert_eq!(
            hex(&sample()),
            "6f75726f626f726f736462206b65797301080000000100000001000000570416449232bd07fdecc45ca6e6df18ce7db2\
            e365d2201a54adcc2cc4bcdc77512a1bec6e02c90783eedba133a4150468a9464939887700cae7df507b255aa4ae9929\
            2a7beb9b21c65f81b843766c1942ab9ee1b8233bb56c1be219d81a0e33798d96d6034a166f50186d4c6326733efe1d68\
            d9e6b6a399ba"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(mut bytes in prop::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
            if magic {
                bytes.splice(0..0, [MAGIC.as_slice(), &[1]].concat());
            }
            prop_assert!(Vault::open(&bytes, b"").is_err());
        }
    }
}
