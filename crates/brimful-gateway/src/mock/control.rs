//! What a test asks of the mock itself: its account and its configuration.

use brimful_sim::{Change, ConfigPatch, Outage};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Brain;
use super::body::ReplyBody;
use super::exchange::response;
use super::settings;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A reply that tells why nothing was done.
#[derive(Serialize)]
struct Wrong<'a> {
    error: &'a str,
}

/// The reply, if the path is one of the mock's own. `body` is `None` when it was too long.
pub(super) fn answer(
    brain: &Brain,
    head: &Parts,
    body: Option<&Bytes>,
) -> Option<Response<ReplyBody>> {
    let method = &head.method;
    Some(match head.uri.path() {
        "/stats" if method == Method::GET => {
            // The account is copied first, so that nobody waits for its formatting.
            let stats = brain.stats();
            json(StatusCode::OK, &stats)
        }
        "/config" if method == Method::GET => config(brain),
        "/config" if method == Method::POST => match body {
            Some(body) => change(brain, body),
            None => wrong(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
        },
        "/reset" if method == Method::POST => {
            brain.lock().clear_ledger();
            empty(StatusCode::NO_CONTENT)
        }
        "/stats" => not_allowed("GET"),
        "/config" => not_allowed("GET, POST"),
        "/reset" => not_allowed("POST"),
        _ => return None,
    })
}

fn config(brain: &Brain) -> Response<ReplyBody> {
    let config = brain.lock().config().clone();
    json(StatusCode::OK, &settings::as_json(&config))
}

/// All of the change or nothing.
fn change(brain: &Brain, body: &[u8]) -> Response<ReplyBody> {
    if !body.trim_ascii_start().starts_with(b"{") {
        let error = r#"a change is a JSON object, such as {"rpm": 600, "outage": "hang"}"#;
        return wrong(StatusCode::BAD_REQUEST, error);
    }
    let patch = match patch(body) {
        Ok(patch) => patch,
        Err(error) => return wrong(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    if patch.outage == Change::Set(Outage::Refuse) {
        let error = "outage refuse would refuse the request that ends it: use `reset`, or --script";
        return wrong(StatusCode::BAD_REQUEST, error);
    }
    let changed = brain.lock().apply(brain.now(), &patch);
    match changed {
        Ok(()) => config(brain),
        Err(error) => wrong(
            StatusCode::BAD_REQUEST,
            &settings::in_users_words(&error.to_string(), ""),
        ),
    }
}

/// `null` is the same as `"none"`: refused where a setting cannot be absent, and not passed over.
fn patch(body: &[u8]) -> Result<ConfigPatch, serde_json::Error> {
    let mut change: Map<String, Value> = serde_json::from_slice(body)?;
    for value in change.values_mut().filter(|value| value.is_null()) {
        *value = Value::from("none");
    }
    serde_json::from_value(Value::Object(change))
}

fn wrong(status: StatusCode, error: &str) -> Response<ReplyBody> {
    json(status, &Wrong { error })
}

fn not_allowed(methods: &'static str) -> Response<ReplyBody> {
    let mut reply = wrong(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("this path takes {methods}"),
    );
    reply
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    reply
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<ReplyBody> {
    let Ok(mut json) = serde_json::to_vec_pretty(value) else {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    json.push(b'\n');
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(CONTENT_TYPE, JSON);
    response(status, headers, ReplyBody::whole(Bytes::from(json), None))
}

fn empty(status: StatusCode) -> Response<ReplyBody> {
    response(status, HeaderMap::new(), ReplyBody::Whole(None))
}
