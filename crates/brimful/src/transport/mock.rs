//! The simulator in this process: the same brain as `brimful mock`, without a socket.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use brimful_core::Timestamp;
use brimful_providers::dialect::Wire;
use brimful_sim::{
    Action, ConfigError, Ending, IncomingRequest, Server, ServerConfig, Stats, Ticket,
};

use super::{Early, OnEarly, Outgoing, Protocol, Response, SendError, stream};

/// Sends attempts into a simulated provider.
#[derive(Debug)]
pub struct MockTransport {
    server: Mutex<Server>,
    origin: Instant,
    timeout: Duration,
}

impl MockTransport {
    /// A fresh provider. `timeout` bounds an attempt as it does over HTTP.
    pub fn new(config: ServerConfig, seed: u64, timeout: Duration) -> Result<Self, ConfigError> {
        let server = Mutex::new(Server::new(config, seed)?);
        Ok(Self {
            server,
            origin: Instant::now(),
            timeout,
        })
    }

    /// What the provider counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.server().stats()
    }

    pub(super) async fn send(
        &self,
        request: &Outgoing,
        on_early: &OnEarly<'_>,
    ) -> Result<Response, SendError> {
        let answered = tokio::time::timeout(self.timeout, self.exchange(request, on_early)).await;
        answered.unwrap_or(Err(SendError::Timeout(self.timeout)))
    }

    async fn exchange(
        &self,
        request: &Outgoing,
        on_early: &OnEarly<'_>,
    ) -> Result<Response, SendError> {
        let (path, body) = Wire::default().apply(&request.path, &request.body, request.streams);
        let incoming = IncomingRequest {
            method: &request.method,
            path: &path,
            body: &body,
            authorization: None,
        };
        let reply = self.server().handle(self.now(), incoming);
        let mut held = Held {
            transport: self,
            ticket: Some(reply.ticket),
        };
        sleep(reply.delay).await;
        let first_byte = Instant::now();
        let response = |status: http::StatusCode, headers, body| Response {
            status: status.as_u16(),
            headers,
            body,
            broken_stream: None,
            first_byte,
            first_event: None,
            protocol: Protocol::default(),
        };
        let result = match reply.action {
            Action::Respond {
                status,
                headers,
                body,
            } => Ok(response(status, headers, body)),
            Action::Stream {
                status,
                headers,
                chunks,
                complete,
            } => {
                if !stream::is_stream(status, &headers) {
                    return Err(SendError::Garbled("a stream without events".to_owned()));
                }
                on_early(Early::Head(&headers));
                let mut incoming = stream::Incoming::new(usize::MAX);
                for chunk in chunks {
                    sleep(chunk.delay).await;
                    if incoming.push(&chunk.bytes)? {
                        on_early(Early::FirstEvent);
                    }
                }
                if !complete && !incoming.is_over() {
                    return Err(lost());
                }
                Ok(incoming.into_response(status, headers, first_byte))
            }
            Action::Truncate { .. } | Action::Reset => Err(lost()),
            Action::Hang => std::future::pending().await,
        };
        held.end(Ending::Sent);
        result
    }

    fn now(&self) -> Timestamp {
        let since = self.origin.elapsed().as_nanos();
        Timestamp::from_nanos(u64::try_from(since).unwrap_or(u64::MAX))
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lost() -> SendError {
    SendError::Lost("the simulated provider closed the connection".to_owned())
}

/// Most waits of a simulator are none: then no timer is set.
async fn sleep(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Gives back what a request holds, also when its attempt is aborted.
struct Held<'a> {
    transport: &'a MockTransport,
    ticket: Option<Ticket>,
}

impl Held<'_> {
    fn end(&mut self, ending: Ending) {
        if let Some(ticket) = self.ticket.take() {
            let now = self.transport.now();
            self.transport.server().finished(now, ticket, ending);
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.end(Ending::Vanished);
    }
}
