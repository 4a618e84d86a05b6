//! How many answers there are for each fingerprint.

use crate::fingerprint::Fingerprint;

/// A multiset of fingerprints: 20 bytes each, 45 at most while it is being filled.
#[derive(Debug, Default)]
pub struct Answered {
    /// Sorted and without duplicates once filled. What has been taken stays, with a count of 0.
    entries: Vec<Entry>,
    left: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    fingerprint: Fingerprint,
    count: u32,
}

impl Answered {
    /// Takes one answer for this fingerprint out, if there is one left.
    pub fn take(&mut self, fingerprint: Fingerprint) -> bool {
        match self.position(fingerprint) {
            Some(at) if self.entries[at].count > 0 => {
                self.entries[at].count -= 1;
                self.left -= 1;
                true
            }
            _ => false,
        }
    }

    /// How many answers for this fingerprint have not been taken.
    #[must_use]
    pub fn count(&self, fingerprint: Fingerprint) -> u32 {
        self.position(fingerprint)
            .map_or(0, |at| self.entries[at].count)
    }

    /// How many answers have not been taken.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether every answer has been taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    fn position(&self, fingerprint: Fingerprint) -> Option<usize> {
        self.entries
            .binary_search_by_key(&fingerprint, |entry| entry.fingerprint)
            .ok()
    }

    /// Adds one answer. Nothing can be looked up before [`Answered::settle`].
    pub(super) fn push(&mut self, fingerprint: Fingerprint) {
        if self.entries.len() == self.entries.capacity() {
            // Doubling would need up to 60 bytes an entry at the moment of growth.
            self.entries.reserve_exact(self.entries.len() / 4 + 1024);
        }
        self.entries.push(Entry {
            fingerprint,
            count: 1,
        });
    }

    /// Makes what was added findable.
    pub(super) fn settle(&mut self) {
        self.entries.sort_unstable_by_key(|entry| entry.fingerprint);
        self.entries.dedup_by(|later, kept| {
            let same = later.fingerprint == kept.fingerprint;
            if same {
                kept.count = kept.count.saturating_add(later.count);
            }
            same
        });
        self.entries.shrink_to_fit();
        self.left = self
            .entries
            .iter()
            .map(|entry| u64::from(entry.count))
            .sum();
    }
}

impl FromIterator<Fingerprint> for Answered {
    fn from_iter<T: IntoIterator<Item = Fingerprint>>(fingerprints: T) -> Self {
        let mut answered = Self::default();
        for fingerprint in fingerprints {
            answered.push(fingerprint);
        }
        answered.settle();
        answered
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fp(n: u8) -> Fingerprint {
        Fingerprint([n; 16])
    }

    #[test]
    fn an_answer_is_taken_as_often_as_it_is_there() {
        let mut answered: Answered = [2, 1, 2].map(fp).into_iter().collect();
        assert_eq!((answered.len(), answered.count(fp(2))), (3, 2));
        assert!(answered.take(fp(2)) && answered.take(fp(2)) && !answered.take(fp(2)));
        assert!(!answered.take(fp(3)));
        assert!(!answered.is_empty());
        assert!(answered.take(fp(1)) && answered.is_empty());
    }

    #[test]
    fn an_entry_takes_twenty_bytes() {
        assert_eq!(size_of::<Entry>(), 20);
    }

    proptest! {
        #[test]
        fn behaves_as_a_list_of_fingerprints(
            put in proptest::collection::vec(0..8_u8, 0..40),
            taken in proptest::collection::vec(0..8_u8, 0..60),
        ) {
            let mut list = put.clone();
            let mut answered: Answered = put.into_iter().map(fp).collect();
            for n in taken {
                let at = list.iter().position(|&m| m == n);
                if let Some(at) = at {
                    list.swap_remove(at);
                }
                prop_assert_eq!(answered.take(fp(n)), at.is_some());
                prop_assert_eq!(answered.len(), list.len() as u64);
            }
        }
    }
}
