//! Which explicit ids were seen.

/// Power of two: ids are spread over so many tables that growing one of them is never felt.
const TABLES: usize = 64;

/// A set of ids that keeps 64 bits of each.
///
/// At most 15 bytes an id. Two different ids are taken for the same with a chance of 2⁻⁶⁴ a pair:
/// 3 in 100 million for a whole input of one million ids, 3 in 10,000 for one of 100 million.
#[derive(Debug)]
pub(super) struct IdSet {
    tables: Vec<Table>,
}

#[derive(Clone, Debug, Default)]
struct Table {
    /// 0 is an empty slot.
    slots: Vec<u64>,
    used: usize,
}

impl IdSet {
    pub(super) fn new() -> Self {
        Self {
            tables: vec![Table::default(); TABLES],
        }
    }

    /// False when the id was there before.
    pub(super) fn insert(&mut self, id: &str) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(id.as_bytes()).as_bytes();
        let hash = u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1);
        // The low bits choose the table, the high bits the slot.
        self.tables[hash as usize % TABLES].insert(hash)
    }
}

impl Table {
    fn insert(&mut self, hash: u64) -> bool {
        // At most four fifths full, so that probes stay short.
        if (self.used + 1) * 5 > self.slots.len() * 4 {
            self.grow();
        }
        let mut at = self.slot(hash);
        loop {
            match self.slots[at] {
                0 => {
                    self.slots[at] = hash;
                    self.used += 1;
                    return true;
                }
                other if other == hash => return false,
                _ => {
                    at = if at + 1 == self.slots.len() {
                        0
                    } else {
                        at + 1
                    }
                }
            }
        }
    }

    fn slot(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }

    /// By half: a doubling would leave the table at two fifths, 20 bytes an id.
    fn grow(&mut self) {
        let larger = (self.slots.len() * 3 / 2).max(8);
        let old = std::mem::replace(&mut self.slots, vec![0; larger]);
        self.used = 0;
        for hash in old {
            if hash != 0 {
                self.insert(hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_new_once() {
        let mut ids = IdSet::new();
        for n in 0..20_000 {
            assert!(ids.insert(&n.to_string()), "{n}");
        }
        for n in 0..20_000 {
            assert!(!ids.insert(&n.to_string()), "{n}");
        }
        assert!(ids.insert(""));
    }

    #[test]
    fn an_id_costs_at_most_fifteen_bytes() {
        let mut ids = IdSet::new();
        for n in 1..=100_000_usize {
            ids.insert(&n.to_string());
            if n > 10_000 && n % 1000 == 0 {
                let bytes: usize = ids
                    .tables
                    .iter()
                    .map(|table| table.slots.capacity() * 8)
                    .sum();
                assert!(bytes <= n * 15, "{bytes} bytes for {n} ids");
            }
        }
    }
}
