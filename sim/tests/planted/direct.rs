//! Promises that need a look at something else than what a client sees.

use super::world::Broken;
use ouroboros_engine::planted::Bug;

/// A scenario of its own for a bug, if it needs one.
pub(crate) fn scenario(_bug: Bug) -> Option<fn() -> Result<(), Broken>> {
    None
}
