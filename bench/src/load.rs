//! The bare HTTP client: a closed loop of the client library itself, without engine or journal.
//!
//! It runs in a process of its own, so that it can be held on one processor and its processor time
//! be told from everything else.

use std::cell::Cell;
use std::fs::File;
use std::future::Future;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::mock::on_core;

/// Which face of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Face {
    /// hyper-util's `Client` with its pool of connections
    Pooled,
    /// hyper's `client::conn`: a connection for each request in flight, without a pool
    Connection,
}

/// One run of the bare client.
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// Base URL of the server, as `brimful run --base-url` takes it
    #[arg(long, value_name = "URL")]
    pub(crate) url: Uri,
    /// Batch file whose bodies are sent, each once
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Requests in flight at any moment
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) in_flight: usize,
    /// Which face of the library sends
    #[arg(long, value_enum, default_value_t = Face::Pooled)]
    pub(crate) face: Face,
}

/// What a run took, from the first connection to the last answer; reading the file is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Loaded {
    pub(crate) requests: u64,
    pub(crate) answer_bytes: u64,
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
}

impl Loaded {
    pub(crate) fn per_s(&self) -> f64 {
        self.requests as f64 / self.wall_s
    }

    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu_s * 1e6 / self.requests as f64
    }
}

impl Load {
    /// Runs in a process of its own, on one processor or on all.
    pub(crate) fn spawn(&self, core: Option<usize>) -> Result<Loaded> {
        let face = self.face.to_possible_value().context("no face is hidden")?;
        let output = on_core(&std::env::current_exe()?, core)
            .args(["load", "--url", &self.url.to_string(), "--input"])
            .arg(&self.input)
            .args(["--in-flight", &self.in_flight.to_string()])
            .args(["--face", face.get_name()])
            .output()?;
        ensure!(
            output.status.success(),
            "the bare client failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).context("the bare client prints JSON")
    }

    /// Runs in this process.
    pub(crate) fn run(&self) -> Result<Loaded> {
        let bodies = bodies(&self.input)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let cpu_before = cpu_s()?;
        let started = Instant::now();
        let answer_bytes = LocalSet::new().block_on(&runtime, self.send_all(&bodies))?;
        Ok(Loaded {
            requests: bodies.len() as u64,
            answer_bytes,
            wall_s: started.elapsed().as_secs_f64(),
            cpu_s: cpu_s()? - cpu_before,
        })
    }

    async fn send_all(&self, bodies: &[Bytes]) -> Result<u64> {
        let authority = self.url.authority().context("the URL names a server")?;
        let path = format!("{}/chat/completions", self.url.path().trim_end_matches('/'));
        let url: Uri = format!("http://{authority}{path}").parse()?;
        let queue = Rc::new(Queue {
            bodies: bodies.to_vec(),
            next: Cell::new(0),
            answer_bytes: Cell::new(0),
        });
        let pooled = pooled();
        let mut workers = Vec::with_capacity(self.in_flight);
        for _ in 0..self.in_flight {
            let queue = Rc::clone(&queue);
            let worker = match self.face {
                Face::Pooled => {
                    let (pooled, url) = (pooled.clone(), url.clone());
                    tokio::task::spawn_local(async move {
                        queue
                            .drain(|body| {
                                let request = request(url.clone(), None, body);
                                let sent = request.map(|request| pooled.request(request));
                                async move { Ok(sent?.await?) }
                            })
                            .await
                    })
                }
                Face::Connection => {
                    let (authority, path) = (authority.to_string(), path.parse::<Uri>()?);
                    tokio::task::spawn_local(connection(queue, authority, path))
                }
            };
            workers.push(worker);
        }
        for worker in workers {
            worker.await??;
        }
        Ok(queue.answer_bytes.get())
    }
}

/// Everything that is to be sent, shared by the workers of one thread.
struct Queue {
    bodies: Vec<Bytes>,
    next: Cell<usize>,
    answer_bytes: Cell<u64>,
}

impl Queue {
    /// Sends one body after the other until none is left; any answer but a 200 is an error.
    async fn drain<F>(&self, mut send: impl FnMut(Bytes) -> F) -> Result<()>
    where
        F: Future<Output = Result<Response<Incoming>>>,
    {
        loop {
            let Some(body) = self.bodies.get(self.next.get()) else {
                return Ok(());
            };
            self.next.set(self.next.get() + 1);
            let response = send(body.clone()).await?;
            if response.status() != StatusCode::OK {
                bail!("the server answered {}", response.status());
            }
            let answer = response.into_body().collect().await?.to_bytes();
            let bytes = self.answer_bytes.get() + answer.len() as u64;
            self.answer_bytes.set(bytes);
        }
    }
}

async fn connection(queue: Rc<Queue>, authority: String, path: Uri) -> Result<()> {
    let stream = TcpStream::connect(&authority).await?;
    stream.set_nodelay(true)?;
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::task::spawn_local(driver);
    let host = authority.as_str();
    queue
        .drain(|body| {
            let request = request(path.clone(), Some(host), body);
            let sent = request.map(|request| sender.send_request(request));
            async move { Ok(sent?.await?) }
        })
        .await?;
    drop(sender);
    driver.await??;
    Ok(())
}

fn pooled() -> Pooled<HttpConnector, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Pooled::builder(TokioExecutor::new()).build(connector)
}

fn request(url: Uri, host: Option<&str>, body: Bytes) -> Result<Request<Full<Bytes>>> {
    let mut request = Request::post(url)
        .header("content-type", "application/json")
        .header("authorization", "Bearer none");
    if let Some(host) = host {
        request = request.header("host", host);
    }
    Ok(request.body(Full::new(body))?)
}

/// The bodies of a Batch file.
fn bodies(input: &Path) -> Result<Vec<Bytes>> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        body: &'a RawValue,
    }
    let file = File::open(input).with_context(|| format!("cannot open {}", input.display()))?;
    let mut bodies = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line?;
        let line: Line<'_> = serde_json::from_str(&line)
            .with_context(|| format!("{} is no Batch file", input.display()))?;
        bodies.push(Bytes::copy_from_slice(line.body.get().as_bytes()));
    }
    Ok(bodies)
}

/// User and system time of this process so far.
fn cpu_s() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let total = usage.user_time() + usage.system_time();
    Ok(total.num_microseconds() as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn bodies_are_sent_as_they_stand_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("batch.jsonl");
        fs::write(
            &path,
            "{\"custom_id\":\"a\",\"body\":{ \"model\": \"m\"}}\n{\"body\":{}}\n",
        )
        .unwrap();
        assert_eq!(bodies(&path).unwrap(), ["{ \"model\": \"m\"}", "{}"]);
        fs::write(&path, "prompt\n").unwrap();
        assert!(bodies(&path).is_err());
    }

    #[test]
    fn a_loads_figures_are_for_each_request() {
        let loaded = Loaded {
            requests: 2_000,
            answer_bytes: 0,
            wall_s: 0.5,
            cpu_s: 0.01,
        };
        assert_eq!((loaded.per_s(), loaded.cpu_us()), (4_000.0, 5.0));
    }
}
