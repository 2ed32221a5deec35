//! Reed–Solomon over GF(2^8), systematic: data shards are the ciphertext itself.

use super::layout::Layout;
use bytes::{Bytes, BytesMut};
use reed_solomon_erasure::galois_8::ReedSolomon;
use std::collections::BTreeMap;

/// Most codes kept: short ciphertexts use fewer data shards, so one coding makes several.
const MAX_CODES: usize = 64;

/// Codes made so far: their matrices cost more than coding a small seal.
#[derive(Default)]
pub(super) struct Codes(BTreeMap<(u8, u8), ReedSolomon>);

impl Codes {
    /// The code of a layout that has parity.
    fn code(&mut self, layout: &Layout) -> &ReedSolomon {
        let (data, parity) = (layout.data(), layout.coding().parity());
        if self.0.len() >= MAX_CODES && !self.0.contains_key(&(data, parity)) {
            self.0.clear();
        }
        self.0.entry((data, parity)).or_insert_with(|| match ReedSolomon::new(usize::from(data), usize::from(parity)) {
            Ok(code) => code,
            Err(error) => unreachable!("{data}+{parity} was checked by Coding::new: {error}"),
        })
    }

    /// The parity shards, one after the other in one buffer.
    pub(super) fn parity(&mut self, layout: &Layout, data: &[Bytes]) -> Bytes {
        // PA
        assert_eq!(data.len(), usize::from(layout.data()), "parity is made of every data shard");
        if layout.coding().parity() == 0 {
            return Bytes::new();
        }
        let shard_len = layout.shard_len() as usize;
        let len = shard_len * usize::from(layout.coding().parity());
        let mut parity = BytesMut::with_capacity(len);
        parity.resize(len, 0);
        let code = self.code(layout);
        for (index, shard) in data.iter().enumerate() {
            // A short last shard ends in zeros that add nothing, so only the columns that it has are coded.
            let mut rows: Vec<&mut [u8]> =
                parity.chunks_exact_mut(shard_len).map(|row| &mut row[..shard.len()]).collect();
            if let Err(error) = code.encode_single_sep(index, shard, &mut rows) {
                unreachable!("coding shard {index} of {layout:?}: {error}");
            }
        }
        parity.freeze()
    }

    /// Fills in the data shards that are `None`. Needs as many shards in all as there are data shards, else `None`.
    pub(super) fn reconstruct(&mut self, layout: &Layout, shards: &[Option<Bytes>]) -> Option<Vec<Bytes>> {
        // PA
        let data = usize::from(layout.data());
        if shards.iter().flatten().count() < data || shards.len() != layout.coding().total() {
            return None;
        }
        if let Some(complete) = shards[..data].iter().cloned().collect() {
            return Some(complete);
        }
        let shard_len = layout.shard_len() as usize;
        let mut work: Vec<Option<Vec<u8>>> = shards
            .iter()
            .map(|shard| {
                shard.as_ref().map(|bytes| {
                    let mut padded = Vec::with_capacity(shard_len);
                    padded.extend_from_slice(bytes);
                    padded.resize(shard_len, 0);
                    padded
                })
            })
            .collect();
        self.code(layout).reconstruct_data(&mut work).ok()?;
        (0..layout.data())
            .zip(shards.iter().zip(work))
            .map(|(index, (given, made))| match given {
                Some(bytes) => Some(bytes.clone()),
                None => made.map(|mut bytes| {
                    bytes.truncate(layout.payload_len(index) as usize);
                    Bytes::from(bytes)
                }),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Coding;
    use super::*;

    #[test]
    fn any_data_many_shards_give_the_data_back() {
        let layout = Layout::plan(5 * 4096, Coding::new(4, 3).unwrap());
        let bytes = Bytes::from((0..5 * 4096).map(|i| ((i * i) >> 7) as u8).collect::<Vec<u8>>());
        let data: Vec<Bytes> = (0..layout.data())
            .map(|index| {
                let start = layout.shard_start(index) as usize;
                bytes.slice(start..start + layout.payload_len(index) as usize)
            })
            .collect();
        let mut codes = Codes::default();
        let parity = codes.parity(&layout, &data);
        let shard_len = layout.shard_len() as usize;
        let all: Vec<Option<Bytes>> = data
            .iter()
            .cloned()
            .chain((0..3).map(|row| parity.slice(row * shard_len..(row + 1) * shard_len)))
            .map(Some)
            .collect();
        for lost in 0_u32..1 << all.len() {
            let shards: Vec<Option<Bytes>> =
                all.iter().enumerate().map(|(i, shard)| shard.clone().filter(|_| lost >> i & 1 == 0)).collect();
            let rebuilt = codes.reconstruct(&layout, &shards);
            if lost.count_ones() <= 3 {
                assert_eq!(rebuilt, Some(data.clone()), "lost {lost:b}");
            } else {
                assert_eq!(rebuilt, None, "lost {lost:b}");
            }
        }
    }
}
