//! Reading byte strings whose length the input only claims: never more memory than bytes that really arrived.

use borsh::BorshDeserialize;
use borsh::io::{Error, ErrorKind, Read, Result};
use bytes::Bytes;
use std::collections::BTreeMap;

/// How much is read, and allocated, at a time, in bytes.
const STEP_LEN: usize = 4096;

/// Reads a `u32` length of at most `limit` and as many bytes.
pub(crate) fn read_bytes<R: Read>(reader: &mut R, limit: usize) -> Result<Vec<u8>> {
    // PA
    let len = u32::deserialize_reader(reader)? as usize;
    if len > limit {
        return Err(Error::new(ErrorKind::InvalidData, format!("a byte string of {len} bytes exceeds {limit}")));
    }
    let mut out = Vec::new();
    while out.len() < len {
        let start = out.len();
        let step = STEP_LEN.min(len - start);
        out.resize(start + step, 0);
        if let Some(space) = out.get_mut(start..) {
            reader.read_exact(space)?;
        }
    }
    Ok(out)
}

/// Reads a `u32` count of at most `limit`.
pub(crate) fn read_count<R: Read>(reader: &mut R, limit: usize) -> Result<usize> {
    let count = u32::deserialize_reader(reader)? as usize;
    if count > limit {
        return Err(Error::new(ErrorKind::InvalidData, format!("a list of {count} entries exceeds {limit}")));
    }
    Ok(count)
}

/// Reads at most `COUNT` byte strings of at most `LEN` bytes each.
pub(crate) fn list<const COUNT: usize, const LEN: usize, R: Read>(reader: &mut R) -> Result<Vec<Vec<u8>>> {
    let count = read_count(reader, COUNT)?;
    let mut out = Vec::new();
    for _ in 0..count {
        out.push(read_bytes(reader, LEN)?);
    }
    Ok(out)
}

/// Reads one byte string of at most `LEN` bytes.
pub(crate) fn vec<const LEN: usize, R: Read>(reader: &mut R) -> Result<Vec<u8>> {
    read_bytes(reader, LEN)
}

/// Reads one byte string of at most `LEN` bytes.
pub(crate) fn bytes<const LEN: usize, R: Read>(reader: &mut R) -> Result<Bytes> {
    read_bytes(reader, LEN).map(Bytes::from)
}

/// Reads at most `COUNT` pairs of byte strings of at most `LEN` bytes, whose first halves strictly rise.
pub(crate) fn map<const COUNT: usize, const LEN: usize, R: Read>(reader: &mut R) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let count = read_count(reader, COUNT)?;
    let mut out = BTreeMap::new();
    for _ in 0..count {
        let key = read_bytes(reader, LEN)?;
        if out.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(Error::new(ErrorKind::InvalidData, "a map's keys do not strictly rise"));
        }
        let value = read_bytes(reader, LEN)?;
        out.insert(key, value);
    }
    Ok(out)
}

/// Whether a list strictly rises: sorted, nothing twice.
pub(crate) fn strictly_rises<T: Ord>(list: &[T]) -> bool {
    list.is_sorted_by(|a, b| a < b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_length_allocates_no_more_than_one_step() {
        let bomb = [0xff, 0xff, 0xff, 0x7f, 1, 2, 3];
        assert!(read_bytes(&mut &bomb[..], usize::MAX).is_err());
        assert!(read_bytes(&mut &[3, 0, 0, 0, 1, 2, 3][..], 2).is_err());
        assert_eq!(read_bytes(&mut &[3, 0, 0, 0, 1, 2, 3][..], 3).unwrap(), vec![1, 2, 3]);
    }

    #[test]
    fn a_map_is_read_in_strict_order_only() {
        let sorted = [2, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0];
        assert_eq!(map::<4, 4, _>(&mut &sorted[..]).unwrap().len(), 2);
        let mut twice = sorted;
        twice[17] = 7;
        assert!(map::<4, 4, _>(&mut &twice[..]).is_err());
    }
}
