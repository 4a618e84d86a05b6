//! Proxies named by the environment.

use crate::scripted::{Reply, Scripted, answer, reply};
use crate::workdir::TestDir;

/// `user:open sesame`, escaped as a URL needs it, and as a header has it.
const USER: &str = "user:open%20sesame";
const BASIC: &str = "dxnlcjpvcgvuihnlc2ftzq==";

#[test]
fn plain_http_goes_through_the_proxy_with_the_whole_address() {
    let proxy = Scripted::start(|_| Reply::Send(answer("by proxy")));
    let dir = TestDir::new();
    dir.write("in.txt", "one\ntwo\n");
    let http_proxy = proxy.root().replace("http://", &format!("http://{USER}@"));
    let done = dir
        .run_at(
            "http://api.example.invalid:8080/v1",
            "in.txt -o out.csv --model m",
        )
        .env("HTTP_PROXY", &http_proxy)
        .env("OPENAI_API_KEY", "sk-key-of-the-user")
        .exits(0);
    assert_eq!(dir.csv("out.csv")[1][1], "by proxy", "{done}");
    for seen in proxy.seen() {
        let wanted = "POST http://api.example.invalid:8080/v1/chat/completions HTTP/1.1";
        assert_eq!(seen.line, wanted);
        assert!(seen.head.contains("host: api.example.invalid:8080\r\n"));
        let auth = format!("proxy-authorization: basic {BASIC}\r\n");
        assert!(seen.head.contains(&auth), "{}", seen.head);
        assert!(
            seen.head
                .contains("authorization: bearer sk-key-of-the-user\r\n")
        );
    }
}

#[test]
fn what_the_proxy_was_told_is_in_no_file() {
    let proxy = Scripted::start(|seen| {
        let mut text = format!("{} and open sesame", seen.head);
        text.push_str(" basic dXNlcjpvcGVuIHNlc2FtZQ==, ");
        text.push_str("dXNlcjpvcGVuIHNlc2FtZQ==");
        Reply::Send(answer(&text))
    });
    let dir = TestDir::new();
    dir.write("in.txt", "one\n");
    let http_proxy = proxy.root().replace("http://", &format!("http://{USER}@"));
    dir.run_at("http://api.example.invalid/v1", "in.txt -o out.csv")
        .args("--model m --trace t.jsonl")
        .env("http_proxy", &http_proxy)
        .exits(0);
    for secret in ["open sesame", "dXNlcjpvcGVuIHNlc2FtZQ"] {
        assert_eq!(dir.files_with(secret), [] as [&str; 0], "{secret}");
    }
}

#[test]
fn no_proxy_is_honoured() {
    let proxy = Scripted::start(|_| Reply::Send(answer("by proxy")));
    let server = Scripted::start(|_| Reply::Send(answer("direct")));
    let dir = TestDir::new();
    dir.write("in.txt", "one\n");
    dir.run_at(&server.url(), "in.txt -o out.csv --model m")
        .env("HTTP_PROXY", &proxy.root())
        .env("NO_PROXY", "localhost,127.0.0.1")
        .exits(0);
    assert_eq!(dir.csv("out.csv")[1][1], "direct");
    assert_eq!(server.seen()[0].line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(proxy.connections(), 0);
}

#[test]
fn https_asks_the_proxy_for_a_tunnel_and_shows_it_no_key() {
    let proxy = Scripted::start(|_| Reply::SendAndClose(reply("403 Forbidden", "", b"no")));
    let dir = TestDir::new();
    dir.write("in.txt", "one\n");
    let https_proxy = proxy.root().replace("http://", &format!("http://{USER}@"));
    let done = dir
        .run_at(
            "https://api.example.invalid/v1",
            "in.txt -o out.csv --model m --deadline 200ms",
        )
        .env("HTTPS_PROXY", &https_proxy)
        .env("OPENAI_API_KEY", "sk-key-of-the-user")
        .exits(4);
    let seen = proxy.seen();
    assert_eq!(seen[0].line, "CONNECT api.example.invalid:443 HTTP/1.1");
    let auth = format!("proxy-authorization: basic {BASIC}\r\n");
    assert!(seen[0].head.contains(&auth), "{}", seen[0].head);
    assert!(!seen[0].head.contains("sk-key"), "{}", seen[0].head);
    for secret in ["sesame", BASIC, "sk-key"] {
        assert!(!done.stderr.contains(secret), "{done}");
        assert_eq!(dir.files_with(secret), [] as [&str; 0]);
    }
}
