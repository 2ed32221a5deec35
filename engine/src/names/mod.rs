//! Names: what keys are called, how that is shown, and how it is hidden from those who store it.
//!
//! A [`KeyName`] is a path of bytes. On disk it stands as a [`SealedPath`]: every component is sealed deterministically
//! under its directory, so that equal names seal equally, a holder of the bytes alone sees the shape of the tree
//! ([`SealedPath::entries`]) and nobody without the realm secret reads a name.
//!
//! What remains visible: which keys share a directory, the length of every component in steps of 16 bytes, and that one
//! component stands in one directory twice. Equal components of different directories look different.

mod escape;
mod name;
mod sealed;

pub use escape::{EscapeError, Escaped, escape, unescape};
pub use name::{KeyName, NameError, ParseNameError};
pub use sealed::{OpenPathError, SealedComponent, SealedPath, open_component, open_path, seal_path};
