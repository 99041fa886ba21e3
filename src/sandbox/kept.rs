//! A map that forgets its oldest entry when it is full.

use std::collections::{HashMap, VecDeque};

/// Values by id, in the order they came, at most a fixed number of them.
#[derive(Debug)]
pub(super) struct Kept<T> {
    limit: usize,
    order: VecDeque<String>,
    values: HashMap<String, T>,
}

impl<T> Kept<T> {
    /// An empty one for at most `limit` values.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, order: VecDeque::new(), values: HashMap::new() }
    }

    /// Keeps `value`, in place of what `id` had.
    pub(super) fn put(&mut self, id: &str, value: T) {
        if self.values.insert(id.to_owned(), value).is_none() {
            self.order.push_back(id.to_owned());
        }
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
    }

    /// What `id` has.
    pub(super) fn get(&self, id: &str) -> Option<&T> {
        self.values.get(id)
    }

    /// What `id` has, to be changed.
    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut T> {
        self.values.get_mut(id)
    }

    /// All values, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.order.iter().filter_map(|id| self.values.get(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let mut kept = Kept::new(2);
        for (id, value) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            kept.put(id, value);
        }
        assert_eq!(kept.iter().copied().collect::<Vec<_>>(), [2, 4]);
        assert_eq!((kept.get("a"), kept.get("b")), (None, Some(&2)));
        assert_eq!(kept.values.len(), kept.order.len());
    }
}
