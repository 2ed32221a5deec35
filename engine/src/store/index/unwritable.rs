//! Where the disk refuses to write to an index: by chance, or for good.

use crate::env::{DiskError, DiskFailure};
use crate::store::PHYSICAL_LEN;
use core::ops::Range;

/// The writes that were refused of late.
#[derive(Debug, Default)]
pub(super) struct RefusedWrites {
    /// The last, if it has not succeeded since.
    last: Option<Range<u64>>,
    /// It was refused twice.
    stays: bool,
}

impl RefusedWrites {
    /// A write to a place has come back.
    pub(super) fn note(&mut self, place: Range<u64>, written: &Result<(), DiskError>) {
        // PA
        match written {
            Ok(()) if self.last.as_ref() == Some(&place) => *self = Self::default(),
            // What is full, or was not asked, takes it once there is room.
            Err(error) if matches!(error.failure, DiskFailure::Io(_)) => {
                // The B-tree may have taken the page beside it this time.
                self.stays |= self.last.as_ref().is_some_and(|last| share_a_sector(last, &place));
                self.last = Some(place);
            }
            _ => {}
        }
    }

    /// Whether one was refused.
    pub(super) const fn any(&self) -> bool {
        self.last.is_some()
    }

    /// Whether the disk refused again where it had refused before, with no success in between.
    pub(super) const fn stays(&self) -> bool {
        self.stays
    }
}

fn share_a_sector(one: &Range<u64>, other: &Range<u64>) -> bool {
    let sectors = |place: &Range<u64>| place.start / PHYSICAL_LEN..place.end.div_ceil(PHYSICAL_LEN);
    let (one, other) = (sectors(one), sectors(other));
    one.start < other.end && other.start < one.end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Volume;

    fn refused(failure: DiskFailure) -> Result<(), DiskError> {
        Err(DiskError { operation: "write", volume: Volume::Index, file: String::new(), failure })
    }

    #[test]
    fn a_place_is_unwritable_by_its_second_refusal_or_that_of_what_shares_a_sector_with_it() {
        let io = || refused(DiskFailure::Io("refused".to_owned()));
        let after = |writes: &[(u64, Result<(), DiskError>)]| {
            let mut places = RefusedWrites::default();
            writes.iter().for_each(|(start, written)| places.note(*start..start + 4136, written));
            (places.any(), places.stays())
        };
        assert_eq!(after(&[(4136, Ok(()))]), (false, false));
        assert_eq!(after(&[(4136, io())]), (true, false));
        assert_eq!(after(&[(4136, io()), (4136, io())]), (true, true));
        assert_eq!(after(&[(152_832, io()), (148_696, io())]), (true, true), "beside it");
        assert_eq!(after(&[(152_832, io()), (140_424, io())]), (true, false), "elsewhere");
        assert_eq!(after(&[(4136, io()), (4136, Ok(())), (4136, io())]), (true, false), "taken in between");
        assert_eq!(after(&[(4136, io()), (4136, refused(DiskFailure::Full))]), (true, false));
    }
}
