//! A `brimful mock` of its own for each scenario.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

pub(crate) struct Mock {
    process: Child,
    base_url: String,
}

impl Mock {
    pub(crate) fn start(binary: &Path, flags: &[&str]) -> Result<Self> {
        let mut process = Command::new(binary)
            .args(["mock", "--listen", "127.0.0.1:0"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the mock")?;
        let stdout = process
            .stdout
            .take()
            .context("the mock has a standard output")?;
        let mut base_url = String::new();
        BufReader::new(stdout).read_line(&mut base_url)?;
        Ok(Self {
            process,
            base_url: base_url.trim().to_owned(),
        })
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The server's account.
    pub(crate) fn stats(&self) -> Result<Value> {
        let address = self
            .base_url
            .trim_start_matches("http://")
            .trim_end_matches("/v1");
        let mut stream = TcpStream::connect(address)?;
        write!(
            stream,
            "GET /stats HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (_, body) = text
            .split_once("\r\n\r\n")
            .context("the mock answers in HTTP")?;
        Ok(serde_json::from_str(body)?)
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        // It has nothing to lose; if it is gone already, so much the better.
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}
