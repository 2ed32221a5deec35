//! Each stage of the pipeline alone, on one core; from them the roofline; and the whole pipeline against it.
//!
//! The roofline: every byte passes every stage once, so one core cannot take less time than the sum of the stages, and
//! `n` cores not less than an n-th of it.

use super::{Measured, Plan, random_bytes, time_bytes};
use crate::exit::{Exit, Failure, Outcome};
use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _};

/// Bytes of one chunk while measuring.
const CHUNK: usize = 256 << 10;
/// A stage is repeated over its sample until it has seen at least so many bytes.
const SAMPLE: usize = 64 << 20;

type Work = Box<dyn FnMut(&mut Vec<u8>) -> Outcome>;

struct Stage {
    name: &'static str,
    work: Work,
}

/// Measures all of it.
pub(crate) fn measure(plan: &Plan) -> Outcome<Vec<Measured>> {
    let sample = random_bytes(5, SAMPLE.min(plan.bytes as usize));
    let mut measured = Vec::new();
    let mut seconds_a_byte = 0.0;
    for mut stage in stages() {
        let mut chunks: Vec<Vec<u8>> = sample.chunks(CHUNK).map(<[u8]>::to_vec).collect();
        let (figure, ()) = time_bytes(stage.name, sample.len() as u64, || {
            chunks.iter_mut().try_for_each(|chunk| (stage.work)(chunk))
        })?;
        seconds_a_byte += figure.seconds / sample.len() as f64;
        measured.push(figure);
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let roofline = Measured {
        what: "roofline of these stages".into(),
        seconds: seconds_a_byte * plan.bytes as f64 / cores as f64,
        bytes: Some(plan.bytes),
        operations: None,
        remark: format!("{cores} cores"),
    };
    let whole = super::whole::measure(&Plan { bytes: plan.bytes, values: 0, directory: plan.directory.clone() })?;
    for mut figure in whole.into_iter().filter(|figure| figure.bytes.is_some()) {
        let share = 100.0 * roofline.seconds / figure.seconds.max(1e-9);
        figure.remark = format!("{share:.0} % of the roofline");
        measured.push(figure);
    }
    measured.insert(measured.len() - 2, roofline);
    Ok(measured)
}

/// The stages with the primitives that the engine is made of.
fn stages() -> Vec<Stage> {
    let cipher = ChaCha20Poly1305::new(&[6; 32].into());
    let failed = |what: &str| Failure::new(Exit::Failed, format!("{what} failed"));
    vec![
        Stage {
            name: "hash of the plaintext (keyed BLAKE3)",
            work: Box::new(|chunk| {
                std::hint::black_box(blake3::keyed_hash(&[7; 32], chunk));
                Ok(())
            }),
        },
        Stage {
            name: "compression (zstd 3)",
            work: Box::new(move |chunk| {
                let packed = zstd::bulk::compress(chunk, 3).map_err(|_| failed("compression"))?;
                std::hint::black_box(packed);
                Ok(())
            }),
        },
        Stage {
            name: "sealing (ChaCha20-Poly1305)",
            work: Box::new(move |chunk| {
                let tag = cipher.encrypt_inout_detached(&[0; 12].into(), b"", chunk.as_mut_slice().into());
                tag.map(drop).map_err(|_| failed("sealing"))
            }),
        },
        Stage {
            name: "hash of the ciphertext (BLAKE3)",
            work: Box::new(|chunk| {
                std::hint::black_box(blake3::hash(chunk));
                Ok(())
            }),
        },
    ]
}
