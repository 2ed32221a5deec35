//! The storage policy, which may change over a store's life. The latest one in the log counts.

use crate::codec::Canonical;
use crate::id::Hlc;
use crate::seal::Coding;
use borsh::{BorshDeserialize, BorshSerialize};

/// How new seals are coded, from a moment on.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Policy {
    /// When it was set; the highest counts.
    pub created: Hlc,
    /// The coding.
    pub coding: Coding,
}

impl Canonical for Policy {
    const WHAT: &'static str = "storage policy";
    const MAX_LEN: usize = 64;
}
