//! Updates that are not in the file yet.

use super::table::{TABLES, TableId};
use std::collections::BTreeMap;

/// What one entry costs beside its bytes: two heap headers, the node's share, the lengths.
const ENTRY_OVERHEAD: usize = 96;

/// One table's updates: encoded rows, or `None` for a removal.
pub(super) type Updates = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The updates of all tables since the last flush, in key order.
#[derive(Default)]
pub(super) struct Overlay {
    tables: [Updates; TABLES],
    bytes: usize,
}

impl Overlay {
    /// The updates of one table.
    pub(super) fn table(&self, table: TableId) -> &Updates {
        &self.tables[table.0]
    }

    /// Records an update, replacing an earlier one.
    pub(super) fn set(&mut self, table: TableId, key: &[u8], row: Option<Vec<u8>>) {
        // PA
        let cost = |row: &Option<Vec<u8>>| row.as_ref().map_or(0, Vec::len);
        let added = cost(&row);
        if let Some(old) = self.tables[table.0].get_mut(key) {
            self.bytes = self.bytes.saturating_sub(cost(old)).saturating_add(added);
            *old = row;
            return;
        }
        self.bytes = self.bytes.saturating_add(key.len()).saturating_add(added).saturating_add(ENTRY_OVERHEAD);
        self.tables[table.0].insert(key.to_vec(), row);
    }

    /// Memory held, in bytes, estimated.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tables.iter().all(BTreeMap::is_empty)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
