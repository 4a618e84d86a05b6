//! One HTTP try, from the request to what it came to. Runs in a task of its own and reports once.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use brimful_core::{AttemptResult, Class, Failure, Observation, Scope, Usage};
use brimful_providers::observe::{HeaderGrammar, observe};
use brimful_providers::reply::{Outcome, read_broken_stream, read_reply};
use brimful_providers::text::strip_control;
use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::redact::Redactor;
use crate::transport::{Early, OnEarly, Outgoing, SendError, Transport};
use crate::upstreams::{ModelNames, UpstreamOptions};

/// Characters of a provider's message that are kept.
const MESSAGE_MAX_CHARS: usize = 500;

/// What an attempt came to.
#[derive(Debug)]
pub(crate) struct AttemptEnd {
    /// For the engine.
    pub result: AttemptResult,
    /// HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// The provider's id of the attempt.
    pub request_id: Option<String>,
    /// Body of the answer, redacted.
    pub body: Option<Bytes>,
    /// The provider's or our own short code of a failure.
    pub code: String,
    /// One line about a failure, redacted and free of control characters.
    pub message: String,
    /// When the head of the answer arrived.
    pub first_byte: Option<Instant>,
    /// When the first event of a streamed answer arrived.
    pub first_event: Option<Instant>,
    /// What the headers said of limits, unless it was told before.
    pub observation: Option<Observation>,
    /// When the attempt was over.
    pub ended: Instant,
}

impl AttemptEnd {
    /// The answer's usage, if it was one and reported it.
    #[must_use]
    pub(crate) const fn usage(&self) -> Option<Usage> {
        match &self.result {
            AttemptResult::Answered(usage) => *usage,
            _ => None,
        }
    }

    fn failed(result: AttemptResult, code: &str, message: String) -> Self {
        Self {
            result,
            status: None,
            request_id: None,
            body: None,
            code: code.to_owned(),
            message,
            first_byte: None,
            first_event: None,
            observation: None,
            ended: Instant::now(),
        }
    }
}

/// What every attempt at one upstream needs.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) transport: Transport,
    pub(crate) redactor: Arc<Redactor>,
    /// How replies name limits. `None`: nobody wants to know, also of what refusals say.
    pub(crate) headers: Option<HeaderGrammar>,
    /// What models are called there.
    pub(crate) models: ModelNames,
}

impl From<UpstreamOptions> for Shared {
    fn from(options: UpstreamOptions) -> Self {
        let UpstreamOptions {
            transport,
            redactor,
            headers,
            models,
        } = options;
        Self {
            transport,
            redactor,
            headers,
            models,
        }
    }
}

impl Shared {
    /// What a reply's headers say of limits.
    fn observe(&self, headers: &HeaderMap) -> Option<Observation> {
        observe(headers, self.headers?, unix_ms())
    }
}

/// An attempt's report to the driver: the slot of its request and what it came to.
pub(crate) type Report = (usize, AttemptEnd);

/// What a stream tells before its end.
#[derive(Debug)]
pub(crate) enum Told {
    /// What its headers say of limits.
    Limits(Observation),
    /// Its first event has come.
    FirstEvent,
}

/// What is told before the end of an attempt: the slot of its request and what it is.
pub(crate) type EarlyReport = (usize, Told);

/// Where an attempt reports.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    pub(crate) ends: UnboundedSender<Report>,
    /// What is in here was told before the end of the same attempt is.
    pub(crate) early: UnboundedSender<EarlyReport>,
}

/// What the driver hears of attempts.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) ends: UnboundedReceiver<Report>,
    pub(crate) early: UnboundedReceiver<EarlyReport>,
}

/// Neither channel is bounded, but what is in them is: by the attempts in flight.
pub(crate) fn channels() -> (Reports, Inbox) {
    let (ends, ended) = mpsc::unbounded_channel();
    let (early, arrived) = mpsc::unbounded_channel();
    let inbox = Inbox {
        ends: ended,
        early: arrived,
    };
    (Reports { ends, early }, inbox)
}

/// Reports exactly once, whatever happens to the task that owns it: a task that panics or is
/// aborted drops it, and the reservation is settled all the same (invariant 3).
struct Reporter {
    slot: usize,
    reports: Option<UnboundedSender<Report>>,
}

impl Reporter {
    fn report(mut self, end: AttemptEnd) {
        if let Some(reports) = self.reports.take() {
            // The driver outlives every attempt; if it is gone, nobody is interested.
            let _unheard = reports.send((self.slot, end));
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let Some(reports) = self.reports.take() else {
            return;
        };
        let end = if std::thread::panicking() {
            let failure = Failure::new(Class::Transient);
            let message = "a defect in this program; please report it".to_owned();
            AttemptEnd::failed(AttemptResult::Failed(failure), "panicked", message)
        } else {
            AttemptEnd::failed(AttemptResult::Aborted, "aborted", "given up".to_owned())
        };
        let _unheard = reports.send((self.slot, end));
    }
}

/// Sends `outgoing` in a task of its own.
pub(crate) fn spawn(
    shared: &Arc<Shared>,
    slot: usize,
    outgoing: Outgoing,
    reports: &Reports,
) -> tokio::task::AbortHandle {
    let shared = Arc::clone(shared);
    let outgoing = outgoing.renamed(&shared.models);
    let reporter = Reporter {
        slot,
        reports: Some(reports.ends.clone()),
    };
    let early = reports.early.clone();
    tokio::spawn(async move {
        let on_early = |what: Early<'_>| {
            let told = match what {
                Early::Head(headers) => shared.observe(headers).map(Told::Limits),
                Early::FirstEvent => Some(Told::FirstEvent),
            };
            if let Some(told) = told {
                let _unheard = early.send((slot, told));
            }
        };
        let end = attempt(&shared, &outgoing, &on_early).await;
        reporter.report(end);
    })
    .abort_handle()
}

async fn attempt(shared: &Shared, outgoing: &Outgoing, on_early: &OnEarly<'_>) -> AttemptEnd {
    let mut response = match shared.transport.send(outgoing, on_early).await {
        Ok(response) => response,
        Err(error) => return unanswered(shared, &error),
    };
    // The head of a stream was told when it came.
    let was_stream = response.first_event.is_some() || response.broken_stream.is_some();
    let observation = match was_stream {
        false => shared.observe(&response.headers),
        true => None,
    };
    let body = shared.redactor.body(response.body);
    shared.redactor.headers(&mut response.headers);
    let reply = match response.broken_stream {
        Some(error) => {
            let mut reply = read_broken_stream(&error, &response.headers);
            if let Outcome::Failure(failed) = &mut reply.outcome {
                // It quotes the stream, which was never a body.
                failed.message = shared.redactor.text(&failed.message);
            }
            reply
        }
        None => read_reply(response.status, &response.headers, &body, unix_ms()),
    };
    let mut end = AttemptEnd {
        result: AttemptResult::Aborted,
        status: Some(response.status),
        request_id: reply.request_id,
        body: Some(body),
        code: String::new(),
        message: String::new(),
        first_byte: Some(response.first_byte),
        first_event: response.first_event,
        observation,
        ended: Instant::now(),
    };
    match reply.outcome {
        Outcome::Answer { usage } => end.result = AttemptResult::Answered(usage),
        Outcome::Failure(failed) => {
            let mut failure = failed.failure;
            // The numbers of a refusal teach as headers do.
            failure.quota = failure.quota.filter(|_| shared.headers.is_some());
            end.result = AttemptResult::Failed(failure);
            end.code = failed.code;
            end.message = failed.message;
        }
    }
    end
}

fn unanswered(shared: &Shared, error: &SendError) -> AttemptEnd {
    let message = shared.redactor.text(&error.to_string());
    let message = strip_control(&message, MESSAGE_MAX_CHARS);
    let transient = Failure::new(Class::Transient);
    let (result, code) = match error {
        SendError::Connect(_) => (AttemptResult::NotSent(transient), "cannot_connect"),
        SendError::Lost(_) => (AttemptResult::Failed(transient), "connection_lost"),
        SendError::Timeout(_) => (AttemptResult::Failed(transient), "timeout"),
        SendError::Garbled(_) => (AttemptResult::Failed(transient), "not_http"),
        SendError::TooLarge(_) => {
            let failure = Failure {
                scope: Scope::Request,
                ..Failure::new(Class::Fatal)
            };
            (AttemptResult::Failed(failure), "response_too_large")
        }
    };
    AttemptEnd::failed(result, code, message)
}

fn unix_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
