//! The sans-IO engine of Brimful: limits, budgets, queue, retry.
//!
//! Nothing here reads a clock, opens a socket or draws a random number that was not seeded by the
//! caller. Time is a [`Timestamp`] passed in as `now`; what the engine wants done is polled out of
//! it. Therefore the same code runs against a real provider and in virtual time.
//!
//! The entry point is [`Engine`]:
//!
//! ```
//! use brimful_core::{Cost, Engine, EngineConfig, Input, LimitKind, LimitSpec, Output};
//! use brimful_core::{AttemptResult, RequestId, Timestamp};
//! use std::time::Duration;
//!
//! let rpm = LimitSpec::new("rpm", LimitKind::Requests, 60, Duration::from_secs(60));
//! let mut engine = Engine::new(EngineConfig::new(vec![rpm])).expect("the limit is valid");
//!
//! let now = Timestamp::ZERO;
//! engine.handle_input(now, Input::Submit { request: RequestId(0), cost: Cost::request() });
//! let Some(Output::Start { attempt, .. }) = engine.poll_output() else { panic!("one may start") };
//! assert!(engine.poll_output().is_none());
//!
//! let later = Timestamp::from_millis(200);
//! engine.handle_input(later, Input::Finished { attempt, result: AttemptResult::Answered(None) });
//! assert!(matches!(engine.poll_output(), Some(Output::Finish { .. })));
//! ```
//!
//! What is deliberately not here: bytes, HTTP, JSON, providers' dialects, files.

mod adapt;
mod budget;
mod charge;
mod engine;
mod event;
mod learned;
mod limit;
mod observation;
mod outcome;
mod queue;
mod retry;
mod time;
mod timer;
mod upstream;

pub use budget::{Balance, Budget, LimitStatus, Refusal, Reservation, Sums};
pub use charge::{CUSTOM_KINDS, Charge, ChargeRule, Cost, Lane, Settlement, UsageWeights};
pub use engine::{
    AttemptId, AttemptResult, Engine, EngineConfig, EngineConfigError, Input, Outcome, Output,
    RequestId, Status, StopReason,
};
pub use event::Event;
pub use learned::{Learned, LearnedCharge, LearnedFactor, LearnedLimit, LearnedRate};
pub use limit::{Decision, LimitKind, LimitSpec, LimitSpecError, Never, Ramp, Shape, Taken};
pub use observation::{Observation, QuotaNumbers, Reading, Reset};
pub use outcome::{Class, Failure, Scope, Usage};
pub use retry::RetryPolicy;
pub use time::Timestamp;
pub use timer::Timer;
pub use upstream::{Learning, Role, UpstreamConfig, UpstreamId, UpstreamState, UpstreamStatus};
