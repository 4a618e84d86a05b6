//! The one task that owns the engine: requests in, attempts out, answers to the outputs.
//!
//! Decisions are the engine's. Here is only what does I/O: receive, spawn, write, sleep.

mod end;
mod ended;
mod keep;
mod learn;
mod retune;
mod view;

use std::sync::Arc;
use std::time::Duration;

use brimful_core::{
    AttemptId, Engine, EngineConfig, EngineConfigError, Event, Input, Outcome, Output, RequestId,
    Timestamp, UpstreamId,
};
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::attempt::{self, AttemptEnd, Inbox, Reports, Shared, channels};
use crate::clock::Clock;
use crate::journal::EXCEEDS_LIMIT;
use crate::limits::LimitNote;
use crate::models::ModelLanes;
use crate::output::BAD_ROW;
use crate::outputs::{DeadLetter, Outputs, WriteError};
use crate::progress::{Notice, Progress};
use crate::report::Tally;
use crate::request::{BadRow, Item, Request};
use crate::state::{Keeper, unix_ms};
use crate::trace::AttemptRecord;
use crate::transport::Outgoing;
use crate::upstreams::{Retune, UpstreamOptions, UpstreamProgress};

pub(crate) use end::DriverReport;
pub use end::EndCause;
use keep::Keeping;

/// Requests that the engine holds beyond those in flight: enough to never starve it between two
/// wake-ups of the reader, few enough to cost no memory.
const LOOK_AHEAD: usize = 1024;
/// Bytes of bodies that may wait in the engine.
const LOOK_AHEAD_BYTES: usize = 32 << 20;
/// How often progress is published.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Inputs taken in one turn, so that none of the sources starves another.
const TURN: usize = 256;

/// What the person at the keyboard wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// Go on.
    #[default]
    Run,
    /// Start nothing new; wait for what is in flight.
    Drain,
    /// Give up what is in flight.
    Abandon,
}

/// How a run is driven.
#[derive(Debug)]
pub(crate) struct DriverOptions {
    pub(crate) engine: EngineConfig,
    /// What else there is to know of each limit of the engine, in their order.
    pub(crate) limits: Vec<LimitNote>,
    /// State of earlier runs, to be taken up and kept.
    pub(crate) keeper: Option<Keeper>,
    /// The lanes of models.
    pub(crate) lanes: Arc<ModelLanes>,
    /// How the engine's upstreams are reached, in their order.
    pub(crate) upstreams: Vec<UpstreamOptions>,
    pub(crate) default_output_tokens: u64,
    pub(crate) price: Option<crate::report::Price>,
    pub(crate) spending_cap_usd: Option<f64>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) clock: Clock,
}

/// What the reader thread sends.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// Rows in the order of the input.
    Rows(Vec<Row>),
    /// The input cannot be read on.
    Broken(String),
}

/// A row of the input.
#[derive(Debug)]
pub(crate) enum Row {
    /// To be sent, or found to be bad.
    New(Item),
    /// Answered, or given up, by an earlier run.
    Earlier(Item),
}

/// A request that the engine holds.
struct Flight {
    request: Request,
    enqueued: Timestamp,
    started: Timestamp,
    attempt: Option<AttemptId>,
    /// Where its last attempt went.
    upstream: usize,
    abort: Option<AbortHandle>,
    waited_for: Option<WaitedFor>,
    /// Whether its body counts against [`LOOK_AHEAD_BYTES`]: until its first attempt.
    body_waits: bool,
    trail: Vec<AttemptRecord>,
    /// The last failed attempt.
    last: Option<AttemptEnd>,
}

/// What a request waited for before an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitedFor {
    Limit(usize),
    Cooldown,
    Backoff,
}

pub(crate) struct Driver<'a> {
    options: DriverOptions,
    engine: Engine,
    /// By the engine's numbers of upstreams.
    shared: Vec<Arc<Shared>>,
    upstreams: Vec<UpstreamProgress>,
    outputs: &'a mut Outputs,
    flights: Vec<Option<Flight>>,
    free: Vec<usize>,
    reports: Reports,
    queued_bytes: usize,
    tally: Tally,
    limit_names: Vec<String>,
    /// Empty while there is only one.
    upstream_names: Vec<String>,
    last_wait: Option<WaitedFor>,
    cause: Option<EndCause>,
    last_upstream_message: String,
    throttled_message: String,
    abandoned_ids: Vec<String>,
    unwritten_ids: Vec<String>,
    unanswered: u64,
    /// Whether something could not be sent because no upstream for it was left.
    unserved: bool,
    control: Control,
    source_finished: bool,
    /// Answers of 404 and 405 before any other answer.
    misdirected: u32,
    keeping: Keeping,
    /// What there is to know of each limit of the configuration, in its order: the engine keeps
    /// limits in that of their first appearance.
    declared: Vec<LimitNote>,
    /// What people should know, each once.
    notices: Vec<Notice>,
}

impl<'a> Driver<'a> {
    pub(crate) fn new(
        mut options: DriverOptions,
        outputs: &'a mut Outputs,
    ) -> Result<(Self, Inbox), EngineConfigError> {
        let now = options.clock.now();
        keep::place_edges(&mut options.engine, &options.limits, now, unix_ms());
        let declared = options.limits.clone();
        let keeper = options.keeper.take();
        let learns = options.upstreams.iter().any(|way| way.headers.is_some());
        if let Some(keeper) = keeper.as_ref().filter(|_| learns) {
            keep::recall(&mut options.engine, &options.lanes, keeper);
        }
        let engine = Engine::new(options.engine.clone())?;
        let shared: Vec<Arc<Shared>> = options
            .upstreams
            .drain(..)
            .map(|way| Arc::new(way.into()))
            .collect();
        let (reports, inbox) = channels();
        let mut driver = Self {
            tally: Tally::new(options.price),
            upstreams: vec![UpstreamProgress::default(); shared.len()],
            shared,
            options,
            engine,
            outputs,
            flights: Vec::new(),
            free: Vec::new(),
            reports,
            queued_bytes: 0,
            limit_names: Vec::new(),
            upstream_names: Vec::new(),
            last_wait: None,
            cause: None,
            last_upstream_message: String::new(),
            throttled_message: String::new(),
            abandoned_ids: Vec::new(),
            unwritten_ids: Vec::new(),
            unanswered: 0,
            unserved: false,
            control: Control::Run,
            source_finished: false,
            misdirected: 0,
            keeping: Keeping::nothing(),
            declared,
            notices: Vec::new(),
        };
        driver.name_limits();
        if let Some(keeper) = keeper {
            driver.take_up_state(now, keeper);
        }
        Ok((driver, inbox))
    }

    /// Runs until the input is answered or the run is stopped.
    pub(crate) async fn drive(
        mut self,
        mut inbox: Inbox,
        mut source: mpsc::Receiver<Incoming>,
        mut control: watch::Receiver<Control>,
        mut retunes: mpsc::Receiver<Retune>,
        progress: &watch::Sender<Progress>,
    ) -> DriverReport {
        let mut ended = Vec::with_capacity(TURN);
        let mut publish = tokio::time::interval(PROGRESS_EVERY);
        publish.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let wake = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(wake);
        let mut wake_at = None;
        while self.reads_on() || self.in_use() > 0 {
            let next = self.engine.poll_timeout();
            if next != wake_at {
                if let Some(at) = next {
                    wake.as_mut().reset(self.options.clock.instant(at).into());
                }
                wake_at = next;
            }
            let hungry = self.hungry();
            tokio::select! {
                biased;
                Ok(()) = control.changed() => {
                    let wanted = *control.borrow_and_update();
                    self.obey(wanted);
                }
                Some(retune) = retunes.recv() => self.retune(retune),
                _ = publish.tick() => {
                    self.keep();
                    progress.send_replace(self.progress());
                    self.look_at_the_deadline();
                }
                Some(early) = inbox.early.recv() => self.told_early(early),
                count = inbox.ends.recv_many(&mut ended, TURN) => {
                    debug_assert!(count > 0, "the driver itself holds a sender");
                    // What a reply says of limits counts before the reply does.
                    while let Ok(early) = inbox.early.try_recv() {
                        self.told_early(early);
                    }
                    self.attempts_ended(&mut ended);
                    // Under full load there is always a report: the engine is fed all the same.
                    while self.hungry() && let Ok(incoming) = source.try_recv() {
                        self.take_in(Some(incoming));
                    }
                }
                () = &mut wake, if wake_at.is_some() => {
                    wake_at = None;
                    self.input(Input::Tick);
                }
                incoming = source.recv(), if hungry => self.take_in(incoming),
            }
            self.stop_if_there_is_cause(self.options.clock.now());
        }
        self.keep_at_the_end();
        progress.send_replace(self.progress());
        self.into_report()
    }

    fn into_report(mut self) -> DriverReport {
        DriverReport {
            notices: std::mem::take(&mut self.notices),
            limits: self.limit_progress(),
            upstreams: self.upstream_progress(),
            cause: self.end_cause(),
            concurrency_note: self.concurrency_note(),
            throttled_message: self.throttled_message,
            tally: self.tally,
            abandoned_ids: self.abandoned_ids,
            unwritten_ids: self.unwritten_ids,
            unanswered: self.unanswered,
            source_finished: self.source_finished,
        }
    }

    fn look_at_the_deadline(&mut self) {
        let deadline = self.options.deadline.filter(|_| !self.stopping());
        let elapsed = self.options.clock.now().since(Timestamp::ZERO);
        if deadline.is_some_and(|deadline| elapsed >= deadline) {
            self.stop_for(EndCause::Deadline);
        }
    }

    /// Whether the input may still bring something.
    fn reads_on(&self) -> bool {
        !self.source_finished && !self.stopping()
    }

    fn in_use(&self) -> usize {
        self.flights.len() - self.free.len()
    }

    fn stopping(&self) -> bool {
        self.engine.stopped().is_some()
    }

    /// Whether the engine should be fed.
    fn hungry(&self) -> bool {
        if !self.reads_on() {
            return false;
        }
        let queued = self.engine.status(Timestamp::ZERO).queued;
        queued < LOOK_AHEAD && self.queued_bytes < LOOK_AHEAD_BYTES && self.outputs.has_room()
    }

    fn obey(&mut self, wanted: Control) {
        if wanted <= self.control {
            return;
        }
        self.control = wanted;
        self.input(Input::Stop);
        if wanted == Control::Abandon {
            for flight in self.flights.iter().flatten() {
                if let Some(abort) = &flight.abort {
                    abort.abort();
                }
            }
        }
    }

    fn take_in(&mut self, incoming: Option<Incoming>) {
        match incoming {
            None => self.source_finished = true,
            Some(Incoming::Broken(message)) => self.stop_for(EndCause::Source(message)),
            Some(Incoming::Rows(rows)) => {
                for row in rows {
                    self.take_in_row(row);
                }
            }
        }
    }

    fn take_in_row(&mut self, row: Row) {
        let (Row::New(item) | Row::Earlier(item)) = &row;
        let (Item::Request(Request { row: place, .. }) | Item::Bad(BadRow { row: place, .. })) =
            item;
        self.outputs.expect(*place);
        match row {
            Row::Earlier(item) => {
                self.outputs.earlier(&item);
                self.written(Ok(()));
            }
            Row::New(item) => {
                self.tally.rows_read += 1;
                match item {
                    Item::Bad(bad) => self.bad_row(&bad),
                    Item::Request(request) => self.submit(request),
                }
            }
        }
    }

    fn bad_row(&mut self, bad: &BadRow) {
        self.tally.bad_rows += 1;
        let place = match bad.line {
            0 => bad.reason.clone(),
            line => format!("line {line}: {}", bad.reason),
        };
        self.tally.died(BAD_ROW, &place, &bad.id);
        let written = self.outputs.bad_row(bad);
        self.written(written);
    }

    fn submit(&mut self, request: Request) {
        let cost = request.cost(self.options.default_output_tokens);
        let now = self.options.clock.now();
        self.queued_bytes += request.body.len();
        let flight = Flight {
            request,
            enqueued: now,
            started: now,
            attempt: None,
            upstream: 0,
            abort: None,
            waited_for: None,
            body_waits: true,
            trail: Vec::new(),
            last: None,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.flights[slot] = Some(flight);
                slot
            }
            None => {
                self.flights.push(Some(flight));
                self.flights.len() - 1
            }
        };
        let request = RequestId(u32::try_from(slot).expect("in flight and look-ahead are bounded"));
        self.input_at(now, Input::Submit { request, cost });
    }

    /// Looks at how writing went: what cannot be written stops the run at the end of the turn.
    fn written(&mut self, result: Result<(), WriteError>) {
        let trouble = self.outputs.take_trouble();
        if let Some(error) = result.err().or(trouble) {
            self.stop_for(EndCause::Output(error));
        } else if self.outputs.on_spare() {
            self.stop_for(EndCause::Output(WriteError::DiskFull));
        }
    }

    fn stop_if_there_is_cause(&mut self, now: Timestamp) {
        if self.cause.is_some() && !self.stopping() {
            self.input_at(now, Input::Stop);
        }
    }

    fn stop_for(&mut self, cause: EndCause) {
        // What is fatal counts more than what was asked for (exit 1 before 4).
        if self
            .cause
            .as_ref()
            .is_none_or(|known| known.is_planned() && !cause.is_planned())
        {
            self.cause = Some(cause);
        }
    }

    fn input(&mut self, input: Input) {
        self.input_at(self.options.clock.now(), input);
    }

    fn input_at(&mut self, now: Timestamp, input: Input) {
        self.engine.handle_input(now, input);
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Start { attempt, upstream } => self.start(now, attempt, upstream),
                Output::Abort { attempt } => {
                    let flight = self.flights[attempt.request.0 as usize].as_ref();
                    if let Some(abort) = flight.and_then(|flight| flight.abort.as_ref()) {
                        abort.abort();
                    }
                }
                Output::Finish { request, outcome } => self.finish(request, outcome),
                Output::Event(event) => self.event(now, event),
            }
        }
        let status = self.engine.status(now);
        if status.cooldown_until.is_some() {
            self.last_wait = Some(WaitedFor::Cooldown);
        } else if let Some(limit) = status.binding {
            self.last_wait = Some(WaitedFor::Limit(limit));
        } else {
            self.last_wait = None;
        }
        self.tally.binds(
            now,
            self.last_wait.map(|wait| match wait {
                WaitedFor::Limit(limit) => limit,
                _ => usize::MAX,
            }),
        );
    }

    fn start(&mut self, now: Timestamp, attempt: AttemptId, upstream: UpstreamId) {
        let slot = attempt.request.0 as usize;
        let Some(flight) = self.flights[slot].as_mut() else {
            return;
        };
        if std::mem::take(&mut flight.body_waits) {
            self.queued_bytes -= flight.request.body.len();
        }
        flight.started = now;
        flight.attempt = Some(attempt);
        flight.upstream = upstream.index();
        flight.waited_for = if attempt.number > 1 && self.last_wait.is_none() {
            Some(WaitedFor::Backoff)
        } else {
            self.last_wait
        };
        let outgoing = Outgoing::from(&flight.request);
        let shared = &self.shared[flight.upstream];
        flight.abort = Some(attempt::spawn(shared, slot, outgoing, &self.reports));
    }

    fn finish(&mut self, request: RequestId, outcome: Outcome) {
        let slot = request.0 as usize;
        let Some(flight) = self.flights[slot].take() else {
            return;
        };
        self.free.push(slot);
        if flight.body_waits {
            self.queued_bytes -= flight.request.body.len();
        }
        let letter = match outcome {
            Outcome::Answered => return,
            Outcome::Abandoned | Outcome::NoUpstream => {
                self.unserved |= outcome == Outcome::NoUpstream;
                self.unanswered += 1;
                return;
            }
            Outcome::NeverFits(never) => DeadLetter {
                request: &flight.request,
                code: EXCEEDS_LIMIT.to_owned(),
                message: format!("{never}; it was not sent"),
                last: None,
                trail: &flight.trail,
            },
            Outcome::Dead(_) => {
                let (code, message) = flight.last.as_ref().map_or_else(
                    || ("unknown".to_owned(), String::new()),
                    |last| (last.code.clone(), last.message.clone()),
                );
                let (last, trail) = (flight.last.as_ref(), &flight.trail);
                DeadLetter {
                    request: &flight.request,
                    code,
                    message,
                    last,
                    trail,
                }
            }
        };
        self.tally
            .died(&letter.code, &letter.message, &letter.request.id);
        let written = self.outputs.dead_letter(&letter);
        if written.is_err() {
            self.unwritten_ids.push(flight.request.id.clone());
        }
        self.written(written);
    }

    fn event(&mut self, now: Timestamp, event: Event) {
        self.learnt(now, &event);
        self.upstream_event(&event);
        match event {
            Event::CooldownStarted { .. } => self.tally.cooldowns += 1,
            Event::Retried { .. } => self.tally.retries += 1,
            _ => {}
        }
    }
}
