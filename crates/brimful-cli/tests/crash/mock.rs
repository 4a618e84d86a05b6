//! `brimful mock` as a process of its own, and its account.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::wait::until;

/// A fake provider that serves until it is dropped.
#[derive(Debug)]
pub(crate) struct Mock {
    child: Child,
    pub(crate) base_url: String,
}

/// What the mock says of itself.
#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) requests_admitted: u64,
    pub(crate) answered: u64,
    pub(crate) abandoned: u64,
    pub(crate) in_flight: u64,
    pub(crate) prompts_answered: u64,
    pub(crate) duplicate_answers: u64,
    /// Of all kinds.
    pub(crate) faults: u64,
    pub(crate) by_status: BTreeMap<String, u64>,
}

impl Mock {
    pub(crate) fn start(flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_brimful"))
            .args(["mock", "--listen", "127.0.0.1:0"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut base_url = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut base_url)
            .unwrap();
        let base_url = base_url.trim().to_owned();
        assert!(base_url.starts_with("http://127.0.0.1:"), "{base_url:?}");
        Self { child, base_url }
    }

    /// The account at this moment.
    pub(crate) fn stats(&self) -> Stats {
        let host = self.base_url.trim_start_matches("http://");
        let host = host.trim_end_matches("/v1");
        let mut stream = TcpStream::connect(host).unwrap();
        write!(
            stream,
            "GET /stats HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let body = reply.split_once("\r\n\r\n").unwrap().1;
        let stats: serde_json::Value = serde_json::from_str(body).unwrap();
        let count = |name: &str| stats[name].as_u64().unwrap();
        let faults = stats["faults"].as_object().unwrap();
        Stats {
            requests_admitted: count("requests_admitted"),
            answered: count("answered"),
            abandoned: count("abandoned"),
            in_flight: count("in_flight"),
            prompts_answered: count("prompts_answered"),
            duplicate_answers: count("duplicate_answers"),
            faults: faults.values().filter_map(serde_json::Value::as_u64).sum(),
            by_status: serde_json::from_value(stats["by_status"].clone()).unwrap(),
        }
    }

    /// The account once nothing is in flight: whoever was killed is known to be gone.
    pub(crate) fn settled(&self) -> Stats {
        until("the mock to have nothing in flight", || {
            Some(self.stats()).filter(|stats| stats.in_flight == 0)
        })
    }

    /// Waits until so many requests are in flight.
    pub(crate) fn holds(&self, in_flight: u64) {
        until("requests in flight", || {
            (self.stats().in_flight >= in_flight).then_some(())
        });
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
