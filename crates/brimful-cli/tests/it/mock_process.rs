//! `brimful mock` in a process of its own.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::workdir::{Invocation, Running, TestDir, until};

/// A mock that serves until it is dropped.
pub(crate) struct Mock {
    running: Running,
    base_url: String,
    /// Its working folder.
    dir: TestDir,
}

impl Mock {
    /// A mock with these flags on a free port.
    pub(crate) fn start(flags: &str) -> Self {
        Self::start_with(flags, |invocation| invocation)
    }

    /// The same with a key that requests must bear.
    pub(crate) fn with_key(key: &str, flags: &str) -> Self {
        Self::start_with(flags, |invocation| {
            invocation.args("--auth-env MOCK_KEY").env("MOCK_KEY", key)
        })
    }

    /// A mock with these flags in a folder that has its files already.
    pub(crate) fn start_in(dir: TestDir, flags: &str) -> Self {
        Self::start_in_with(dir, flags, |invocation| invocation)
    }

    fn start_with(flags: &str, change: impl FnOnce(Invocation) -> Invocation) -> Self {
        Self::start_in_with(TestDir::new(), flags, change)
    }

    fn start_in_with(
        dir: TestDir,
        flags: &str,
        change: impl FnOnce(Invocation) -> Invocation,
    ) -> Self {
        let invocation = dir.brimful("mock --listen 127.0.0.1:0").args(flags);
        let running = change(invocation).start();
        let base_url = until("the mock's address", || {
            let text = running.stdout_so_far();
            text.strip_suffix('\n').map(str::to_owned)
        });
        Self {
            running,
            base_url,
            dir,
        }
    }

    /// Such as `http://127.0.0.1:4321/v1`.
    pub(crate) fn url(&self) -> &str {
        &self.base_url
    }

    /// `127.0.0.1:4321`.
    pub(crate) fn address(&self) -> &str {
        let (_, rest) = self.base_url.split_once("://").unwrap();
        rest.strip_suffix("/v1").unwrap()
    }

    /// Its account.
    pub(crate) fn stats(&self) -> Value {
        serde_json::from_str(&self.ask("GET", "/stats", "")).unwrap()
    }

    /// One figure of its account.
    #[track_caller]
    pub(crate) fn count(&self, name: &str) -> u64 {
        let stats = self.stats();
        stats[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name} in {stats}"))
    }

    /// A file in its working folder.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path(name).to_str().unwrap().to_owned()
    }

    /// The body of the reply to one request.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: mock\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (_, body) = reply.split_once("\r\n\r\n").unwrap();
        body.to_owned()
    }

    /// Its process, for signals.
    pub(crate) fn into_process(self) -> Running {
        self.running
    }
}
