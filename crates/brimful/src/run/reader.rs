//! The thread that reads the input, skips what is answered, and feeds the driver.

use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use super::Totals;
use crate::driver::{Incoming, Row};
use crate::fingerprint::Fingerprint;
use crate::journal::Answered;
use crate::request::Item;
use crate::source::Source;

/// Items handed over together while the driver is behind.
const BATCH: usize = 256;
/// Bytes of bodies handed over together.
const BATCH_BYTES: usize = 1 << 20;

/// Everything that was read, against what earlier runs had done.
#[derive(Debug)]
pub(crate) struct Reader {
    source: Source,
    answered: Answered,
    dead: Answered,
    /// Rows that need no sending are handed over all the same, for standard output.
    gives_earlier_rows: bool,
    totals: Totals,
}

/// What is left of earlier runs when the whole input was read: it is no longer in the input.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) stale_answers: Answered,
    pub(crate) stale_dead: Answered,
}

/// A reader at work.
#[derive(Debug)]
pub(crate) struct Reading(JoinHandle<Option<Finished>>);

impl Reading {
    /// Waits for its end; `None` when the input could not be read to the end.
    pub(crate) fn join(self) -> Option<Finished> {
        self.0.join().ok().flatten()
    }
}

impl Reader {
    pub(crate) fn new(
        source: Source,
        answered: Answered,
        dead: Answered,
        gives_earlier_rows: bool,
        totals: Totals,
    ) -> Self {
        Self {
            source,
            answered,
            dead,
            gives_earlier_rows,
            totals,
        }
    }

    pub(crate) fn start(self, items: mpsc::Sender<Incoming>) -> Reading {
        Reading(std::thread::spawn(move || self.read(&items)))
    }

    fn read(mut self, items: &mpsc::Sender<Incoming>) -> Option<Finished> {
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        let mut rows = 0;
        while let Some(item) = self.source.next() {
            let item = match item {
                Ok(item) => item,
                Err(error) => {
                    // Whoever listens no longer needs it.
                    let _ended = items.blocking_send(Incoming::Rows(batch));
                    let _ended = items.blocking_send(Incoming::Broken(error.to_string()));
                    return None;
                }
            };
            rows += 1;
            if rows % 64 == 1 {
                let expected = self.source.rows_expected().unwrap_or(0);
                self.totals
                    .0
                    .rows
                    .store(expected.max(rows), Ordering::Relaxed);
            }
            let row = match self.skip(&item) {
                false => Some(Row::New(item)),
                true => self.gives_earlier_rows.then_some(Row::Earlier(item)),
            };
            if let Some(row) = row {
                batch_bytes += bytes_of(&row);
                batch.push(row);
            }
            // While the driver waits, every row counts; while it is busy, batches are cheaper. But
            // no row waits for the next one, which may never come.
            let driver_waits = items.capacity() == items.max_capacity() || self.source.may_wait();
            let full = batch.len() >= BATCH || batch_bytes >= BATCH_BYTES;
            if full || (driver_waits && !batch.is_empty()) {
                batch_bytes = 0;
                let full = std::mem::take(&mut batch);
                if items.blocking_send(Incoming::Rows(full)).is_err() {
                    return None;
                }
            }
        }
        self.totals.0.rows.store(rows, Ordering::Relaxed);
        if items.blocking_send(Incoming::Rows(batch)).is_err() {
            return None;
        }
        Some(Finished {
            stale_answers: self.answered,
            stale_dead: self.dead,
        })
    }

    fn skip(&mut self, item: &Item) -> bool {
        let fingerprint: Fingerprint = match item {
            Item::Request(request) => request.fingerprint,
            Item::Bad(bad) => bad.fingerprint,
        };
        if self.answered.take(fingerprint) {
            self.totals
                .0
                .answered_before
                .fetch_add(1, Ordering::Relaxed);
            return true;
        }
        if self.dead.take(fingerprint) {
            self.totals.0.dead_before.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        false
    }
}

fn bytes_of(row: &Row) -> usize {
    match row {
        Row::New(Item::Request(request)) | Row::Earlier(Item::Request(request)) => {
            request.body.len()
        }
        Row::New(Item::Bad(_)) | Row::Earlier(Item::Bad(_)) => 0,
    }
}
