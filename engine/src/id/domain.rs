//! Derivation domains: every hash, key and id of the project is made under a context of its own.

/// A BLAKE3 `derive_key` context. The strings are part of the format and never change meaning.
///
/// Source: BLAKE3 specification, section 2.3 (key derivation): contexts are hardcoded, globally unique and
/// application-specific.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain(&'static str);

impl Domain {
    /// A domain whose context is `"ouroborosdb v1 <name>"`; pass the whole string so that it can be searched for.
    #[must_use]
    pub const fn new(context: &'static str) -> Self {
        Self(context)
    }

    /// Starts a hash in this domain.
    #[must_use]
    pub fn hasher(self) -> DomainHasher {
        DomainHasher(blake3::Hasher::new_derive_key(self.0))
    }

    /// The hash of `parts`, each preceded by its length as a little-endian `u64`.
    #[must_use]
    pub fn hash(self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = self.hasher();
        for part in parts {
            hasher.part(part);
        }
        hasher.finish()
    }
}

/// A hash under way in one [`Domain`]. Every input is length-prefixed, so that no two input lists collide.
#[derive(Clone)]
pub struct DomainHasher(blake3::Hasher);

impl DomainHasher {
    /// Adds one input.
    pub fn part(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// The 32-byte result.
    #[must_use]
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }

    /// Fills `out` from the extendable output.
    pub fn finish_into(&self, out: &mut [u8]) {
        self.0.finalize_xof().fill(out);
    }
}

impl core::fmt::Debug for DomainHasher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("DomainHasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: Domain = Domain::new("ouroborosdb v1 test");

    #[test]
    fn inputs_are_length_prefixed() {
        assert_ne!(TEST.hash(&[b"ab", b"c"]), TEST.hash(&[b"a", b"bc"]));
        assert_ne!(TEST.hash(&[b"abc"]), TEST.hash(&[b"abc", b""]));
    }

    #[test]
    fn domains_differ() {
        assert_ne!(TEST.hash(&[b"x"]), Domain::new("ouroborosdb v1 other").hash(&[b"x"]));
    }
}
