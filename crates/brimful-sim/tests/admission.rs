//! What the server admits, against an oracle that knows nothing of levels.

#![expect(clippy::unwrap_used, reason = "in a test every failure is a panic")]

use std::time::Duration;

use brimful_core::Timestamp;
use brimful_sim::{Action, Ending, IncomingRequest, Server, ServerConfig};
use http::Method;
use proptest::prelude::*;

proptest! {
    /// The whole server against a list of everything it admitted: a request passes exactly when
    /// every limit, computed afresh from the list, has room for it.
    #[test]
    fn admits_exactly_what_a_list_of_all_admissions_allows(
        rpm in prop::option::of(1u64..600),
        tpm in prop::option::of(100u64..5_000),
        concurrency in prop::option::of(1u64..6),
        burst_ms in 100u64..5_000,
        steps in prop::collection::vec((0u64..900, 1u64..60, any::<bool>()), 1..60),
    ) {
        let mut server = server(|c| {
            (c.rpm, c.tpm, c.concurrency) = (rpm, tpm, concurrency);
            c.burst = Duration::from_millis(burst_ms);
        });
        // Amounts in units × minute in milliseconds: exact, and not the server's own scale.
        let room = |log: &[(u64, u64)], limit: Option<u64>, now: u64, charge: u64| {
            let Some(limit) = limit else { return true };
            let capacity = i128::from((limit * burst_ms).max(60_000));
            let mut available = capacity;
            for start in 0..log.len() {
                let taken: u64 = log[start..].iter().map(|(_, units)| units).sum();
                let refilled = (now - log[start].0) * limit;
                available = available
                    .min(capacity + i128::from(refilled) - i128::from(taken) * 60_000);
            }
            available >= (i128::from(charge) * 60_000).min(capacity)
        };
        let (mut requests, mut tokens, mut open) = (Vec::new(), Vec::new(), Vec::new());
        let mut now = 0;
        for (gap, max_tokens, finish) in steps {
            now += gap;
            if finish && !open.is_empty() {
                server.finished(Timestamp::from_millis(now), open.remove(0), Ending::Sent);
            }
            let body = format!(r#"{{"messages":[],"max_tokens":{max_tokens}}}"#);
            let reply = server
                .handle(Timestamp::from_millis(now), request("/v1/chat/completions", body.as_bytes()));
            let expected = room(&requests, rpm, now, 1)
                && room(&tokens, tpm, now, max_tokens)
                && concurrency.is_none_or(|slots| (open.len() as u64) < slots);
            let admitted = matches!(&reply.action, Action::Respond { status, .. } if *status == 200);
            prop_assert_eq!(admitted, expected);
            if admitted {
                requests.push((now, 1));
                tokens.push((now, max_tokens));
                open.push(reply.ticket);
            }
        }
        prop_assert_eq!(server.stats().requests_admitted, requests.len() as u64);
    }

    #[test]
    fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200), path in "(/v1)?/[a-z/]*") {
        let mut server = server(|c| c.pretty = true);
        for path in [path.as_str(), "/v1/chat/completions", "/v1/embeddings"] {
            let reply = server.handle(Timestamp::ZERO, request(path, &body));
            server.finished(Timestamp::from_secs(3_600), reply.ticket, Ending::Sent);
        }
    }
}

fn server(change: impl FnOnce(&mut ServerConfig)) -> Server {
    let mut config = ServerConfig::default();
    change(&mut config);
    Server::new(config, 7).unwrap()
}

fn request<'a>(path: &'a str, body: &'a [u8]) -> IncomingRequest<'a> {
    IncomingRequest {
        method: &Method::POST,
        path,
        body,
        authorization: None,
    }
}
