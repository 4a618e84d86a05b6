//! Connections that break, dribble and lie: nothing is lost, and what was sent counts.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::scripted::{Reply, Scripted, answer, chat, gzip, reply};
use crate::workdir::TestDir;

fn classes(trace: &[Value]) -> Vec<&str> {
    trace
        .iter()
        .map(|line| line["class"].as_str().unwrap())
        .collect()
}

#[test]
fn a_connection_closed_while_idle_costs_no_attempt() {
    // The close arrives during the 50 ms in which nothing is sent.
    let server = Scripted::start(|_| Reply::SendAndClose(answer("fine")));
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 6);
    dir.run_at(
        &server.url(),
        "in.jsonl -o out.jsonl --rps 20 --trace t.jsonl",
    )
    .exits(0);
    assert_eq!(dir.json_lines("out.jsonl").len(), 6);
    assert_eq!(classes(&dir.json_lines("t.jsonl")), ["answered"; 6]);
    assert_eq!((server.seen().len(), server.connections()), (6, 6));
}

#[test]
fn a_connection_closed_at_once_loses_nothing() {
    // Without pauses a request may meet the close: it was written, so it may have been run.
    let server = Scripted::start(|_| Reply::SendAndClose(answer("fine")));
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 40);
    dir.run_at(&server.url(), "in.jsonl -o out.jsonl --concurrency 2")
        .exits(0);
    assert_eq!(dir.json_lines("out.jsonl").len(), 40);
    assert_eq!(server.seen().len(), 40, "requests were run twice");
}

#[test]
fn connection_close_is_obeyed() {
    let close = || reply("200 OK", "connection: close\r\n", chat("fine").as_bytes());
    let server = Scripted::start(move |_| Reply::SendAndClose(close()));
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 20);
    dir.run_at(
        &server.url(),
        "in.jsonl -o out.jsonl --concurrency 2 --trace t.jsonl",
    )
    .exits(0);
    assert_eq!(classes(&dir.json_lines("t.jsonl")), ["answered"; 20]);
    assert_eq!(server.connections(), 20);
}

#[test]
fn connections_are_used_again() {
    let server = Scripted::start(|_| Reply::Send(answer("fine")));
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 20);
    dir.run_at(&server.url(), "in.jsonl -o out.jsonl --concurrency 1")
        .exits(0);
    assert_eq!((server.seen().len(), server.connections()), (20, 1));
}

/// Each request fails once in this way and is answered when it comes again.
#[track_caller]
fn fails_once_then_answers(failure: fn() -> Reply, code: &str) {
    fails_once(failure, "transient", code);
}

/// The same with a class of its own.
#[track_caller]
fn fails_once(failure: fn() -> Reply, class: &str, code: &str) {
    let server = Scripted::start(move |seen| match seen.number {
        0 => failure(),
        _ => Reply::Send(answer("fine")),
    });
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 1);
    let done = dir
        .run_at(&server.url(), "in.jsonl -o out.jsonl --trace t.jsonl")
        .exits(0);
    let trace = dir.json_lines("t.jsonl");
    assert_eq!(classes(&trace), [class, "answered"], "{done}");
    assert_eq!(trace[0]["code"], code, "{}", trace[0]);
    assert_eq!(trace[1]["attempt"], 2);
    assert_eq!(trace[1]["waited_for"], "backoff");
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_close_instead_of_an_answer_is_retried() {
    fails_once_then_answers(|| Reply::SendAndClose(Vec::new()), "connection_lost");
}

#[test]
fn a_body_that_breaks_off_is_retried() {
    let half = || {
        let mut bytes = answer("fine");
        bytes.truncate(bytes.len() - 20);
        Reply::SendAndClose(bytes)
    };
    fails_once_then_answers(half, "connection_lost");
}

#[test]
fn a_chunked_body_without_its_end_is_retried() {
    let cut = || {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        Reply::SendAndClose(format!("{head}5\r\n{{\"id\"\r\n").into_bytes())
    };
    fails_once_then_answers(cut, "connection_lost");
}

#[test]
fn a_head_that_breaks_off_is_retried() {
    fails_once_then_answers(
        || Reply::SendAndClose(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
        "connection_lost",
    );
}

#[test]
fn what_is_not_http_is_retried() {
    fails_once_then_answers(
        || Reply::SendAndClose(b"220 mail.example.com ESMTP\r\n\r\n".to_vec()),
        "not_http",
    );
}

#[test]
fn a_broken_gzip_body_is_retried() {
    fails_once_then_answers(
        || {
            let body = b"\x1F\x8B\x08\x00 this is no gzip";
            Reply::Send(reply("200 OK", "content-encoding: gzip\r\n", body))
        },
        "not_http",
    );
}

#[test]
fn a_success_without_json_is_retried() {
    fails_once(
        || Reply::Send(reply("200 OK", "", b"<html>hello</html>")),
        "invalid",
        "not_json",
    );
}

#[test]
fn attempts_end_and_the_trail_is_kept() {
    let server = Scripted::start(|_| Reply::SendAndClose(Vec::new()));
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 1);
    dir.run_at(&server.url(), "in.jsonl -o out.jsonl --max-attempts 3")
        .exits(3);
    let dead = dir.json_lines("out.jsonl.errors.jsonl");
    assert_eq!(dead[0]["custom_id"], "r1");
    assert_eq!(dead[0]["error"]["code"], "connection_lost");
    let trail = dead[0]["attempts"].as_array().unwrap();
    assert_eq!(trail.len(), 3);
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn chunks_and_gzip_are_put_together() {
    let server = Scripted::start(|seen| {
        let body = chat("fine");
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
        if seen.number == 0 {
            let mut bytes = format!("{head}\r\n");
            for piece in body.as_bytes().chunks(7) {
                let piece = str::from_utf8(piece).unwrap();
                bytes.push_str(&format!("{:x}\r\n{piece}\r\n", piece.len()));
            }
            bytes.push_str("0\r\n\r\n");
            return Reply::Send(bytes.into_bytes());
        }
        let encoding = ["gzip", "GZIP", "x-gzip"][seen.number - 1];
        let headers = format!("content-encoding: {encoding}\r\n");
        Reply::Send(reply("200 OK", &headers, &gzip(body.as_bytes())))
    });
    let dir = TestDir::new();
    dir.write("in.txt", "one\ntwo\nthree\nfour\n");
    dir.run_at(
        &server.url(),
        "in.txt -o out.csv --model m --concurrency 1 --max-attempts 1",
    )
    .exits(0);
    let rows = dir.csv("out.csv");
    for row in &rows[1..] {
        assert_eq!(row[1], "fine", "{row:?}");
    }
    assert!(server.seen()[0].head.contains("accept-encoding: gzip\r\n"));
}

#[test]
fn an_interim_reply_is_passed_over() {
    let server = Scripted::start(|_| {
        let mut bytes = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".to_vec();
        bytes.extend_from_slice(&answer("fine"));
        Reply::Send(bytes)
    });
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 2);
    dir.run_at(&server.url(), "in.jsonl -o out.jsonl --max-attempts 1")
        .exits(0);
}

#[test]
fn an_answer_beyond_the_bound_is_a_dead_letter_at_once() {
    let server = Scripted::start(|seen| {
        let body = chat(&"long ".repeat(1000));
        match seen.body.contains("r1") {
            true => Reply::Send(reply("200 OK", "", body.as_bytes())),
            false => {
                let headers = "content-encoding: gzip\r\n";
                Reply::Send(reply("200 OK", headers, &gzip(body.as_bytes())))
            }
        }
    });
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 2);
    dir.run_at(
        &server.url(),
        "in.jsonl -o out.jsonl --response-max-bytes 4KB",
    )
    .exits(3);
    for dead in dir.json_lines("out.jsonl.errors.jsonl") {
        assert_eq!(dead["error"]["code"], "response_too_large", "{dead}");
    }
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_head_beyond_the_bound_is_refused() {
    let server = Scripted::start(|_| {
        let headers = format!("x-padding: {}\r\n", "x".repeat(100_000));
        Reply::Send(reply("200 OK", &headers, chat("fine").as_bytes()))
    });
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 1);
    let at = server.url();
    dir.run_at(&at, "in.jsonl -o out.jsonl --max-attempts 1")
        .exits(3);
    dir.run_at(
        &at,
        "in.jsonl -o out.jsonl --retry-failed --headers-max-bytes 1MB",
    )
    .exits(0);
}

/// More than the buffers of a loopback connection hold.
const LARGE: usize = 24 << 20;

/// Answers the first request when it has read its head, and leaves the rest and the connection as
/// they are until the next request is there. Returns how much of the first one came in the end.
fn answers_early(listener: &TcpListener) -> std::io::Result<usize> {
    let (mut early, _) = listener.accept()?;
    let mut came = read_until(&mut early, "\r\n\r\n")?;
    early.write_all(&reply("500 Oops", "", b"{}"))?;
    let (mut next, _) = listener.accept()?;
    read_until(&mut next, "the end of it")?;
    let mut buffer = vec![0; 1 << 16];
    // A reset is an end like any other.
    while let Ok(count @ 1..) = early.read(&mut buffer) {
        came += count;
    }
    next.write_all(&answer("fine"))?;
    Ok(came)
}

/// Reads until the last bytes hold these words; returns how many bytes there were.
fn read_until(stream: &mut TcpStream, words: &str) -> std::io::Result<usize> {
    let mut buffer = vec![0; 1 << 16];
    let mut tail = Vec::new();
    let mut came = 0;
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        came += count;
        tail.extend_from_slice(&buffer[..count]);
        if tail.windows(words.len()).any(|at| at == words.as_bytes()) {
            return Ok(came);
        }
        tail.drain(..tail.len().saturating_sub(words.len()));
    }
}

#[test]
fn a_connection_answered_before_it_was_read_is_not_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("http://{}/v1", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || answers_early(&listener).unwrap());
    let dir = TestDir::new();
    dir.write("in.txt", format!("{} the end of it\n", "x".repeat(LARGE)));
    let started = Instant::now();
    dir.run_at(&at, "in.txt -o out.csv --model m --trace t.jsonl")
        .args("--max-attempts 2 --timeout 20s")
        .exits(0);
    let took = started.elapsed();
    let trace = dir.json_lines("t.jsonl");
    assert_eq!(classes(&trace), ["transient", "answered"]);
    assert_eq!(trace[0]["status"], 500, "{}", trace[0]);
    assert!(took < Duration::from_secs(20), "{took:?}");
    // Nor is it left to send the rest of a body that nobody waits for.
    let came = server.join().unwrap();
    assert!(came < LARGE, "{came}");
}

#[test]
fn an_address_where_nobody_listens_costs_no_attempts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 2);
    dir.run_at(
        &at,
        "in.jsonl -o out.jsonl --max-attempts 1 --deadline 200ms --trace t.jsonl",
    )
    .exits(4);
    let trace = dir.json_lines("t.jsonl");
    assert!(trace.len() > 2, "{trace:?}");
    for line in &trace {
        assert_eq!(line["code"], "cannot_connect", "{line}");
    }
    assert!(!dir.exists("out.jsonl.errors.jsonl"));
    let server = Scripted::start(|_| Reply::Send(answer("fine")));
    dir.run_at(&server.url(), "in.jsonl -o out.jsonl").exits(0);
    assert_eq!(server.seen().len(), 2);
}
