use std::time::Duration;

use http::Method;
use http::header::HeaderMap;
use serde_json::Value;

use super::*;
use crate::config::{Charge, RetryAfterStyle};
use crate::hash::answer_tag;
use crate::prompt::INPUTS_MAX;
use crate::reply::Action;

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
        authorization: Some("Bearer sk-1"),
    }
}

fn chat(prompt: &str) -> Vec<u8> {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{prompt}"}}]}}"#).into_bytes()
}

fn ask(server: &mut Server, now: Timestamp, prompt: &str) -> Reply {
    server.handle(now, request("/v1/chat/completions", &chat(prompt)))
}

/// Status, headers and body of a reply in one piece; the ticket is handed back.
fn take(server: &mut Server, now: Timestamp, reply: Reply) -> (u16, HeaderMap, Value) {
    let Action::Respond {
        status,
        headers,
        body,
    } = reply.action
    else {
        panic!("not one piece: {:?}", reply.action)
    };
    server.finished(now, reply.ticket, Ending::Sent);
    (
        status.as_u16(),
        headers,
        serde_json::from_slice(&body).unwrap(),
    )
}

fn ask_and_take(server: &mut Server, now: Timestamp, prompt: &str) -> (u16, HeaderMap, Value) {
    let reply = ask(server, now, prompt);
    take(server, now, reply)
}

fn post(server: &mut Server, path: &str, body: &str) -> (u16, Value) {
    let reply = server.handle(Timestamp::ZERO, request(path, body.as_bytes()));
    let (status, _, body) = take(server, Timestamp::ZERO, reply);
    (status, body)
}

#[test]
fn every_endpoint_answers_its_own_prompt() {
    let mut server = server(|_| {});
    let tag = answer_tag("what is 2+2?");
    let (_, chat) = post(
        &mut server,
        "/v1/chat/completions",
        r#"{"model":"m","messages":[{"role":"user","content":"what is 2+2?"}]}"#,
    );
    assert!(
        chat["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .starts_with(&tag)
    );
    let (_, completion) = post(
        &mut server,
        "/v1/completions",
        r#"{"prompt":"what is 2+2?","max_tokens":3}"#,
    );
    assert!(
        completion["choices"][0]["text"]
            .as_str()
            .unwrap()
            .starts_with(&tag)
    );
    assert_eq!(completion["usage"]["completion_tokens"], 3);
    assert_eq!(completion["choices"][0]["finish_reason"], "length");
    let (_, response) = post(
        &mut server,
        "/v1/responses?beta=1",
        r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"what is 2+2?"}]}]}"#,
    );
    let text = response["output"][0]["content"][0]["text"]
        .as_str()
        .unwrap();
    assert!(text.starts_with(&tag));
    let (_, embeddings) = post(&mut server, "/v1/embeddings", r#"{"input":["a","b"]}"#);
    assert_eq!(embeddings["data"].as_array().unwrap().len(), 2);
    let (_, single) = post(&mut server, "/v1/embeddings", r#"{"input":"b"}"#);
    assert_eq!(
        single["data"][0]["embedding"],
        embeddings["data"][1]["embedding"]
    );
}

#[test]
fn the_models_are_listed() {
    let mut server = server(|_| {});
    let request = IncomingRequest {
        method: &Method::GET,
        ..request("/v1/models", b"")
    };
    let reply = server.handle(Timestamp::ZERO, request);
    let (status, _, body) = take(&mut server, Timestamp::ZERO, reply);
    assert_eq!(
        (status, body["data"][0]["id"].as_str()),
        (200, Some("mock"))
    );
}

#[test]
fn what_cannot_be_answered_is_refused_with_its_reason() {
    let mut server = server(|_| {});
    let cases = [
        (
            "/v1/unknown",
            "{}",
            404,
            "Unknown request URL: /v1/unknown.",
        ),
        ("/v1/models", "", 405, "Not allowed"),
        ("/v1/chat/completions", "{", 400, "could not parse"),
        ("/v1/chat/completions", "[]", 400, "'messages'"),
        ("/v1/completions", r#"{"messages":[]}"#, 400, "'prompt'"),
        (
            "/v1/responses",
            r#"{"input":"a","stream":true}"#,
            400,
            "stream",
        ),
    ];
    for (path, body, status, reason) in cases {
        let (got, error) = post(&mut server, path, body);
        assert_eq!(got, status, "{path} {body}");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(reason), "{message}");
    }
    let many = format!(r#"{{"input":[{}"a"]}}"#, r#""a","#.repeat(INPUTS_MAX));
    assert_eq!(post(&mut server, "/v1/embeddings", &many).0, 400);
    let stats = server.stats();
    assert_eq!(
        (stats.requests, stats.arrivals, stats.requests_admitted),
        (7, 5, 0)
    );
}

#[test]
fn a_429_names_the_exact_wait_and_nothing_was_charged() {
    let mut server = server(|c| c.rpm = Some(600));
    for prompt in 0..10 {
        assert_eq!(
            ask_and_take(&mut server, Timestamp::ZERO, &prompt.to_string()).0,
            200
        );
    }
    for _ in 0..100 {
        let (status, headers, error) = ask_and_take(&mut server, Timestamp::ZERO, "x");
        assert_eq!(status, 429);
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.ends_with("Limit 600, Used 600, Requested 1. Please try again in 100ms."));
        assert_eq!(headers["retry-after-ms"], "100");
        assert_eq!(headers["retry-after"], "1");
    }
    let early = Timestamp::from_nanos(99_999_999);
    assert_eq!(ask_and_take(&mut server, early, "x").0, 429);
    assert_eq!(
        ask_and_take(&mut server, Timestamp::from_millis(100), "x").0,
        200
    );
    let stats = server.stats();
    assert_eq!(stats.throttled.requests_per_minute, 101);
    assert_eq!(stats.throttled.total(), 101);
    assert_eq!(stats.by_status[&200], 11);
    assert_eq!(
        (stats.requests_admitted, stats.arrivals_first_100ms),
        (11, 111)
    );
}

#[test]
fn every_reply_tells_the_levels() {
    let mut server = server(|c| {
        c.rpm = Some(5_000);
        c.tpm = Some(160_000);
        c.burst = Duration::from_secs(60);
    });
    let body = r#"{"messages":[{"content":"12345678"}],"max_tokens":22}"#;
    let reply = server.handle(
        Timestamp::ZERO,
        request("/v1/chat/completions", body.as_bytes()),
    );
    let (_, headers, _) = take(&mut server, Timestamp::ZERO, reply);
    assert_eq!(headers["x-ratelimit-limit-requests"], "5000");
    assert_eq!(headers["x-ratelimit-remaining-requests"], "4999");
    assert_eq!(headers["x-ratelimit-reset-requests"], "12ms");
    assert_eq!(headers["x-ratelimit-limit-tokens"], "160000");
    assert_eq!(headers["x-ratelimit-remaining-tokens"], "159976");
    assert_eq!(headers["x-ratelimit-reset-tokens"], "9ms");
}

#[test]
fn tokens_are_charged_by_the_configured_rule() {
    let body = r#"{"messages":[{"content":"12345678901234567890"}],"max_tokens":9}"#;
    for (charge, tokens) in [(Charge::Sum, 14), (Charge::Max, 9), (Charge::Input, 5)] {
        let mut server = server(|c| c.charge = charge);
        post(&mut server, "/v1/chat/completions", body);
        assert_eq!(server.stats().tokens_reserved, tokens, "{charge:?}");
    }
    let mut server = server(|c| c.default_output_tokens = 100);
    post(
        &mut server,
        "/v1/chat/completions",
        r#"{"messages":[{"content":"1234"}]}"#,
    );
    assert_eq!(server.stats().tokens_reserved, 101);
}

#[test]
fn a_request_above_the_minute_is_told_so_and_never_to_come_back() {
    let mut server = server(|c| c.tpm = Some(1_000));
    let body = r#"{"model":"big","messages":[],"max_tokens":1001}"#;
    let reply = server.handle(
        Timestamp::ZERO,
        request("/v1/chat/completions", body.as_bytes()),
    );
    let (status, headers, error) = take(&mut server, Timestamp::ZERO, reply);
    assert_eq!(status, 429);
    let message = error["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("Request too large for big"),
        "{message}"
    );
    assert!(message.contains("Limit 1000, Requested 1001."), "{message}");
    assert!(!headers.contains_key("retry-after"));
    let endless = format!(r#"{{"messages":[],"max_tokens":{}}}"#, u64::MAX);
    assert_eq!(post(&mut server, "/v1/chat/completions", &endless).0, 429);
}

#[test]
fn a_refund_makes_room_when_the_answer_ends() {
    let mut server = server(|c| {
        c.tpm = Some(6_000);
        c.refund = true;
    });
    let body = r#"{"messages":[],"max_tokens":90}"#;
    let post = request("/v1/chat/completions", body.as_bytes());
    let first = server.handle(Timestamp::ZERO, post);
    let second = server.handle(Timestamp::ZERO, post);
    assert!(matches!(&second.action, Action::Respond { status, .. } if status.as_u16() == 429));
    server.finished(Timestamp::ZERO, first.ticket, Ending::Sent);
    let third = server.handle(Timestamp::ZERO, post);
    assert!(matches!(&third.action, Action::Respond { status, .. } if *status == 429));
    let body = r#"{"messages":[],"max_tokens":84}"#;
    let fourth = server.handle(
        Timestamp::ZERO,
        request("/v1/chat/completions", body.as_bytes()),
    );
    assert!(matches!(&fourth.action, Action::Respond { status, .. } if *status == 200));
    assert_eq!(server.stats().tokens_net, 16 + 84);
    drop((second, third, fourth));
}

#[test]
fn a_slot_is_taken_until_the_end_however_it_ends() {
    let mut server = server(|c| c.concurrency = Some(1));
    let first = ask(&mut server, Timestamp::ZERO, "a");
    let (status, headers, error) = ask_and_take(&mut server, Timestamp::ZERO, "b");
    assert_eq!(status, 429);
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("Limit 1, Used 1, Requested 1")
    );
    assert!(!headers.contains_key("retry-after"));
    server.finished(Timestamp::ZERO, first.ticket, Ending::Vanished);
    assert_eq!(ask_and_take(&mut server, Timestamp::ZERO, "b").0, 200);
    let stats = server.stats();
    assert_eq!(
        (stats.abandoned, stats.answered, stats.peak_in_flight),
        (1, 1, 1)
    );
    assert_eq!(stats.throttled.concurrency, 1);
}

#[test]
fn the_wrong_key_is_refused_and_not_named() {
    let mut server = server(|c| c.auth = Some("sk-right".into()));
    let (status, _, error) = ask_and_take(&mut server, Timestamp::ZERO, "a");
    assert_eq!(
        (status, error["error"]["code"].as_str()),
        (401, Some("invalid_api_key"))
    );
    assert!(!error.to_string().contains("sk-"));
    let body = chat("a");
    let right = IncomingRequest {
        authorization: Some("Bearer sk-right"),
        ..request("/v1/chat/completions", &body)
    };
    let reply = server.handle(Timestamp::ZERO, right);
    assert_eq!(take(&mut server, Timestamp::ZERO, reply).0, 200);
}

#[test]
fn the_wallet_is_empty_after_so_many_answers() {
    let mut server = server(|c| c.quota_after = Some(2));
    let statuses = [(); 4].map(|()| {
        let (status, _, body) = ask_and_take(&mut server, Timestamp::ZERO, "a");
        (status, body["error"]["code"].as_str().map(str::to_owned))
    });
    assert_eq!(
        statuses.each_ref().map(|(status, _)| *status),
        [200, 200, 429, 429]
    );
    assert_eq!(statuses[3].1.as_deref(), Some("insufficient_quota"));
    assert_eq!(server.stats().exhausted, 2);
}

#[test]
fn the_authorization_comes_back_only_when_asked_for() {
    let mut server = server(|c| {
        c.echo_headers = true;
        c.error_share = 0.5;
    });
    let mut statuses = Vec::new();
    for prompt in 0..20 {
        let reply = ask(&mut server, Timestamp::ZERO, &prompt.to_string());
        let (status, headers, body) = take(&mut server, Timestamp::ZERO, reply);
        assert_eq!(headers["x-echo-authorization"], "Bearer sk-1");
        assert!(body.to_string().contains("Bearer sk-1"));
        statuses.push(status);
    }
    assert!(statuses.contains(&200) && statuses.contains(&500));
    let mut silent = self::server(|_| {});
    let (_, headers, body) = ask_and_take(&mut silent, Timestamp::ZERO, "a");
    assert!(!format!("{headers:?}{body}").contains("sk-1"));
}

#[test]
fn each_fault_does_what_it_says_and_is_charged_but_not_answered() {
    type Set = fn(&mut ServerConfig);
    type Shows = fn(&Action) -> bool;
    let faults: [(Set, Shows); 6] = [
        (
            |c| c.error_share = 1.0,
            |a| matches!(a, Action::Respond { status, .. } if *status == 500),
        ),
        (
            |c| c.overload_share = 1.0,
            |a| matches!(a, Action::Respond { status, .. } if *status == 503),
        ),
        (|c| c.hang_share = 1.0, |a| matches!(a, Action::Hang)),
        (|c| c.reset_share = 1.0, |a| matches!(a, Action::Reset)),
        (
            |c| c.truncate_share = 1.0,
            |a| matches!(a, Action::Truncate { body, announced_len, .. } if body.len() < *announced_len),
        ),
        (
            |c| c.garbage_share = 1.0,
            |a| {
                matches!(a, Action::Respond { body, .. }
                if serde_json::from_slice::<Value>(body).is_err())
            },
        ),
    ];
    for (index, (set, shows)) in faults.into_iter().enumerate() {
        let mut server = server(set);
        let reply = ask(&mut server, Timestamp::ZERO, "a");
        assert!(shows(&reply.action), "fault {index}: {:?}", reply.action);
        server.finished(Timestamp::ZERO, reply.ticket, Ending::Sent);
        let stats = server.stats();
        assert_eq!((stats.requests_admitted, stats.answered), (1, 0));
        let faults = stats.faults;
        let sum = faults.error + faults.overload + faults.hang + faults.reset + faults.truncate;
        assert_eq!(sum + faults.garbage, 1, "fault {index}");
    }
}

#[test]
fn a_truncated_stream_has_no_end() {
    let mut server = server(|c| c.truncate_share = 1.0);
    for max_tokens in [1, 16] {
        let body = format!(r#"{{"messages":[],"stream":true,"max_tokens":{max_tokens}}}"#);
        let reply = server.handle(
            Timestamp::ZERO,
            request("/v1/chat/completions", body.as_bytes()),
        );
        let Action::Stream {
            chunks,
            complete: false,
            ..
        } = reply.action
        else {
            panic!("{:?}", reply.action)
        };
        let all: Vec<u8> = chunks
            .iter()
            .flat_map(|chunk| chunk.bytes.to_vec())
            .collect();
        assert!(!all.is_empty() && !String::from_utf8_lossy(&all).contains("[DONE]"));
        server.finished(Timestamp::ZERO, reply.ticket, Ending::Sent);
    }
}

#[test]
fn tokens_take_their_time_at_once_or_piece_by_piece() {
    let set = |c: &mut ServerConfig| {
        c.latency_ms_median = 100.0;
        c.latency_ms_per_token = 10.0;
    };
    let reply = ask(&mut server(set), Timestamp::ZERO, "a");
    assert_eq!(reply.delay, Duration::from_millis(260));
    let body = r#"{"messages":[],"stream":true}"#;
    let reply = server(set).handle(
        Timestamp::ZERO,
        request("/v1/chat/completions", body.as_bytes()),
    );
    assert_eq!(reply.delay, Duration::from_millis(110));
    let Action::Stream { chunks, .. } = reply.action else {
        panic!("{:?}", reply.action)
    };
    let later: Duration = chunks.iter().map(|chunk| chunk.delay).sum();
    assert_eq!(later, Duration::from_millis(150));
}

#[test]
fn the_same_seed_gives_the_same_replies_and_another_one_others() {
    let transcript = |seed| {
        let config = ServerConfig {
            latency_ms_median: 40.0,
            latency_sigma: 0.5,
            output_tokens_median: 20.0,
            output_tokens_sigma: 0.7,
            error_share: 0.2,
            rps: Some(30),
            retry_after: RetryAfterStyle::Wrong,
            ..ServerConfig::default()
        };
        let mut server = Server::new(config, seed).unwrap();
        let mut replies = String::new();
        for step in 0..200 {
            let now = Timestamp::from_millis(20 * step);
            let reply = ask(&mut server, now, &(step % 50).to_string());
            replies.push_str(&format!("{:?} {:?}\n", reply.delay, reply.action));
            server.finished(now, reply.ticket, Ending::Sent);
        }
        (replies, server.stats())
    };
    assert_eq!(transcript(1), transcript(1));
    assert_ne!(transcript(1).0, transcript(2).0);
}

#[test]
fn an_answer_depends_on_the_prompt_and_not_on_what_came_before() {
    let lengths = |c: &mut ServerConfig| c.output_tokens_sigma = 1.0;
    let mut early = server(lengths);
    let mut late = server(lengths);
    for prompt in 0..5 {
        ask_and_take(&mut late, Timestamp::ZERO, &prompt.to_string());
    }
    let (_, _, a) = ask_and_take(&mut early, Timestamp::ZERO, "x");
    let (_, _, b) = ask_and_take(&mut late, Timestamp::from_secs(9), "x");
    assert_eq!(a, b);
    let (_, _, c) = ask_and_take(&mut late, Timestamp::from_secs(9), "y");
    assert_ne!(a["id"], c["id"]);
}

#[test]
fn answering_a_prompt_again_is_noticed() {
    let mut server = server(|_| {});
    for prompt in ["a", "b", "a", "a"] {
        ask_and_take(&mut server, Timestamp::ZERO, prompt);
    }
    let stats = server.stats();
    assert_eq!((stats.prompts_answered, stats.duplicate_answers), (2, 2));
    server.clear_ledger();
    ask_and_take(&mut server, Timestamp::ZERO, "a");
    assert_eq!(
        (server.stats().requests, server.stats().duplicate_answers),
        (1, 0)
    );
}

#[test]
fn pretty_bodies_have_many_lines_and_the_same_content() {
    let mut compact = server(|_| {});
    let mut pretty = server(|c| c.pretty = true);
    let (_, _, expected) = ask_and_take(&mut compact, Timestamp::ZERO, "a");
    let reply = ask(&mut pretty, Timestamp::ZERO, "a");
    let Action::Respond { body, .. } = &reply.action else {
        panic!("{:?}", reply.action)
    };
    assert!(body.iter().filter(|&&byte| byte == b'\n').count() > 10);
    assert_eq!(take(&mut pretty, Timestamp::ZERO, reply).2, expected);
}

#[test]
fn a_refusal_tells_the_levels_of_its_own_instant() {
    let mut server = server(|c| {
        c.rpm = Some(600);
        c.quota_after = Some(1);
    });
    ask_and_take(&mut server, Timestamp::ZERO, "a");
    let (status, headers, _) = ask_and_take(&mut server, Timestamp::from_secs(1), "a");
    assert_eq!(status, 429);
    assert_eq!(headers["x-ratelimit-remaining-requests"], "10");
    assert_eq!(headers["x-ratelimit-reset-requests"], "0s");
}

#[test]
fn a_clock_that_goes_back_is_taken_for_standing_still() {
    let mut server = server(|c| c.rps = Some(1));
    assert_eq!(
        ask_and_take(&mut server, Timestamp::from_secs(10), "a").0,
        200
    );
    assert_eq!(
        ask_and_take(&mut server, Timestamp::from_secs(5), "a").0,
        429
    );
    assert_eq!(ask_and_take(&mut server, Timestamp::NEVER, "a").0, 200);
    assert_eq!(ask_and_take(&mut server, Timestamp::ZERO, "a").0, 429);
}

#[test]
fn stats_are_json_with_statuses_as_keys() {
    let mut server = server(|c| c.rpm = Some(60));
    ask_and_take(&mut server, Timestamp::ZERO, "a");
    ask_and_take(&mut server, Timestamp::ZERO, "a");
    let json = serde_json::to_value(server.stats()).unwrap();
    assert_eq!(json["by_status"]["429"], 1);
    assert_eq!(json["throttled"]["requests_per_minute"], 1);
    assert!(json["utilisation_requests"].is_null());
}

/// Prints what one request costs: `cargo test -p brimful-sim --release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
fn cost_of_one_request() {
    let prompt = "Summarise the following sentence in at most ten words: the quick brown fox \
                  jumps over the lazy dog and runs away.";
    let mut server = server(|_| {});
    let bodies: Vec<Vec<u8>> = (0..1_000)
        .map(|n| chat(&format!("{prompt} {n:030}")))
        .collect();
    const ROUNDS: u64 = 500_000;
    let start = std::time::Instant::now();
    for step in 0..ROUNDS {
        let now = Timestamp::from_nanos(step * 5_000);
        let body = &bodies[(step % 1_000) as usize];
        let reply = server.handle(now, request("/v1/chat/completions", body));
        server.finished(now, reply.ticket, Ending::Sent);
    }
    let nanos = start.elapsed().as_nanos() as u64 / ROUNDS;
    println!("{nanos} ns for a request of {} bytes", bodies[0].len());
}
