//! Ends before the end: deadlines, spending caps, timeouts, signals to the mock.

use serde_json::Value;

use crate::mock_process::Mock;
use crate::workdir::TestDir;

#[test]
fn the_deadline_ends_the_run_and_the_same_command_goes_on() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 30);
    dir.run_at(
        mock.url(),
        "in.jsonl -o out.jsonl --rps 20 --deadline 300ms",
    )
    .exits(4)
    .says(&["deadline"]);
    let before = dir.json_lines("out.jsonl").len();
    assert!((2..=10).contains(&before), "{before}");
    let summary = dir.summary("out.jsonl");
    assert_eq!(summary["stopped_by"], "deadline");
    assert_eq!(summary["complete"], false);
    dir.run_at(mock.url(), "in.jsonl -o out.jsonl").exits(0);
    assert_eq!(mock.count("answered"), 30);
    assert_eq!(mock.count("duplicate_answers"), 0);
}

#[test]
fn rows_are_written_also_when_the_run_ends_early() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    let rows: String = (1..=30).map(|n| format!("row {n}\n")).collect();
    dir.write("in.txt", rows);
    let command = "in.txt -o out.csv --model m";
    dir.run_at(mock.url(), command)
        .args("--rps 20 --deadline 300ms")
        .exits(4);
    let rows = dir.csv("out.csv");
    assert_eq!(rows.len(), 31);
    let waiting = rows.iter().filter(|row| row[3].starts_with("not_sent"));
    assert!(waiting.count() >= 20);
    dir.run_at(mock.url(), command).exits(0);
    assert!(dir.csv("out.csv")[1..].iter().all(|row| row[3].is_empty()));
    assert_eq!(mock.count("answered"), 30);
}

#[test]
fn the_spending_cap_ends_the_run() {
    // Each answer costs 16 output tokens, so 16 cents.
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 40);
    let command = "in.jsonl -o out.jsonl --price 0,10000 --max-cost 1.00 --concurrency 2";
    dir.run_at(mock.url(), command)
        .exits(4)
        .says(&["--max-cost"]);
    let summary = dir.summary("out.jsonl");
    assert_eq!(summary["stopped_by"], "spending_cap");
    let cost = summary["cost_usd"].as_f64().unwrap();
    // What was in flight when the cap was reached is paid as well.
    assert!((1.0..=1.5).contains(&cost), "{cost}");
    assert_eq!(mock.count("duplicate_answers"), 0);
}

#[test]
fn a_cap_needs_a_price_and_both_need_to_be_money() {
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 1);
    for arguments in [
        "--max-cost 1",
        "--max-cost nan --price 1,1",
        "--max-cost -1 --price 1,1",
        "--price 1",
        "--price a,b",
        "--price -1,1",
        "--price inf,1",
    ] {
        dir.run_at("http://127.0.0.1:9/v1", "in.jsonl -o out.jsonl")
            .args(arguments)
            .exits(2);
    }
    assert_eq!(dir.names(), ["in.jsonl"]);
}

#[test]
fn an_answer_that_does_not_come_is_a_timeout() {
    let mock = Mock::start("--hang-share 1");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 3);
    dir.run_at(
        mock.url(),
        "in.jsonl -o out.jsonl --timeout 100ms --max-attempts 2",
    )
    .exits(3);
    for dead in dir.json_lines("out.jsonl.errors.jsonl") {
        assert_eq!(dead["error"]["code"], "timeout");
        let trail = dead["attempts"].as_array().unwrap();
        assert_eq!(trail.len(), 2);
        for attempt in trail {
            let latency = attempt["latency_ms"].as_f64().unwrap();
            assert!((99.0..2000.0).contains(&latency), "{attempt}");
        }
    }
    assert_eq!(mock.count("in_flight"), 0, "the client hung up");
}

#[test]
fn waiting_for_a_limit_is_not_part_of_the_timeout() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 12);
    dir.run_at(
        mock.url(),
        "in.jsonl -o out.jsonl --rps 10 --timeout 400ms --max-attempts 1",
    )
    .exits(0);
    let wait = dir.summary("out.jsonl")["wait"]["max_ms"].as_f64().unwrap();
    assert!(wait > 400.0, "{wait}");
}

#[test]
fn times_and_amounts_out_of_range_are_refused_before_anything_is_written() {
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 1);
    for arguments in [
        "--timeout 0",
        "--connect-timeout 0s",
        "--deadline 0",
        "--max-request-time 0",
        "--progress-every 0",
        "--timeout soon",
        "--rpm 0",
        "--rpm -5",
        "--rpm 99999999999999999999",
        "--rpm 18446744073709551615",
        "--concurrency 0",
        "--concurrency some",
        "--burst 5",
        "--burst 0 --limit-shape token-bucket",
        "--limit-shape round",
        "--max-attempts 0",
        "--line-max-bytes 0",
        "--provider unknown",
        "--header novalue",
        "--header A:env:NOT_SET_ANYWHERE",
        "--header two words:x",
        "--log-format xml",
    ] {
        let done = dir
            .run_at("http://127.0.0.1:9/v1", "in.jsonl -o out.jsonl")
            .args(arguments)
            .exits(2);
        assert_ne!(done.stderr, "", "{arguments}");
        assert_eq!(dir.names(), ["in.jsonl"], "{arguments}");
    }
}

#[test]
fn limits_hold_at_the_server() {
    let mock = Mock::start("--rps 50 --concurrency 3 --latency 10ms");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 60);
    dir.run_at(mock.url(), "in.jsonl -o out.jsonl --rps 50 --concurrency 3")
        .exits(0);
    let stats = mock.stats();
    assert_eq!(stats["by_status"]["429"], Value::Null, "{stats}");
    assert!(mock.count("peak_in_flight") <= 3);
    assert!(mock.count("most_arrivals_1s") <= 51, "{stats}");
}

/// `ulimit -f` counts blocks of 512 bytes or 1 KB; both are less than the room kept free.
#[test]
fn a_limit_to_the_size_of_files_is_an_error_that_says_so_and_no_signal() {
    let dir = TestDir::new();
    let done = std::process::Command::new("sh")
        .args(["-c", "ulimit -f 100; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_brimful"))
        .args(["run", "--repeat", "3", "--prompt", "hi", "-o", "out.csv"])
        .args(["--provider", "mock", "--model", "m", "--learn", "off"])
        .current_dir(dir.path("."))
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(1), "{:?}", done.status);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        said.contains("out.csv") && said.contains("no room"),
        "{said}"
    );
}
