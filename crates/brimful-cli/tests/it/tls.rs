//! TLS from end to end: a mock with a certificate of its own and a run that trusts it, or not.

use crate::mock_process::Mock;
use crate::workdir::TestDir;

#[test]
fn a_run_over_tls_trusts_the_certificate_that_it_is_shown_to_trust() {
    let mock = Mock::start("--tls --tls-cert-out ca.pem");
    assert!(
        mock.url().starts_with("https://127.0.0.1:"),
        "{}",
        mock.url()
    );
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 20);
    dir.run_at(mock.url(), "in.jsonl -o out.jsonl --concurrency 4")
        .env("SSL_CERT_FILE", &mock.path("ca.pem"))
        .exits(0);
    let answers = dir.json_lines("out.jsonl");
    assert_eq!(answers.len(), 20);
    assert!(
        answers
            .iter()
            .all(|line| line["response"]["status_code"] == 200)
    );
}

#[test]
fn a_run_that_trusts_someone_else_sends_nothing_and_says_why() {
    let mock = Mock::start("--tls");
    let other = Mock::start("--tls --tls-cert-out other.pem");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 1);
    let ended = dir
        .run_at(mock.url(), "in.jsonl -o out.jsonl --max-attempts 1")
        .env("SSL_CERT_FILE", &other.path("other.pem"))
        .output();
    assert_ne!(ended.code, Some(0));
    assert!(!dir.read("in.jsonl").is_empty());
    let trail: String = dir.names().iter().map(|name| dir.read(name)).collect();
    let said = format!("{}{trail}", ended.stderr);
    assert!(said.contains("certificate"), "{said}");
}

#[test]
fn own_certificates_are_used_and_bad_ones_are_named() {
    let dir = TestDir::new();
    dir.write("cert.pem", "no certificate");
    dir.write("key.pem", "no key");
    let flags = "mock --listen 127.0.0.1:0 --tls-cert cert.pem --tls-key key.pem";
    let refused = dir.brimful(flags).exits(1).stderr;
    assert!(
        refused.contains("cert.pem") && refused.contains("PEM"),
        "{refused}"
    );
    let missing = dir
        .brimful("mock --listen 127.0.0.1:0 --tls-cert cert.pem --tls-key nowhere.pem")
        .exits(1)
        .stderr;
    assert!(missing.contains("nowhere.pem"), "{missing}");
    dir.brimful("mock --tls-cert cert.pem").exits(2);
}
