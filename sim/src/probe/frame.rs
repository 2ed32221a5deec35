//! What probes send each other, as bytes: a kind, who, to whom, two nonces or a session and a number, a body, and a tag over
//! all of that under the key that only nodes have.

use bytes::{BufMut, Bytes, BytesMut};

/// The key of the nodes.
pub(super) type Key = [u8; 32];
/// Never the same twice.
pub(super) type Nonce = [u8; 16];

/// Names what two nonces have agreed on: frames of one session mean nothing in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub(super) [u8; 16]);

/// Bytes of a tag.
const TAG: usize = 16;
/// Bytes of a letter's body, at most.
pub(super) const MAX_BODY: usize = 64;

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// I would speak to you.
    Hello { mine: Nonce },
    /// You may, if you can answer this.
    Welcome { yours: Nonce, mine: Nonce },
    /// A letter.
    Letter { session: Session, number: u64, body: Bytes },
    /// It is here.
    Thanks { session: Session, number: u64 },
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) from: u8,
    pub(super) to: u8,
    pub(super) content: Content,
}

impl Session {
    /// The session that follows from both sides' nonces.
    pub(super) fn of(caller: &Nonce, called: &Nonce) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("ouroborosdb v1 simulator probe session");
        hasher.update(caller);
        hasher.update(called);
        Self(short(&hasher))
    }
}

/// The first half of a hash.
pub(super) fn short(hasher: &blake3::Hasher) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    out
}

fn tag(key: &Key, bytes: &[u8]) -> [u8; TAG] {
    let mut out = [0; TAG];
    out.copy_from_slice(&blake3::keyed_hash(key, bytes).as_bytes()[..TAG]);
    out
}

impl Frame {
    pub(super) fn encode(&self, key: &Key) -> Bytes {
        let mut out = BytesMut::with_capacity(160);
        let mut head = |kind: u8, one: &[u8; 16]| {
            out.put_slice(&[kind, self.from, self.to]);
            out.put_slice(one);
        };
        match &self.content {
            Content::Hello { mine } => head(1, mine),
            Content::Welcome { yours, mine } => {
                head(2, yours);
                out.put_slice(mine);
            }
            Content::Letter { session, number, body } => {
                head(3, &session.0);
                out.put_u64_le(*number);
                out.put_slice(body);
            }
            Content::Thanks { session, number } => {
                head(4, &session.0);
                out.put_u64_le(*number);
            }
        }
        let tag = tag(key, &out);
        out.put_slice(&tag);
        out.freeze()
    }

    /// Reads a frame; `checked` says whether its tag must be right. None if it is none, or not by who has the key.
    pub(super) fn decode(key: &Key, bytes: &Bytes, checked: bool) -> Option<Self> {
        let (signed, theirs) = bytes.split_at(bytes.len().checked_sub(TAG)?);
        if checked && tag(key, signed) != theirs {
            return None;
        }
        let (&[kind, from, to], rest) = signed.split_first_chunk()?;
        let (one, rest) = rest.split_first_chunk::<16>()?;
        let number = || rest.split_first_chunk().map(|(number, rest)| (u64::from_le_bytes(*number), rest));
        let content = match kind {
            1 if rest.is_empty() => Content::Hello { mine: *one },
            2 => Content::Welcome { yours: *one, mine: rest.try_into().ok()? },
            3 => {
                let (number, body) = number()?;
                let body = (body.len() <= MAX_BODY).then(|| Bytes::copy_from_slice(body))?;
                Content::Letter { session: Session(*one), number, body }
            }
            4 => {
                let (number, rest) = number()?;
                rest.is_empty().then_some(Content::Thanks { session: Session(*one), number })?
            }
            _ => return None,
        };
        Some(Self { from, to, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Frame> {
        let session = Session([5; 16]);
        let body = Bytes::from_static(b"hello");
        let contents = [
            Content::Hello { mine: [1; 16] },
            Content::Welcome { yours: [1; 16], mine: [2; 16] },
            Content::Letter { session, number: 9, body },
            Content::Thanks { session, number: 9 },
        ];
        contents.map(|content| Frame { from: 1, to: 2, content }).into()
    }

    #[test]
    fn what_is_written_is_read_again_and_any_other_byte_is_refused() {
        let key = [7; 32];
        for frame in frames() {
            let bytes = frame.encode(&key);
            assert_eq!(Frame::decode(&key, &bytes, true).as_ref(), Some(&frame));
            assert_eq!(Frame::decode(&[8; 32], &bytes, true), None, "another key");
            for at in 0..bytes.len() {
                let mut other = BytesMut::from(&bytes[..]);
                other[at] ^= 1;
                assert_eq!(Frame::decode(&key, &other.freeze(), true), None, "byte {at} of {frame:?}");
                assert_eq!(Frame::decode(&key, &bytes.slice(..at), true), None, "{at} bytes of {frame:?}");
            }
        }
    }
}
