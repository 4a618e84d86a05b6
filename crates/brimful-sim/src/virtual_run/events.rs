//! The event heap: what takes the place of the clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use brimful_core::Timestamp;

/// Something that happens at an instant. `serial` names the attempt, so that what concerns an older
/// attempt in the same slot is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// An attempt reaches the server.
    Arrive { slot: u32, serial: u64 },
    /// The server has sent its reply.
    Reply { slot: u32, serial: u64 },
    /// The client sees that an answer has begun.
    FirstByte { slot: u32, serial: u64 },
    /// The client has read the reply, or sees that there is none.
    Deliver { slot: u32, serial: u64 },
    /// The caller of a request gives it up.
    Cancel { slot: u32, number: u64 },
    /// The attempt that was to be aborted has ended.
    Aborted { slot: u32, serial: u64 },
    /// The time of a saturated run is over.
    StopRun,
    /// The server's account is noted.
    Sample,
}

/// Events by time; of the same instant, in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Events {
    heap: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    added: u64,
}

impl Events {
    pub(super) fn add(&mut self, at: Timestamp, event: Event) {
        self.added += 1;
        self.heap.push(Reverse((at, self.added, event)));
    }

    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    pub(super) fn peek(&self) -> Option<&Event> {
        self.heap.peek().map(|Reverse((_, _, event))| event)
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.heap.pop().map(|Reverse((_, _, event))| event)
    }

    /// Puts the next event off to `at`, behind nothing that was added before it.
    pub(super) fn postpone(&mut self, at: Timestamp) {
        if let Some(Reverse((_, order, event))) = self.heap.pop() {
            self.heap.push(Reverse((at, order, event)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_then_by_order_also_when_put_off() {
        let mut events = Events::default();
        let cancel = |number| Event::Cancel { slot: 0, number };
        events.add(Timestamp::from_secs(2), cancel(1));
        events.add(Timestamp::from_secs(1), cancel(2));
        events.add(Timestamp::from_secs(1), cancel(3));
        events.add(Timestamp::from_secs(2), cancel(4));
        events.postpone(Timestamp::from_secs(2));
        assert_eq!(events.next_at(), Some(Timestamp::from_secs(1)));
        let order: Vec<Event> = std::iter::from_fn(|| events.pop()).collect();
        assert_eq!(order, [cancel(3), cancel(1), cancel(2), cancel(4)]);
    }
}
