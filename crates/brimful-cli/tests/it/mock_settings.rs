//! What the mock is told by flags, by a script and over HTTP.

use serde_json::Value;

use crate::mock_process::Mock;
use crate::workdir::TestDir;

const CHAT: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;

#[test]
fn flags_are_the_configuration_that_it_shows() {
    let mock = Mock::start(
        "--rpm 600 --itpm 50k --rpd 1000 --enforcement fixed --window-phase 10s --judged-over 1s \
         --charge produced --refund --failed-requests-count false --refused-requests-count true \
         --foreign-share 0.25 --latency 250ms --saturation-in-flight 9 --arrival-delay 1ms \
         --level-headers late --retry-after unreadable --limit burst=10/1s,enforcement=sliding",
    );
    let config: Value = serde_json::from_str(&mock.ask("GET", "/config", "")).unwrap();
    for (name, value) in [
        ("rpm", 600.into()),
        ("itpm", 50_000.into()),
        ("tpm", Value::Null),
        ("enforcement", "fixed".into()),
        ("window-phase", 10.0.into()),
        ("charge", "produced".into()),
        ("failed-requests-count", false.into()),
        ("refused-requests-count", true.into()),
        ("latency", 0.25.into()),
        ("level-headers", "late".into()),
        ("retry-after", "unreadable".into()),
    ] {
        assert_eq!(config[name], value, "{name}");
    }
    assert_eq!(config["limits"][0]["name"], "burst");
    assert_eq!(config["limits"][0]["enforcement"], "sliding");
}

#[test]
fn a_script_makes_an_outage_at_its_time() {
    let dir = TestDir::new();
    // At the start, so that nobody has to wait for it.
    dir.write("outage.toml", "[[at]]\nafter = 0\noutage = 'unavailable'\n");
    let mock = Mock::start_in(dir, "--script outage.toml");
    let reply = mock.ask("POST", "/v1/chat/completions", CHAT);
    assert!(reply.contains("server_is_overloaded"), "{reply}");
    assert_eq!(mock.count("outage"), 1);
    let changed = mock.ask("POST", "/config", r#"{"outage": null}"#);
    assert!(changed.contains("\"outage\": null"), "{changed}");
    let reply = mock.ask("POST", "/v1/chat/completions", CHAT);
    assert!(reply.contains("choices"), "{reply}");
}

#[test]
fn a_mistake_in_a_script_is_told_with_file_line_and_remedy() {
    let dir = TestDir::new();
    dir.write("s.toml", "[[at]]\nafter = '30s'\nerror-shore = 0.5\n");
    let refused = dir.brimful("mock --script s.toml").exits(2).stderr;
    let expected = "s.toml:3: unknown setting `error-shore`; did you mean `error-share`?";
    assert!(refused.contains(expected), "{refused}");
    let missing = dir.brimful("mock --script nowhere.toml").exits(1).stderr;
    assert!(missing.contains("cannot read `nowhere.toml`"), "{missing}");
}

#[test]
fn a_share_that_is_none_is_refused_by_its_flags_name() {
    let dir = TestDir::new();
    let refused = dir.brimful("mock --foreign-share 2").exits(2).stderr;
    assert!(
        refused.contains("--foreign-share must be between 0 and 1"),
        "{refused}"
    );
    let refused = dir.brimful("mock --limit rpm=5/1s").exits(2).stderr;
    assert!(refused.contains("name of its own"), "{refused}");
}

#[test]
fn the_help_shows_its_flags_in_groups() {
    let dir = TestDir::new();
    let help = dir.brimful("mock --help").exits(0).stdout;
    for heading in [
        "Listening:",
        "Limits:",
        "Charges:",
        "Answers:",
        "Faults:",
        "What it tells:",
    ] {
        assert!(help.contains(heading), "{heading}\n{help}");
    }
}
