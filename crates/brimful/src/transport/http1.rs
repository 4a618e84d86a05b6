//! A pool of HTTP/1.1 connections: as many as attempts are in flight, reused last in, first out.
//!
//! The engine bounds what is in flight, and so the pool. New connections are opened a few at a
//! time, so that a start with thousands in flight is no storm of handshakes.

use std::borrow::Cow;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use brimful_providers::dialect::Wire;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HOST, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use tokio::sync::Semaphore;

use super::dial::{Connection, Dialer, TargetError, chain};
use super::{Early, OnEarly, Outgoing, Protocol, Response, SendError, Signer, stream};

/// Connections that are being opened at one time.
const DIALS_MAX: usize = 64;
/// An idle connection older than this is not used again: many servers close after 30 s and more,
/// and a request that meets the closing is lost.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// How long a pooled connection may take to be ready. One whose last answer has just ended is so at
/// once; one that still writes, because its server answered without reading the request, may never
/// be, and a new connection is the better choice.
const READY_MAX: Duration = Duration::from_millis(20);

/// How requests are sent.
#[derive(Debug)]
#[non_exhaustive]
pub struct HttpOptions {
    /// Such as `https://api.openai.com/v1`. A request's `/v1/…` and a base that ends in `/v1`
    /// share that `/v1` once; so with `/v1beta`.
    pub base_url: String,
    /// Sent with every request; values may be secret.
    pub headers: HeaderMap,
    /// From sending to the last byte of the answer. Default 600 s.
    pub timeout: Duration,
    /// Name lookup, TCP and TLS. Default 10 s.
    pub connect_timeout: Duration,
    /// Most bytes of an answer's body, decompressed. Default 64 MB.
    pub response_max_bytes: usize,
    /// Most bytes of an answer's head. Default 64 KB.
    pub headers_max_bytes: usize,
    /// How requests are changed at the moment of sending. By default a streamed one asks for its
    /// usage.
    pub wire: Wire,
    /// Signs each request, for AWS. Default: nobody.
    pub signer: Option<Signer>,
}

impl HttpOptions {
    /// Defaults for this base URL.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            headers: HeaderMap::new(),
            timeout: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(10),
            response_max_bytes: 64 << 20,
            headers_max_bytes: 64 << 10,
            wire: Wire::default(),
            signer: None,
        }
    }
}

/// Sends attempts to one base URL.
pub struct HttpTransport {
    dialer: Dialer,
    prefix: String,
    headers: HeaderMap,
    timeout: Duration,
    response_max_bytes: usize,
    wire: Wire,
    signer: Option<Signer>,
    /// The path that was sent last, and what became of it: nearly all requests have the same.
    last_target: Mutex<Option<(Arc<str>, Uri)>>,
    idle: Mutex<Vec<Idle>>,
    dials: Semaphore,
}

impl std::fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpTransport")
            .field("dialer", &self.dialer)
            .finish_non_exhaustive()
    }
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl HttpTransport {
    /// Prepares; opens no connection yet.
    pub fn new(options: HttpOptions) -> Result<Self, TargetError> {
        let dialer = Dialer::new(
            &options.base_url,
            options.connect_timeout,
            options.headers_max_bytes,
        )?;
        let mut headers = options.headers;
        if let Ok(host) = HeaderValue::from_str(dialer.host()) {
            headers.insert(HOST, host);
        }
        headers
            .entry(CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/json"));
        headers
            .entry(ACCEPT_ENCODING)
            .or_insert(HeaderValue::from_static("gzip"));
        headers
            .entry(http::header::USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!(
                "brimful/",
                env!("CARGO_PKG_VERSION")
            )));
        if let Some(auth) = dialer.proxy_authorization().filter(|_| dialer.forwards()) {
            headers.insert(PROXY_AUTHORIZATION, auth.clone());
        }
        Ok(Self {
            prefix: dialer.prefix(),
            dialer,
            headers,
            timeout: options.timeout,
            response_max_bytes: options.response_max_bytes,
            wire: options.wire,
            signer: options.signer,
            last_target: Mutex::new(None),
            idle: Mutex::new(Vec::new()),
            dials: Semaphore::new(DIALS_MAX),
        })
    }

    /// What a proxy that the environment names is told of its user: a secret.
    #[must_use]
    pub const fn proxy_authorization(&self) -> Option<&HeaderValue> {
        self.dialer.proxy_authorization()
    }

    pub(super) fn host(&self) -> &str {
        self.dialer.host()
    }

    pub(super) async fn send(
        &self,
        request: &Outgoing,
        on_early: &OnEarly<'_>,
    ) -> Result<Response, SendError> {
        let mut connected = false;
        let exchange = self.exchange(request, on_early, &mut connected);
        let result = tokio::time::timeout(self.timeout, exchange).await;
        result.unwrap_or_else(|_| {
            if connected {
                return Err(SendError::Timeout(self.timeout));
            }
            Err(SendError::Connect(format!(
                "no connection within {:?}",
                self.timeout
            )))
        })
    }

    async fn exchange(
        &self,
        request: &Outgoing,
        on_early: &OnEarly<'_>,
        connected: &mut bool,
    ) -> Result<Response, SendError> {
        let mut message = self.message(request)?;
        loop {
            let (mut connection, reused) = self.checkout().await?;
            *connected = true;
            match connection.sender.try_send_request(message).await {
                Ok(response) => {
                    let first_byte = Instant::now();
                    let protocol = Protocol {
                        http: response.version(),
                        tls: connection.tls,
                    };
                    let received = self
                        .receive(response, on_early, first_byte, connection)
                        .await?;
                    return Ok(Response {
                        protocol,
                        ..received
                    });
                }
                Err(mut error) => match error.take_message() {
                    // The server closed an idle connection before anything was written to it.
                    Some(unsent) if reused => message = unsent,
                    Some(_) => return Err(SendError::Connect(chain(error.error()))),
                    None => return Err(lost(error.error())),
                },
            }
        }
    }

    /// The reply, whole, and its connection back into the pool.
    async fn receive(
        &self,
        response: http::Response<Incoming>,
        on_early: &OnEarly<'_>,
        first_byte: Instant,
        connection: Connection,
    ) -> Result<Response, SendError> {
        let (parts, body) = response.into_parts();
        let (status, headers) = (parts.status, parts.headers);
        let is_stream = stream::is_stream(status, &headers);
        if is_stream {
            on_early(Early::Head(&headers));
        }
        let mut events = stream::Incoming::new(self.response_max_bytes);
        if is_stream && stream::is_plain(&headers) {
            if self.collect_events(body, &mut events, on_early).await? {
                self.put_back(connection);
            }
            return Ok(events.into_response(status, headers, first_byte));
        }
        let body = self.collect(body).await?;
        let body = self.plain(status, &headers, body)?;
        self.put_back(connection);
        if is_stream {
            events.push(&body)?;
            return Ok(events.into_response(status, headers, first_byte));
        }
        Ok(Response {
            status: status.as_u16(),
            headers,
            body,
            broken_stream: None,
            first_byte,
            first_event: None,
            protocol: Protocol::default(),
        })
    }

    /// Takes a stream in. Says whether the connection can be used again: once the answer is whole,
    /// what the server does after it is no reason to lose it.
    async fn collect_events(
        &self,
        mut body: Incoming,
        events: &mut stream::Incoming,
        on_early: &OnEarly<'_>,
    ) -> Result<bool, SendError> {
        while !events.is_over() {
            match body.frame().await {
                None => return Ok(true),
                Some(Err(error)) => return Err(lost(&error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && events.push(&data)?
                    {
                        on_early(Early::FirstEvent);
                    }
                }
            }
        }
        let rest = async {
            while let Some(frame) = body.frame().await {
                match frame.map(hyper::body::Frame::into_data) {
                    Ok(Ok(data)) if events.push(&data).is_err() => return false,
                    Ok(_) => {}
                    Err(_) => return false,
                }
            }
            true
        };
        Ok(tokio::time::timeout(READY_MAX, rest).await.unwrap_or(false))
    }

    fn message(&self, request: &Outgoing) -> Result<http::Request<Full<Bytes>>, SendError> {
        let (path, body) = self
            .wire
            .apply(&request.path, &request.body, request.streams);
        let body = match body {
            Cow::Borrowed(_) => request.body.clone(),
            Cow::Owned(body) => Bytes::from(body),
        };
        let mut message = http::Request::new(body);
        *message.method_mut() = request.method.clone();
        *message.uri_mut() = self.target(&path)?;
        *message.headers_mut() = self.headers.clone();
        if request.streams {
            // Events shall not wait in a compressor until a block of them is full.
            let headers = message.headers_mut();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(signer) = &self.signer {
            signer.sign(&mut message, SystemTime::now())?;
        }
        Ok(message.map(Full::new))
    }

    fn target(&self, path: &str) -> Result<Uri, SendError> {
        let last = self.last_target.lock();
        let mut last = last.unwrap_or_else(PoisonError::into_inner);
        if let Some((_, target)) = last.as_ref().filter(|(known, _)| **known == *path) {
            return Ok(target.clone());
        }
        let shared = ["/v1", "/v1beta"].iter().find_map(|version| {
            let root = self.prefix.strip_suffix(version)?;
            path.strip_prefix(version)?.starts_with('/').then_some(root)
        });
        let target = format!("{}{path}", shared.unwrap_or(&self.prefix));
        let target = Uri::try_from(target).map_err(|e| SendError::Connect(e.to_string()))?;
        *last = Some((path.into(), target.clone()));
        Ok(target)
    }

    /// A connection and whether it was used before.
    async fn checkout(&self) -> Result<(Connection, bool), SendError> {
        while let Some(mut pooled) = self.pop_idle() {
            if pooled.sender.is_ready() {
                return Ok((pooled, true));
            }
            // Its task may not yet have seen the end of the previous answer, or the closing.
            let ready = tokio::time::timeout(READY_MAX, pooled.sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                return Ok((pooled, true));
            }
        }
        let _permit = self
            .dials
            .acquire()
            .await
            .map_err(|e| SendError::Connect(e.to_string()))?;
        // While this one waited for its turn, another may have come free.
        if let Some(pooled) = self.pop_idle().filter(|idle| idle.sender.is_ready()) {
            return Ok((pooled, true));
        }
        // Boxed, because it is large and rare: it would be part of every attempt's future.
        let mut connection = Box::pin(self.dialer.dial()).await?;
        connection
            .sender
            .ready()
            .await
            .map_err(|error| SendError::Connect(chain(&error)))?;
        Ok((connection, false))
    }

    fn pop_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(candidate) = idle.pop() {
            if candidate.since.elapsed() > IDLE_MAX {
                // Those below have been idle for longer still.
                idle.clear();
                return None;
            }
            if !candidate.connection.sender.is_closed() {
                return Some(candidate.connection);
            }
        }
        None
    }

    fn put_back(&self, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(Idle {
            connection,
            since: Instant::now(),
        });
    }

    async fn collect(&self, mut body: Incoming) -> Result<Bytes, SendError> {
        let mut whole = BytesMut::new();
        let mut only: Option<Bytes> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| lost(&error))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if whole.len() + only.as_ref().map_or(0, Bytes::len) + data.len()
                > self.response_max_bytes
            {
                return Err(SendError::TooLarge(self.response_max_bytes));
            }
            // Most answers arrive in one piece and are not copied.
            if whole.is_empty() && only.is_none() {
                only = Some(data);
                continue;
            }
            if let Some(first) = only.take() {
                let rest = body.size_hint().lower();
                whole.reserve(
                    first.len() + data.len() + usize::try_from(rest).unwrap_or(0).min(1 << 20),
                );
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&data);
        }
        Ok(only.unwrap_or_else(|| whole.freeze()))
    }

    /// The body without its encoding. A refusal is told by its status and headers, so that one with
    /// an unreadable body counts as one without a body.
    fn plain(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Bytes, SendError> {
        if body.is_empty() {
            return Ok(body);
        }
        match self.decompress(headers, body) {
            Err(SendError::Garbled(_)) if status.as_u16() >= 400 => Ok(Bytes::new()),
            plain => plain,
        }
    }

    fn decompress(&self, headers: &HeaderMap, body: Bytes) -> Result<Bytes, SendError> {
        let Some(encoding) = headers.get(CONTENT_ENCODING) else {
            return Ok(body);
        };
        let is = |name: &[u8]| encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(name);
        if is(b"identity") {
            return Ok(body);
        }
        if !is(b"gzip") && !is(b"x-gzip") {
            return Err(SendError::Garbled(format!(
                "content encoding {encoding:?} was not asked for"
            )));
        }
        let mut plain = Vec::new();
        let bound = self.response_max_bytes as u64 + 1;
        flate2::read::MultiGzDecoder::new(body.as_ref())
            .take(bound)
            .read_to_end(&mut plain)
            .map_err(|error| SendError::Garbled(format!("cannot decompress: {error}")))?;
        if plain.len() as u64 >= bound {
            return Err(SendError::TooLarge(self.response_max_bytes));
        }
        Ok(plain.into())
    }
}

fn lost(error: &hyper::Error) -> SendError {
    if error.is_parse() || error.is_parse_status() || error.is_parse_too_large() {
        return SendError::Garbled(chain(error));
    }
    SendError::Lost(chain(error))
}
