//! The nonces of the index file, of all lives: under one key none is used for two records (XChaCha20-Poly1305 shows the
//! difference of the two, and the key of its tags). Nobody who reads notices, since each record carries its nonce.
//!
//! The keys of files differ, and two thirds of a nonce are drawn at every opening: not even two files have one in common.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// How the file is written (`docs/FORMAT.md`, section 8): pages side by side, of so many bytes each, and header slots.
const PAGE_RECORD_LEN: usize = 4136;
const SLOT_RECORD_LEN: usize = 4200;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;
const SUPERBLOCK: u64 = 0;

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Nonces {
    /// The tag of what each was used for.
    used: BTreeMap<[u8; NONCE_LEN], [u8; TAG_LEN]>,
    reused: Option<String>,
}

impl Nonces {
    /// Something is written to the index.
    pub(super) fn wrote(&mut self, offset: u64, bytes: &[u8]) {
        let record_len = match bytes.len() {
            _ if offset == SUPERBLOCK => return,
            SLOT_RECORD_LEN => SLOT_RECORD_LEN,
            _ => PAGE_RECORD_LEN,
        };
        for record in bytes.chunks_exact(record_len) {
            let (Some(nonce), Some(tag)) = (record.first_chunk::<NONCE_LEN>(), record.last_chunk::<TAG_LEN>()) else {
                return;
            };
            match self.used.entry(*nonce) {
                Entry::Vacant(entry) => {
                    entry.insert(*tag);
                }
                // Written again, as it is.
                Entry::Occupied(entry) if entry.get() == tag => {}
                Entry::Occupied(_) => {
                    self.reused.get_or_insert_with(|| format!("two records of the index have the nonce {nonce:02x?}"));
                }
            }
        }
    }

    /// The first that was used twice since this was last asked.
    pub(super) const fn take_reused(&mut self) -> Option<String> {
        self.reused.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_that_two_records_have_is_seen_and_a_record_that_is_written_again_is_none() {
        let record = |nonce: u8, fill: u8, len: usize| [vec![nonce; NONCE_LEN], vec![fill; len - NONCE_LEN]].concat();
        let mut nonces = Nonces::default();
        let pages = [record(1, 1, PAGE_RECORD_LEN), record(2, 2, PAGE_RECORD_LEN)].concat();
        nonces.wrote(20_480, &pages);
        nonces.wrote(20_480, &pages);
        nonces.wrote(4096, &record(3, 3, SLOT_RECORD_LEN));
        nonces.wrote(0, &[3; 4096]);
        assert_eq!(nonces.take_reused(), None);
        nonces.wrote(28_752, &record(2, 4, PAGE_RECORD_LEN));
        assert!(nonces.take_reused().is_some() && nonces.take_reused().is_none());
        nonces.wrote(12_288, &record(1, 5, SLOT_RECORD_LEN));
        assert!(nonces.take_reused().is_some(), "what a page had, a slot has");
    }
}
