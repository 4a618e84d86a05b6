//! What waits to start, in the order of age.
//!
//! Of all requests that are ready, the oldest (by submission) starts next, and while it has to wait
//! for a limit nothing younger passes it. So a request, once ready, waits for attempts of older
//! requests and for nothing else: small ones cannot starve a large one, nor fresh ones a retry. A
//! request in backoff is not ready and holds nobody up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::engine::RequestId;
use crate::time::Timestamp;

/// A request and its place among all that were ever submitted: the smaller, the older.
pub(crate) type Aged = (u64, RequestId);

/// Fresh requests come in the order of age, so that a plain queue keeps it, and everything that was
/// tried before is older than what was not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    fresh: VecDeque<Aged>,
    due: BinaryHeap<Reverse<Aged>>,
    backing_off: BinaryHeap<Reverse<(Timestamp, Aged)>>,
}

impl Queue {
    /// One that was never tried; younger than all others.
    pub(crate) fn push_fresh(&mut self, request: Aged) {
        self.fresh.push_back(request);
    }

    /// To be tried again, at once.
    pub(crate) fn push_due(&mut self, request: Aged) {
        self.due.push(Reverse(request));
    }

    /// To be tried again from `at` on.
    pub(crate) fn push_later(&mut self, request: Aged, at: Timestamp) {
        self.backing_off.push(Reverse((at, request)));
    }

    /// Takes in those whose backoff is over and returns when the next one's is.
    #[inline]
    pub(crate) fn wake(&mut self, now: Timestamp) -> Option<Timestamp> {
        while let Some(&Reverse((at, request))) = self.backing_off.peek() {
            if at > now {
                return Some(at);
            }
            self.backing_off.pop();
            self.push_due(request);
        }
        None
    }

    /// The oldest that is ready.
    #[inline]
    pub(crate) fn head(&self) -> Option<RequestId> {
        let tried = self.due.peek().map(|Reverse(request)| request);
        tried.or_else(|| self.fresh.front()).map(|&(_, id)| id)
    }

    /// Takes the head out.
    #[inline]
    pub(crate) fn pop_head(&mut self) {
        if self.due.pop().is_none() {
            self.fresh.pop_front();
        }
    }

    /// Takes `request` out, wherever it waits. Linear: cancelling is rare.
    pub(crate) fn remove(&mut self, request: RequestId) {
        self.fresh.retain(|&(_, other)| other != request);
        self.due.retain(|&Reverse((_, other))| other != request);
        self.backing_off
            .retain(|&Reverse((_, (_, other)))| other != request);
    }

    /// Empties the queue, oldest first.
    pub(crate) fn drain(&mut self) -> Vec<RequestId> {
        let due = self.due.drain().map(|Reverse(request)| request);
        let later = self.backing_off.drain();
        let later = later.map(|Reverse((_, request))| request);
        let mut all: Vec<Aged> = due.chain(later).chain(self.fresh.drain(..)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, id)| id).collect()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.fresh.len() + self.due.len() + self.backing_off.len()
    }

    pub(crate) fn backing_off(&self) -> usize {
        self.backing_off.len()
    }
}
