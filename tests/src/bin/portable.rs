//! Runs [`ouroboros_tests::portable`] and panics unless it gives the expected digest: on wasm32, where nothing can be printed,
//! that is a trap.

use ouroboros_tests::portable::{EXPECTED, digest};
use std::io::Write as _;

fn main() {
    let found = digest();
    let _ = writeln!(std::io::stdout(), "expected {EXPECTED}\nfound    {found:?}");
    assert!(found.as_deref() == Ok(EXPECTED), "this build does not do what every other build does");
}
