//! HTTP/1.1 without TLS: answers, faults, clients that leave.

use std::io::ErrorKind;
use std::time::Duration;

use brimful_gateway::mock::MockServer;
use brimful_sim::{ServerConfig, answer_tag};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::rig::{chat, post, start};

#[tokio::test]
async fn a_chat_is_answered_and_counted() {
    let mock = start(|_| {});
    let answer = mock.ask(&chat("hello")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(
        answer
            .header("x-request-id")
            .is_some_and(|id| id.starts_with("req_"))
    );
    let text = answer.json()["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(text.starts_with(&answer_tag("hello")), "{text}");
    let stats = mock.account.stats();
    assert_eq!(
        (stats.answered, stats.in_flight, stats.abandoned),
        (1, 0, 0)
    );
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let mock = start(|_| {});
    let mut stream = TcpStream::connect(mock.addr).await.unwrap();
    let mut seen = Vec::new();
    for prompt in ["a", "b", "c"] {
        stream
            .write_all(&post("/v1/chat/completions", &chat(prompt), ""))
            .await
            .unwrap();
        while !String::from_utf8_lossy(&seen).contains(&answer_tag(prompt)) {
            let read = stream.read_buf(&mut seen).await.unwrap();
            assert_ne!(read, 0, "closed early");
        }
    }
    assert_eq!(mock.account.stats().answered, 3);
}

#[tokio::test]
async fn a_stream_comes_in_events_and_ends_with_done() {
    let mock = start(|_| {});
    let body = r#"{"messages":[{"role":"user","content":"hi"}],"stream":true,
        "stream_options":{"include_usage":true}}"#;
    let answer = mock.ask(body).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/event-stream")
    );
    let text = answer.text();
    assert!(text.contains(&answer_tag("hi")));
    assert!(text.contains(r#""usage":{"prompt_tokens""#));
    assert!(text.contains("data: [DONE]\n\n"));
    assert_eq!(mock.account.stats().answered, 1);
}

#[tokio::test]
async fn the_request_above_the_limit_gets_a_429_with_its_wait() {
    // One a minute, so that no stall of the machine lets a second one pass.
    let mock = start(|c| c.rpm = Some(1));
    assert_eq!(mock.ask(&chat("a")).await.status, 200);
    let refused = mock.ask(&chat("b")).await;
    assert_eq!(refused.status, 429);
    let error = &refused.json()["error"];
    assert_eq!(error["code"], "rate_limit_exceeded");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("(RPM): Limit 1, Used 1, Requested 1. Please try again in "));
    let wait_ms: u64 = refused.header("retry-after-ms").unwrap().parse().unwrap();
    assert!((1..=60_000).contains(&wait_ms), "{wait_ms}");
    assert_eq!(refused.header("x-ratelimit-limit-requests"), Some("1"));
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), Some("0"));
}

#[tokio::test]
async fn the_account_is_read_and_cleared_over_http() {
    let mock = start(|_| {});
    mock.ask(&chat("a")).await;
    mock.ask(&chat("a")).await;
    let stats = mock
        .exchange(b"GET /stats HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\r\n")
        .await;
    let stats = stats.json();
    assert_eq!(stats["by_status"]["200"], 2);
    assert_eq!(stats["duplicate_answers"], 1);
    assert_eq!(stats["requests"], 2);
    let reset = post("/reset", "", "connection: close\r\n");
    assert_eq!(mock.exchange(&reset).await.status, 204);
    assert_eq!(mock.account.stats().requests, 0);
}

#[tokio::test]
async fn a_reset_is_a_reset_and_not_an_empty_reply() {
    let mock = start(|c| c.reset_share = 1.0);
    let mut stream = TcpStream::connect(mock.addr).await.unwrap();
    stream
        .write_all(&post("/v1/chat/completions", &chat("a"), ""))
        .await
        .unwrap();
    let error = stream.read(&mut [0; 64]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let stats = mock.account.stats();
    assert_eq!(
        (stats.faults.reset, stats.in_flight, stats.answered),
        (1, 0, 0)
    );
}

#[tokio::test]
async fn a_truncated_answer_announces_more_than_it_sends() {
    let mock = start(|c| c.truncate_share = 1.0);
    let answer = mock.ask(&chat("a")).await;
    let announced: usize = answer.header("content-length").unwrap().parse().unwrap();
    assert_eq!(answer.body.len(), announced / 2);
    let streamed = mock.ask(r#"{"messages":[],"stream":true}"#).await;
    assert!(streamed.text().contains("data: {"), "{}", streamed.text());
    assert!(!streamed.body.ends_with(b"0\r\n\r\n"));
    assert_eq!(mock.account.stats().faults.truncate, 2);
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot() {
    let mock = start(|c| {
        c.concurrency = Some(1);
        c.latency_ms_median = 3_600_000.0;
    });
    let mut stream = TcpStream::connect(mock.addr).await.unwrap();
    stream
        .write_all(&post("/v1/chat/completions", &chat("a"), ""))
        .await
        .unwrap();
    mock.until_in_flight(1).await;
    assert_eq!(mock.ask(&chat("b")).await.status, 429);
    drop(stream);
    mock.until_in_flight(0).await;
    let stats = mock.account.stats();
    assert_eq!(
        (stats.abandoned, stats.answered, stats.peak_in_flight),
        (1, 0, 1)
    );
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_stream_frees_its_slot() {
    let mock = start(|c| c.latency_ms_per_token = 50_000.0);
    let mut stream = TcpStream::connect(mock.addr).await.unwrap();
    let body = r#"{"messages":[],"stream":true,"max_tokens":2}"#;
    stream
        .write_all(&post("/v1/chat/completions", body, ""))
        .await
        .unwrap();
    mock.until_in_flight(1).await;
    drop(stream);
    mock.until_in_flight(0).await;
    assert_eq!(mock.account.stats().abandoned, 1);
}

#[tokio::test]
async fn a_hang_lasts_until_the_client_leaves() {
    let mock = start(|c| c.hang_share = 1.0);
    let mut stream = TcpStream::connect(mock.addr).await.unwrap();
    stream
        .write_all(&post("/v1/chat/completions", &chat("a"), ""))
        .await
        .unwrap();
    mock.until_in_flight(1).await;
    let nothing = stream.try_read(&mut [0; 64]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    drop(stream);
    mock.until_in_flight(0).await;
    assert_eq!(mock.account.stats().faults.hang, 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_takes_its_time() {
    let mock = start(|c| c.latency_ms_median = 3_600_000.0);
    let before = tokio::time::Instant::now();
    assert_eq!(mock.ask(&chat("a")).await.status, 200);
    assert!(before.elapsed() >= Duration::from_secs(3_600));
}

#[tokio::test]
async fn a_body_in_chunks_is_the_same_body() {
    let mock = start(|_| {});
    let body = chat("in two pieces");
    let (head, tail) = body.split_at(20);
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n{head}\r\n{:x}\r\n{tail}\r\n0\r\n\r\n",
        head.len(),
        tail.len()
    );
    let answer = mock.exchange(request.as_bytes()).await;
    assert!(answer.text().contains(&answer_tag("in two pieces")));
    mock.ask(&body).await;
    assert_eq!(mock.account.stats().duplicate_answers, 1);
}

#[tokio::test]
async fn a_body_that_is_announced_too_long_is_refused_unread() {
    let mock = start(|_| {});
    let mut stream = TcpStream::connect(mock.addr).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: m\r\ncontent-length: {}\r\n\r\n",
        (64 << 20) + 1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
    }
    assert!(seen.starts_with(b"HTTP/1.1 413 "));
    assert_eq!(mock.account.stats().by_status[&413], 1);
}

#[tokio::test]
async fn shutdown_closes_every_connection() {
    let mut mock = start(|c| c.hang_share = 1.0);
    let mut stream = TcpStream::connect(mock.addr).await.unwrap();
    stream
        .write_all(&post("/v1/chat/completions", &chat("a"), ""))
        .await
        .unwrap();
    mock.until_in_flight(1).await;
    mock.stop.take();
    (&mut mock.serving).await.unwrap();
    assert_eq!(stream.read(&mut [0; 64]).await.unwrap_or(0), 0);
    assert_eq!(mock.account.stats().in_flight, 0);
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense_is_refused() {
    let mut config = ServerConfig::default();
    config.tpm = Some(0);
    let error = MockServer::bind(([127, 0, 0, 1], 0).into(), config, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("`tpm`"));
}
