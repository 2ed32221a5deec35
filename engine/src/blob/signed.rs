//! A header with its author's signature and its id at hand.

use super::Header;
use crate::codec::bounded;
use crate::codec::{Canonical, DecodeError};
use crate::id::{BlobId, Domain};
use crate::keys::{BadSignature, Ed25519, JointSignature, Signature, Signer, Verifier};
use borsh::io::{Error, ErrorKind, Read, Write};
use borsh::{BorshDeserialize, BorshSerialize};

const SIGNATURE: Domain = Domain::new("ouroborosdb v1 blob signature");

/// A [`Header`] and its author's signature. The header cannot be changed, so that the id, which is kept beside it, stays
/// true. Having one proves nothing: call [`Self::verify`] on whatever came from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHeader {
    header: Header,
    signature: JointSignature,
    id: BlobId,
}

impl SignedHeader {
    /// Signs a header as its author.
    ///
    /// # Errors
    /// [`DecodeError`] when the header breaks a rule of its format, or names another author than the key's.
    pub fn sign(header: Header, key: &dyn Signer) -> Result<Self, DecodeError> {
        let mut signed = Self::sign_all(vec![header], key)?;
        match signed.pop() {
            Some(only) => Ok(only),
            None => unreachable!("one header, one signature"),
        }
    }

    /// Signs several headers as their author, at the price of one signature.
    ///
    /// # Errors
    /// [`DecodeError`] when one of them breaks a rule of the format, or names another author than the key's.
    pub fn sign_all(headers: Vec<Header>, key: &dyn Signer) -> Result<Vec<Self>, DecodeError> {
        // PA
        let mut ids = Vec::with_capacity(headers.len());
        for header in &headers {
            header.validate()?;
            if header.author != key.author() {
                return Err(DecodeError::malformed(
                    Header::WHAT,
                    "the header names another author than the key that signs",
                ));
            }
            ids.push(header.id());
        }
        let digests: Vec<[u8; 32]> = ids.iter().map(|id| *id.as_bytes()).collect();
        let signatures = JointSignature::sign(key, SIGNATURE, &digests);
        let signed = headers.into_iter().zip(ids).zip(signatures);
        Ok(signed.map(|((header, id), signature)| Self { header, signature, id }).collect())
    }

    /// Puts a header and a signature together that were stored apart.
    ///
    /// # Errors
    /// [`DecodeError`] when the header breaks a rule of its format.
    pub fn from_parts(header: Header, signature: JointSignature) -> Result<Self, DecodeError> {
        header.validate()?;
        let id = header.id();
        Ok(Self { header, signature, id })
    }

    /// Reads canonical header bytes that are followed elsewhere by their signature.
    pub(super) fn from_encoded(encoded: &[u8], signature: JointSignature) -> Result<Self, DecodeError> {
        // The encoding is canonical, so these bytes are the only ones this header could hash to.
        Ok(Self { header: Header::decode(encoded)?, signature, id: Header::id_of_encoded(encoded) })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The signature.
    #[must_use]
    pub const fn signature(&self) -> &JointSignature {
        &self.signature
    }

    /// The version's id.
    #[must_use]
    pub const fn id(&self) -> BlobId {
        self.id
    }

    /// Checks that the author named in the header signed it.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self) -> Result<(), BadSignature> {
        self.verify_by(&Ed25519)
    }

    /// [`Self::verify`] with a verifier of the caller's choice.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify_by(&self, verifier: &(impl Verifier + ?Sized)) -> Result<(), BadSignature> {
        // PA
        self.signature.verify_by(verifier, self.header.author, SIGNATURE, self.id.as_bytes())
    }
}

impl BorshSerialize for SignedHeader {
    fn serialize<W: Write>(&self, writer: &mut W) -> borsh::io::Result<()> {
        self.header.encode().serialize(writer)?;
        self.signature.signature().serialize(writer)?;
        writer.write_all(&[self.signature.path().len() as u8])?;
        self.signature.path().iter().try_for_each(|node| writer.write_all(node))
    }
}

impl BorshDeserialize for SignedHeader {
    fn deserialize_reader<R: Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let encoded = bounded::read_bytes(reader, Header::MAX_LEN)?;
        let root = Signature::deserialize_reader(reader)?;
        let invalid = |why: String| Error::new(ErrorKind::InvalidData, why);
        let count = usize::from(u8::deserialize_reader(reader)?);
        if count > JointSignature::MAX_PATH {
            return Err(invalid(format!("a path of {count} nodes")));
        }
        let path = (0..count).map(|_| <[u8; 32]>::deserialize_reader(reader)).collect::<Result<_, _>>()?;
        let signature = JointSignature::from_parts(root, path).ok_or_else(|| invalid("a long path".into()))?;
        Self::from_encoded(&encoded, signature).map_err(|error| invalid(error.to_string()))
    }
}

impl Canonical for SignedHeader {
    const WHAT: &'static str = "signed blob header";
    const MAX_LEN: usize = Header::MAX_LEN + 1 + 4 + 64 + 1 + 32 * JointSignature::MAX_PATH;

    fn validate(&self) -> Result<(), DecodeError> {
        self.header.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{hostile, sample};
    use crate::id::Epoch;

    #[test]
    fn a_signature_covers_every_byte_of_the_header() {
        let signed = sample::signed_header();
        assert_eq!(signed.verify(), Ok(()));
        let encoded = signed.header().encode();
        let mut accepted = 0;
        for at in 0..encoded.len() {
            let mut changed = encoded.clone();
            changed[at] ^= 1;
            if let Ok(other) = SignedHeader::from_encoded(&changed, signed.signature().clone()) {
                accepted += 1;
                assert_ne!(other.id(), signed.id());
                assert!(other.verify().is_err(), "byte {at}");
            }
        }
        assert!(accepted > 0, "no flipped byte even decoded: the test proves nothing");
    }

    #[test]
    fn headers_signed_together_stand_alone() {
        let key = sample::author_key();
        let header = |epoch| Header { epoch: Epoch(epoch), ..sample::header() };
        let signed = SignedHeader::sign_all((0..5).map(header).collect(), &key).unwrap();
        for (epoch, one) in (0..).zip(&signed) {
            assert_eq!((one.header(), one.verify()), (&header(epoch), Ok(())));
            let bytes = one.encode();
            assert!(bytes.len() <= SignedHeader::MAX_LEN);
            assert_eq!(SignedHeader::decode(&bytes).as_ref(), Ok(one));
            hostile::has_one_spelling::<SignedHeader>(&bytes);
        }
        let swapped = SignedHeader::from_parts(header(0), signed[1].signature().clone()).unwrap();
        assert!(swapped.verify().is_err());
    }

    #[test]
    fn only_the_author_signs() {
        let mut header = sample::header();
        header.author = crate::id::AuthorId::from_bytes([3; 32]);
        assert!(SignedHeader::sign(header, &sample::author_key()).is_err());
    }

    #[test]
    fn signed_headers_survive_and_have_one_spelling() {
        let signed = sample::signed_header();
        let bytes = signed.encode();
        let back = SignedHeader::decode(&bytes).unwrap();
        assert_eq!(back, signed);
        assert_eq!(back.id(), signed.header().id());
        hostile::has_one_spelling::<SignedHeader>(&bytes);
        let mut header = signed.header().clone();
        header.epoch = Epoch(7);
        let forged = SignedHeader::from_parts(header, signed.signature().clone()).unwrap();
        assert!(SignedHeader::decode(&forged.encode()).unwrap().verify().is_err());
    }
}
