//! A mock on a free port and a client that sees every byte.

use std::net::SocketAddr;

use brimful_gateway::mock::{Account, MockServer, Tls};
use brimful_sim::ServerConfig;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server that serves until it is dropped.
pub(crate) struct Mock {
    pub(crate) addr: SocketAddr,
    pub(crate) account: Account,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) serving: JoinHandle<()>,
}

pub(crate) fn start(change: impl FnOnce(&mut ServerConfig)) -> Mock {
    start_with(change, None)
}

pub(crate) fn start_with(change: impl FnOnce(&mut ServerConfig), tls: Option<Tls>) -> Mock {
    let mut config = ServerConfig::default();
    change(&mut config);
    let mut server = MockServer::bind(([127, 0, 0, 1], 0).into(), config, 7).unwrap();
    if let Some(tls) = tls {
        server = server.with_tls(tls);
    }
    let (stop, stopped) = oneshot::channel::<()>();
    Mock {
        addr: server.local_addr().unwrap(),
        account: server.account(),
        stop: Some(stop),
        serving: tokio::spawn(server.serve(async { stopped.await.unwrap_or(()) })),
    }
}

impl Mock {
    /// A chat completion on a connection of its own.
    pub(crate) async fn ask(&self, body: &str) -> Answer {
        self.exchange(&post("/v1/chat/completions", body, "connection: close\r\n"))
            .await
    }

    pub(crate) async fn exchange(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        Answer::parse(&bytes)
    }

    /// One of the mock's own paths.
    pub(crate) async fn control(&self, method: &str, path: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        self.exchange(request.as_bytes()).await
    }

    pub(crate) async fn until_in_flight(&self, expected: u64) {
        while self.account.stats().in_flight != expected {
            tokio::task::yield_now().await;
        }
    }
}

/// A response, its body as it came (a chunked one with its lengths).
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            status,
            head,
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Head and body.
    pub(crate) fn whole(&self) -> String {
        format!("{}\n{}", self.head, self.text())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) fn chat(prompt: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{prompt}"}}]}}"#)
}

pub(crate) fn post(path: &str, body: &str, headers: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: m\r\n{headers}content-length: {length}\r\n");
    format!("{head}\r\n{body}").into_bytes()
}
