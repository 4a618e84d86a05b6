//! Native endpoints, answered whole and in pieces.

use serde_json::{Value, json};

use crate::mock_process::Mock;
use crate::scripted::{Reply, Scripted, answer, gzip, reply};
use crate::workdir::TestDir;

/// The flags of each provider that the mock speaks like, and the path that it sees.
const NATIVE: [(&str, &str); 3] = [
    ("--provider anthropic", "/v1/messages"),
    ("--provider gemini", "/v1beta/models/m:generateContent"),
    ("--endpoint chat", "/v1/chat/completions"),
];

fn root(mock: &Mock) -> String {
    format!("http://{}", mock.address())
}

#[test]
fn a_streamed_answer_is_kept_like_one_that_came_whole() {
    let mock = Mock::start("--output-tokens 40");
    for (flags, _) in NATIVE {
        let dir = TestDir::new();
        dir.write("in.txt", "one\ntwo\n");
        // The mock's answer depends on the body, and the body on whether it asks for a stream.
        let run = |output: &str, more: &str| {
            dir.run_at(&root(&mock), "in.txt --model m --system s")
                .args(flags)
                .args(&format!("{more} -o {output} --trace {output}.trace"))
                .exits(0);
            let path = format!("{output}.journal.jsonl");
            let answers = dir.json_lines(&path).into_iter();
            let bodies = answers.map(|line| line["response"]["body"].clone());
            (dir.csv(output), bodies.collect::<Vec<Value>>())
        };
        let (plain_rows, plain) = run("plain.csv", "");
        let (rows, streamed) = run("streamed.csv", "--param stream=true");
        for (plain, row) in plain_rows[1..].iter().zip(&rows[1..]) {
            assert!(row[1].starts_with('['), "{flags}: {row:?}");
            assert_eq!((&row[0], &row[3]), (&plain[0], &String::new()));
            let [plain, streamed] =
                [&plain[2], &row[2]].map(|usage| serde_json::from_str::<Value>(usage).unwrap());
            assert_eq!(plain, streamed, "{flags}");
        }
        for (plain, streamed) in plain.iter().zip(&streamed) {
            assert_eq!(keys_of(plain), keys_of(streamed), "{flags}: {streamed}");
        }
        for line in dir.json_lines("streamed.csv.trace") {
            assert!(line["first_event_ms"].as_f64() >= line["first_byte_ms"].as_f64());
            assert!(line["output_tokens"].as_u64() > Some(0), "{line}");
        }
        let unstreamed = &dir.json_lines("plain.csv.trace")[0];
        assert_eq!(unstreamed.get("first_event_ms"), None);
    }
}

/// Every key at any depth that has a value, with its place.
fn keys_of(value: &Value) -> Vec<String> {
    let mut keys = Vec::new();
    let nested: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(items) => items.iter().map(|item| ("[]".to_owned(), item)).collect(),
        _ => Vec::new(),
    };
    for (key, value) in nested.into_iter().filter(|(_, value)| !value.is_null()) {
        keys.extend(keys_of(value).iter().map(|inner| format!("{key}.{inner}")));
        keys.push(key);
    }
    // The mock's streams leave it out.
    keys.retain(|key| key != "system_fingerprint");
    keys.sort();
    keys
}

#[test]
fn streams_that_break_off_are_sent_again_until_they_are_whole() {
    let mock = Mock::start("--truncate-share 0.3 --output-tokens 20");
    for (flags, _) in NATIVE {
        let dir = TestDir::new();
        dir.write("in.txt", "row\n".repeat(30));
        dir.run_at(
            &root(&mock),
            "in.txt --model m --param stream=true -o out.csv",
        )
        .args(flags)
        .args("--max-backoff 10ms --max-attempts 20")
        .exits(0);
        let summary = dir.summary("out.csv");
        assert_eq!(summary["requests"]["answered"], 30, "{summary}");
        assert!(
            summary["attempts"]["transient"].as_u64() > Some(0),
            "{summary}"
        );
    }
}

/// A reply whose body is a stream of these events and ends properly.
fn stream(events: &str) -> Vec<u8> {
    let length = events.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
         x-request-id: r7\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{events}"
    )
    .into_bytes()
}

fn chat_events(text: &str) -> String {
    let chunk = |delta: Value, reason: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        format!("data: {}\n\n", json!({"id": "c", "choices": [choice]}))
    };
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 1}});
    [
        chunk(json!({"role": "assistant", "content": text}), Value::Null),
        chunk(json!({}), json!("stop")),
        format!("data: {usage}\n\ndata: [DONE]\n\n"),
    ]
    .concat()
}

/// One streamed request to a server that says this; the line that is kept of it.
fn streamed_once(reply: Vec<u8>, flags: &str) -> (Value, Value) {
    let server = Scripted::start(move |_| Reply::SendAndClose(reply.clone()));
    let dir = TestDir::new();
    dir.write(
        "in.jsonl",
        r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"stream":true}}"#,
    );
    let run = dir
        .run_at(
            &server.url(),
            "in.jsonl -o out.jsonl --max-attempts 2 --max-backoff 10ms",
        )
        .args(flags)
        .output();
    let kept = match run.code {
        Some(0) => dir.json_lines("out.jsonl"),
        _ => dir.json_lines("out.jsonl.errors.jsonl"),
    };
    (kept[0].clone(), dir.summary("out.jsonl"))
}

#[test]
fn what_a_stream_came_to_is_told_by_its_events() {
    let overloaded = r#"data: {"type":"error","error":{"type":"overloaded_error","message":"m"}}"#;
    let refused = r#"data: {"error":{"code":"context_length_exceeded","message":"too long"}}"#;
    let whole = chat_events("x");
    let (begun, _) = whole.split_once("\n\n").unwrap();
    let torn = &whole[..begun.len() + 20];
    for (events, code, class, attempts) in [
        (torn.to_owned(), "stream_cut", "transient", 2),
        (": keep-alive\n\n".to_owned(), "stream_cut", "transient", 2),
        (
            format!("{begun}\n\n{overloaded}\n\n"),
            "overloaded_error",
            "overloaded",
            2,
        ),
        (
            format!("{refused}\n\n"),
            "context_length_exceeded",
            "fatal",
            1,
        ),
        (
            "data: {\"x\": 1}\n\n".to_owned(),
            "event_stream",
            "fatal",
            1,
        ),
        (
            "data: {\"choices\": [\n\n".to_owned(),
            "not_json",
            "invalid",
            2,
        ),
    ] {
        let (letter, summary) = streamed_once(stream(&events), "");
        assert_eq!(letter["error"]["code"], code, "{letter}");
        let trail = letter["attempts"].as_array().unwrap();
        assert_eq!(trail.len(), attempts, "{letter}");
        assert_eq!(
            (&trail[0]["class"], &trail[0]["status"]),
            (&json!(class), &json!(200))
        );
        assert_eq!(summary["attempts"][class], attempts);
    }
}

#[test]
fn keep_alives_before_within_and_after_an_answer_change_nothing() {
    let events = chat_events("hi").replace("\n\n", "\n\n: keep-alive\n\n\r\n\r\n");
    let events = format!("\n\n: OPENROUTER PROCESSING\n\n{events}");
    let (line, _) = streamed_once(stream(&events), "");
    let body = &line["response"]["body"];
    assert_eq!(body["choices"][0]["message"]["content"], "hi");
    assert_eq!(body["usage"]["completion_tokens"], 1);
    assert_eq!(line["response"]["request_id"], "r7");
}

#[test]
fn an_answer_that_was_whole_is_kept_however_the_connection_ends() {
    let mut unclean = stream(&chat_events("hi"));
    let announced = String::from_utf8(unclean.clone()).unwrap();
    unclean = announced
        .replace("content-length: ", "content-length: 9")
        .into_bytes();
    let (line, _) = streamed_once(unclean, "");
    assert_eq!(
        line["response"]["body"]["choices"][0]["message"]["content"],
        "hi"
    );
}

#[test]
fn a_compressed_stream_is_read_too_and_one_over_the_bound_is_not() {
    let events = chat_events("hi");
    let packed = gzip(events.as_bytes());
    let mut reply = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\
         content-length: {}\r\n\r\n",
        packed.len()
    )
    .into_bytes();
    reply.extend_from_slice(&packed);
    let (line, _) = streamed_once(reply, "");
    assert_eq!(
        line["response"]["body"]["choices"][0]["message"]["content"],
        "hi"
    );
    let endless =
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n".repeat(99);
    let (letter, _) = streamed_once(stream(&endless), "--response-max-bytes 1000");
    assert_eq!(letter["error"]["code"], "response_too_large");
}

#[test]
fn a_key_that_a_stream_says_in_pieces_is_redacted() {
    let piece = |text: &str| {
        let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": null});
        format!("data: {}\n\n", json!({"choices": [choice]}))
    };
    let events = [piece("sk-secret"), piece("-12345 is it"), chat_events(".")].concat();
    let server = Scripted::start(move |_| Reply::SendAndClose(stream(&events)));
    let dir = TestDir::new();
    dir.write("in.txt", "x\n");
    dir.run_at(
        &server.url(),
        "in.txt --model m --param stream=true -o out.csv",
    )
    .env("OPENAI_API_KEY", "sk-secret-12345")
    .exits(0);
    assert!(dir.csv("out.csv")[1][1].starts_with("[redacted] is it"));
    assert!(dir.files_with("sk-secret-12345").is_empty());
}

#[test]
fn a_streamed_request_asks_for_usage_but_is_the_same_request() {
    let server = Scripted::start(|_| Reply::SendAndClose(stream(&chat_events("hi"))));
    let dir = TestDir::new();
    let line = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"stream":true , "n":1.0}}"#;
    dir.write("in.jsonl", line);
    dir.run_at(&server.url(), "in.jsonl -o out.jsonl").exits(0);
    let seen = &server.seen()[0];
    let asked = r#"{"stream_options":{"include_usage":true},"stream":true , "n":1.0}"#;
    assert_eq!(seen.body, asked);
    assert!(
        seen.head.contains("accept-encoding: identity\r\n"),
        "{}",
        seen.head
    );
    // The same line is answered; a second run sends nothing.
    dir.run_at(&server.url(), "in.jsonl -o out.jsonl").exits(0);
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn each_provider_gets_its_key_its_headers_and_its_path() {
    let ok = |events: bool| match events {
        true => stream(&chat_events("hi")),
        false => answer("hi"),
    };
    let server = Scripted::start(move |seen| Reply::Send(ok(seen.body.contains("stream\":true"))));
    for (flags, variable, line, header) in [
        (
            "--provider anthropic",
            "ANTHROPIC_API_KEY",
            "POST /v1/messages HTTP/1.1",
            "x-api-key: the-key-1234\r\n",
        ),
        (
            "--provider gemini",
            "GEMINI_API_KEY",
            "POST /v1beta/models/m%2F1:generateContent HTTP/1.1",
            "x-goog-api-key: the-key-1234\r\n",
        ),
        (
            "--provider azure",
            "AZURE_OPENAI_API_KEY",
            "POST /openai/deployments/m%2F1/chat/completions?api-version=2024-10-21 HTTP/1.1",
            "api-key: the-key-1234\r\n",
        ),
        (
            "--provider openai --endpoint messages",
            "OPENAI_API_KEY",
            "POST /v1/messages HTTP/1.1",
            "authorization: bearer the-key-1234\r\n",
        ),
    ] {
        let dir = TestDir::new();
        dir.write("in.txt", "x\n");
        let before = server.seen().len();
        // Gemini takes a slash for a collection of its own, unless it is encoded.
        let model = if flags.ends_with("gemini") {
            "models/m:1"
        } else {
            "m/1"
        };
        let line = line.replace("models/m%2F1:", "models/m%3A1:");
        dir.run_at(&server.root(), "in.txt -o out.csv --model")
            .arg(model)
            .args(flags)
            .env(variable, "the-key-1234")
            .exits(0);
        let seen = &server.seen()[before];
        assert_eq!(seen.line, line, "{flags}");
        assert!(seen.head.contains(header), "{flags}: {}", seen.head);
        let versioned = seen.head.contains("anthropic-version: 2023-06-01\r\n");
        assert_eq!(versioned, flags.ends_with("anthropic"));
        assert!(dir.files_with("the-key-1234").is_empty());
    }
}

#[test]
fn a_provider_without_key_or_address_is_refused_before_anything_is_sent() {
    let dir = TestDir::new();
    dir.write("in.txt", "x\n");
    for (provider, word) in [
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("gemini", "GEMINI_API_KEY"),
        ("azure", "AZURE_OPENAI_ENDPOINT"),
    ] {
        dir.brimful("run in.txt -o out.csv --model m --provider")
            .arg(provider)
            .exits(2)
            .says(&[word]);
    }
    assert_eq!(dir.names(), ["in.txt"]);
}

#[test]
fn azure_s_openai_batch_files_go_to_its_deployments() {
    let server = Scripted::start(|_| Reply::Send(answer("hi")));
    let dir = TestDir::new();
    dir.write(
        "in.jsonl",
        "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/chat/completions\",\"body\":{\"model\":\"d\"}}\n",
    );
    let run = |url: String, output: &str| {
        dir.brimful("run --durability process in.jsonl --provider azure -o")
            .arg(output)
            .env("AZURE_OPENAI_ENDPOINT", &url)
            .env("OPENAI_API_VERSION", "2030-01-01")
            .exits(0);
    };
    run(server.root(), "out.jsonl");
    run(format!("{}/openai/v1", server.root()), "v1.jsonl");
    let lines: Vec<String> = server.seen().into_iter().map(|seen| seen.line).collect();
    assert_eq!(
        lines,
        [
            "POST /openai/deployments/d/chat/completions?api-version=2030-01-01 HTTP/1.1",
            "POST /openai/v1/chat/completions HTTP/1.1",
        ]
    );
}

/// What Bedrock answers.
fn converse() -> Vec<u8> {
    let body = json!({"output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}},
        "stopReason": "end_turn", "usage": {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4}});
    reply("200 OK", "", body.to_string().as_bytes())
}

#[test]
fn requests_to_bedrock_are_signed_when_they_are_sent() {
    // The first answer makes the request wait: its second attempt is signed anew.
    let server = Scripted::start(|seen| match seen.number {
        0 => Reply::Send(reply(
            "429 Too Many Requests",
            "x-amzn-errortype: ThrottlingException:\r\nretry-after: 1\r\n",
            br#"{"message":"Too many requests for AKIAIOSFODNN7EXAMPLE, token session-token-99"}"#,
        )),
        _ => Reply::Send(converse()),
    });
    let dir = TestDir::new();
    dir.write("in.txt", "x\n");
    let model = "arn:aws:bedrock:us-east-1:1:inference-profile/a.b-v1:0";
    dir.run_at(
        &server.root(),
        "in.txt -o out.csv --provider bedrock --trace t --param maxTokens=9",
    )
    .args("--model")
    .arg(model)
    .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    .env("AWS_SECRET_ACCESS_KEY", "secret-key-4711")
    .env("AWS_SESSION_TOKEN", "session-token-99")
    .env("AWS_REGION", "us-east-1")
    .exits(0);
    assert_eq!(dir.csv("out.csv")[1][1], "hi");
    let seen = server.seen();
    let path =
        "POST /model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fa.b-v1%3A0/converse";
    let header = |of: usize, name: &str| {
        let start = format!("{name}: ");
        let found = seen[of]
            .head
            .lines()
            .find_map(|line| line.strip_prefix(start.as_str()));
        found
            .unwrap_or_else(|| panic!("no {name} in {}", seen[of].head))
            .to_owned()
    };
    for of in [0, 1] {
        assert_eq!(seen[of].line, format!("{path} HTTP/1.1"));
        let body: Value = serde_json::from_str(&seen[of].body).unwrap();
        assert_eq!(body["inferenceConfig"]["maxTokens"], 9);
        assert_eq!(body.get("model"), None);
        let date = header(of, "x-amz-date");
        let scope = format!(
            "credential=akiaiosfodnn7example/{}/us-east-1/bedrock/aws4_request",
            &date[..8]
        );
        let said = header(of, "authorization");
        assert!(said.contains(&scope), "{said}");
        assert!(said.contains("signedheaders=content-type;host;x-amz-date;x-amz-security-token"));
        assert_eq!(header(of, "x-amz-security-token"), "session-token-99");
    }
    assert_ne!(header(0, "x-amz-date"), header(1, "x-amz-date"));
    assert_ne!(header(0, "authorization"), header(1, "authorization"));
    for secret in [
        "secret-key-4711",
        "session-token-99",
        "AKIAIOSFODNN7EXAMPLE",
    ] {
        assert!(dir.files_with(secret).is_empty(), "{secret}");
    }
}

#[test]
fn bedrock_takes_its_own_token_or_a_profile_of_the_credentials_file() {
    let server = Scripted::start(|_| Reply::Send(converse()));
    let dir = TestDir::new();
    dir.write("in.txt", "x\n");
    dir.write(
        "keys",
        "[work]\naws_access_key_id=AKIDWORK\naws_secret_access_key=s\n",
    );
    let run = |output: &str| {
        dir.run_at(&server.root(), "in.txt --provider bedrock --model m -o")
            .arg(output)
    };
    run("a.csv")
        .env("AWS_BEARER_TOKEN_BEDROCK", "bedrock-token-1")
        .exits(0);
    let file = dir.path("keys");
    let with_file = |run: crate::workdir::Invocation| {
        run.env("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap())
            .env("AWS_PROFILE", "work")
    };
    with_file(run("b.csv"))
        .env("AWS_DEFAULT_REGION", "eu-west-1")
        .exits(0);
    let seen = server.seen();
    assert!(
        seen[0]
            .head
            .contains("authorization: bearer bedrock-token-1\r\n")
    );
    assert!(
        seen[1].head.contains("credential=akidwork/"),
        "{}",
        seen[1].head
    );
    with_file(run("c.csv")).exits(2).says(&["AWS_REGION"]);
    run("d.csv")
        .env("AWS_REGION", "eu-west-1")
        .exits(2)
        .says(&["AWS_ACCESS_KEY_ID"]);
    dir.brimful("run in.txt -o e.csv --model m --provider bedrock")
        .exits(2)
        .says(&["AWS_REGION"]);
}

#[test]
fn a_mock_with_a_key_admits_each_dialect_s_header_alone() {
    let mock = Mock::with_key("mock-key-77", "");
    for (provider, variable) in [
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("gemini", "GOOGLE_API_KEY"),
    ] {
        let dir = TestDir::new();
        dir.write("in.txt", "x\n");
        let run = |key: &str, code: i32| {
            dir.run_at(&root(&mock), "in.txt -o out.csv --model m --provider")
                .arg(provider)
                .env(variable, key)
                .exits(code)
        };
        run("wrong-key-78", 1);
        run("mock-key-77", 0);
    }
}
