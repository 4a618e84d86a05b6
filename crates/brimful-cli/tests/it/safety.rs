//! What must never happen: requests to a host that an input file names, keys in files, escape codes
//! on a terminal.

use std::net::TcpListener;

use crate::mock_process::Mock;
use crate::scripted::{Reply, Scripted, answer, chat, reply};
use crate::workdir::{TestDir, batch_line, batch_line_to, json_lines};

const KEY: &str = "sk-4f0bb9e2d1c8";

/// A port where every connection is noticed.
struct Trap(TcpListener);

impl Trap {
    fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    #[track_caller]
    fn is_untouched(&self) {
        let came = self.0.accept();
        assert!(came.is_err(), "somebody connected: {came:?}");
    }
}

#[test]
fn the_url_of_a_line_cannot_leave_the_base_url() {
    let trap = Trap::set();
    let other = trap.address();
    let mock = Mock::start("");
    let dir = TestDir::new();
    let urls = [
        format!("http://{other}/"),
        format!("HTTP://{other}/v1/chat/completions"),
        format!("//{other}/"),
        format!("/\\{other}"),
        format!("\\\\{other}\\x"),
        format!("@{other}/v1/x"),
        format!("/@{other}/../../x"),
        "/v1/../../x".to_owned(),
        "/v1/%2e%2e/%2E./x".to_owned(),
        "/v1/..;/x".to_owned(),
        "/v1/%2f%2fh".to_owned(),
        "/v1/x HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(),
        "/v1/x\u{0}".to_owned(),
        "?x".to_owned(),
        String::new(),
    ];
    let mut lines: String = urls
        .iter()
        .enumerate()
        .map(|(n, url)| batch_line_to(&format!("bad{n}"), url))
        .collect();
    lines.push_str(&batch_line("good"));
    dir.write("in.jsonl", lines);
    dir.run_at(mock.url(), "in.jsonl -o out.jsonl").exits(3);
    trap.is_untouched();
    assert_eq!(mock.count("requests"), 1, "{}", mock.stats());
    let dead = dir.json_lines("out.jsonl.errors.jsonl");
    assert_eq!(dead.len(), urls.len());
    for (n, dead) in dead.iter().enumerate() {
        assert_eq!(dead["custom_id"], format!("bad{n}"));
        let message = dead["error"]["message"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("line {}: ", n + 1)),
            "{message}"
        );
        assert!(message.contains("url"), "{message}");
    }
    assert_eq!(dir.json_lines("out.jsonl")[0]["custom_id"], "good");
}

#[test]
fn redirects_are_not_followed() {
    let trap = Trap::set();
    let location = format!("location: http://{}/stolen\r\n", trap.address());
    let server = Scripted::start(move |seen| {
        let status = ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"][seen.number % 4];
        Reply::Send(reply(status, &location, b"{}"))
    });
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 4);
    dir.run_at(&server.url(), "in.jsonl -o out.jsonl --concurrency 1")
        .env("OPENAI_API_KEY", KEY)
        .exits(3);
    trap.is_untouched();
    assert_eq!(server.seen().len(), 4);
    assert_eq!(dir.json_lines("out.jsonl.errors.jsonl").len(), 4);
}

#[test]
fn a_key_that_the_server_repeats_is_in_no_file_and_not_on_the_screen() {
    let mock = Mock::with_key(KEY, "--echo-headers --error-share 0.4 --overload-share 0.2");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 30);
    dir.write("in.txt", "one\ntwo\nthree\nfour\nfive\nsix\n");
    for arguments in [
        "in.jsonl -o out.jsonl",
        "in.jsonl -o out2.jsonl --log-format json --progress json --progress-every 1ms",
        "in.jsonl -o -",
        "in.txt -o out.csv --model m",
        "in.txt -o - --model m --ordered --journal j.jsonl",
    ] {
        let done = dir
            .run_at(mock.url(), arguments)
            .args("--max-attempts 2 --trace trace.jsonl")
            .env("OPENAI_API_KEY", KEY)
            .output();
        assert!(matches!(done.code, Some(0 | 3)), "{done}");
        let shown = format!("{}{}", done.stdout, done.stderr);
        assert!(!shown.contains(KEY), "{done}");
        assert_eq!(dir.files_with(KEY), [] as [&str; 0], "{arguments}");
    }
    // The server did repeat it, in answers and in errors.
    assert_ne!(dir.files_with("Bearer [redacted]"), [] as [&str; 0]);
    assert!(dir.read("trace.jsonl").contains("[redacted]"));
}

/// Repeats the whole head of a request in its answer, and the words of its values.
fn parrot() -> Scripted {
    Scripted::start(|seen| {
        let words: Vec<&str> = seen.head.split([' ', ';', '=']).collect();
        let text = format!("{} and {}", seen.head, words.join("\n"));
        Reply::Send(answer(&text))
    })
}

#[test]
fn secrets_that_were_typed_are_kept_as_well() {
    let server = parrot();
    let dir = TestDir::new();
    dir.write("in.txt", "one\n");
    let headers = [
        ("Authorization", "Bearer typed-0001"),
        ("X-API-Key", "typed-0002"),
        ("api-key", "typed-0003"),
        ("x-goog-api-key", "typed-0004"),
        ("Cookie", "theme=plain; session=typed-000000000005"),
        ("Proxy-Authorization", "Basic typed-0006"),
        ("X-Plain", "typed-and-seen"),
    ];
    let mut invocation = dir.run_at(&server.url(), "in.txt -o out.csv --model m");
    let mut config = "[run.header]\n".to_owned();
    for (name, value) in headers {
        invocation = invocation.arg("--header").arg(format!("{name}: {value}"));
        config.push_str(&format!("{name} = \"{value}\"\n"));
    }
    invocation.exits(0);
    // Not a file of the run, which may hold what its owner writes into it.
    let folder = TestDir::new();
    folder.write("brimful.toml", config);
    dir.run_at(&server.url(), "in.txt -o out2.csv --model m --config")
        .arg(folder.path("brimful.toml"))
        .exits(0);
    assert_eq!(dir.files_with("typed-0"), [] as [&str; 0]);
    for output in ["out.csv", "out2.csv"] {
        let answer = dir.read(output);
        assert!(answer.contains("typed-and-seen"), "{answer}");
        assert!(answer.contains("plain"), "{answer}");
    }
    for seen in server.seen() {
        assert_eq!(seen.head.matches("typed-0").count(), 6, "{}", seen.head);
    }
}

#[test]
fn secrets_of_other_headers_are_kept_as_well() {
    // The server repeats every header line, and the key of one without the word before it.
    let server = Scripted::start(|seen| {
        let key = seen.head.split("bearer ").nth(1).unwrap_or_default();
        let key = key.lines().next().unwrap_or_default().to_owned();
        let text = chat(&format!("{} and {key}", seen.head));
        let header = format!("x-request-id: req-{key}\r\n");
        Reply::Send(reply("200 OK", &header, text.as_bytes()))
    });
    let dir = TestDir::new();
    dir.write("in.txt", "one\n");
    dir.run_at(&server.url(), "in.txt -o out.csv --model m --trace t.jsonl")
        .arg("--header")
        .arg("Authorization: env:MY_AUTH")
        .arg("--header")
        .arg("X-Team: env:MY_TEAM")
        .arg("--header")
        .arg("X-Plain: seen")
        .env("MY_AUTH", &format!("bearer {KEY}"))
        .env("MY_TEAM", "team-secret-77-of-12")
        .exits(0);
    let sent = &server.seen()[0].head;
    for line in [
        format!("authorization: bearer {KEY}\r\n"),
        "x-team: team-secret-77-of-12\r\n".to_owned(),
        "x-plain: seen\r\n".to_owned(),
    ] {
        assert!(sent.contains(&line), "{sent}");
    }
    for secret in [KEY, "team-secret-77-of-12"] {
        assert_eq!(dir.files_with(secret), [] as [&str; 0], "{secret}");
    }
    assert!(dir.read("out.csv").contains("x-plain: seen"));
}

#[test]
fn an_ordinary_word_from_the_environment_leaves_answers_as_they_are() {
    let server = Scripted::start(|_| Reply::Send(answer("many choices")));
    let dir = TestDir::new();
    dir.write("in.txt", "one\n");
    dir.run_at(&server.url(), "in.txt -o out.csv --model m")
        .arg("--header")
        .arg("X-Team: env:TEAM")
        .env("TEAM", "choices")
        .exits(0);
    assert!(server.seen()[0].head.contains("x-team: choices\r\n"));
    assert_eq!(dir.csv("out.csv")[1][1], "many choices");
}

#[test]
fn escape_codes_of_a_server_do_not_reach_the_screen() {
    let mock = Mock::start("--escape-codes --error-share 0.4");
    let quota = Mock::start("--escape-codes --quota-after 0");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 20);
    for (at, arguments) in [
        (&mock, "-o - --ordered"),
        (&mock, "-o out.jsonl --log-format json"),
        (&mock, "-o out.csv --progress bar"),
        (&quota, "-o out2.jsonl"),
        (&quota, "-o out3.jsonl --log-format json"),
    ] {
        let done = dir
            .run_at(at.url(), "in.jsonl --max-attempts 2")
            .args(arguments)
            .output();
        let shown = format!("{}{}", done.stdout, done.stderr);
        let control = shown
            .chars()
            .find(|c| c.is_control() && !"\n\t".contains(*c));
        assert_eq!(control, None, "{arguments}: {shown:?}");
    }
    let answers = dir.read("out.jsonl");
    assert!(
        answers.contains("\\u001b"),
        "the server sent none: {answers}"
    );
}

#[test]
fn escape_codes_of_an_id_do_not_reach_the_screen() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write(
        "in.jsonl",
        [batch_line("\u{1b}]0;x\u{7}"), batch_line("\u{1b}]0;x\u{7}")].concat(),
    );
    let done = dir
        .run_at(mock.url(), "in.jsonl -o out.jsonl --strict")
        .exits(2);
    assert!(!done.stderr.contains('\u{1b}'), "{:?}", done.stderr);
    assert_eq!(mock.count("requests"), 0);
}

#[test]
fn control_characters_on_standard_output_are_escaped_without_loss() {
    let text = "a\u{7f}b\u{9b}2Jc\u{85}é\u{2028}";
    let server = Scripted::start(move |_| Reply::Send(answer(text)));
    let dir = TestDir::new();
    dir.write("in.txt", "one\n");
    let done = dir.run_at(&server.url(), "in.txt -o - --model m").exits(0);
    assert!(
        done.stdout.contains("a\\u007fb\\u009b2Jc\\u0085é"),
        "{done}"
    );
    assert_eq!(json_lines(&done.stdout)[0]["response"], text);
}

#[cfg(unix)]
#[test]
fn the_journal_of_rows_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.txt", "one\n");
    dir.run_at(mock.url(), "in.txt -o out.csv --model m")
        .exits(0);
    let metadata = std::fs::metadata(dir.path("out.csv.journal.jsonl")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}
