//! One ordered view of a table: the file's rows with the pending updates laid over them.

use super::overlay::Updates;
use core::iter::Peekable;
use core::ops::Bound;
use redb::StorageError;
use std::collections::btree_map;

/// Key and encoded row.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

type Stored = redb::Range<'static, &'static [u8], &'static [u8]>;

type Pending<'a> = Directed<btree_map::Range<'a, Vec<u8>, Option<Vec<u8>>>>;

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the lowest key up.
    Forward,
    /// From the highest key down.
    Backward,
}

/// A range of byte strings that [`std::collections::BTreeMap::range`] would not panic at.
pub(super) fn is_empty_range(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
    }
}

/// The merged rows, in order.
pub(super) struct Merged<'a> {
    updates: Peekable<Pending<'a>>,
    stored: Option<Directed<Stored>>,
    next_stored: Option<Entry>,
    direction: Direction,
}

struct Directed<I> {
    inner: I,
    direction: Direction,
}

impl<I: DoubleEndedIterator> Iterator for Directed<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        // PA
        match self.direction {
            Direction::Forward => self.inner.next(),
            Direction::Backward => self.inner.next_back(),
        }
    }
}

impl<'a> Merged<'a> {
    /// Lays `updates` over `stored`, if anything is, which covers the same range; the range must not be
    /// [`is_empty_range`].
    pub(super) fn new(
        updates: &'a Updates,
        stored: Option<Stored>,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<Self, StorageError> {
        let updates = Directed { inner: updates.range::<[u8], _>((from, to)), direction }.peekable();
        let stored = stored.map(|inner| Directed { inner, direction });
        let mut merged = Self { updates, stored, next_stored: None, direction };
        merged.advance()?;
        Ok(merged)
    }

    fn advance(&mut self) -> Result<Option<Entry>, StorageError> {
        let next = match self.stored.as_mut().and_then(Iterator::next) {
            Some(row) => {
                let (key, value) = row?;
                Some((key.value().to_vec(), value.value().to_vec()))
            }
            None => None,
        };
        Ok(core::mem::replace(&mut self.next_stored, next))
    }

    /// The next row.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, StorageError> {
        // PA
        loop {
            let update = self.updates.peek();
            let order = match (update, &self.next_stored) {
                (None, _) => return self.advance(),
                (Some(_), None) => core::cmp::Ordering::Less,
                (Some((updated, _)), Some((stored, _))) => match self.direction {
                    Direction::Forward => updated.as_slice().cmp(stored),
                    Direction::Backward => stored.as_slice().cmp(updated),
                },
            };
            if order.is_gt() {
                return self.advance();
            }
            if order.is_eq() {
                self.advance()?;
            }
            if let Some((key, Some(row))) = self.updates.next() {
                return Ok(Some((key.clone(), row.clone())));
            }
        }
    }
}
