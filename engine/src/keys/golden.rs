//! Fixed inputs for the vectors that freeze the format.

use crate::id::{EngineRng, Secret};

/// 32 bytes of `fill`.
pub(crate) fn secret(fill: u8) -> Secret {
    Secret::new([fill; 32])
}

/// The stream of seed `5a…`.
pub(crate) fn fixed_rng() -> EngineRng {
    EngineRng::from_seed([0x5a; 32])
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
