//! The structures that records of the log hold for the log itself, for whoever gives their decoders hostile bytes: no other
//! crate needs to know them.

use super::commit::Commit;
use super::footer::Footer;
use super::parity::ParityList;
use super::place::Point;
use super::segment::{SegmentHeader, StoreId};
use super::segments::Segments;
use super::{LogPosition, SegmentId};
use crate::codec::Canonical;
use crate::store::Location;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Structure {
    /// Decodes bytes, and encodes what they say. `None` where they are refused.
    pub recode: fn(&[u8]) -> Option<Vec<u8>>,
    /// Bytes that are accepted.
    pub example: fn() -> Vec<u8>,
}

/// What a segment says about itself, as it stands in a block of its file.
pub const SEGMENT_HEADER: Structure = Structure { recode: recode::<SegmentHeader>, example: || header().encode() };
/// Which segments there are.
pub const SEGMENTS: Structure =
    Structure { recode: recode::<Segments>, example: || Segments::new(header(), [1, 2, 3, 7].map(SegmentId)).encode() };
/// A commit.
pub const COMMIT: Structure = Structure { recode: recode::<Commit>, example: || commit().encode() };
/// The directory at the end of a segment.
pub const FOOTER: Structure = Structure { recode: recode::<Footer>, example: || vec![1, 2, 0, 0, 0, 2, 0, 0, 0, 2, 9] };
/// What parity covers.
pub const PARITY_LIST: Structure = Structure { recode: recode::<ParityList>, example: || parity_list().encode() };

fn recode<T: Canonical>(bytes: &[u8]) -> Option<Vec<u8>> {
    T::decode(bytes).ok().map(|value| value.encode())
}

fn header() -> SegmentHeader {
    SegmentHeader { store: StoreId([3; 32]), segment: SegmentId(7), salt: 0x0123_4567_89ab_cdef, config: vec![5; 40] }
}

fn commit() -> Commit {
    let proven = LogPosition { segment: SegmentId(7), commit: 8192, end: 8704 };
    Commit {
        salt: 9,
        store: StoreId([3; 32]),
        proven,
        first: Point { segment: SegmentId(7), offset: 8704 },
        records: 3,
        lasting: 2,
        digest: [4; 32],
        segments: Location { segment: SegmentId(7), offset: 8192, len: 100 },
        note: vec![6; 20],
        padding: vec![0; 30],
    }
}

fn parity_list() -> ParityList {
    ParityList {
        block_len: 512,
        stripes: 2,
        first_list: 10_000,
        parity: 10_240,
        second_list: 11_264,
        extents: vec![(8192, 512), (9000, 700)],
        crcs: vec![1, 2, 3, 4, 5],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_accepted_and_its_only_encoding() {
        for (at, structure) in [SEGMENT_HEADER, SEGMENTS, COMMIT, FOOTER, PARITY_LIST].into_iter().enumerate() {
            let example = (structure.example)();
            assert_eq!((structure.recode)(&example), Some(example.clone()), "structure {at}");
            let mut longer = example;
            longer.push(0);
            assert_eq!((structure.recode)(&longer), None, "structure {at}");
        }
    }
}
