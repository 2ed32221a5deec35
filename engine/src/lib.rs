//! OuroborosDB's core, sans-IO.
//!
//! The engine is told what happened and asked what to do next. It starts no thread, reads no clock, opens no file or
//! socket of its own and draws no entropy: time, disk and randomness are arguments. That is what lets every line that
//! could lose data run under deterministic simulation before it meets a real disk.
//!
//! Read in this order: [`id`], [`codec`], [`mod@env`], [`keys`], [`seal`], [`blob`], [`dag`], [`names`], [`deletion`],
//! [`store`], [`node`].

// Which bug is planted is kept per thread; see `planted`.
#![cfg_attr(feature = "planted", allow(clippy::disallowed_macros, clippy::disallowed_types))]

pub mod blob;
pub mod codec;
pub mod dag;
pub mod deletion;
pub mod env;
pub mod id;
pub mod keys;
pub mod names;
pub mod node;
pub mod planted;
pub mod seal;
pub mod store;
