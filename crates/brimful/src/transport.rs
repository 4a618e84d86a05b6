//! How an attempt reaches a provider: over HTTP, or into the simulator in this process.

mod dial;
mod http1;
mod mock;
mod sign;
mod stream;

use std::sync::Arc;
use std::time::{Duration, Instant};

use brimful_providers::stream::StreamError;
use bytes::Bytes;
use http::HeaderMap;

use crate::request::Request;
use crate::upstreams::ModelNames;

pub use dial::{Dialer, TargetError};
pub use http1::{HttpOptions, HttpTransport};
pub use mock::MockTransport;
pub use sign::Signer;

/// Where attempts are sent.
#[derive(Clone, Debug)]
pub enum Transport {
    /// A provider's HTTP API.
    Http(Arc<HttpTransport>),
    /// The simulator, without a network.
    Mock(Arc<MockTransport>),
}

/// What came back, headers and body complete.
#[derive(Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Response headers.
    pub headers: HeaderMap,
    /// Body, decompressed; of a stream, the document that its events make together.
    pub body: Bytes,
    /// Why a stream makes none; the body is empty then.
    pub broken_stream: Option<StreamError>,
    /// When the head of the response arrived.
    pub first_byte: Instant,
    /// When the first event of a stream arrived. `None` for an answer that came whole.
    pub first_event: Option<Instant>,
    /// By which protocols it came.
    pub protocol: Protocol,
}

/// The protocols of one exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protocol {
    /// The version of HTTP.
    pub http: http::Version,
    /// The version of TLS; `None` on a plain connection and in the simulator.
    pub tls: Option<rustls::ProtocolVersion>,
}

/// Why nothing usable came back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The request certainly did not reach the provider.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection was lost; the provider may have run, and billed, the request.
    #[error("connection lost before the whole answer arrived: {0}")]
    Lost(String),
    /// `--timeout` was over; the provider may have run, and billed, the request.
    #[error("no whole answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// What came back is not HTTP, or its body cannot be decompressed.
    #[error("not a valid HTTP answer: {0}")]
    Garbled(String),
    /// The answer exceeds a bound.
    #[error("answer is larger than {0} bytes")]
    TooLarge(usize),
}

impl Transport {
    /// The place in traces and logs: host and port, or `mock`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Http(http) => http.host().to_owned(),
            Self::Mock(_) => "mock".to_owned(),
        }
    }

    /// What the simulator counted, when it is the provider.
    #[must_use]
    pub fn mock_stats(&self) -> Option<serde_json::Value> {
        match self {
            Self::Http(_) => None,
            Self::Mock(mock) => serde_json::to_value(mock.stats()).ok(),
        }
    }

    /// Sends one attempt and waits for the whole answer. `on_early` hears of a stream what comes
    /// long before its end.
    pub async fn send(
        &self,
        request: &Outgoing,
        on_early: &OnEarly<'_>,
    ) -> Result<Response, SendError> {
        match self {
            Self::Http(http) => http.send(request, on_early).await,
            Self::Mock(mock) => mock.send(request, on_early).await,
        }
    }
}

/// What is known of a stream before its end.
#[derive(Clone, Copy, Debug)]
pub enum Early<'a> {
    /// Its headers have come.
    Head(&'a HeaderMap),
    /// Its first event has come.
    FirstEvent,
}

/// Hears of a stream before its end.
pub type OnEarly<'a> = dyn Fn(Early<'_>) + Send + Sync + 'a;

/// The part of a [`Request`] that an attempt needs; cheap to clone.
#[derive(Clone, Debug)]
pub struct Outgoing {
    method: http::Method,
    path: Arc<str>,
    body: Bytes,
    streams: bool,
}

impl Outgoing {
    /// A POST of this body that asks for no stream. The path is checked, as that of a [`Request`]
    /// is.
    #[must_use]
    pub fn post(path: impl Into<Arc<str>>, body: impl Into<Bytes>) -> Self {
        Self {
            method: http::Method::POST,
            path: path.into(),
            body: body.into(),
            streams: false,
        }
    }
}

impl Outgoing {
    /// The same with the upstream's own names for models.
    pub(crate) fn renamed(self, models: &ModelNames) -> Self {
        if models.is_empty() {
            return self;
        }
        Self {
            path: models.path(&self.path),
            body: models.body(&self.body),
            ..self
        }
    }
}

impl From<&Request> for Outgoing {
    fn from(request: &Request) -> Self {
        Self {
            method: request.method.clone(),
            path: Arc::clone(&request.path),
            body: request.body.clone(),
            streams: request.streams,
        }
    }
}
