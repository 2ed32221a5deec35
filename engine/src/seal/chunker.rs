//! Content-defined chunking.
//!
//! `cdc1`: a gear hash (Xia et al., "FastCDC", USENIX ATC 2016) over a secret table proposes a cut about every 256
//! bytes; at each proposal SipHash-2-4 over the last 64 bytes decides, against one threshold before the average
//! length and one four times as high after it (FastCDC's normalised chunking). A gear table alone, secret or not, can
//! be recovered from chunk lengths (arXiv 2504.02095; Truong et al., eprint 2025/558). Here lengths are visible in
//! steps of 4 KiB only, each step holds about sixteen proposals, and which of them was taken is decided by a
//! pseudorandom function.

use super::{ChunkerKind, ChunkerParams, ScopeKeys};
use crate::id::Domain;
use fastcdc::v2020;
use siphasher::sip::SipHasher24;
use std::borrow::Cow;
use zeroize::Zeroizing;

const GEAR: Domain = Domain::new("ouroborosdb v1 cdc gear");
const SIPHASH: Domain = Domain::new("ouroborosdb v1 cdc siphash");
const FASTCDC: Domain = Domain::new("ouroborosdb v1 cdc fastcdc");

/// Bytes that a decision depends on: a 64-bit gear hash forgets what is older.
const WINDOW: usize = 64;
/// One position in 2^8 is proposed.
const PREFILTER_BITS: u32 = 8;
/// A gear hash below this proposes a cut: its highest bits are the ones that saw the whole window.
const PREFILTER: u64 = 1 << (64 - PREFILTER_BITS);
/// Places scanned at the same time, because one gear hash is a chain of dependent additions that leaves most of a
/// core idle.
const LANES: usize = 4;
/// Bytes that each lane covers per round. A power of two.
const LANE_LEN: usize = 1024;

/// Cuts plaintext into chunks.
pub struct Chunker {
    min_len: usize,
    avg_len: usize,
    max_len: usize,
    algorithm: Algorithm,
}

enum Algorithm {
    Cdc1(Box<Cdc1>),
    FastCdc(FastCdc),
}

impl Chunker {
    /// A chunker for one scope.
    ///
    /// # Panics
    /// When `params` do not pass [`ChunkerParams::check`]; decoded ones always do.
    #[must_use]
    pub fn new(params: &ChunkerParams, keys: &ScopeKeys) -> Self {
        // PA
        assert_eq!(params.check(), Ok(()), "chunker parameters are checked where they enter");
        let algorithm = match params.kind {
            ChunkerKind::Cdc1 => Algorithm::Cdc1(Box::new(Cdc1::new(params, keys))),
            ChunkerKind::FastCdc => Algorithm::FastCdc(FastCdc::new(params, keys)),
        };
        let [min_len, avg_len, max_len] = [params.min_len, params.avg_len, params.max_len].map(|len| len as usize);
        Self { min_len, avg_len, max_len, algorithm }
    }

    /// Longest chunk, in bytes: what a caller must have at hand, unless the input ends before.
    #[must_use]
    pub const fn max_len(&self) -> usize {
        self.max_len
    }

    /// The length of the next chunk at the start of `data`, in bytes, never 0; `None` when more bytes are needed,
    /// that is with less than [`Self::max_len`] bytes unless `end_of_input`, and at the end of everything.
    #[must_use]
    pub fn cut(&self, data: &[u8], end_of_input: bool) -> Option<usize> {
        // PA
        if data.is_empty() || (data.len() < self.max_len && !end_of_input) {
            return None;
        }
        let data = &data[..data.len().min(self.max_len)];
        if data.len() <= self.min_len {
            return Some(data.len());
        }
        let centre = self.avg_len.min(data.len());
        let cut = match &self.algorithm {
            Algorithm::Cdc1(cdc1) => cdc1
                .scan(data, self.min_len..centre, cdc1.before_centre)
                .or_else(|| cdc1.scan(data, centre..data.len(), cdc1.after_centre)),
            Algorithm::FastCdc(fastcdc) => Some(fastcdc.cut(data, self.min_len, self.avg_len, self.max_len)),
        };
        Some(cut.unwrap_or(data.len()))
    }
}

impl core::fmt::Debug for Chunker {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Chunker({}/{}/{})", self.min_len, self.avg_len, self.max_len)
    }
}

struct Cdc1 {
    gear: Zeroizing<[u64; 256]>,
    siphash: SipHasher24,
    /// Proposals whose SipHash is below are taken, while the chunk is shorter than average.
    before_centre: u64,
    /// The same from the average on.
    after_centre: u64,
}

impl Cdc1 {
    fn new(params: &ChunkerParams, keys: &ScopeKeys) -> Self {
        let mut bytes = Zeroizing::new([0; 256 * 8]);
        keyed(GEAR, keys, &mut *bytes);
        let mut gear = Zeroizing::new([0; 256]);
        for (entry, bytes) in gear.iter_mut().zip(bytes.as_chunks().0) {
            *entry = u64::from_le_bytes(*bytes);
        }
        let mut key = Zeroizing::new([0; 16]);
        keyed(SIPHASH, keys, &mut *key);

        // With d = average - minimum and cut rates 1/(2b) before the average and 2/b after it, the mean length is
        // minimum + 2b(1-e) + e b/2 where e = exp(-d/2b); it equals the average for b = 0.863 d. Integers, so that
        // every machine gets the same thresholds.
        let spread = u128::from(params.avg_len.saturating_sub(params.min_len).max(1));
        let before_centre = ((1_u128 << (64 + PREFILTER_BITS)) / spread).saturating_mul(1000) / 1726;
        let threshold = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
        Self {
            gear,
            siphash: SipHasher24::new_with_key(&key),
            before_centre: threshold(before_centre),
            after_centre: threshold(before_centre.saturating_mul(4)),
        }
    }

    /// The first chunk length in `lens` at which to cut.
    fn scan(&self, data: &[u8], lens: core::ops::Range<usize>, threshold: u64) -> Option<usize> {
        // PA
        let mut decide = Decide { cdc1: self, data, threshold, last: None };
        // A chunk of length n is decided by its last byte, n - 1, and the 63 before it.
        let mut at = lens.start - 1;
        let end = lens.end - 1;
        let mut hits = [[0_u16; LANE_LEN]; LANES];
        while let Some((round, _)) = data[at..end].split_first_chunk::<{ LANES * LANE_LEN }>() {
            let lanes: &[[u8; LANE_LEN]; LANES] = round.as_chunks().0.first_chunk()?;
            let mut hashes: [u64; LANES] = core::array::from_fn(|lane| self.warm_up(data, at + lane * LANE_LEN));
            let mut counts = [0; LANES];
            // Every lane in every step: zipping four iterators would hide that from reader and optimiser alike.
            #[allow(clippy::needless_range_loop)]
            for offset in 0..LANE_LEN {
                for lane in 0..LANES {
                    hashes[lane] = (hashes[lane] << 1).wrapping_add(self.gear[usize::from(lanes[lane][offset])]);
                    if hashes[lane] < PREFILTER {
                        hits[lane][counts[lane] % LANE_LEN] = offset as u16;
                        counts[lane] += 1;
                    }
                }
            }
            for (lane, (hits, count)) in hits.iter().zip(counts).enumerate() {
                for &offset in &hits[..count] {
                    let last_byte = at + lane * LANE_LEN + usize::from(offset);
                    if decide.cuts_after(last_byte) {
                        return Some(last_byte + 1);
                    }
                }
            }
            at += LANES * LANE_LEN;
        }
        let mut hash = self.warm_up(data, at);
        for (offset, &byte) in data[at..end].iter().enumerate() {
            hash = (hash << 1).wrapping_add(self.gear[usize::from(byte)]);
            if hash < PREFILTER && decide.cuts_after(at + offset) {
                return Some(at + offset + 1);
            }
        }
        None
    }

    /// The gear hash as it stands before byte `at`.
    fn warm_up(&self, data: &[u8], at: usize) -> u64 {
        data[at + 1 - WINDOW..at]
            .iter()
            .fold(0, |hash: u64, &byte| (hash << 1).wrapping_add(self.gear[usize::from(byte)]))
    }
}

/// The second opinion on proposals.
struct Decide<'a> {
    cdc1: &'a Cdc1,
    data: &'a [u8],
    threshold: u64,
    /// The window decided last. It was declined, or there would be no further question.
    last: Option<&'a [u8]>,
}

impl Decide<'_> {
    #[inline]
    fn cuts_after(&mut self, last_byte: usize) -> bool {
        let window = &self.data[last_byte + 1 - WINDOW..=last_byte];
        // Long runs of one byte either propose nothing or everything.
        if self.last == Some(window) {
            return false;
        }
        self.last = Some(window);
        self.cdc1.siphash.hash(window) < self.threshold
    }
}

/// The `fastcdc` crate's 2020 variant with a gear table seeded from the scope's secret.
struct FastCdc {
    gear: Cow<'static, [u64]>,
    gear_shifted: Cow<'static, [u64]>,
    masks: (u64, u64),
}

impl FastCdc {
    fn new(params: &ChunkerParams, keys: &ScopeKeys) -> Self {
        let mut seed = [0; 8];
        keyed(FASTCDC, keys, &mut seed);
        let (gear, gear_shifted) = v2020::get_gear_with_seed(u64::from_le_bytes(seed));
        let masks = v2020::select_masks(params.avg_len as usize, v2020::Normalization::Level1);
        Self { gear, gear_shifted, masks }
    }

    fn cut(&self, data: &[u8], min_len: usize, avg_len: usize, max_len: usize) -> usize {
        let (short, long) = self.masks;
        let (_, len) = v2020::cut_gear(
            data,
            min_len,
            avg_len,
            max_len,
            short,
            long,
            short << 1,
            long << 1,
            &self.gear,
            &self.gear_shifted,
        );
        len
    }
}

fn keyed(domain: Domain, keys: &ScopeKeys, out: &mut [u8]) {
    let mut hasher = domain.hasher();
    hasher.part(keys.cdc.expose());
    hasher.finish_into(out);
}

#[cfg(test)]
mod tests;
