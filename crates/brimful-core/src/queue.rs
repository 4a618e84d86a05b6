//! What waits to start: fresh requests in their order, and retries that became due before them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::engine::RequestId;
use crate::time::Timestamp;

/// First in, first out, and a request that was tried before goes ahead of one that was not. So
/// the wait of every request is bounded by what is older than itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    fresh: VecDeque<RequestId>,
    due: VecDeque<RequestId>,
    backing_off: BinaryHeap<Reverse<(Timestamp, u64, RequestId)>>,
    sequence: u64,
}

impl Queue {
    pub(crate) fn push_fresh(&mut self, request: RequestId) {
        self.fresh.push_back(request);
    }

    /// To be tried again, at once.
    pub(crate) fn push_due(&mut self, request: RequestId) {
        self.due.push_back(request);
    }

    /// To be tried again from `at` on.
    pub(crate) fn push_later(&mut self, request: RequestId, at: Timestamp) {
        self.sequence += 1;
        self.backing_off.push(Reverse((at, self.sequence, request)));
    }

    /// Moves requests whose backoff is over to the head and returns when the next one is.
    pub(crate) fn wake(&mut self, now: Timestamp) -> Option<Timestamp> {
        while let Some(&Reverse((at, _, request))) = self.backing_off.peek() {
            if at > now {
                return Some(at);
            }
            self.backing_off.pop();
            self.due.push_back(request);
        }
        None
    }

    pub(crate) fn head(&self) -> Option<RequestId> {
        self.due.front().or_else(|| self.fresh.front()).copied()
    }

    pub(crate) fn pop_head(&mut self) -> Option<RequestId> {
        self.due.pop_front().or_else(|| self.fresh.pop_front())
    }

    /// Takes `request` out, wherever it waits. Linear: cancelling is rare.
    pub(crate) fn remove(&mut self, request: RequestId) {
        self.fresh.retain(|&other| other != request);
        self.due.retain(|&other| other != request);
        self.backing_off
            .retain(|&Reverse((_, _, other))| other != request);
    }

    /// Empties the queue, oldest first.
    pub(crate) fn drain(&mut self) -> Vec<RequestId> {
        let mut all: Vec<RequestId> = self.due.drain(..).collect();
        while let Some(Reverse((_, _, request))) = self.backing_off.pop() {
            all.push(request);
        }
        all.extend(self.fresh.drain(..));
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.fresh.len() + self.due.len() + self.backing_off.len()
    }

    pub(crate) fn backing_off(&self) -> usize {
        self.backing_off.len()
    }
}
