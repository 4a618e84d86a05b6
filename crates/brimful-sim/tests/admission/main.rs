//! What the server admits, against oracles that know nothing of levels: lists of everything that
//! was admitted, from which each rule is computed afresh as it is defined.

#![expect(clippy::unwrap_used, reason = "in a test every failure is a panic")]

mod changes;
mod foreign;
mod models;
mod oracle;
mod phases;

use std::time::Duration;

use brimful_core::Timestamp;
use brimful_sim::{
    Action, Ending, IncomingRequest, LimitRule, Measure, Reply, Server, ServerConfig,
};
use http::Method;
use proptest::prelude::*;

proptest! {
    #[test]
    fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200), path in "(/v1)?/[a-z/]*") {
        let mut server = server(|c| c.pretty = true);
        for path in [path.as_str(), "/v1/chat/completions", "/v1/embeddings"] {
            let reply = server.handle(Timestamp::ZERO, request(path, &body));
            server.finished(Timestamp::from_secs(3_600), reply.ticket, Ending::Sent);
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn server(change: impl FnOnce(&mut ServerConfig)) -> Server {
    seeded(7, change)
}

fn seeded(seed: u64, change: impl FnOnce(&mut ServerConfig)) -> Server {
    let mut config = ServerConfig::default();
    config.arrivals_logged_max = 1 << 20;
    change(&mut config);
    Server::new(config, seed).unwrap()
}

fn requests(amount: u64, window: Duration) -> LimitRule {
    LimitRule::new("requests", Measure::Requests, amount, window)
}

fn request<'a>(path: &'a str, body: &'a [u8]) -> IncomingRequest<'a> {
    IncomingRequest {
        method: &Method::POST,
        path,
        body,
        authorization: None,
    }
}

/// Sends a chat request of so many input and at most so many output tokens.
fn ask(server: &mut Server, now: Timestamp, input: u64, output_max: u64) -> Reply {
    let text = "four".repeat(usize::try_from(input).unwrap());
    let body = format!(r#"{{"messages":[{{"content":"{text}"}}],"max_tokens":{output_max}}}"#);
    server.handle(now, request("/v1/chat/completions", body.as_bytes()))
}

fn status(reply: &Reply) -> u16 {
    match &reply.action {
        Action::Respond { status, .. } => status.as_u16(),
        other => panic!("not in one piece: {other:?}"),
    }
}

/// Whether a small request is admitted at `now`; it ends at once.
fn admits(server: &mut Server, now: Timestamp) -> bool {
    let reply = ask(server, now, 1, 1);
    let admitted = status(&reply) == 200;
    server.finished(now, reply.ticket, Ending::Sent);
    admitted
}
