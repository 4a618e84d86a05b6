//! From a base URL to an open connection: proxies, TLS, TCP.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Uri};
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use rustls::ProtocolVersion;
use tokio::task::AbortHandle;
use tower_service::Service;

use super::SendError;

/// Why a base URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is not a URL.
    #[error("`{url}` is not a URL such as `https://api.openai.com/v1`")]
    NotAUrl {
        /// What was given.
        url: String,
    },
    /// It is not HTTP.
    #[error("`{url}` does not begin with `http://` or `https://`")]
    Scheme {
        /// What was given.
        url: String,
    },
    /// It has parts that a base URL cannot have.
    #[error("a base URL has no user name, password, query or fragment: remove them from the URL")]
    ExtraParts,
    /// No root certificates could be loaded.
    #[error("cannot load root certificates (see `SSL_CERT_FILE`): {0}")]
    Roots(#[source] std::io::Error),
    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[source] rustls::Error),
}

/// An open connection. It ends with this: what is still to be written to a server that answered
/// early is not worth a descriptor.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    /// The version of TLS that was agreed on; `None` on a plain connection.
    pub(super) tls: Option<ProtocolVersion>,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Plain = HttpsConnector<HttpConnector>;
type Proxied = HttpsConnector<Tunnel<HttpConnector>>;

#[derive(Clone)]
enum Connector {
    Direct(Plain),
    /// TLS through CONNECT.
    Tunnel(Proxied),
    /// Plain HTTP through a proxy: requests carry the absolute URL.
    Forward {
        connector: Plain,
        proxy: Uri,
    },
}

/// Opens connections to one base URL.
#[derive(Clone)]
pub struct Dialer {
    connector: Connector,
    proxy_authorization: Option<HeaderValue>,
    target: Uri,
    headers_max_bytes: usize,
    connect_timeout: Duration,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Dialer {
    /// Prepares connections to `base`, through the proxy that the environment names for it.
    pub fn new(
        base: &str,
        connect_timeout: Duration,
        headers_max_bytes: usize,
    ) -> Result<Self, TargetError> {
        let target = parse_base(base)?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let tls = tls_config(&target)?;
        let https = target.scheme_str() == Some("https");
        let proxy = Matcher::from_env().intercept(&target);
        let auth = proxy.as_ref().and_then(|proxy| proxy.basic_auth().cloned());
        let connector = match proxy {
            None => Connector::Direct((tcp, tls).into()),
            Some(proxy) if https => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
                if let Some(auth) = &auth {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                Connector::Tunnel((tunnel, tls).into())
            }
            Some(proxy) => Connector::Forward {
                connector: (tcp, tls).into(),
                proxy: proxy.uri().clone(),
            },
        };
        Ok(Self {
            connector,
            proxy_authorization: auth,
            target,
            headers_max_bytes,
            connect_timeout,
        })
    }

    /// The base URL's host and port as a `Host` header names them.
    pub(super) fn host(&self) -> &str {
        self.target
            .authority()
            .map_or("", http::uri::Authority::as_str)
    }

    /// What stands before a request's path in its request line: the base URL's own path, and all
    /// of the URL where a plain HTTP proxy wants it.
    pub(super) fn prefix(&self) -> String {
        let path = self.target.path().trim_end_matches('/');
        match &self.connector {
            Connector::Forward { .. } => format!("http://{}{path}", self.host()),
            _ => path.to_owned(),
        }
    }

    /// What the proxy is told of its user.
    pub(super) const fn proxy_authorization(&self) -> Option<&HeaderValue> {
        self.proxy_authorization.as_ref()
    }

    /// Whether the proxy reads each request, and not only the one for a tunnel.
    pub(super) const fn forwards(&self) -> bool {
        matches!(self.connector, Connector::Forward { .. })
    }

    /// Opens one connection and lets it run.
    pub(super) async fn dial(&self) -> Result<Connection, SendError> {
        let dialled = tokio::time::timeout(self.connect_timeout, self.connect()).await;
        dialled.unwrap_or_else(|_| {
            let seconds = self.connect_timeout.as_secs_f64();
            Err(SendError::Connect(format!(
                "no connection within {seconds} s"
            )))
        })
    }

    async fn connect(&self) -> Result<Connection, SendError> {
        let target = self.target.clone();
        match &self.connector {
            Connector::Direct(connector) => self.open(connector.clone(), target).await,
            Connector::Tunnel(connector) => self.open(connector.clone(), target).await,
            Connector::Forward { connector, proxy } => {
                self.open(connector.clone(), proxy.clone()).await
            }
        }
    }

    async fn open<C, IO>(&self, mut connector: C, target: Uri) -> Result<Connection, SendError>
    where
        C: Service<Uri, Response = MaybeHttpsStream<IO>>,
        C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        IO: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let connect_error = |error: Box<dyn std::error::Error + Send + Sync>| {
            SendError::Connect(chain(error.as_ref()))
        };
        std::future::poll_fn(|cx| connector.poll_ready(cx))
            .await
            .map_err(|error| connect_error(error.into()))?;
        let io = connector
            .call(target)
            .await
            .map_err(|error| connect_error(error.into()))?;
        let tls = match &io {
            MaybeHttpsStream::Http(_) => None,
            MaybeHttpsStream::Https(stream) => stream.inner().get_ref().1.protocol_version(),
        };
        let (sender, connection) = http1::Builder::new()
            .max_header_size(self.headers_max_bytes)
            .handshake(io)
            .await
            .map_err(|error| SendError::Connect(chain(&error)))?;
        // The connection's own errors reach the request that is waiting on it.
        let running = tokio::spawn(async move {
            let _closed = connection.await;
        });
        let task = running.abort_handle();
        Ok(Connection { sender, tls, task })
    }
}

fn parse_base(base: &str) -> Result<Uri, TargetError> {
    if base.contains(['#', '?']) || base.contains('@') {
        return Err(TargetError::ExtraParts);
    }
    let not_a_url = || TargetError::NotAUrl {
        url: base.to_owned(),
    };
    let target: Uri = base.parse().map_err(|_| not_a_url())?;
    let scheme = target.scheme_str().ok_or_else(not_a_url)?;
    if !matches!(scheme, "http" | "https") {
        return Err(TargetError::Scheme {
            url: base.to_owned(),
        });
    }
    if target.host().is_none_or(str::is_empty) {
        return Err(not_a_url());
    }
    Ok(target)
}

/// The system's roots (`SSL_CERT_FILE` honoured), or Mozilla's where the system has none.
fn tls_config(target: &Uri) -> Result<rustls::ClientConfig, TargetError> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = || {
        rustls::ClientConfig::builder_with_provider(std::sync::Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TargetError::Tls)
    };
    if target.scheme_str() == Some("http") {
        return Ok(builder()?.with_webpki_roots().with_no_client_auth());
    }
    match builder()?.with_native_roots() {
        Ok(with_roots) => Ok(with_roots.with_no_client_auth()),
        Err(error) if std::env::var_os("SSL_CERT_FILE").is_some() => Err(TargetError::Roots(error)),
        Err(_) => Ok(builder()?.with_webpki_roots().with_no_client_auth()),
    }
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    if text.contains("InvalidContentType") {
        return "the server does not speak TLS here: try `http://` in the place of `https://`"
            .into();
    }
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_http_with_a_host_and_nothing_else() {
        for good in [
            "http://127.0.0.1:8080/v1",
            "https://api.example.com",
            "http://[::1]:9/v1/",
        ] {
            assert!(parse_base(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "api.example.com/v1",
            "/v1",
            "ftp://x/v1",
            "http://",
            "http://u:p@x/v1",
            "http://x/v1?k=1",
            "http://x/v1#f",
            "not a url",
        ] {
            assert!(parse_base(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_with_a_password_in_the_url_does_not_show_it() {
        let error = parse_base("http://user:hunter22@x/v1").unwrap_err();
        assert!(!error.to_string().contains("hunter22"));
    }
}
