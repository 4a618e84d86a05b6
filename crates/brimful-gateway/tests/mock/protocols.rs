//! TLS and HTTP/2.

use std::net::Ipv4Addr;
use std::sync::Arc;

use brimful_gateway::mock::Tls;
use brimful_sim::answer_tag;
use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::rig::{Mock, chat, post, start, start_with};

type Sender = http2::SendRequest<Full<Bytes>>;

#[tokio::test]
async fn a_client_that_begins_with_http2_is_served_without_tls() {
    let mock = start(|_| {});
    let mut client = over_http2(tcp(&mock).await).await;
    for prompt in ["a", "b"] {
        let (status, body) = ask(&mut client, prompt).await.unwrap();
        assert_eq!(status, 200);
        assert!(body.contains(&answer_tag(prompt)), "{body}");
    }
    assert_eq!(mock.account.stats().answered, 2);
}

#[tokio::test]
async fn one_http2_connection_carries_many_requests_at_a_time() {
    let mock = start(|c| c.hang_share = 1.0);
    let client = over_http2(tcp(&mock).await).await;
    let asking: Vec<_> = (0..50)
        .map(|turn| {
            let mut client = client.clone();
            tokio::spawn(async move { ask(&mut client, &turn.to_string()).await })
        })
        .collect();
    mock.until_in_flight(50).await;
    for asked in asking {
        asked.abort();
    }
    // A stream that its client cancels frees its slot as a closed connection does.
    mock.until_in_flight(0).await;
    assert_eq!(mock.account.stats().abandoned, 50);
    let patched = mock.control("POST", "/config", r#"{"hang-share":0}"#).await;
    assert_eq!(patched.status, 200);
    assert_eq!(ask(&mut client.clone(), "after").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_reset_over_http2_is_that_of_its_stream() {
    let mock = start(|c| c.reset_share = 1.0);
    let mut client = over_http2(tcp(&mock).await).await;
    assert!(ask(&mut client, "a").await.is_err());
    let patched = mock
        .control("POST", "/config", r#"{"reset-share":0}"#)
        .await;
    assert_eq!(patched.status, 200);
    assert_eq!(ask(&mut client, "b").await.unwrap().0, 200);
}

#[tokio::test]
async fn an_answer_that_breaks_off_over_http2_is_an_error() {
    let mock = start(|c| c.truncate_share = 1.0);
    let mut client = over_http2(tcp(&mock).await).await;
    assert!(ask(&mut client, "a").await.is_err());
}

#[tokio::test]
async fn shutdown_ends_http2_streams_too() {
    let mut mock = start(|c| c.hang_share = 1.0);
    let mut client = over_http2(tcp(&mock).await).await;
    let asking = tokio::spawn(async move { ask(&mut client, "a").await.is_err() });
    mock.until_in_flight(1).await;
    mock.stop.take();
    (&mut mock.serving).await.unwrap();
    assert!(asking.await.unwrap());
    mock.until_in_flight(0).await;
}

#[tokio::test]
async fn a_client_that_trusts_the_made_authority_is_served_over_tls() {
    let (mock, tls) = secure();
    let stream = tls_stream(&mock, &tls, &[]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let running = tokio::spawn(connection);
    let response = sender.send_request(request("m", "hello")).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_11);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains(&answer_tag("hello")));
    drop(sender);
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn alpn_chooses_http2() {
    let (mock, tls) = secure();
    let stream = tls_stream(&mock, &tls, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let mut client = over_http2(stream).await;
    let (status, body) = ask(&mut client, "hello").await.unwrap();
    assert_eq!(status, 200);
    assert!(body.contains(&answer_tag("hello")));
}

#[tokio::test]
async fn a_client_that_trusts_someone_else_is_not_served() {
    let (mock, _) = secure();
    let other = Tls::self_signed(Ipv4Addr::LOCALHOST.into()).unwrap();
    let refused = tls_stream(&mock, &other, &[]).await.unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    // Neither is one without TLS, and the server goes on.
    let mut plain = tcp(&mock).await;
    let sent = post("/v1/chat/completions", &chat("a"), "");
    plain.write_all(&sent).await.unwrap();
    let mut seen = Vec::new();
    // Closed or reset: what counts is that nothing was answered.
    let _ended = plain.read_to_end(&mut seen).await;
    assert!(!seen.starts_with(b"HTTP"), "{seen:?}");
    assert_eq!(mock.account.stats().requests, 0);
}

#[tokio::test]
async fn a_reset_over_tls_is_a_reset() {
    let tls = Tls::self_signed(Ipv4Addr::LOCALHOST.into()).unwrap();
    let mock = start_with(|c| c.reset_share = 1.0, Some(tls.clone()));
    let mut stream = tls_stream(&mock, &tls, &[]).await.unwrap();
    let sent = post("/v1/chat/completions", &chat("a"), "");
    stream.write_all(&sent).await.unwrap();
    let error = stream.read(&mut [0; 64]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

fn secure() -> (Mock, Tls) {
    let tls = Tls::self_signed(Ipv4Addr::LOCALHOST.into()).unwrap();
    (start_with(|_| {}, Some(tls.clone())), tls)
}

async fn tcp(mock: &Mock) -> TcpStream {
    TcpStream::connect(mock.addr).await.unwrap()
}

async fn tls_stream(
    mock: &Mock,
    trusted: &Tls,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    let pem = trusted.trust_pem().as_bytes();
    roots
        .add(CertificateDer::from_pem_slice(pem).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp(mock).await)
        .await
}

async fn over_http2(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Sender {
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(io));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn ask(client: &mut Sender, prompt: &str) -> hyper::Result<(u16, String)> {
    client.ready().await?;
    let response = client.send_request(request("http://m", prompt)).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// HTTP/2 takes the host from the URL, HTTP/1.1 from a header.
fn request(base: &str, prompt: &str) -> Request<Full<Bytes>> {
    let url = match base.strip_prefix("http") {
        Some(_) => format!("{base}/v1/chat/completions"),
        None => "/v1/chat/completions".to_owned(),
    };
    let body = Full::new(Bytes::from(chat(prompt)));
    let mut request = Request::post(url).body(body).unwrap();
    if !base.starts_with("http") {
        let host = base.parse().unwrap();
        request.headers_mut().insert("host", host);
    }
    request
}
