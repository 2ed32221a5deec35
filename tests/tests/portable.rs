//! The run that wasm32 repeats gives its expected digest here as well.

use ouroboros_tests::portable::{EXPECTED, digest};

#[test]
fn the_engine_gives_the_same_bytes_on_every_machine() {
    assert_eq!(digest().as_deref(), Ok(EXPECTED));
}
