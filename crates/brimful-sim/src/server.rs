//! The fake provider: a request in, a reply out.

mod admission;
mod compose;
mod dialect;
mod fate;
mod line;
mod route;
mod timeline;

use std::time::Duration;

use brimful_core::Timestamp;
use fastrand::Rng;
use line::Line;
use route::Refused;

use crate::config::{ConfigError, ConfigPatch, Outage, ScriptStep, ServerConfig};
use crate::draw;
use crate::endpoint::Route;
use crate::ledger::{Arrival, Ledger, Stats};
use crate::levels::Snapshots;
use crate::limits::{Charges, Limits};
use crate::production::Production;
use crate::refusal::Refusal;
use crate::reply::{Action, Ending, Held, IncomingRequest, Reply, Ticket};

/// A provider that exists only in memory.
///
/// [`handle`](Self::handle) decides everything about a request at once: whether it is admitted,
/// what it is answered, when, and what goes wrong. The caller carries it out and then calls
/// [`finished`](Self::finished).
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    seed: u64,
    rng: Rng,
    /// For the arrival delays: they are drawn at other moments than everything else.
    arrival_rng: Rng,
    limits: Limits,
    ledger: Ledger,
    snapshots: Snapshots,
    production: Production,
    line: Line,
    /// Steps of the script to come, the next one last.
    script: Vec<ScriptStep>,
    /// When something happens by itself next.
    due: Timestamp,
    /// The latest instant seen: callers on several threads may arrive with earlier ones.
    now: Timestamp,
    /// Requests handled ever; names them.
    sequence: u64,
    /// Answers promised ever, for `quota_after`.
    promised: u64,
}

impl Server {
    /// A server with full buckets and an empty ledger. Equal seeds and equal calls give equal
    /// replies.
    pub fn new(config: ServerConfig, seed: u64) -> Result<Self, ConfigError> {
        config.check()?;
        let script = timeline::timetable(&config)?;
        let limits = Limits::new(&config, seed);
        let first_step = script.last().map(|step| Timestamp::ZERO + step.after);
        let due = first_step.unwrap_or(Timestamp::NEVER);
        Ok(Self {
            due: due.min(limits.foreign_due()),
            limits,
            ledger: Ledger::new(config.detailed_ledger, config.arrivals_logged_max),
            snapshots: Snapshots::default(),
            production: Production::default(),
            line: Line::default(),
            script,
            seed,
            rng: Rng::with_seed(seed),
            arrival_rng: Rng::with_seed(!seed),
            now: Timestamp::ZERO,
            sequence: 0,
            promised: 0,
            config,
        })
    }

    /// How long a request that is sent at `now` takes to arrive: to be awaited before
    /// [`handle`](Self::handle) is called.
    pub fn arrival_delay(&mut self, now: Timestamp) -> Duration {
        self.advance(now);
        draw::arrival_delay(&self.config, &mut self.arrival_rng)
    }

    /// Whether a new connection is accepted: not during [`Outage::Refuse`].
    pub fn accepts_connections(&mut self, now: Timestamp) -> bool {
        self.advance(now);
        self.config.outage != Some(Outage::Refuse)
    }

    /// Whether it answers any request at all at this moment: neither is there an outage, nor is the
    /// key's quota used up.
    #[must_use]
    pub fn answers_requests(&self) -> bool {
        let used_up = self
            .config
            .quota_after
            .is_some_and(|most| self.promised >= most);
        self.config.outage.is_none() && !used_up
    }

    /// Makes the changes of `patch`, or none of them.
    ///
    /// A limit whose name stays goes on from where it is. Its bucket stays as full as it was in
    /// proportion, or needs the same time to pay off a debt; a window's count and a log's list stay
    /// as they are, so that a smaller amount may already be used up. Where the enforcement, the
    /// length or the phase of windows changes, it starts fresh, as does a new limit. What is in
    /// flight stays in flight, and what was reserved is settled as the configuration says then.
    pub fn apply(&mut self, now: Timestamp, patch: &ConfigPatch) -> Result<(), ConfigError> {
        self.advance(now);
        let config = patch.applied_to(&self.config)?;
        self.change_to(config);
        Ok(())
    }

    /// Decides about a request that has arrived whole. An instant earlier than one seen before is
    /// taken for the latest.
    pub fn handle(&mut self, now: Timestamp, request: IncomingRequest<'_>) -> Reply {
        self.advance(now);
        self.count_request();
        let route = Route::of(request.path);
        match self.config.outage {
            Some(outage) => self.out_of_service(outage, &route),
            None => self.serve(&route, request),
        }
    }

    fn serve(&mut self, route: &Route<'_>, request: IncomingRequest<'_>) -> Reply {
        let authorization = request.authorization.or(route.key);
        let request = IncomingRequest {
            authorization,
            ..request
        };
        match self.decide(route, &request) {
            Ok(reply) => reply,
            Err(Refused { refusal, model }) => {
                let headers = self.headers(route, authorization);
                Reply::at_once(self.refuse(&refusal, headers, route, &model, authorization))
            }
        }
    }

    /// The reply to a request whose body is larger than the caller is willing to read.
    pub fn refuse_too_long(&mut self, now: Timestamp) -> Reply {
        self.advance(now);
        self.count_request();
        let route = Route::default();
        let headers = self.headers(&route, None);
        Reply::at_once(self.refuse(&Refusal::TooLong, headers, &route, "", None))
    }

    /// Takes back what a request held: to be called once the reply has been carried out or the
    /// client has gone.
    pub fn finished(&mut self, now: Timestamp, ticket: Ticket, ending: Ending) {
        self.advance(now);
        let Some(held) = ticket.held else { return };
        if let (Some(growing), Ending::Vanished) = (held.growing, ending) {
            self.production.stop(growing);
        }
        let kept = self.kept(&held);
        let account = (self.ledger.is_of(held.epoch), held.first);
        self.limits
            .settle(self.now, held.at, (held.reserved, kept), account);
        self.ledger.finished(&held, ending, kept.tokens);
    }

    /// What an ended request stays charged.
    fn kept(&self, held: &Held) -> Charges {
        if held.failed && !self.config.failed_requests_count {
            Charges::default()
        } else if self.config.refund {
            held.actual
        } else {
            held.reserved
        }
    }

    fn out_of_service(&mut self, outage: Outage, route: &Route<'_>) -> Reply {
        self.ledger.met_outage();
        Reply::at_once(match outage {
            Outage::Refuse | Outage::Reset => Action::Reset,
            Outage::Hang => Action::Hang,
            Outage::Unavailable => {
                let headers = self.headers(route, None);
                self.refuse(&Refusal::Overloaded, headers, route, "", None)
            }
        })
    }

    /// The account so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.ledger.stats(&self.limits)
    }

    /// Starts a new account. Levels, requests in flight and `quota_after`'s count stay.
    pub fn clear_ledger(&mut self) {
        self.ledger.clear();
        self.limits.clear_counts();
    }

    /// What the limits said of the first arrivals of the account, in order:
    /// `arrivals_logged_max` of them.
    #[must_use]
    pub fn arrivals(&self) -> &[Arrival] {
        self.ledger.log()
    }

    /// What the server was made with and has been changed to since.
    #[must_use]
    pub const fn config(&self) -> &ServerConfig {
        &self.config
    }

    const fn count_request(&mut self) {
        self.sequence += 1;
        self.ledger.requested();
    }
}

#[cfg(test)]
mod tests;
