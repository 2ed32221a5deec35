//! How one page becomes a record on disk: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03).
//!
//! A record is `nonce (24) || ciphertext || tag (16)`. The associated data is the record's kind and number, so that a
//! record read from the wrong place is refused.
//!
//! A nonce is 16 random bytes drawn at every open, then a counter: unique among the writes of one open by the counter,
//! and between opens by the random part. That holds across crashes and for files that were rolled back or copied,
//! because nothing is derived from what the file says. 24-byte nonces are what makes that affordable; with the 12 bytes
//! of plain ChaCha20-Poly1305 a file would have to remember its counter, and a restored backup would repeat it.

use crate::id::{Domain, EngineRng, Secret};
use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305};

/// Bytes that a record is longer than its page.
pub(super) const RECORD_OVERHEAD: usize = NONCE_LEN + TAG_LEN;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;

const PAGE_KEY: Domain = Domain::new("ouroborosdb v1 index page key");

/// What a record holds. Part of the associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordKind {
    /// A page of the B-tree's byte space.
    Page = 0,
    /// A header slot.
    Slot = 1,
    /// A part of the page map.
    Map = 2,
}

/// Thirty-two bits of a record's tag: tells two writes of one page apart. Never 0, which means "never written".
pub(super) type Fingerprint = u32;

/// Seals and opens records under one file's key.
pub(super) struct PageCipher {
    aead: XChaCha20Poly1305,
    session: [u8; 16],
}

impl PageCipher {
    /// The cipher of the file with `salt`. `rng` must never have been in this state before: its seed is fresh at
    /// every open.
    pub(super) fn new(secret: &Secret, salt: &[u8; 16], rng: &mut EngineRng) -> Self {
        // PA
        let key = secret.derive(PAGE_KEY, &[salt]);
        Self { aead: XChaCha20Poly1305::new(key.expose().into()), session: rng.bytes() }
    }

    /// Writes the record of `plain` to `record`, which is [`RECORD_OVERHEAD`] longer. `counter` must not repeat during
    /// the life of this cipher.
    pub(super) fn seal(
        &self,
        counter: u64,
        kind: RecordKind,
        number: u64,
        plain: &[u8],
        record: &mut [u8],
    ) -> Fingerprint {
        // PA
        let (nonce, rest) = record.split_at_mut(NONCE_LEN);
        let (body, tag) = rest.split_at_mut(plain.len());
        nonce[..16].copy_from_slice(&self.session);
        nonce[16..].copy_from_slice(&counter.to_le_bytes());
        body.copy_from_slice(plain);
        let nonce: &[u8; NONCE_LEN] = &core::array::from_fn(|i| nonce[i]);
        match self.aead.encrypt_inout_detached(nonce.into(), &aad(kind, number), body.into()) {
            Ok(sealed) => tag.copy_from_slice(&sealed),
            Err(_) => unreachable!("a page is far shorter than the cipher's limit"),
        }
        fingerprint(tag)
    }

    /// Opens a record into `plain`; `None` when it is not the record of this kind and number.
    pub(super) fn open(&self, kind: RecordKind, number: u64, record: &[u8], plain: &mut [u8]) -> Option<Fingerprint> {
        // PA
        let (nonce, rest) = record.split_first_chunk::<NONCE_LEN>()?;
        let (body, tag) = rest.split_last_chunk::<TAG_LEN>()?;
        if body.len() != plain.len() {
            return None;
        }
        plain.copy_from_slice(body);
        self.aead.decrypt_inout_detached(nonce.into(), &aad(kind, number), plain.into(), tag.into()).ok()?;
        Some(fingerprint(tag))
    }
}

fn aad(kind: RecordKind, number: u64) -> [u8; 9] {
    let mut out = [kind as u8; 9];
    out[1..].copy_from_slice(&number.to_le_bytes());
    out
}

fn fingerprint(tag: &[u8]) -> Fingerprint {
    u32::from_le_bytes(core::array::from_fn(|i| tag[i])).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_opens_only_in_its_place_and_only_whole() {
        let secret = Secret::new([7; 32]);
        let cipher = PageCipher::new(&secret, &[1; 16], &mut EngineRng::from_seed([0; 32]));
        let (page, mut record, mut out) = ([0x5a; 64], [0; 64 + RECORD_OVERHEAD], [0; 64]);
        let written = cipher.seal(9, RecordKind::Page, 4, &page, &mut record);
        assert_eq!(cipher.open(RecordKind::Page, 4, &record, &mut out), Some(written));
        assert_eq!(out, page);
        assert_eq!(cipher.open(RecordKind::Page, 5, &record, &mut out), None);
        assert_eq!(cipher.open(RecordKind::Map, 4, &record, &mut out), None);
        for bit in 0..record.len() * 8 {
            let mut damaged = record;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(cipher.open(RecordKind::Page, 4, &damaged, &mut out), None);
        }
        let elsewhere = PageCipher::new(&secret, &[2; 16], &mut EngineRng::from_seed([0; 32]));
        assert_eq!(elsewhere.open(RecordKind::Page, 4, &record, &mut out), None);
    }

    #[test]
    fn equal_pages_never_look_equal_on_disk() {
        let secret = Secret::new([7; 32]);
        let mut records = std::collections::BTreeSet::new();
        let mut rng = EngineRng::from_seed([3; 32]);
        for _open in 0..4 {
            let cipher = PageCipher::new(&secret, &[1; 16], &mut rng);
            for counter in 0..4 {
                let mut record = [0; 32 + RECORD_OVERHEAD];
                cipher.seal(counter, RecordKind::Page, 1, &[0; 32], &mut record);
                assert!(records.insert(record[..40].to_vec()));
            }
        }
    }
}
