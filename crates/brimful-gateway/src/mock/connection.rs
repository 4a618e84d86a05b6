//! One connection: requests in, replies out.

use std::error::Error as _;
use std::sync::Arc;

use brimful_sim::{Action, IncomingRequest, Reply};
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::{Interrupted, ReplyBody};
use super::{Brain, Open};

/// The largest request body that is read.
const REQUEST_BYTES_MAX: usize = 64 << 20;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Serves `stream` until either side closes it.
pub(super) async fn serve(stream: TcpStream, brain: Arc<Brain>) {
    // Without it replies wait for the client's acknowledgements; a failure only costs time.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(Arc::clone(&brain), request));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let Err(error) = (&mut connection).await else {
        return;
    };
    let cause = error
        .source()
        .and_then(|source| source.downcast_ref::<Interrupted>());
    if cause == Some(&Interrupted::Reset) {
        // Closing with no time to linger sends RST where FIN would look like an empty reply.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

async fn answer(
    brain: Arc<Brain>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Interrupted> {
    let (head, body) = request.into_parts();
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/stats") => return Ok(stats(&brain)),
        (&Method::POST, "/reset") => {
            brain.lock().clear_ledger();
            return Ok(empty(StatusCode::NO_CONTENT));
        }
        _ => {}
    }
    let body = read(body).await?;
    let now = brain.now();
    let Reply {
        delay,
        action,
        ticket,
    } = match &body {
        Some(body) => {
            let authorization = head.headers.get(AUTHORIZATION);
            let request = IncomingRequest {
                method: &head.method,
                path: head.uri.path(),
                body,
                authorization: authorization.and_then(|value| value.to_str().ok()),
            };
            brain.lock().handle(now, request)
        }
        None => brain.lock().refuse_too_long(now),
    };
    let open = Open {
        brain,
        ticket: Some(ticket),
    };
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    perform(action, open).await
}

async fn perform(action: Action, open: Open) -> Result<Response<ReplyBody>, Interrupted> {
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
                delay: std::time::Duration::ZERO,
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
    while let Some(frame) = body.frame().await {
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

fn stats(brain: &Brain) -> Response<ReplyBody> {
    // The account is copied first, so that nobody waits for its formatting.
    let stats = brain.lock().stats();
    let Ok(json) = serde_json::to_vec_pretty(&stats) else {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(CONTENT_TYPE, JSON);
    response(
        StatusCode::OK,
        headers,
        ReplyBody::whole(Bytes::from(json), None),
    )
}

fn empty(status: StatusCode) -> Response<ReplyBody> {
    response(status, HeaderMap::new(), ReplyBody::Whole(None))
}

fn response(status: StatusCode, headers: HeaderMap, body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
