//! A server that answers every request at once and keeps the instant of its arrival.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::TcpListener as Listener;
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::client::since_1970_s;

const ANSWER: &[u8] = br#"{"id":"chatcmpl-1","object":"chat.completion","created":0,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;

pub(super) struct Recorder {
    base_url: String,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<Vec<f64>>>,
}

impl Recorder {
    /// Starts it on a thread and a port of its own.
    pub(super) fn start() -> Result<Self> {
        let listener = Listener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let base_url = format!("http://{}/v1", listener.local_addr()?);
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || serve(listener, stopped));
        Ok(Self {
            base_url,
            stop,
            thread,
        })
    }

    pub(super) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Ends it; the arrivals, in seconds since 1970.
    pub(super) fn stop(self) -> Result<Vec<f64>> {
        // A server that is gone already says why in its result.
        let _gone = self.stop.send(());
        self.thread
            .join()
            .map_err(|_| anyhow!("the recording server panicked"))?
    }
}

fn serve(listener: Listener, mut stopped: oneshot::Receiver<()>) -> Result<Vec<f64>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (origin, origin_s) = (Instant::now(), since_1970_s()?);
    let arrivals = Rc::new(RefCell::new(Vec::new()));
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => accepted.context("cannot accept")?.0,
                _ = &mut stopped => return Ok::<(), anyhow::Error>(()),
            };
            stream.set_nodelay(true)?;
            let arrivals = Rc::clone(&arrivals);
            let service = service_fn(move |request: Request<Incoming>| {
                let since = origin.elapsed().as_secs_f64();
                arrivals.borrow_mut().push(origin_s + since);
                answer(request)
            });
            tokio::task::spawn_local(async move {
                // How a connection ends is the client's business.
                let _ended = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    })?;
    Ok(arrivals.take())
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // Read to its end, so that the connection can be used again.
    let _read = request.into_body().collect().await;
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER)));
    response.headers_mut().insert(
        "content-type",
        hyper::header::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}
