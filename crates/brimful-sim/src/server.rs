//! The fake provider: a request in, a reply out.

mod admission;
mod compose;
mod fate;
mod route;

use brimful_core::Timestamp;
use fastrand::Rng;
use route::Refused;

use crate::config::{ConfigError, ServerConfig};
use crate::ledger::{Ledger, Stats};
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::reply::{Ending, IncomingRequest, Reply, Ticket};

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
    limits: Limits,
    ledger: Ledger,
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
        Ok(Self {
            limits: Limits::new(&config),
            ledger: Ledger::new(config.detailed_ledger),
            seed,
            rng: Rng::with_seed(seed),
            now: Timestamp::ZERO,
            sequence: 0,
            promised: 0,
            config,
        })
    }

    /// Decides about a request that has arrived whole. An instant earlier than one seen before is
    /// taken for the latest.
    pub fn handle(&mut self, now: Timestamp, request: IncomingRequest<'_>) -> Reply {
        self.advance(now);
        self.count_request();
        let path = request
            .path
            .split_once('?')
            .map_or(request.path, |(path, _)| path);
        match self.decide(path, &request) {
            Ok(reply) => reply,
            Err(Refused { refusal, model }) => {
                // What was refused before it came to the limits tells their levels all the same.
                self.limits.refill(self.now);
                let headers = self.headers(request.authorization);
                let authorization = request.authorization;
                Reply::at_once(self.refuse(&refusal, headers, path, &model, authorization))
            }
        }
    }

    /// The reply to a request whose body is larger than the caller is willing to read.
    pub fn refuse_too_long(&mut self, now: Timestamp) -> Reply {
        self.advance(now);
        self.count_request();
        let headers = self.headers(None);
        Reply::at_once(self.refuse(&Refusal::TooLong, headers, "", "", None))
    }

    /// Takes back what a request held: to be called once the reply has been carried out or the
    /// client has gone.
    pub fn finished(&mut self, now: Timestamp, ticket: Ticket, ending: Ending) {
        self.advance(now);
        let Some(held) = ticket.held else { return };
        if self.config.refund {
            self.limits
                .settle_tokens(self.now, held.tokens_reserved, held.tokens_actual);
        }
        self.ledger.finished(&held, ending, self.config.refund);
    }

    /// The account so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.ledger.stats(&self.config)
    }

    /// Starts a new account. Levels, requests in flight and `quota_after`'s count stay.
    pub fn clear_ledger(&mut self) {
        self.ledger.clear();
    }

    /// What the server was made with.
    #[must_use]
    pub const fn config(&self) -> &ServerConfig {
        &self.config
    }

    fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    const fn count_request(&mut self) {
        self.sequence += 1;
        self.ledger.requested();
    }
}

#[cfg(test)]
mod tests;
