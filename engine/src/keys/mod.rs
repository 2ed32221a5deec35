//! Keys: who signs, who may read, and how secrets rest on disk.

mod author;
mod group;

pub use author::{AuthorKey, BadSignature, Signature, verify};
pub use group::GroupWrap;
