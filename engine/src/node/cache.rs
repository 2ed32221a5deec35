//! A cache with a limit in bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Keeps what was opened lately, oldest out first.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    entries: BTreeMap<K, (Arc<V>, usize)>,
    order: VecDeque<K>,
    len: usize,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), order: VecDeque::new(), len: 0 }
    }
}

impl<K, V> Cache<K, V> {
    /// Bytes kept.
    pub(super) const fn len(&self) -> usize {
        self.len
    }
}

impl<K: Ord + Copy, V> Cache<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<Arc<V>> {
        self.entries.get(key).map(|(value, _)| value.clone())
    }

    pub(super) fn put(&mut self, key: K, value: Arc<V>, len: usize, limit: usize) {
        if len > limit || self.entries.contains_key(&key) {
            return;
        }
        self.entries.insert(key, (value, len));
        self.order.push_back(key);
        self.len += len;
        while self.len > limit {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some((_, len)) = self.entries.remove(&oldest) {
                self.len -= len;
            }
        }
    }
}
