//! One exchange: a request in, a reply out.

use std::sync::Arc;
use std::time::Duration;

use brimful_core::Timestamp;
use brimful_sim::{Action, Ending, IncomingRequest, Reply, Server};
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use super::body::{Interrupted, ReplyBody};
use super::{Brain, Open, control};

/// The largest request body that is read.
const REQUEST_BYTES_MAX: usize = 64 << 20;

/// Where clients of Anthropic and Gemini put their key.
const KEY_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

pub(super) async fn answer(
    brain: Arc<Brain>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Interrupted> {
    let (head, body) = request.into_parts();
    let body = read(body).await?;
    // One comparison for the requests that a provider is asked.
    if !head.uri.path().starts_with("/v1")
        && let Some(reply) = control::answer(&brain, &head, body.as_ref())
    {
        return Ok(reply);
    }
    let Some(body) = body else {
        let reply = brain.lock().refuse_too_long(brain.now());
        return carry_out(brain, reply).await;
    };
    let target = head.uri.path_and_query();
    let request = IncomingRequest {
        method: &head.method,
        path: target.map_or("", |target| target.as_str()),
        body: &body,
        authorization: key(&head.headers),
    };
    let now = brain.now();
    let decided = {
        let mut server = brain.lock();
        let on_the_way = server.arrival_delay(now);
        if on_the_way.is_zero() {
            Ok(decide(&mut server, now, request))
        } else {
            Err(on_the_way)
        }
    };
    let reply = match decided {
        Ok(reply) => reply,
        Err(on_the_way) => {
            tokio::time::sleep(on_the_way).await;
            decide(&mut brain.lock(), brain.now(), request)
        }
    };
    carry_out(brain, reply).await
}

fn decide(server: &mut Server, now: Timestamp, request: IncomingRequest<'_>) -> Reply {
    let mut reply = server.handle(now, request);
    if reply.delay.is_zero() && matches!(reply.action, Action::Respond { .. }) {
        // It is handed over in this very turn: no need to come back for that.
        server.finished(now, std::mem::take(&mut reply.ticket), Ending::Sent);
    }
    reply
}

/// The key that a request bears, with or without the word before it.
fn key(headers: &HeaderMap) -> Option<&str> {
    let value = headers
        .get(AUTHORIZATION)
        .or_else(|| KEY_HEADERS.iter().find_map(|name| headers.get(name)));
    value?.to_str().ok()
}

async fn carry_out(brain: Arc<Brain>, reply: Reply) -> Result<Response<ReplyBody>, Interrupted> {
    let Reply {
        delay,
        action,
        ticket,
        ..
    } = reply;
    if delay.is_zero()
        && let Action::Respond {
            status,
            headers,
            body,
        } = action
    {
        return Ok(response(status, headers, ReplyBody::whole(body, None)));
    }
    let open = Open {
        brain,
        ticket: Some(ticket),
    };
    // Boxed, so that a connection that never waits does not carry the room for it.
    Box::pin(perform_after(delay, action, open)).await
}

async fn perform_after(
    delay: Duration,
    action: Action,
    open: Open,
) -> Result<Response<ReplyBody>, Interrupted> {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    match action {
        Action::Respond {
            status,
            headers,
            body,
        } => Ok(response(
            status,
            headers,
            ReplyBody::whole(body, Some(open)),
        )),
        Action::Stream {
            status,
            headers,
            chunks,
            complete,
        } => Ok(response(
            status,
            headers,
            ReplyBody::pieces(chunks, complete, open),
        )),
        Action::Truncate {
            status,
            mut headers,
            body,
            announced_len,
        } => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(announced_len));
            let only = brimful_sim::Chunk {
                delay: Duration::ZERO,
                bytes: body,
            };
            Ok(response(
                status,
                headers,
                ReplyBody::pieces(vec![only], false, open),
            ))
        }
        Action::Reset => {
            open.sent();
            Err(Interrupted::Reset)
        }
        Action::Hang => {
            // Ends when hyper notices that the client has left and drops this future.
            let _open = open;
            std::future::pending().await
        }
    }
}

/// The whole body, or `None` when it is too long.
async fn read(mut body: Incoming) -> Result<Option<Bytes>, Interrupted> {
    if body.size_hint().lower() > REQUEST_BYTES_MAX as u64 {
        return Ok(None);
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else {
            break;
        };
        let frame = frame.map_err(|_| Interrupted::ClientGone)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > REQUEST_BYTES_MAX {
            return Ok(None);
        }
        // Nearly every body is one frame, which need not be copied.
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(Some(first));
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(Some(whole.freeze()))
}

pub(super) fn response(
    status: StatusCode,
    headers: HeaderMap,
    body: ReplyBody,
) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
