//! Entropy from the operating system: the one place where randomness enters.

/// The operating system gave no entropy.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the operating system gave no randomness ({0}): nothing can be sealed without it; try again")]
pub struct NoEntropy(String);

/// A seed for the engine's random stream.
///
/// # Errors
/// [`NoEntropy`], in practice only on a machine that is still starting.
pub fn os_seed() -> Result<[u8; 32], NoEntropy> {
    // PA: a seed that is not random makes every key of the store guessable; there is no fallback.
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| NoEntropy(error.to_string()))?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ() {
        assert_ne!(os_seed().unwrap(), os_seed().unwrap());
    }
}
