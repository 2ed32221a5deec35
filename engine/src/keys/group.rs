//! Body keys wrapped under a group's epoch key: symmetric, so that a put costs no elliptic curve.

use crate::id::Epoch;
use borsh::{BorshDeserialize, BorshSerialize};

/// A body key, wrapped for everybody who holds one epoch key of a group.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GroupWrap {
    /// The epoch of the group key.
    pub epoch: Epoch,
    /// Makes the wrapping key fresh for every wrap.
    pub salt: [u8; 16],
    /// Commits to the wrapping key; compared before decrypting.
    pub commitment: [u8; 32],
    /// The sealed body key and its tag.
    pub sealed: [u8; 48],
}
