//! Pages of seal references, for versions that refer to more seals than fit in a header.

use super::Header;
use crate::codec::bounded;
use crate::codec::{Canonical, DecodeError};
use crate::id::{Domain, RefPageId, SealId};
use borsh::{BorshDeserialize, BorshSerialize};

const REF_PAGE: Domain = Domain::new("ouroborosdb v1 ref page");

/// Most seals in one page.
pub const MAX_PAGE_SEALS: usize = 8_192;

/// A public list of seals, named by its content.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RefPage {
    /// The seals, strictly rising, 1 to [`MAX_PAGE_SEALS`].
    pub seals: Vec<SealId>,
}

impl RefPage {
    /// The page's id: a hash over its canonical bytes.
    #[must_use]
    pub fn id(&self) -> RefPageId {
        RefPageId::from_bytes(REF_PAGE.hash(&[&self.encode()]))
    }
}

impl Canonical for RefPage {
    const WHAT: &'static str = "reference page";
    const MAX_LEN: usize = 1 + 4 + 32 * MAX_PAGE_SEALS;

    fn validate(&self) -> Result<(), DecodeError> {
        if self.seals.is_empty() || self.seals.len() > MAX_PAGE_SEALS {
            return Err(DecodeError::malformed(Self::WHAT, "a page holds 1 to 8,192 seals"));
        }
        if !bounded::strictly_rises(&self.seals) {
            return Err(DecodeError::malformed(Self::WHAT, "the seals must strictly rise"));
        }
        Ok(())
    }
}

/// The seals of one version, laid out for its header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealReferences {
    /// What goes into the header itself.
    pub seals: Vec<SealId>,
    /// What goes into pages, whose sorted ids go into the header.
    pub pages: Vec<RefPage>,
}

impl SealReferences {
    /// Lays out a version's seals: in the header when they fit, else all in pages. The order tells nothing of the
    /// content, since every list is sorted.
    ///
    /// # Errors
    /// [`DecodeError`] when there are more than all pages of one header can hold (16,777,216).
    pub fn lay_out(seals: impl IntoIterator<Item = SealId>) -> Result<Self, DecodeError> {
        Self::lay_out_within(seals, Header::MAX_SEALS, MAX_PAGE_SEALS)
    }

    /// [`Self::lay_out`] with fewer seals in a header, or in a page (one at least), than there may be.
    ///
    /// # Errors
    /// [`DecodeError`] when there are more than all pages of one header can hold.
    pub fn lay_out_within(
        seals: impl IntoIterator<Item = SealId>,
        in_header: usize,
        in_page: usize,
    ) -> Result<Self, DecodeError> {
        // PA
        let in_page = in_page.clamp(1, MAX_PAGE_SEALS);
        let mut seals: Vec<SealId> = seals.into_iter().collect();
        seals.sort_unstable();
        seals.dedup();
        if seals.len() <= in_header.min(Header::MAX_SEALS) {
            return Ok(Self { seals, pages: Vec::new() });
        }
        let pages: Vec<RefPage> = seals.chunks(in_page).map(|page| RefPage { seals: page.to_vec() }).collect();
        if pages.len() > Header::MAX_REF_PAGES {
            return Err(DecodeError::malformed(
                Header::WHAT,
                "the version refers to more seals than a header can name",
            ));
        }
        Ok(Self { seals: Vec::new(), pages })
    }

    /// The ids of the pages, as the header lists them.
    #[must_use]
    pub fn page_ids(&self) -> Vec<RefPageId> {
        let mut ids: Vec<RefPageId> = self.pages.iter().map(RefPage::id).collect();
        ids.sort_unstable();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{hostile, sample};
    use std::collections::BTreeSet;

    #[test]
    fn pages_survive_and_have_one_spelling() {
        let page = RefPage { seals: (1..5).map(sample::seal).collect() };
        let bytes = page.encode();
        assert_eq!(RefPage::decode(&bytes), Ok(page));
        hostile::has_one_spelling::<RefPage>(&bytes);
    }

    #[test]
    fn empty_unsorted_and_overfull_pages_are_refused() {
        for seals in [
            Vec::new(),
            vec![sample::seal(2), sample::seal(1)],
            vec![sample::seal(2), sample::seal(2)],
            (0..=MAX_PAGE_SEALS as u32).map(sample::seal).collect(),
        ] {
            assert!(RefPage { seals }.validate().is_err());
        }
    }

    #[test]
    fn every_seal_is_referenced_whatever_their_number() {
        for count in [0u32, 1, 1_024, 1_025, 8_192, 8_193, 20_000] {
            let seals: BTreeSet<SealId> = (0..count).map(|n| sample::seal(n.wrapping_mul(2_654_435_761))).collect();
            let laid = SealReferences::lay_out(seals.iter().copied().chain(seals.iter().copied())).unwrap();
            let mut found: BTreeSet<SealId> = laid.seals.iter().copied().collect();
            for page in &laid.pages {
                assert_eq!(page.validate(), Ok(()));
                found.extend(page.seals.iter().copied());
            }
            assert_eq!(found, seals);
            assert!(laid.seals.len() <= Header::MAX_SEALS);
            assert_eq!(laid.page_ids().len(), laid.pages.len());
        }
    }
}
