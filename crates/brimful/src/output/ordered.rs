//! Results back into the order of the input.

use std::collections::BTreeMap;

/// Holds results that are ahead of the row that is due.
///
/// Bounded by whoever submits rows: one slow request holds back everything behind it, so reading
/// ahead has to stop while [`Ordered::waiting`] is at the caller's bound.
#[derive(Debug)]
pub struct Ordered<T> {
    due: u64,
    waiting: BTreeMap<u64, T>,
}

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self {
            due: 1,
            waiting: BTreeMap::new(),
        }
    }
}

impl<T> Ordered<T> {
    /// Row 1 is due.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the result of a row. Every row has exactly one: a second one for a row that was given
    /// out already is dropped.
    pub fn push(&mut self, row: u64, result: T) {
        if row >= self.due {
            self.waiting.insert(row, result);
        }
    }

    /// The result of the row that is due, when it is there. Call until `None` after every push.
    #[must_use]
    pub fn pop(&mut self) -> Option<T> {
        let result = self.waiting.remove(&self.due)?;
        self.due += 1;
        Some(result)
    }

    /// Results that wait for an earlier row.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Everything that waits, in order, when earlier rows will not come any more.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        if let Some((last, _)) = self.waiting.last_key_value() {
            self.due = last + 1;
        }
        std::mem::take(&mut self.waiting).into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_waits_comes_out_in_order_when_the_gap_never_fills() {
        let mut ordered = Ordered::new();
        ordered.push(4, "d");
        ordered.push(2, "b");
        assert_eq!((ordered.pop(), ordered.waiting()), (None, 2));
        assert_eq!(ordered.drain().collect::<Vec<_>>(), ["b", "d"]);
        ordered.push(3, "late");
        ordered.push(5, "e");
        assert_eq!((ordered.pop(), ordered.pop()), (Some("e"), None));
    }

    proptest! {
        #[test]
        fn any_order_of_results_comes_out_in_the_order_of_rows(
            rows in Just((1..=30_u64).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut ordered = Ordered::new();
            let mut out = Vec::new();
            for row in rows {
                ordered.push(row, row);
                while let Some(row) = ordered.pop() {
                    out.push(row);
                }
            }
            prop_assert_eq!(out, (1..=30).collect::<Vec<_>>());
            prop_assert_eq!(ordered.waiting(), 0);
        }
    }
}
