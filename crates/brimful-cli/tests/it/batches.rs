//! Batch files of other providers than OpenAI, in and out.

use serde_json::{Value, json};

use crate::mock_process::Mock;
use crate::scripted::{Reply, Scripted, chat, reply};
use crate::workdir::TestDir;

fn message_line(id: &str) -> Value {
    let content = format!("prompt of {id}");
    json!({"custom_id": id, "params": {"model": "m", "max_tokens": 9,
        "messages": [{"role": "user", "content": content}]}})
}

fn lines_of(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn root(mock: &Mock) -> String {
    format!("http://{}", mock.address())
}

#[test]
fn anthropic_s_batches_come_back_as_its_results_in_the_order_of_the_input() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    let bad = json!({"custom_id": "bad", "params": {"model": "m"}});
    let lines = [
        message_line("b"),
        bad,
        json!({"custom_id": "c"}),
        message_line("a"),
    ];
    dir.write("in.jsonl", lines_of(&lines));
    let run = || {
        dir.run_at(&root(&mock), "in.jsonl -o out.jsonl --provider anthropic")
            .exits(3)
    };
    run();
    let results = dir.json_lines("out.jsonl");
    let ids: Vec<&Value> = results.iter().map(|line| &line["custom_id"]).collect();
    assert_eq!(ids, ["b", "bad", "c", "a"]);
    let kinds: Vec<&Value> = results.iter().map(|line| &line["result"]["type"]).collect();
    assert_eq!(kinds, ["succeeded", "errored", "errored", "succeeded"]);
    let message = &results[0]["result"]["message"];
    assert_eq!(
        (&message["type"], &message["role"]),
        (&json!("message"), &json!("assistant"))
    );
    // The provider's own error, and ours in its form.
    let refused = &results[1]["result"]["error"];
    assert_eq!(refused["type"], "error");
    assert_eq!(refused["error"]["type"], "invalid_request_error");
    assert!(refused["request_id"].is_string());
    let unreadable = &results[2]["result"]["error"]["error"];
    assert_eq!(unreadable["type"], "invalid_row");
    assert!(
        unreadable["message"]
            .as_str()
            .unwrap()
            .contains("line 3: the line has no `params`")
    );
    // One journal for all forms.
    let journal = dir.json_lines("out.jsonl.journal.jsonl");
    assert!(
        journal
            .iter()
            .all(|line| line["response"]["body"]["type"] == "message")
    );
    let sent = mock.count("requests");
    run();
    assert_eq!(
        (mock.count("requests"), dir.json_lines("out.jsonl")),
        (sent, results)
    );
}

#[test]
fn a_document_of_anthropic_s_is_the_same_batch_as_its_lines() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    let lines = [message_line("a"), message_line("b")];
    dir.write("lines.jsonl", lines_of(&lines));
    let document = serde_json::to_string_pretty(&json!({ "requests": lines })).unwrap();
    dir.write("document.json", &document);
    let run = |input: &str| dir.run_at(mock.url(), input).args("-o out.jsonl");
    run("lines.jsonl").exits(0);
    let made = dir.read("out.jsonl");
    run("document.json").exits(0);
    run("-").stdin(document.clone()).exits(0);
    assert_eq!(dir.read("out.jsonl"), made);
    assert_eq!(mock.count("requests"), 2);
    dir.write("torn.json", &document[..document.len() - 9]);
    run("torn.json")
        .exits(1)
        .says(&["before its list of requests does"]);
}

#[test]
fn gemini_s_batches_need_a_model_and_keep_their_keys() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    let line =
        |key: &str| json!({"key": key, "request": {"contents": [{"parts": [{"text": key}]}]}});
    let bad = json!({"key": "bad", "request": {}});
    dir.write("in.jsonl", lines_of(&[line("x"), bad, line("x")]));
    let run = |flags: &str| dir.run_at(&root(&mock), "in.jsonl").args(flags).exits(3);
    run("--provider gemini -o none.jsonl").says(&["--model"]);
    run("--provider gemini --model g -o out.jsonl");
    let results = dir.json_lines("out.jsonl");
    assert_eq!(results[0]["key"], "x");
    assert_eq!(results[0]["response"]["modelVersion"], "g");
    assert!(results[0]["response"]["candidates"][0]["content"]["parts"][0]["text"].is_string());
    assert_eq!(results[1]["error"]["code"], 400, "{}", results[1]);
    assert_eq!(results[1]["error"]["status"], "INVALID_ARGUMENT");
    let duplicate = results[2]["error"]["message"].as_str().unwrap();
    assert!(
        duplicate.contains("`key` `x` stands in an earlier row"),
        "{duplicate}"
    );
}

#[test]
fn bedrock_s_records_go_to_invoke_or_converse_and_come_back_with_their_input() {
    let server = Scripted::start(|seen| {
        let fails = seen.body.contains("fail");
        let body = match fails {
            true => r#"{"message":"malformed"}"#,
            false => "{\"content\":[{\"type\":\"text\",\n\"text\":\"hi\"}]}",
        };
        let status = if fails { "400 Bad Request" } else { "200 OK" };
        let header = if fails {
            "x-amzn-errortype: ValidationException\r\n"
        } else {
            ""
        };
        Reply::Send(reply(status, header, body.as_bytes()))
    });
    let dir = TestDir::new();
    let record = |id: &str, input: Value| json!({"recordId": id, "modelInput": input});
    let own = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]});
    let converse = json!({"messages": [{"role": "user", "content": [{"text": "x"}]}]});
    let fails = json!({"prompt": "fail"});
    let lines = [
        record("a", own.clone()),
        record("b", converse),
        record("c", fails),
    ];
    dir.write("in.jsonl", lines_of(&lines));
    let run = |flags: &str| {
        dir.run_at(
            &server.root(),
            "in.jsonl -o out.jsonl --concurrency 1 --provider bedrock",
        )
        .args(flags)
        .env("AWS_BEARER_TOKEN_BEDROCK", "token-1234567")
    };
    run("").exits(2).says(&["--model"]);
    run("--model a.b:0").exits(3);
    let paths: Vec<String> = server.seen().into_iter().map(|seen| seen.line).collect();
    let [invoke, converse] =
        ["invoke", "converse"].map(|name| format!("POST /model/a.b%3A0/{name} HTTP/1.1"));
    assert_eq!(paths, [invoke.clone(), converse, invoke]);
    let results = dir.json_lines("out.jsonl");
    assert_eq!(results[0]["recordId"], "a");
    assert_eq!(results[0]["modelInput"], own);
    assert_eq!(results[0]["modelOutput"]["content"][0]["text"], "hi");
    assert_eq!(
        results[2],
        json!({"recordId": "c", "modelInput": {"prompt": "fail"},
            "error": {"errorCode": 400, "errorMessage": "malformed"}})
    );
}

#[test]
fn mistral_s_lines_take_model_and_endpoint_from_the_flags() {
    let server = Scripted::start(|seen| match seen.body.contains("fail") {
        true => Reply::Send(reply(
            "422 No",
            "",
            br#"{"object":"error","message":"m","code":"7"}"#,
        )),
        false => Reply::Send(reply("200 OK", "", chat("hi").as_bytes())),
    });
    let dir = TestDir::new();
    let line = |id: &str, body: Value| json!({"custom_id": id, "body": body});
    let lines = [
        line("a", json!({"messages": []})),
        line("b", json!({})),
        line("c", json!({"model": "own"})),
        line("d", json!({"x": "fail"})),
        json!({"custom_id": "e", "url": "/v1/x", "body": {}}),
    ];
    dir.write("in.jsonl", lines_of(&lines));
    dir.run_at(
        &server.url(),
        "in.jsonl -o out.jsonl --provider mistral --model m --concurrency 1",
    )
    .exits(3);
    let seen = server.seen();
    assert!(
        seen.iter()
            .all(|seen| seen.line == "POST /v1/chat/completions HTTP/1.1")
    );
    let bodies: Vec<&str> = seen.iter().map(|seen| seen.body.as_str()).collect();
    assert_eq!(
        bodies,
        [
            r#"{"model":"m","messages":[]}"#,
            r#"{"model":"m"}"#,
            r#"{"model":"own"}"#,
            r#"{"model":"m","x":"fail"}"#,
        ]
    );
    let results = dir.json_lines("out.jsonl");
    assert_eq!(results[0]["custom_id"], "a");
    assert_eq!(results[0]["response"]["status_code"], 200);
    assert_eq!(
        results[0]["response"]["body"]["choices"][0]["message"]["content"],
        "hi"
    );
    assert_eq!(results[0]["error"], Value::Null);
    assert_eq!(results[3]["response"]["status_code"], 422);
    assert_eq!(results[3]["response"]["body"]["code"], "7");
    assert_eq!(results[3]["error"]["message"], "m");
    assert_eq!(results[4]["response"], Value::Null);
    assert!(
        results[4]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("--input-format batch")
    );
}

#[test]
fn what_a_deadline_leaves_is_in_each_form_s_own_words_and_sent_by_the_next_run() {
    let forms = [
        (message_line("a"), "/result/type", json!("canceled")),
        (
            json!({"key": "a", "request": {"contents": "x"}}),
            "/error/status",
            json!("CANCELLED"),
        ),
        (
            json!({"recordId": "a", "modelInput": {"prompt": "x"}}),
            "/error/errorCode",
            json!("not_sent"),
        ),
        (
            json!({"custom_id": "a", "body": {"x": 1}}),
            "/error/code",
            json!("not_sent"),
        ),
    ];
    for (line, place, word) in forms {
        let server = Scripted::start(|seen| match seen.number {
            0 => Reply::Send(reply("429 Wait", "retry-after: 60\r\n", b"{}")),
            _ => Reply::Send(reply("200 OK", "", chat("hi").as_bytes())),
        });
        let dir = TestDir::new();
        dir.write("in.jsonl", line.to_string());
        let model = if line.get("params").is_some() {
            ""
        } else {
            "--model m"
        };
        let run = |flags: &str| {
            dir.run_at(&server.root(), "in.jsonl -o out.jsonl")
                .args(model)
                .args(flags)
        };
        run("--deadline 1s").exits(4);
        let left = dir.json_lines("out.jsonl");
        assert_eq!(left[0].pointer(place), Some(&word), "{}", left[0]);
        assert_eq!(server.seen().len(), 1);
        run("").exits(0);
        let answered = &dir.json_lines("out.jsonl")[0];
        assert_ne!(answered.pointer(place), Some(&word), "{answered}");
        assert_eq!(server.seen().len(), 2);
    }
}

#[test]
fn edited_batches_pay_only_for_what_is_new_and_dead_letters_wait_to_be_asked_for() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    let bad = json!({"custom_id": "bad", "params": {"model": "m"}});
    let run = |lines: &[Value], flags: &str, code: i32| {
        dir.write("in.jsonl", lines_of(lines));
        dir.run_at(mock.url(), "in.jsonl -o out.jsonl")
            .args(flags)
            .exits(code);
        let results = dir.json_lines("out.jsonl");
        let ids = results
            .iter()
            .map(|line| line["custom_id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), mock.count("requests"))
    };
    let [a, b, c] = ["a", "b", "c"].map(message_line);
    let ids = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>();
    let first = run(&[a.clone(), bad.clone(), b.clone()], "", 3);
    assert_eq!(first, (ids(&["a", "bad", "b"]), 3));
    assert_eq!(
        run(&[c.clone(), bad.clone(), a.clone()], "", 3),
        (ids(&["c", "bad", "a"]), 4)
    );
    assert_eq!(dir.json_lines("out.jsonl.stale.jsonl")[0]["custom_id"], "b");
    // Taken back from among the stale ones.
    assert_eq!(run(&[b, c, a], "", 0), (ids(&["b", "c", "a"]), 4));
    assert_eq!(run(&[bad], "--retry-failed", 3), (ids(&["bad"]), 5));
}

#[test]
fn standard_output_and_csv_have_their_own_forms_of_a_batch() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write(
        "in.jsonl",
        lines_of(&[message_line("a"), json!({"custom_id": 7, "params": {}})]),
    );
    let streamed = dir.run_at(mock.url(), "in.jsonl -o - --ordered").exits(3);
    let lines = crate::workdir::json_lines(&streamed.stdout);
    assert_eq!(lines[0]["result"]["type"], "succeeded");
    assert_eq!(
        (&lines[1]["custom_id"], &lines[1]["result"]["type"]),
        (&json!("2"), &json!("errored"))
    );
    dir.run_at(mock.url(), "in.jsonl -o out.csv").exits(3);
    let rows = dir.csv("out.csv");
    assert_eq!(
        rows[0],
        ["custom_id", "params", "response", "usage", "error"]
    );
    assert!(rows[1][2].starts_with('['), "{rows:?}");
    assert!(rows[2][4].contains("`custom_id` is no string"), "{rows:?}");
}

#[test]
fn flags_that_rows_need_have_no_use_for_batches() {
    let dir = TestDir::new();
    dir.write("in.jsonl", lines_of(&[message_line("a")]));
    for flags in [
        "--input-format anthropic-batch --prompt x",
        "--input-format anthropic-batch --system x",
        "--param x=1",
        "--id-column custom_id",
        "--response-path $.x",
        "--output-prefix x",
        "--ordered",
    ] {
        dir.run_at("http://127.0.0.1:9/v1", "in.jsonl -o out.jsonl")
            .args(flags)
            .exits(2);
    }
    assert_eq!(dir.names(), ["in.jsonl"]);
}
