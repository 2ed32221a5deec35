//! A version as one record of the log.
//!
//! ```text
//! 0         1        51         151            215    216            216+32p            220+32p+h     n
//! | version | dot 50 | wrap 100 | signature 64 | u8 p | path (32 p) | u32 h | header (h) | sealed body |
//! ```
//!
//! Little-endian throughout. The sealed body comes last and unprefixed, its length being in the header, so that it can be
//! written and read without a copy.

use super::{Header, SignedHeader};
use crate::codec::{Canonical, DecodeError};
use crate::id::Dot;
use crate::keys::{BadSignature, GroupWrap, JointSignature, Signature};
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

const VERSION: u8 = 1;
const DOT_LEN: usize = 32 + 8 + 2 + 8;
const WRAP_LEN: usize = 4 + 16 + 32 + 48;
const SIGNATURE_LEN: usize = 64;
const NODE_LEN: usize = 32;
/// All but the path of the signature, the header and the body.
const FIXED_LEN: usize = 1 + DOT_LEN + WRAP_LEN + SIGNATURE_LEN + 1 + 4;

/// Why a record is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The header's signature is not its author's.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// The sealed body is not the one that the header names.
    #[error("the sealed body of blob {id} is damaged; read another copy of its record", id = .0)]
    Body(crate::id::BlobId),
}

/// One version as it travels and rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRecord {
    /// The record's name in its origin's history. Not signed: whoever logs it first gives it.
    pub dot: Dot,
    /// The header and its signature.
    pub header: SignedHeader,
    /// The body key, wrapped for the readers. Not signed: it is made anew when the group's key changes.
    pub wrap: GroupWrap,
    /// The sealed body.
    pub body: Bytes,
}

impl BlobRecord {
    /// What the structure is called in errors.
    pub const WHAT: &'static str = "blob record";
    /// The longest encoding accepted, in bytes.
    pub const MAX_LEN: usize =
        FIXED_LEN + NODE_LEN * JointSignature::MAX_PATH + Header::MAX_LEN + Header::MAX_BODY_LEN as usize;

    /// Everything before the sealed body: written first, then [`Self::body`].
    #[must_use]
    pub fn encode_head(&self) -> Vec<u8> {
        // PA
        let header = self.header.header().encode();
        let signature = self.header.signature();
        let len = FIXED_LEN + NODE_LEN * signature.path().len() + header.len();
        let mut out = Vec::with_capacity(len);
        out.push(VERSION);
        for part in [borsh::to_vec(&self.dot), borsh::to_vec(&self.wrap)] {
            match part {
                Ok(bytes) => out.extend_from_slice(&bytes),
                Err(error) => unreachable!("encoding to memory: {error}"),
            }
        }
        out.extend_from_slice(signature.signature().as_bytes());
        out.push(signature.path().len() as u8);
        signature.path().iter().for_each(|node| out.extend_from_slice(node));
        out.extend_from_slice(&(header.len() as u32).to_le_bytes());
        out.extend_from_slice(&header);
        debug_assert_eq!(out.len(), len);
        out
    }

    /// The whole encoding in one piece.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.encode_head();
        out.extend_from_slice(&self.body);
        out
    }

    /// Reads a record; the body is a view of `bytes`. Checks the form only: [`Self::verify`] checks who wrote it.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not exactly one encoding of a record.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        // PA
        if bytes.len() > Self::MAX_LEN {
            return Err(DecodeError::TooLong {
                what: Self::WHAT,
                len: bytes.len() as u64,
                limit: Self::MAX_LEN as u64,
            });
        }
        let Some((&version, rest)) = bytes.split_first() else {
            return Err(DecodeError::malformed(Self::WHAT, "no bytes at all"));
        };
        if version != VERSION {
            return Err(DecodeError::Version { what: Self::WHAT, found: version, known: VERSION });
        }
        let short = || DecodeError::malformed(Self::WHAT, "the bytes end early");
        let (dot, rest) = rest.split_first_chunk::<DOT_LEN>().ok_or_else(short)?;
        let (wrap, rest) = rest.split_first_chunk::<WRAP_LEN>().ok_or_else(short)?;
        let (signature, rest) = rest.split_first_chunk::<SIGNATURE_LEN>().ok_or_else(short)?;
        let (&path_len, rest) = rest.split_first().ok_or_else(short)?;
        let (path, rest) = rest.split_at_checked(NODE_LEN * usize::from(path_len)).ok_or_else(short)?;
        let path = path.as_chunks::<NODE_LEN>().0.to_vec();
        let signature = JointSignature::from_parts(Signature::from_bytes(*signature), path)
            .ok_or_else(|| DecodeError::malformed(Self::WHAT, "the path of its signature is too long"))?;
        let (header_len, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let header_len = u32::from_le_bytes(*header_len) as usize;
        let (header, body) = rest.split_at_checked(header_len).ok_or_else(short)?;
        let header = SignedHeader::from_encoded(header, signature)?;
        if body.len() != header.header().body_len as usize {
            return Err(DecodeError::malformed(Self::WHAT, "the body is not as long as its header says"));
        }
        Ok(Self { dot: read(dot)?, header, wrap: read(wrap)?, body: bytes.slice(bytes.len() - body.len()..) })
    }

    /// Checks the author's signature and that the body is the one signed for.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn verify(&self) -> Result<(), RecordError> {
        // PA
        self.verify_body()?;
        self.header.verify()?;
        Ok(())
    }

    /// Checks that the body is the one that the header names, at the price of one hash.
    ///
    /// # Errors
    /// [`RecordError::Body`].
    pub fn verify_body(&self) -> Result<(), RecordError> {
        // PA
        if self.header.header().matches_body(&self.body) { Ok(()) } else { Err(RecordError::Body(self.header.id())) }
    }
}

fn read<T: BorshDeserialize + BorshSerialize>(bytes: &[u8]) -> Result<T, DecodeError> {
    borsh::from_slice(bytes).map_err(|error| DecodeError::malformed(BlobRecord::WHAT, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::sample;
    use proptest::prelude::*;

    #[test]
    fn records_survive_without_a_copy_of_the_body() {
        let record = sample::record();
        assert_eq!(record.verify(), Ok(()));
        let bytes = Bytes::from(record.encode());
        let back = BlobRecord::decode(&bytes).unwrap();
        assert_eq!(back, record);
        assert_eq!(back.encode(), bytes);
        let end = bytes.as_ptr_range().end;
        assert_eq!(back.body.as_ptr_range().end, end);
    }

    #[test]
    fn records_signed_together_stand_alone() {
        let record = sample::record();
        let headers = (0..3).map(|epoch| Header { epoch: crate::id::Epoch(epoch), ..record.header.header().clone() });
        let signed = SignedHeader::sign_all(headers.collect(), &sample::author_key()).unwrap();
        for header in signed {
            let record = BlobRecord { header, ..record.clone() };
            let bytes = Bytes::from(record.encode());
            assert_eq!(BlobRecord::decode(&bytes).as_ref(), Ok(&record));
            assert_eq!(record.verify(), Ok(()));
            for at in 0..bytes.len() {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1;
                let Ok(other) = BlobRecord::decode(&changed.clone().into()) else { continue };
                assert_eq!(other.encode(), changed, "byte {at}");
                let unsigned = (1..1 + DOT_LEN + WRAP_LEN).contains(&at);
                assert_eq!(other.verify().is_ok(), unsigned, "byte {at}");
            }
        }
    }

    #[test]
    fn every_cut_and_extension_is_refused() {
        let bytes = sample::record().encode();
        for cut in 0..bytes.len() {
            assert!(BlobRecord::decode(&Bytes::copy_from_slice(&bytes[..cut])).is_err(), "{cut}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(BlobRecord::decode(&longer.into()).is_err());
    }

    #[test]
    fn every_flipped_bit_is_refused_or_shows() {
        let record = sample::record();
        let bytes = record.encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            let Ok(other) = BlobRecord::decode(&changed.clone().into()) else { continue };
            assert_eq!(other.encode(), changed, "byte {at}");
            // Dot and wrap are not signed: they change hands.
            let unsigned = (1..1 + DOT_LEN + WRAP_LEN).contains(&at);
            assert_eq!(other.verify().is_ok(), unsigned, "byte {at}");
        }
    }

    #[test]
    fn length_bombs_are_refused() {
        let mut bytes = sample::record().encode();
        bytes[FIXED_LEN - 4..FIXED_LEN].copy_from_slice(&[0xff; 4]);
        assert!(BlobRecord::decode(&bytes.into()).is_err());
    }

    proptest! {
        #[test]
        fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut noise = noise;
            if let Some(first) = noise.first_mut() { *first = VERSION; }
            prop_assert!(BlobRecord::decode(&noise.into()).is_err());
        }
    }
}
