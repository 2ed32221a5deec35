//! zstd where it pays, raw where it does not.
//!
//! The inner text of a seal: `u8 codec || u32le plain length || data`, then zeros up to the padding step.

use super::cipher::{MAX_PLAIN_LEN, SealHeader};
use bytes::Bytes;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::find_frame_compressed_size;

/// Length of codec and plain length, in bytes.
pub(super) const PREFIX_LEN: usize = 5;
const RAW: u8 = 0;
const ZSTD: u8 = 1;

/// Chunks up to this length are compressed without probing, in bytes.
const PROBE_FROM: usize = 32 << 10;
const PROBE_PIECES: usize = 8;
const PROBE_PIECE_LEN: usize = 2 << 10;
/// A probe must shrink by one part in this many.
const PROBE_GAIN: usize = 32;
/// The fastest level that still finds short repetitions and entropy codes.
const PROBE_LEVEL: i32 = 1;

/// The five bytes in front of the data.
pub(super) fn prefix(compressed: bool, plain_len: u32) -> [u8; PREFIX_LEN] {
    let [a, b, c, d] = plain_len.to_le_bytes();
    [if compressed { ZSTD } else { RAW }, a, b, c, d]
}

/// What becomes of a chunk before it is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Nothing: compression does not pay.
    Raw,
    /// A zstd frame takes its place.
    Zstd(Bytes),
}

/// What the inner text holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inner {
    /// The plaintext itself.
    Raw {
        /// Its length, in bytes.
        plain_len: u32,
    },
    /// A zstd frame.
    Zstd {
        /// Length of the frame, in bytes.
        frame_len: usize,
        /// Length of what is in it, in bytes.
        plain_len: u32,
    },
}

/// Reads the inner text `z` without its tag. Everything behind the data must be zero, and no more than is needed.
pub(super) fn parse(z: &[u8]) -> Result<Inner, &'static str> {
    // PA
    let Some((&[codec, a, b, c, d], data)) = z.split_first_chunk::<PREFIX_LEN>() else {
        return Err("shorter than its prefix");
    };
    let plain_len = u32::from_le_bytes([a, b, c, d]);
    if plain_len > MAX_PLAIN_LEN {
        return Err("its plain length exceeds 16 MiB");
    }
    let (inner, data_len) = match codec {
        RAW => (Inner::Raw { plain_len }, plain_len as usize),
        ZSTD => {
            let frame_len = find_frame_compressed_size(data).map_err(|_| "it holds no zstd frame")?;
            (Inner::Zstd { frame_len, plain_len }, frame_len)
        }
        _ => return Err("its codec is not known here"),
    };
    let Some(padding) = data.get(data_len..) else {
        return Err("its data runs past its end");
    };
    if padding.iter().any(|&byte| byte != 0) {
        return Err("its padding is not zero");
    }
    let needed = SealHeader::for_inner_len(PREFIX_LEN + data_len).ciphertext_len() as usize;
    if needed != z.len() + super::cipher::TAG_LEN {
        return Err("it is padded further than to the next step");
    }
    Ok(inner)
}

/// Contexts and buffers that are expensive to make, reused from chunk to chunk.
#[derive(Default)]
pub(super) struct Zstd {
    compressor: Option<(i8, Compressor<'static>)>,
    prober: Option<Compressor<'static>>,
    decompressor: Option<Decompressor<'static>>,
    frame: Vec<u8>,
    sample: Vec<u8>,
}

impl Zstd {
    /// The compressed form of `plain`, if it saves at least one padding step.
    pub(super) fn compress(&mut self, plain: &[u8], level: i8) -> Option<&[u8]> {
        // PA
        let raw_len = SealHeader::for_inner_len(PREFIX_LEN + plain.len()).ciphertext_len() as usize;
        // The longest frame with which the ciphertext is one step shorter: zstd gives up when it comes to more.
        let room = raw_len.checked_sub(super::PAD_STEP as usize + super::cipher::TAG_LEN + PREFIX_LEN)?;
        if room == 0 || !self.pays(plain) {
            return None;
        }
        self.compress_within(plain, level, room)
    }

    /// The compressed form of `plain`, if it fits into `room` bytes.
    pub(super) fn compress_within(&mut self, plain: &[u8], level: i8, room: usize) -> Option<&[u8]> {
        if self.compressor.as_ref().is_none_or(|(made_for, _)| *made_for != level) {
            self.compressor = Some((level, Compressor::new(i32::from(level.clamp(-7, 19))).ok()?));
        }
        let (_, compressor) = self.compressor.as_mut()?;
        if self.frame.len() < room {
            self.frame.resize(room, 0);
        }
        let frame_len = compressor.compress_to_buffer(plain, &mut self.frame[..room]).ok()?;
        self.frame.get(..frame_len)
    }

    /// Whether a sample of a long chunk shrinks. A function of `plain` alone, as everything that shapes a seal.
    pub(super) fn pays(&mut self, plain: &[u8]) -> bool {
        if plain.len() <= PROBE_FROM {
            return true;
        }
        self.sample.clear();
        let stride = (plain.len() - PROBE_PIECE_LEN) / (PROBE_PIECES - 1);
        for piece in 0..PROBE_PIECES {
            self.sample.extend_from_slice(&plain[piece * stride..][..PROBE_PIECE_LEN]);
        }
        if self.prober.is_none() {
            self.prober = Compressor::new(PROBE_LEVEL).ok();
        }
        let Some(prober) = &mut self.prober else { return true };
        let room = self.sample.len() - self.sample.len() / PROBE_GAIN;
        if self.frame.len() < room {
            self.frame.resize(room, 0);
        }
        prober.compress_to_buffer(&self.sample, &mut self.frame[..room]).is_ok()
    }

    /// The `plain_len` bytes in a frame; never allocates more than that. `None` when the frame holds anything else.
    pub(super) fn decompress(&mut self, frame: &[u8], plain_len: u32) -> Option<Vec<u8>> {
        // PA
        if self.decompressor.is_none() {
            self.decompressor = Decompressor::new().ok();
        }
        // Written to without being zeroed first; no more is allocated.
        let mut plain = Vec::with_capacity(plain_len as usize);
        let written = self.decompressor.as_mut()?.decompress_to_buffer(frame, &mut plain).ok()?;
        (written == plain_len as usize && written == plain.len()).then_some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cipher::TAG_LEN;
    use super::*;
    use crate::id::EngineRng;

    fn random(len: usize) -> Vec<u8> {
        let mut rng = EngineRng::from_seed([3; 32]);
        (0..len.div_ceil(64)).flat_map(|_| rng.bytes::<64>()).take(len).collect()
    }

    fn padded(prefix: [u8; PREFIX_LEN], data: &[u8]) -> Vec<u8> {
        let mut z = [&prefix[..], data].concat();
        z.resize(SealHeader::for_inner_len(z.len()).ciphertext_len() as usize - TAG_LEN, 0);
        z
    }

    #[test]
    fn text_is_compressed_and_noise_is_not() {
        let mut zstd = Zstd::default();
        let text: Vec<u8> = (0..20_000).flat_map(|i| format!("line {i} of the text\n").into_bytes()).collect();
        let frame = zstd.compress(&text, 3).expect("text shrinks").to_vec();
        assert!(frame.len() < text.len() / 2);
        assert_eq!(zstd.decompress(&frame, text.len() as u32), Some(text));
        for len in [0, 1, 4075, 4076, 20_000, 300_000] {
            assert_eq!(zstd.compress(&random(len), 3), None, "{len}");
        }
        assert!(!zstd.pays(&random(300_000)));
        assert!(zstd.compress(&[0; 4076], 3).is_some());
        assert!(zstd.compress(&[0; 4075], 3).is_none(), "nothing to gain below one step");
    }

    #[test]
    fn a_reused_context_gives_the_bytes_of_a_fresh_one() {
        let mut reused = Zstd::default();
        for seed in 0..40_usize {
            let plain: Vec<u8> = (0..seed * 3_001 + 5_000).map(|i| ((i * (seed + 3)) >> 4) as u8).collect();
            let level = [1, 3, 9][seed % 3];
            let fresh = Zstd::default().compress(&plain, level).map(<[u8]>::to_vec);
            assert_eq!(reused.compress(&plain, level).map(<[u8]>::to_vec), fresh);
        }
    }

    #[test]
    fn a_frame_that_claims_more_or_less_than_the_plain_length_is_refused() {
        let mut zstd = Zstd::default();
        let bomb = zstd.compress(&vec![0; 1 << 20], 3).expect("zeros shrink").to_vec();
        assert_eq!(zstd.decompress(&bomb, 4096), None);
        assert_eq!(zstd.decompress(&bomb, (1 << 20) + 1), None);
        assert_eq!(zstd.decompress(&bomb[..bomb.len() - 1], 1 << 20), None);
        assert_eq!(zstd.decompress(b"", 1), None);
    }

    #[test]
    fn inner_texts_have_one_spelling() {
        assert_eq!(parse(&padded(prefix(false, 3), b"abc")), Ok(Inner::Raw { plain_len: 3 }));
        let frame = Zstd::default().compress(&[0; 9000], 3).expect("zeros shrink").to_vec();
        let z = padded(prefix(true, 9000), &frame);
        assert_eq!(parse(&z), Ok(Inner::Zstd { frame_len: frame.len(), plain_len: 9000 }));

        let mut unclean = padded(prefix(false, 3), b"abc");
        unclean[100] = 1;
        let too_long = [padded(prefix(false, 3), b"abc"), vec![0; 4096]].concat();
        let overrun = padded(prefix(false, 5000), b"abc");
        let huge = padded(prefix(false, u32::MAX), b"abc");
        let codec = padded([2, 3, 0, 0, 0], b"abc");
        let no_frame = padded(prefix(true, 3), b"abc");
        for bad in [&unclean[..], &too_long, &overrun, &huge, &codec, &no_frame, &[], &[0; 4]] {
            assert!(parse(bad).is_err());
        }
    }

    #[test]
    fn a_plain_length_beyond_the_limit_is_refused() {
        let frame = Zstd::default().compress(&[0; 20_000], 3).expect("zeros shrink").to_vec();
        for (len, refused) in [(MAX_PLAIN_LEN, false), (MAX_PLAIN_LEN + 1, true)] {
            let [a, b, c, d] = len.to_le_bytes();
            assert_eq!(parse(&padded([ZSTD, a, b, c, d], &frame)).is_err(), refused);
        }
    }
}
