//! What happens by itself as time passes: the script, foreign tenants, answers that grow.

use brimful_core::Timestamp;

use super::Server;
use crate::config::{ConfigError, ScriptStep, ServerConfig};

impl Server {
    /// Brings the server to `now`. Of what is due at the same instant the script comes first, then
    /// output that is charged as it is generated, then foreign tenants, then who called.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        if self.due <= now {
            self.limits.skip_foreign_towards(now);
            self.catch_up(now);
        }
        self.now = self.now.max(now);
    }

    fn catch_up(&mut self, now: Timestamp) {
        loop {
            let script = self.script.last().map_or(Timestamp::NEVER, at);
            let production = self.production.due();
            let foreign = self.limits.foreign_due();
            self.due = script.min(production).min(foreign);
            // At the end of time nothing is due any more: what never happens stands there.
            if self.due > now || self.due == Timestamp::NEVER {
                return;
            }
            self.now = self.now.max(self.due);
            if script == self.due {
                self.take_script_step();
            } else if production == self.due {
                self.take_production_step();
            } else {
                self.limits.foreign_arrives(self.now);
            }
        }
    }

    fn take_script_step(&mut self) {
        let Some(step) = self.script.pop() else {
            return;
        };
        let done = step.patch.applied_to(&self.config);
        self.ledger.script_step(done.is_ok());
        if let Ok(config) = done {
            self.change_to(config);
        }
    }

    fn take_production_step(&mut self) {
        let Some(produced) = self.production.step() else {
            return;
        };
        let counts = self.ledger.is_of(produced.epoch);
        self.limits.produce(self.now, produced.tokens, counts);
        if counts {
            self.ledger.produced(produced.tokens);
        }
    }

    /// Goes on as `config`, which can be served.
    pub(super) fn change_to(&mut self, config: ServerConfig) {
        if limits_differ(&config, &self.config) {
            self.limits.change(self.now, &config, self.seed);
        }
        self.config = config;
        self.wake_at(self.limits.foreign_due());
    }

    /// Something is due at `at`.
    pub(super) fn wake_at(&mut self, at: Timestamp) {
        self.due = self.due.min(at);
    }
}

/// The script's steps, the next one last, if each of them can be made after those before.
pub(super) fn timetable(config: &ServerConfig) -> Result<Vec<ScriptStep>, ConfigError> {
    let mut steps = config.script.clone();
    steps.sort_by_key(|step| step.after);
    let mut config = config.clone();
    for step in &steps {
        let patched = step.patch.applied_to(&config);
        config = patched.map_err(|source| ConfigError::ScriptStep {
            after: step.after,
            source: Box::new(source),
        })?;
    }
    steps.reverse();
    Ok(steps)
}

fn at(step: &ScriptStep) -> Timestamp {
    Timestamp::ZERO + step.after
}

/// Whether the limits have to be built anew.
fn limits_differ(a: &ServerConfig, b: &ServerConfig) -> bool {
    let of = |config: &ServerConfig| {
        (
            (
                config.flat_amounts(),
                config.limits.clone(),
                config.concurrency,
            ),
            (config.burst, config.burst_requests, config.burst_tokens),
            (config.enforcement, config.window_phase, config.judged_over),
            (config.foreign_share, config.foreign_tokens),
            (config.refused_requests_count, config.default_output_tokens),
        )
    };
    of(a) != of(b)
}
