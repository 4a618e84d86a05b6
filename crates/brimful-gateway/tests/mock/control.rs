//! Reading and changing the mock while it serves.

use crate::rig::{chat, start};

#[tokio::test]
async fn a_change_of_the_limits_counts_from_the_next_request_on() {
    let mock = start(|c| c.rpm = Some(1));
    assert_eq!(mock.ask(&chat("a")).await.status, 200);
    assert_eq!(mock.ask(&chat("b")).await.status, 429);
    let changed = mock
        .control("POST", "/config", r#"{"rpm": null, "error-share": 1}"#)
        .await;
    assert_eq!(changed.status, 200);
    let config = changed.json();
    assert!(config["rpm"].is_null() && config["error-share"] == 1.0);
    assert_eq!(mock.ask(&chat("c")).await.status, 500);
    let shown = mock.control("GET", "/config", "").await;
    assert_eq!(shown.json(), config);
}

#[tokio::test]
async fn a_bad_change_is_refused_with_its_reason_and_changes_nothing() {
    let mock = start(|c| c.rpm = Some(5));
    let before = mock.control("GET", "/config", "").await.json();
    for (body, reason) in [
        (r#"{"rpm": 7, "tpm": 0}"#, "tpm"),
        (
            r#"{"rpm": 7, "error-share": 2}"#,
            "error-share must be between 0 and 1",
        ),
        (
            r#"{"rpm": 7, "latency": "99999h"}"#,
            "latency must be between",
        ),
        (r#"{"rpm": 7, "rmp": 1}"#, "unknown field `rmp`"),
        (r#"{"rpm": "many"}"#, "many"),
        (r#"{"rpm": 7, "latency": null}"#, "none"),
        (r#"{"rpm": 7, "limits": null}"#, "none"),
        (r#"{"rpm": 7, "outage": "refuse"}"#, "--script"),
        ("{", "EOF"),
        ("", "JSON object"),
        ("[]", "JSON object"),
    ] {
        let refused = mock.control("POST", "/config", body).await;
        assert_eq!(refused.status, 400, "{body}");
        let error = refused.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(reason), "{body}: {error}");
    }
    let after = mock.control("GET", "/config", "").await.json();
    assert_eq!(after, before);
}

#[tokio::test]
async fn the_key_is_not_part_of_the_configuration_that_is_shown() {
    let mock = start(|c| c.auth = Some("sk-secret".into()));
    let shown = mock.control("GET", "/config", "").await;
    assert_eq!(shown.status, 200);
    assert!(!shown.text().contains("sk-secret"));
}

#[tokio::test]
async fn own_paths_say_which_methods_they_take() {
    let mock = start(|_| {});
    for (method, path, allowed) in [
        ("POST", "/stats", "GET"),
        ("DELETE", "/config", "GET, POST"),
        ("GET", "/reset", "POST"),
    ] {
        let refused = mock.control(method, path, "").await;
        assert_eq!(refused.status, 405, "{path}");
        assert_eq!(refused.header("allow"), Some(allowed));
    }
    assert_eq!(mock.account.stats().requests, 0);
}
