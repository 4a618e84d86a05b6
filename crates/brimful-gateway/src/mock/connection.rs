//! One connection: TLS or not, HTTP/1.1 or HTTP/2.

use std::error::Error as _;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Brain;
use super::body::Interrupted;
use super::exchange::answer;

/// How a client begins that knows without asking that we speak HTTP/2 (RFC 9113 §3.3). No method
/// of HTTP/1.1 begins like this.
const PREFACE_START: [u8; 3] = *b"PRI";

/// A client that has not shaken hands by then holds a descriptor for nothing.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Serves `stream` until either side closes it.
pub(super) async fn serve(stream: TcpStream, brain: Arc<Brain>, tls: Option<TlsAcceptor>) {
    // Without it replies wait for the client's acknowledgements; a failure only costs time.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = tls else {
        if begins_http2(&stream).await {
            over_http2(stream, brain).await;
        } else if let Some(stream) = over_http1(stream, brain).await {
            reset(&stream);
        }
        return;
    };
    let handshake = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await;
    let Ok(Ok(stream)) = handshake else {
        return;
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        over_http2(stream, brain).await;
    } else if let Some(stream) = over_http1(stream, brain).await {
        reset(stream.get_ref().0);
    }
}

/// Closes with no time to linger, which sends RST where FIN would look like an empty reply.
pub(super) fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Looks at the first bytes and leaves them where they are. They come in one segment: no client
/// sends its preface byte by byte, and one that did would be told that this is no HTTP/1.1.
async fn begins_http2(stream: &TcpStream) -> bool {
    let mut start = [0; PREFACE_START.len()];
    let seen = stream.peek(&mut start).await;
    seen.is_ok() && start == PREFACE_START
}

/// Gives the stream back when it is to be reset.
async fn over_http1<IO>(stream: IO, brain: Arc<Brain>) -> Option<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request| answer(Arc::clone(&brain), request));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let error = (&mut connection).await.err()?;
    let cause = error.source()?.downcast_ref::<Interrupted>()?;
    (*cause == Interrupted::Reset).then(|| connection.into_parts().io.into_inner())
}

/// A reset or a break is that of one stream; the connection goes on.
async fn over_http2<IO>(stream: IO, brain: Arc<Brain>)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let tasks = Tasks::default();
    let service = service_fn(move |request| answer(Arc::clone(&brain), request));
    // A connection that ends with an error has ended; nothing is left to do about it.
    let _ = http2::Builder::new(tasks.clone())
        .serve_connection(TokioIo::new(stream), service)
        .await;
    tasks.end();
}

/// The streams of an HTTP/2 connection, which end with it.
#[derive(Clone, Debug, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(stream);
    }
}

impl Tasks {
    fn end(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }
}
