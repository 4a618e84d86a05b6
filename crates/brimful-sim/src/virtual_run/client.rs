//! The driver of a virtual run: what `brimful run` does around the engine, without tokio.

mod ending;

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use brimful_core::{
    AttemptId, AttemptResult, Charge, Class, Cost, Engine, Event as EngineEvent, Failure, Input,
    Outcome, Output, RequestId, Settlement, Timestamp,
};
use fastrand::Rng;
use http::Method;

use crate::reply::{Action, Ending, IncomingRequest, Ticket};
use crate::server::Server;

use super::checks::{Attempt, Checks};
use super::events::{Event, Events};
use super::flight::{Flight, Sent, listen, read};
use super::network::Way;
use super::report::Report;
use super::sample::Sample;
use super::tally::Tally;
use super::trace::{Step, TraceHash};
use super::workload::{Amount, Feed, Size, write_body};
use super::{RunError, VirtualRun};

const PATH: &str = "/v1/chat/completions";

/// One virtual run. Instants are the server's unless a name says otherwise.
pub(super) struct Driver<'a> {
    run: &'a VirtualRun,
    seed: u64,
    engine: Engine,
    /// By upstream.
    servers: Vec<Server>,
    feed: Feed,
    rng: Rng,
    now: Timestamp,
    events: Events,
    /// Deadlines of attempts on the client's clock, earliest first.
    timeouts: VecDeque<(Timestamp, u32, u64)>,
    /// The engine's deadline on the client's clock, and how late the timer will fire.
    wake: Option<(Timestamp, Duration)>,
    /// How far the client's clock is behind the server's: what it stood still for.
    behind: Duration,
    asleep_until: Timestamp,
    suspensions: usize,
    flights: Vec<Option<Flight>>,
    free: Vec<u32>,
    serial: u64,
    numbers: u64,
    body: Vec<u8>,
    checks: Checks,
    trace: TraceHash,
    observe: &'a mut dyn FnMut(Timestamp, &Step),
    report: Tally,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        run: &'a VirtualRun,
        seed: u64,
        observe: &'a mut dyn FnMut(Timestamp, &Step),
    ) -> Result<Self, RunError> {
        // Every part draws from a stream of its own, so that a change of one leaves the others'.
        let mut seeds = Rng::with_seed(seed);
        let mut config = run.engine.clone();
        config.seed = seeds.u64(..);
        let checks = Checks::new(&run.promised(), run.learns);
        let mut driver = Self {
            run,
            seed,
            engine: Engine::new(config)?,
            servers: vec![Server::new(run.server.clone(), seeds.u64(..))?],
            feed: Feed::new(&run.workload, seeds.u64(..)),
            rng: seeds.fork(),
            now: Timestamp::ZERO,
            events: Events::default(),
            timeouts: VecDeque::new(),
            wake: None,
            behind: Duration::ZERO,
            asleep_until: Timestamp::ZERO,
            suspensions: 0,
            flights: Vec::new(),
            free: Vec::new(),
            serial: 0,
            numbers: 0,
            body: Vec::new(),
            checks,
            trace: TraceHash::default(),
            observe,
            report: Tally::default(),
        };
        for server in &run.further {
            driver
                .servers
                .push(Server::new(server.clone(), seeds.u64(..))?);
        }
        if let Amount::Saturated(time) = run.workload.amount {
            driver.events.add(Timestamp::ZERO + time, Event::StopRun);
        }
        if run.sample_every.is_some() {
            driver.events.add(Timestamp::ZERO, Event::Sample);
        }
        Ok(driver)
    }

    /// Runs until every request has its outcome.
    pub(super) fn drive(mut self) -> Report {
        let give_up_at = Timestamp::ZERO + self.run.give_up_after;
        self.fill_up();
        while self.in_use() > 0 || !self.feed.is_empty() {
            self.set_wake();
            let Some((at, next)) = self.next() else {
                let what = "nothing will happen any more".to_owned();
                self.checks.violation(self.client_now(), what);
                break;
            };
            if at > give_up_at {
                let what = format!("not over after {:?}", self.run.give_up_after);
                self.checks.violation(self.client_now(), what);
                break;
            }
            if self.falls_asleep(at) {
                continue;
            }
            self.now = self.now.max(at);
            match next {
                Next::Event => self.event(),
                Next::Timeout => self.timeout(),
                Next::Wake => {
                    if let Some((_, late)) = self.wake.take() {
                        self.checks.woke_late(late);
                    }
                    self.input(Input::Tick);
                }
            }
            self.fill_up();
        }
        self.into_report()
    }

    /// What happens next, and when. Of the same instant: events, then timeouts, then the wake-up.
    fn next(&mut self) -> Option<(Timestamp, Next)> {
        while let Some(&(_, slot, serial)) = self.timeouts.front()
            && self.sent(slot, serial).is_none()
        {
            self.timeouts.pop_front();
        }
        let timeout = self.timeouts.front().map(|&(at, ..)| self.fires_at(at));
        let wake = self.wake.map(|(at, late)| self.fires_at(at) + late);
        let mut next = self.events.next_at().map(|at| (at, Next::Event));
        for (at, what) in [(timeout, Next::Timeout), (wake, Next::Wake)] {
            if let Some(at) = at
                && next.is_none_or(|(earliest, _)| at < earliest)
            {
                next = Some((at, what));
            }
        }
        next
    }

    fn set_wake(&mut self) {
        let wanted = self.engine.poll_timeout();
        if wanted != self.wake.map(|(at, _)| at) {
            let late = self.run.client.wake_late;
            self.wake = wanted.map(|at| (at, late.draw(&mut self.rng)));
        }
    }

    /// The instant at which a timer of the client's fires.
    fn fires_at(&self, client: Timestamp) -> Timestamp {
        (client + self.behind).max(self.asleep_until)
    }

    fn client_now(&self) -> Timestamp {
        self.now - self.behind
    }

    /// Whether the next suspension begins before `at`.
    fn falls_asleep(&mut self, at: Timestamp) -> bool {
        let next = self.run.client.suspensions.get(self.suspensions);
        let Some(suspension) = next.filter(|suspension| suspension.at <= at) else {
            return false;
        };
        self.suspensions += 1;
        self.now = self.now.max(suspension.at);
        self.asleep_until = self.now + suspension.length;
        if suspension.clock_runs {
            self.checks.suspended(suspension.length);
        } else {
            self.behind += suspension.length;
        }
        let until = self.asleep_until;
        self.step(&Step::Suspended { until });
        true
    }

    fn event(&mut self) {
        let is_servers = |event: &Event| {
            !matches!(
                event,
                Event::Deliver { .. }
                    | Event::Cancel { .. }
                    | Event::Aborted { .. }
                    | Event::StopRun
            )
        };
        if self.now < self.asleep_until && !self.events.peek().is_some_and(is_servers) {
            self.events.postpone(self.asleep_until);
            return;
        }
        match self.events.pop() {
            Some(Event::Arrive { slot, serial }) => self.arrive(slot, serial),
            Some(Event::Reply { slot, serial }) => self.replied(slot, serial),
            Some(Event::Deliver { slot, serial }) => self.deliver(slot, serial),
            Some(Event::Cancel { slot, number }) => self.cancel(slot, number),
            Some(Event::Aborted { slot, serial }) if self.sent(slot, serial).is_some() => {
                self.ended(slot, AttemptResult::Aborted);
            }
            Some(Event::StopRun) => {
                self.feed.end();
                self.input(Input::Stop);
            }
            Some(Event::FirstByte { slot, serial }) => {
                if let Some(sent) = self.sent(slot, serial) {
                    let attempt = sent.attempt;
                    self.input(Input::FirstByte(attempt));
                }
            }
            Some(Event::Sample) => self.sample(),
            Some(Event::Aborted { .. }) | None => {}
        }
    }

    fn sample(&mut self) {
        // What changes by itself changes before it is noted.
        for server in &mut self.servers {
            server.advance(self.now);
        }
        let sample = Sample::new(self.now, &self.servers);
        self.report.samples.push(sample);
        if let Some(every) = self.run.sample_every {
            self.events.add(self.now + every, Event::Sample);
        }
    }

    fn in_use(&self) -> usize {
        self.flights.len() - self.free.len()
    }

    /// The attempt in `slot`, unless another has taken its place or it has ended.
    fn sent(&mut self, slot: u32, serial: u64) -> Option<&mut Sent> {
        let flight = self.flights[slot as usize].as_mut()?;
        flight.sent.as_mut().filter(|sent| sent.serial == serial)
    }

    /// Gives the engine what it may look ahead to.
    fn fill_up(&mut self) {
        if self.engine.stopped().is_some() {
            self.feed.end();
        }
        while !self.feed.is_empty()
            && self.engine.status(Timestamp::ZERO).queued < self.run.client.look_ahead
            && self.now >= self.asleep_until
            && let Some(size) = self.feed.next()
        {
            self.submit(size);
        }
    }

    fn submit(&mut self, size: Size) {
        let rule = self.run.engine.upstreams[0].charge_rule;
        let cost = Cost::tokens(u64::from(size.input), u64::from(size.max_output));
        let charge = rule.of(&cost);
        let number = self.numbers;
        self.numbers += 1;
        self.report.requests += 1;
        self.report.tokens += charge.total;
        let mark = self.checks.submitted(self.client_now(), &charge);
        let flight = Flight {
            number,
            size,
            charge,
            mark,
            started: false,
            sent: None,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.flights[slot as usize] = Some(flight);
                slot
            }
            None => {
                self.flights.push(Some(flight));
                u32::try_from(self.flights.len() - 1).expect("look-ahead and in flight are bounded")
            }
        };
        let tokens = charge.total;
        self.step(&Step::Submitted {
            request: number,
            tokens,
        });
        let client = &self.run.client;
        if client.cancel_share > 0.0 && self.rng.f64() < client.cancel_share {
            let at = self.now + client.cancel_within.mul_f64(self.rng.f64());
            self.events.add(at, Event::Cancel { slot, number });
        }
        let request = RequestId(slot);
        self.input(Input::Submit { request, cost });
    }

    fn input(&mut self, input: Input) {
        self.engine.handle_input(self.client_now(), input);
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Start { attempt, upstream } => self.start(attempt, upstream.index()),
                Output::Finish { request, outcome } => self.finish(request, &outcome),
                Output::Abort { attempt } => self.abort(attempt),
                Output::Event(EngineEvent::CooldownStarted { upstream, until }) => {
                    let now = self.client_now();
                    self.checks.cooldown(now, upstream.index(), until);
                    self.step(&Step::Cooldown { until });
                }
                Output::Event(EngineEvent::Stopped { .. }) => {
                    self.checks.stopped();
                    self.step(&Step::Stopped);
                }
                Output::Event(EngineEvent::Retried { request, wait, .. }) => {
                    let now = self.client_now();
                    if let Some(flight) = &self.flights[request.0 as usize] {
                        self.checks.retried(now, &flight.mark, wait);
                    }
                }
                Output::Event(EngineEvent::LimitLearned { .. }) => self.checks.learns(),
                Output::Event(_) => {}
            }
        }
    }

    fn start(&mut self, attempt: AttemptId, upstream: usize) {
        let client_now = self.client_now();
        self.serial += 1;
        let serial = self.serial;
        let slot = attempt.request.0;
        let way = self.run.network.way(self.now, &mut self.rng);
        let Some(flight) = self.flights[slot as usize].as_mut() else {
            let what = format!("{attempt:?} of a finished request");
            return self.checks.violation(client_now, what);
        };
        let number = flight.number;
        flight.started = true;
        let overlapped = flight.sent.replace(Sent {
            attempt,
            serial,
            upstream,
            started: self.now,
            way,
            ticket: Ticket::default(),
            action: None,
        });
        self.checks.started(
            client_now,
            &Attempt {
                serial,
                upstream,
                number: attempt.number,
                charge: &flight.charge,
                mark: &flight.mark,
            },
        );
        if overlapped.is_some() {
            let what = format!("{attempt:?} overlaps another");
            self.checks.violation(client_now, what);
        }
        self.report.attempts += 1;
        self.step(&Step::Started {
            request: number,
            attempt: attempt.number,
        });
        let deadline = client_now + self.run.client.timeout;
        self.timeouts.push_back((deadline, slot, serial));
        let at = self.now + self.run.network.send.draw(&mut self.rng);
        match way {
            Way::Arrives => self.events.add(at, Event::Arrive { slot, serial }),
            Way::Unsent => self.events.add(at, Event::Deliver { slot, serial }),
            Way::Lost => {}
        }
    }

    fn arrive(&mut self, slot: u32, serial: u64) {
        let Some(upstream) = self.sent(slot, serial).map(|sent| sent.upstream) else {
            return;
        };
        let accepted = self.servers[upstream].accepts_connections(self.now);
        let Some(sent) = self.sent(slot, serial) else {
            return;
        };
        if !accepted {
            sent.way = Way::Unsent;
            let at = self.now + self.run.network.back.draw(&mut self.rng);
            self.events.add(at, Event::Deliver { slot, serial });
            return;
        }
        let Some(flight) = self.flights[slot as usize].as_mut() else {
            return;
        };
        write_body(&mut self.body, flight.number, flight.size);
        let request = IncomingRequest {
            method: &Method::POST,
            path: PATH,
            body: &self.body,
            authorization: None,
        };
        let answer = self.servers[upstream].handle(self.now, request);
        let status = match &answer.action {
            Action::Respond { status, .. }
            | Action::Stream { status, .. }
            | Action::Truncate { status, .. } => status.as_u16(),
            Action::Reset | Action::Hang => 0,
        };
        if status == 200 && self.run.sample_every.is_some() {
            self.report.first_bytes.push((self.now, answer.first_byte));
        }
        if status == 200 && self.run.client.sees_first_bytes {
            let back = self.run.network.back.draw(&mut self.rng);
            let at = self.now + answer.first_byte + back;
            self.events.add(at, Event::FirstByte { slot, serial });
        }
        let streamed: Duration = match &answer.action {
            Action::Stream { chunks, .. } => chunks.iter().map(|chunk| chunk.delay).sum(),
            _ => Duration::ZERO,
        };
        if !matches!(answer.action, Action::Hang) {
            let at = self.now + answer.delay + streamed;
            self.events.add(at, Event::Reply { slot, serial });
        }
        let request = flight.number;
        if let Some(sent) = &mut flight.sent {
            sent.ticket = answer.ticket;
            sent.action = Some(answer.action);
        }
        self.step(&Step::Judged { request, status });
    }

    fn replied(&mut self, slot: u32, serial: u64) {
        let now = self.now;
        let lost = self.run.network.loses_reply(now, &mut self.rng);
        let Some(sent) = self.sent(slot, serial) else {
            return;
        };
        let (ticket, upstream) = (mem::take(&mut sent.ticket), sent.upstream);
        if lost {
            sent.action = None;
        }
        self.servers[upstream].finished(now, ticket, Ending::Sent);
        let at = now + self.run.network.back.draw(&mut self.rng);
        self.events.add(at, Event::Deliver { slot, serial });
    }

    fn deliver(&mut self, slot: u32, serial: u64) {
        let wall_clock = self.run.server.wall_clock_origin + self.now.since(Timestamp::ZERO);
        let now = self.now;
        let grammar = self.run.client.grammar;
        let Some(sent) = self.sent(slot, serial) else {
            return;
        };
        let heard = listen(sent, grammar, wall_clock);
        let result = if sent.way == Way::Unsent {
            AttemptResult::NotSent(Failure::new(Class::Transient))
        } else {
            read(sent.action.take(), wall_clock)
        };
        let took = now.since(sent.started);
        if matches!(result, AttemptResult::Answered(_)) {
            let quickest = self.report.quickest.get_or_insert(took);
            *quickest = took.min(*quickest);
            self.report.answering += took;
        }
        if let Some(heard) = heard {
            self.input(heard);
        }
        self.ended(slot, result);
    }

    fn timeout(&mut self) {
        if let Some((_, slot, serial)) = self.timeouts.pop_front()
            && self.sent(slot, serial).is_some()
        {
            let failure = Failure::new(Class::Transient);
            self.ended(slot, AttemptResult::Failed(failure));
        }
    }

    /// The client knows what became of the attempt in `slot`.
    fn ended(&mut self, slot: u32, result: AttemptResult) {
        let client_now = self.client_now();
        let Some(flight) = self.flights[slot as usize].as_mut() else {
            return;
        };
        let Some(sent) = flight.sent.take() else {
            return;
        };
        // Nothing when the server has carried it out already.
        self.servers[sent.upstream].finished(self.now, sent.ticket, Ending::Vanished);
        let config = &self.run.engine.upstreams[0];
        let actual = match &result {
            AttemptResult::Answered(Some(usage)) if config.settlement == Settlement::Usage => {
                config.charge_rule.actual(*usage)
            }
            AttemptResult::NotSent(_) => Charge::default(),
            _ => flight.charge,
        };
        let attempt = (sent.upstream, sent.serial);
        self.checks
            .ended(client_now, attempt, &flight.charge, &actual);
        let (request, attempt) = (flight.number, sent.attempt);
        self.step(&Step::Ended {
            request,
            attempt: attempt.number,
            end: (&result).into(),
        });
        self.input(Input::Finished { attempt, result });
    }

    fn cancel(&mut self, slot: u32, number: u64) {
        let flight = self.flights[slot as usize].as_ref();
        if flight.is_some_and(|flight| flight.number == number) {
            self.input(Input::Cancel(RequestId(slot)));
        }
    }

    /// An aborted attempt reports back like any other, a moment later.
    fn abort(&mut self, attempt: AttemptId) {
        let slot = attempt.request.0;
        let flight = self.flights[slot as usize].as_ref();
        if let Some(sent) = flight.and_then(|flight| flight.sent.as_ref()) {
            let serial = sent.serial;
            self.events.add(self.now, Event::Aborted { slot, serial });
        }
    }

    fn finish(&mut self, request: RequestId, outcome: &Outcome) {
        let Some(flight) = self.flights[request.0 as usize].take() else {
            let what = format!("{request:?} finished twice");
            return self.checks.violation(self.client_now(), what);
        };
        if flight.sent.is_some() {
            let what = format!("{request:?} finished with an attempt in flight");
            self.checks.violation(self.client_now(), what);
        }
        self.checks.finished(&flight.mark);
        if !flight.started {
            self.checks.never_started(&flight.charge);
        }
        self.free.push(request.0);
        match outcome {
            Outcome::Answered => self.report.answered += 1,
            Outcome::Dead(_) => self.report.dead += 1,
            Outcome::NeverFits(_) => self.report.never_fit += 1,
            Outcome::Abandoned | Outcome::NoUpstream => self.report.abandoned += 1,
        }
        self.report.last_end = self.now;
        self.step(&Step::Finished {
            request: flight.number,
            end: outcome.into(),
        });
    }

    fn step(&mut self, step: &Step) {
        self.trace.add(self.now, step);
        (self.observe)(self.now, step);
    }
}

/// What comes first.
#[derive(Clone, Copy)]
enum Next {
    Event,
    Timeout,
    Wake,
}
