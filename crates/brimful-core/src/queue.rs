//! What waits to start: a lane for each kind of request, each in the order of age.
//!
//! Within a lane, of all requests that are ready, the oldest (by submission) starts next, and while
//! it has to wait for a limit nothing younger of the lane passes it. So a request, once ready,
//! waits for attempts of older requests and for nothing else: small ones cannot starve a large
//! one, nor fresh ones a retry. A request in backoff is not ready and holds nobody up. What may
//! start past the waiting head of another lane is decided in `upstream::choice`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::charge::Lane;
use crate::engine::RequestId;
use crate::time::Timestamp;

/// A request and its place among all that were ever submitted: the smaller, the older.
pub(crate) type Aged = (u64, RequestId);

/// Fresh requests come in the order of age, so that a plain queue keeps it, and everything that was
/// tried before is older than what was not.
#[derive(Clone, Debug, Default)]
struct LaneQueue {
    fresh: VecDeque<Aged>,
    due: BinaryHeap<Reverse<Aged>>,
    /// The head, and since when it is that.
    next: Option<(RequestId, Timestamp)>,
    /// The round in which it was found to have to wait.
    waits_in: u64,
}

impl LaneQueue {
    #[inline]
    fn head(&self) -> Option<Aged> {
        let tried = self.due.peek().map(|Reverse(request)| request);
        tried.or_else(|| self.fresh.front()).copied()
    }
}

/// All lanes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    lanes: Vec<LaneQueue>,
    backing_off: BinaryHeap<Reverse<(Timestamp, Aged, Lane)>>,
    /// What is ready, in all lanes.
    ready: usize,
    /// Counts rounds over all heads.
    round: u64,
}

impl Queue {
    /// One that was never tried; younger than all others.
    #[inline]
    pub(crate) fn push_fresh(&mut self, lane: Lane, request: Aged) {
        self.ready += 1;
        self.lane(lane).fresh.push_back(request);
    }

    /// To be tried again, at once.
    pub(crate) fn push_due(&mut self, lane: Lane, request: Aged) {
        self.ready += 1;
        self.lane(lane).due.push(Reverse(request));
    }

    /// To be tried again from `at` on.
    pub(crate) fn push_later(&mut self, lane: Lane, request: Aged, at: Timestamp) {
        self.backing_off.push(Reverse((at, request, lane)));
    }

    /// Takes in those whose backoff is over and returns when the next one's is.
    #[inline]
    pub(crate) fn wake(&mut self, now: Timestamp) -> Option<Timestamp> {
        while let Some(&Reverse((at, request, lane))) = self.backing_off.peek() {
            if at > now {
                return Some(at);
            }
            self.backing_off.pop();
            self.push_due(lane, request);
        }
        None
    }

    /// Begins a round over the heads of all lanes.
    #[inline]
    pub(crate) const fn begin_round(&mut self) {
        self.round += 1;
    }

    /// The oldest head that has not been set aside in this round, and its lane.
    #[inline]
    pub(crate) fn head(&self) -> Option<(Lane, RequestId)> {
        if self.ready == 0 {
            return None;
        }
        if let [lane] = &*self.lanes {
            let head = lane.head().filter(|_| lane.waits_in != self.round);
            return head.map(|(_, request)| (Lane(0), request));
        }
        let lanes = self.lanes.iter().enumerate();
        let lanes = lanes.filter(|(_, lane)| lane.waits_in != self.round);
        let heads = lanes.filter_map(|(index, lane)| Some((lane.head()?, index)));
        heads.min().map(|((_, request), index)| {
            let index = u16::try_from(index).expect("lanes are numbered by 16 bits");
            (Lane(index), request)
        })
    }

    /// Since when the head of a lane is that.
    #[inline]
    pub(crate) fn next_since(&mut self, now: Timestamp, lane: Lane) -> Timestamp {
        let lane = &mut self.lanes[lane.0 as usize];
        let head = lane.head().map(|(_, request)| request);
        match lane.next {
            Some((request, since)) if head == Some(request) => since,
            _ => {
                lane.next = head.map(|request| (request, now));
                now
            }
        }
    }

    /// The head of this lane has to wait: it is passed over for the rest of the round.
    #[inline]
    pub(crate) fn set_aside(&mut self, lane: Lane) {
        self.lanes[lane.0 as usize].waits_in = self.round;
    }

    /// Whether other lanes than those that were set aside have something ready.
    #[inline]
    pub(crate) fn others_are_ready(&self) -> bool {
        self.lanes.len() > 1 && self.head().is_some()
    }

    /// Takes the head of a lane out.
    #[inline]
    pub(crate) fn pop_head(&mut self, lane: Lane) {
        let lane = &mut self.lanes[lane.0 as usize];
        lane.next = None;
        if lane.due.pop().is_some() || lane.fresh.pop_front().is_some() {
            self.ready -= 1;
        }
    }

    /// Takes `request` out, wherever it waits. Linear: cancelling is rare.
    pub(crate) fn remove(&mut self, request: RequestId) {
        for lane in &mut self.lanes {
            let before = lane.fresh.len() + lane.due.len();
            lane.fresh.retain(|&(_, other)| other != request);
            lane.due.retain(|&Reverse((_, other))| other != request);
            self.ready -= before - lane.fresh.len() - lane.due.len();
        }
        self.backing_off
            .retain(|&Reverse((_, (_, other), _))| other != request);
    }

    /// Empties the lanes that `which` names, oldest first.
    pub(crate) fn drain(&mut self, which: impl Fn(Lane) -> bool) -> Vec<RequestId> {
        let mut all = Vec::new();
        for (number, lane) in (0..).zip(&mut self.lanes) {
            if which(Lane(number)) {
                self.ready -= lane.fresh.len() + lane.due.len();
                all.extend(lane.due.drain().map(|Reverse(request)| request));
                all.extend(lane.fresh.drain(..));
            }
        }
        self.backing_off.retain(|&Reverse((_, request, lane))| {
            let stays = !which(lane);
            if !stays {
                all.push(request);
            }
            stays
        });
        all.sort_unstable();
        all.into_iter().map(|(_, id)| id).collect()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.ready + self.backing_off.len()
    }

    pub(crate) fn backing_off(&self) -> usize {
        self.backing_off.len()
    }

    #[inline]
    fn lane(&mut self, lane: Lane) -> &mut LaneQueue {
        let index = lane.0 as usize;
        if self.lanes.len() <= index {
            self.lanes.resize_with(index + 1, LaneQueue::default);
        }
        &mut self.lanes[index]
    }
}
