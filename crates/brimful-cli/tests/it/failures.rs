//! Keys, wallets, 429s and everything else that a provider answers instead of an answer.

use serde_json::Value;

use crate::mock_process::Mock;
use crate::scripted::{Reply, Scripted, answer, reply};
use crate::workdir::TestDir;

#[test]
fn a_wrong_key_ends_the_run_and_says_so() {
    let mock = Mock::with_key("sk-the-right-one", "");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 20);
    let run = || dir.run_at(mock.url(), "in.jsonl -o out.jsonl");
    for invocation in [run(), run().env("OPENAI_API_KEY", "sk-the-wrong-one")] {
        invocation.exits(1).says(&["key", "same command again"]);
        let summary = dir.summary("out.jsonl");
        assert_eq!(summary["complete"], false);
        assert_eq!(summary["stopped_by"], "upstream");
        assert_eq!(summary["requests"]["dead"], 0);
    }
    run().env("OPENAI_API_KEY", "sk-the-right-one").exits(0);
    assert_eq!(mock.count("answered"), 20);
    assert_eq!(dir.json_lines("out.jsonl").len(), 20);
}

#[test]
fn an_empty_wallet_ends_the_run_and_says_so() {
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 20);
    let poor = Mock::start("--quota-after 7");
    dir.run_at(poor.url(), "in.jsonl -o out.jsonl --concurrency 3")
        .exits(1)
        .says(&["no money or quota", "same command again"]);
    assert_eq!(dir.json_lines("out.jsonl").len(), 7);
    assert!(!dir.exists("out.jsonl.errors.jsonl"), "{:?}", dir.names());
    let rich = Mock::start("");
    dir.run_at(rich.url(), "in.jsonl -o out.jsonl").exits(0);
    assert_eq!(rich.count("answered"), 13);
    assert_eq!(dir.json_lines("out.jsonl").len(), 20);
}

#[test]
fn keys_come_from_the_environment() {
    let mock = Mock::with_key("sk-the-right-one", "");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 1);
    let at = mock.url();
    dir.run_at(at, "in.jsonl -o a.jsonl --api-key-env MY_KEY")
        .env("MY_KEY", " sk-the-right-one\n")
        .env("OPENAI_API_KEY", "sk-the-wrong-one")
        .exits(0);
    dir.run_at(at, "in.jsonl -o b.jsonl --api-key-env MY_KEY")
        .exits(2)
        .says(&["MY_KEY"]);
    dir.brimful("run in.jsonl -o c.jsonl")
        .env("OPENAI_BASE_URL", at)
        .env("OPENAI_API_KEY", "sk-the-right-one")
        .exits(0);
    dir.brimful("run in.jsonl -o d.jsonl")
        .exits(2)
        .says(&["OPENAI_API_KEY", "--provider mock"]);
    dir.brimful("run in.jsonl -o e.jsonl")
        .env("OPENAI_BASE_URL", "ftp://x")
        .exits(2)
        .says(&["OPENAI_BASE_URL", "ftp://x"]);
}

#[test]
fn every_fault_is_retried_until_it_is_answered() {
    let mock = Mock::start(
        "--error-share 0.1 --overload-share 0.1 --reset-share 0.1 --truncate-share 0.1 \
         --garbage-share 0.1",
    );
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 60);
    dir.run_at(
        mock.url(),
        "in.jsonl -o out.jsonl --max-attempts 30 --max-backoff 20ms --trace t.jsonl",
    )
    .exits(0);
    assert_eq!(dir.json_lines("out.jsonl").len(), 60);
    let stats = mock.stats();
    for fault in ["error", "overload", "reset", "truncate", "garbage"] {
        assert_ne!(stats["faults"][fault], 0, "{stats}");
    }
    assert_eq!(stats["duplicate_answers"], 0);
    let attempts = &dir.summary("out.jsonl")["attempts"];
    let failed = |class: &str| attempts[class].as_u64().unwrap_or(0);
    let faults: u64 = stats["faults"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_u64)
        .sum();
    assert_eq!(
        failed("transient") + failed("overloaded") + failed("invalid"),
        faults,
        "{attempts}"
    );
    assert_eq!(failed("overloaded"), stats["faults"]["overload"]);
    assert_eq!(failed("invalid"), stats["faults"]["garbage"]);
    let ids = |line: &Value| (line["id"].clone(), line["attempt"].clone());
    let mut traced: Vec<_> = dir.json_lines("t.jsonl").iter().map(ids).collect();
    let all = traced.len();
    traced.sort_by_key(|pair| format!("{pair:?}"));
    traced.dedup();
    assert_eq!(
        (traced.len(), all),
        (all, 60 + usize::try_from(faults).unwrap())
    );
}

#[test]
fn attempts_are_bounded() {
    let mock = Mock::start("--error-share 1");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 3);
    dir.run_at(mock.url(), "in.jsonl -o out.jsonl --max-attempts 4")
        .exits(3);
    assert_eq!(mock.count("requests"), 12);
    for dead in dir.json_lines("out.jsonl.errors.jsonl") {
        let trail = dead["attempts"].as_array().unwrap();
        let numbers: Vec<&Value> = trail.iter().map(|attempt| &attempt["attempt"]).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
        assert_eq!(trail[3]["status"], 500);
        assert_eq!(dead["response"]["status_code"], 500);
        assert_eq!(dead["error"]["code"], "server_error");
    }
}

#[test]
fn requests_are_given_up_when_they_are_too_old() {
    let mock = Mock::start("--error-share 1");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 2);
    dir.run_at(
        mock.url(),
        "in.jsonl -o out.jsonl --max-attempts 1000 --max-request-time 300ms",
    )
    .exits(3);
    assert_eq!(dir.json_lines("out.jsonl.errors.jsonl").len(), 2);
    let requests = mock.count("requests");
    assert!((3..1000).contains(&requests), "{requests}");
}

#[test]
fn a_refused_request_is_dead_at_once_with_what_the_server_said() {
    let server = Scripted::start(|seen| match seen.body.contains("r2") {
        true => {
            let body = br#"{"error":{"message":"messages: too odd","type":"invalid_request_error","code":"odd"}}"#;
            Reply::Send(reply("400 Bad Request", "x-request-id: req-9\r\n", body))
        }
        false => Reply::Send(answer("fine")),
    });
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 3);
    dir.run_at(&server.url(), "in.jsonl -o out.jsonl").exits(3);
    assert_eq!(server.seen().len(), 3);
    let dead = &dir.json_lines("out.jsonl.errors.jsonl")[0];
    assert_eq!(dead["custom_id"], "r2");
    assert_eq!(dead["response"]["status_code"], 400);
    assert_eq!(dead["response"]["request_id"], "req-9");
    assert_eq!(dead["response"]["body"]["error"]["code"], "odd");
    assert_eq!(dead["error"]["message"], "messages: too odd");
    assert_eq!(dead["attempts"][0]["class"], "fatal");
}

/// Far more is asked for than the server allows, which says when to come back in this style: a 429
/// uses up no attempt, and everything is answered.
#[track_caller]
fn survives_throttling(style: &str) {
    let mock = Mock::start(&format!(
        "--rps 20 --burst 100ms --concurrency 40 --retry-after {style}"
    ));
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 12);
    dir.run_at(
        mock.url(),
        "in.jsonl -o out.jsonl --max-attempts 1 --concurrency 12 --trace t.jsonl",
    )
    .exits(0);
    assert_eq!(dir.json_lines("out.jsonl").len(), 12);
    assert_eq!(mock.count("duplicate_answers"), 0);
    let stats = mock.stats();
    let refused = stats["by_status"]["429"].as_u64().unwrap();
    let throttled = &dir.summary("out.jsonl")["attempts"]["throttled"];
    assert_eq!(*throttled, refused);
    let trace = dir.json_lines("t.jsonl");
    let refused = trace.iter().filter(|line| line["class"] == "throttled");
    assert!(refused.clone().count() > 0);
    for line in refused {
        assert_eq!(line["status"], 429);
    }
    assert!(trace.iter().any(|line| line["waited_for"] == "cooldown"));
}

#[test]
fn a_429_with_a_right_wait_uses_up_no_attempt() {
    survives_throttling("right");
}

#[test]
fn a_429_with_milliseconds_uses_up_no_attempt() {
    survives_throttling("ms");
}

#[test]
fn a_429_with_seconds_uses_up_no_attempt() {
    survives_throttling("seconds");
}

#[test]
fn a_429_with_a_date_uses_up_no_attempt() {
    survives_throttling("date");
}

#[test]
fn a_429_with_a_wrong_wait_uses_up_no_attempt() {
    survives_throttling("wrong");
}

#[test]
fn a_429_without_a_wait_uses_up_no_attempt() {
    survives_throttling("missing");
}

#[test]
fn nothing_is_sent_before_the_time_that_the_server_names() {
    let server = Scripted::start(|seen| match seen.number {
        0 => {
            let body =
                br#"{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}"#;
            Reply::Send(reply("429 Too Many Requests", "retry-after: 1\r\n", body))
        }
        _ => Reply::Send(answer("fine")),
    });
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 5);
    dir.run_at(
        &server.url(),
        "in.jsonl -o out.jsonl --concurrency 1 --max-attempts 1 --trace t.jsonl",
    )
    .exits(0);
    let trace = dir.json_lines("t.jsonl");
    assert_eq!(trace[0]["class"], "throttled");
    let ended = trace[0]["ended_ms"].as_f64().unwrap();
    for line in &trace[1..] {
        let started = line["started_ms"].as_f64().unwrap();
        assert!(started - ended >= 999.0, "{line}");
    }
    assert_eq!(dir.summary("out.jsonl")["cooldowns"], 1);
}

/// The first reply has this encoding and this body; throttling is not taken for network trouble.
#[track_caller]
fn is_throttled(encoding: &str, body: &'static [u8]) {
    let headers = format!("retry-after-ms: 20\r\ncontent-encoding: {encoding}\r\n");
    let server = Scripted::start(move |seen| match seen.number {
        0 => Reply::Send(reply("429 Too Many Requests", &headers, body)),
        _ => Reply::Send(answer("fine")),
    });
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 1);
    dir.run_at(
        &server.url(),
        "in.jsonl -o out.jsonl --max-attempts 1 --trace t.jsonl",
    )
    .exits(0);
    let trace = dir.json_lines("t.jsonl");
    assert_eq!(trace[0]["class"], "throttled", "{encoding}: {}", trace[0]);
    assert_eq!(trace[0]["status"], 429);
}

#[test]
fn a_429_without_a_body_says_all_by_its_status_whatever_its_encoding() {
    is_throttled("gzip", b"");
    is_throttled("br", b"");
}

#[test]
fn a_429_whose_body_cannot_be_read_says_all_by_its_status() {
    is_throttled("gzip", b"no gzip");
    is_throttled("br", b"\x0b\x02\x80");
}
