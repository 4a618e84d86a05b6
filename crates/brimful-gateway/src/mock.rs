//! The fake provider on a socket.
//!
//! Everything that a reply says is decided by [`brimful_sim::Server`]; this module only reads
//! requests, waits, and writes. HTTP/1.1 with keep-alive, HTTP/2 for clients that begin with it or
//! choose it by ALPN, TLS where it is [given](MockServer::with_tls). Besides the providers' paths:
//! `GET /stats` gives the account as JSON, `POST /reset` starts a new one, `GET /config` shows the
//! configuration and `POST /config` changes it.
//!
//! ```no_run
//! # async fn run() -> std::io::Result<()> {
//! use brimful_gateway::mock::MockServer;
//! use brimful_sim::ServerConfig;
//!
//! let mut config = ServerConfig::default();
//! config.rpm = Some(6_000);
//! let server = MockServer::bind(([127, 0, 0, 1], 0).into(), config, 7)?;
//! let account = server.account();
//! let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! let serving = server.serve(async { stopped.await.unwrap_or(()) });
//! // … spawn `serving`, send requests, then:
//! # drop(serving);
//! drop(stop);
//! assert_eq!(account.stats().throttled.total(), 0);
//! # Ok(())
//! # }
//! ```

mod body;
mod connection;
mod control;
mod exchange;
mod settings;
mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brimful_core::Timestamp;
use brimful_sim::{Ending, Server, ServerConfig, Stats, Ticket};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

pub use settings::{in_users_words, setting_names};
pub use tls::{Tls, TlsError};

/// Connections that the kernel holds for us: clients warm up pools of thousands at once, and one
/// that is turned away comes back only after a second.
const BACKLOG: u32 = 4_096;

/// Rest after a refused accept, which usually means that there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A fake provider that listens.
#[derive(Debug)]
pub struct MockServer {
    listener: TcpListener,
    tls: Option<Tls>,
    brain: Arc<Brain>,
}

/// The server's account, readable while it serves. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Account(Arc<Brain>);

/// The decisions and the clock by which they are made.
#[derive(Debug)]
struct Brain {
    server: Mutex<Server>,
    origin: Instant,
}

impl MockServer {
    /// Listens on `addr` (port 0 for any free one) and takes this instant as the start of time.
    ///
    /// `config.wall_clock_origin` is set to the present. A configuration that cannot be served is
    /// an error of kind [`InvalidInput`](io::ErrorKind::InvalidInput). To be called inside a tokio
    /// runtime with I/O and time enabled; a single-threaded one is enough and the fastest.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn bind(addr: SocketAddr, mut config: ServerConfig, seed: u64) -> io::Result<Self> {
        // A clock before 1970 only spoils the dates in Retry-After.
        config.wall_clock_origin = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let server = Server::new(config, seed)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let socket = if addr.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        let listener = socket.listen(BACKLOG)?;
        let brain = Brain {
            server: Mutex::new(server),
            origin: Instant::now(),
        };
        Ok(Self {
            listener,
            tls: None,
            brain: Arc::new(brain),
        })
    }

    /// The same server, speaking TLS to everyone. Default: to nobody.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// A view of the account that outlives [`serve`](Self::serve).
    #[must_use]
    pub fn account(&self) -> Account {
        Account(Arc::clone(&self.brain))
    }

    /// The account so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.brain.stats()
    }

    /// Serves until `shutdown` is ready, then drops all connections at once.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let tls: Option<TlsAcceptor> = self.tls.as_ref().map(Tls::acceptor);
        // Owned here, so that no connection outlives the server.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) if !self.brain.accepts_connections() => {
                        connection::reset(&stream);
                    }
                    Ok((stream, _)) => {
                        let brain = Arc::clone(&self.brain);
                        connections.spawn(connection::serve(stream, brain, tls.clone()));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

impl Account {
    /// The account so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }

    /// Starts a new one. Levels and requests in flight stay.
    pub fn clear(&self) {
        self.0.lock().clear_ledger();
    }
}

impl Brain {
    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }

    fn accepts_connections(&self) -> bool {
        self.lock().accepts_connections(self.now())
    }

    fn stats(&self) -> Stats {
        self.lock().stats()
    }

    /// Held for one decision, never while waiting. A panic in between leaves figures behind that
    /// are wrong by one request at most.
    fn lock(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that the server has decided about and not yet ended. Dropped early, the client is
/// gone.
#[derive(Debug)]
struct Open {
    brain: Arc<Brain>,
    ticket: Option<Ticket>,
}

impl Open {
    /// Everything was handed over for sending.
    fn sent(mut self) {
        self.end(Ending::Sent);
    }

    fn end(&mut self, ending: Ending) {
        if let Some(ticket) = self.ticket.take() {
            let now = self.brain.now();
            self.brain.lock().finished(now, ticket, ending);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.end(Ending::Vanished);
    }
}
