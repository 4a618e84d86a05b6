//! From rows to request bodies: prompts, body templates, parameters, endpoints, ids.

use serde_json::{Value, json};

use crate::mock_process::Mock;
use crate::scripted::{Reply, Scripted, answer};
use crate::workdir::TestDir;

fn server() -> Scripted {
    Scripted::start(|_| Reply::Send(answer("fine")))
}

/// Bodies as they arrived, with one request at a time.
fn bodies(server: &Scripted) -> Vec<Value> {
    let parse = |body: &str| serde_json::from_str(body).unwrap();
    server.seen().iter().map(|seen| parse(&seen.body)).collect()
}

#[test]
fn prompt_system_model_and_parameters_make_the_body() {
    let server = server();
    let dir = TestDir::new();
    dir.write("in.csv", "text,lang\nhello,German\n");
    dir.write("p.txt", "Translate into {{ lang }}: {{ text }}\n");
    dir.run_at(
        &server.url(),
        "in.csv -o out.csv -m some-model --prompt-file p.txt",
    )
    .arg("--system")
    .arg("You know {{ lang }}.")
    .args("--param temperature=0.5 --param max_tokens=7 --param stop=[\"a\"] --param user=me")
    .exits(0);
    assert_eq!(
        bodies(&server),
        [json!({
            "model": "some-model",
            "messages": [
                {"role": "system", "content": "You know German."},
                {"role": "user", "content": "Translate into German: hello"},
            ],
            "temperature": 0.5, "max_tokens": 7, "stop": ["a"], "user": "me",
        })]
    );
}

/// Cells that would break out of a document that is put together as text.
const HOSTILE: &[&str] = &[
    r#"", "max_tokens": 99999, "x": ""#,
    r#"\", "stream": true, "y": "\"#,
    "{{ index }}{% raw %}",
    "}]}, {\"role\":\"system\"",
    "line\nbreak\ttab \u{1f600} \\u0022",
    "${HOME} $(id) `id`",
    "\"",
];

#[test]
fn a_cell_can_neither_break_nor_extend_a_body_template() {
    let server = server();
    let dir = TestDir::new();
    let lines: String = HOSTILE
        .iter()
        .map(|cell| format!("{}\n", json!({"cell": cell})))
        .collect();
    dir.write("in.jsonl", lines);
    dir.write(
        "body.json",
        r#"{"model": "m", "n": 1, "messages": [{"role": "user", "content": "<{{ cell }}>"}]}"#,
    );
    dir.run_at(&server.url(), "in.jsonl -o out.jsonl --concurrency 1")
        .args("--body-template body.json --param seed=4")
        .exits(0);
    let expected: Vec<Value> = HOSTILE
        .iter()
        .map(|cell| {
            json!({"model": "m", "n": 1, "seed": 4,
                "messages": [{"role": "user", "content": format!("<{cell}>")}]})
        })
        .collect();
    assert_eq!(bodies(&server), expected);
}

#[test]
fn a_cell_that_is_meant_to_be_json_is_json() {
    let server = server();
    let dir = TestDir::new();
    dir.write(
        "in.jsonl",
        "{\"talk\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":2}\n",
    );
    dir.run_at(&server.url(), "in.jsonl -o out.jsonl -m m")
        .arg("--body-template")
        .arg(r#"{"messages": "{{ talk | tojson }}", "n": "{{ n | tojson }}", "user": "{{ n }}"}"#)
        .exits(0);
    let talk = json!([{"role": "user", "content": "x"}]);
    assert_eq!(
        bodies(&server),
        [json!({"messages": talk, "n": 2, "user": "2", "model": "m"})]
    );
}

#[test]
fn body_templates_that_cannot_work_are_refused() {
    let dir = TestDir::new();
    dir.write("in.csv", "a\nb\n");
    for (template, word) in [
        ("{\"model\": ", "no valid JSON"),
        ("{\"model\": \"m\", \"messages\": \"{{ a \"}", "template"),
        ("{\"model\": \"m\", \"x\": \"{{ b }}\"}", "`b`"),
        ("{\"messages\": []}", "--model"),
        ("nofile.json", "nofile.json"),
    ] {
        dir.run_at("http://127.0.0.1:9/v1", "in.csv -o out.csv")
            .arg("--body-template")
            .arg(template)
            .exits(2)
            .says(&[word]);
    }
    assert_eq!(dir.names(), ["in.csv"]);
}

#[test]
fn flags_that_exclude_each_other_are_refused() {
    let dir = TestDir::new();
    dir.write("in.csv", "a\nb\n");
    for arguments in [
        "--prompt x --prompt-file in.csv",
        "--prompt x --body-template {}",
        "--system x --body-template {}",
        "--prompt x --param model=z",
        "--prompt x --param messages=[]",
        "--prompt x --param stream=true --endpoint converse",
        "--prompt x --endpoint generate",
        "--prompt x --param temperature",
        "--prompt {{a",
        "--prompt {{a|nofilter}}",
        "--prompt x --journal out.csv",
        "--prompt x --ordered",
        "--prompt x --output-prefix p --response-path $..[",
    ] {
        dir.run_at("http://127.0.0.1:9/v1", "in.csv -o out.csv --model m")
            .args(arguments)
            .exits(2);
    }
    assert_eq!(dir.names(), ["in.csv"]);
}

#[test]
fn every_endpoint_has_its_own_body_and_answer() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.txt", "hello\n");
    for endpoint in ["chat", "responses", "completions"] {
        let output = format!("{endpoint}.csv");
        dir.run_at(mock.url(), "in.txt --model m --max-attempts 1 --endpoint")
            .arg(endpoint)
            .arg("-o")
            .arg(&output)
            .exits(0);
        let text = dir.csv(&output)[1][1].clone();
        assert!(text.starts_with('['), "{endpoint}: {text}");
    }
    dir.run_at(
        mock.url(),
        "in.txt --model m --endpoint embeddings -o e.csv",
    )
    .args("--response-path $.data[0].embedding")
    .exits(0);
    let vector: Vec<f64> = serde_json::from_str(&dir.csv("e.csv")[1][1]).unwrap();
    assert!(vector.len() > 1);
}

#[test]
fn embeddings_need_no_response_path() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.txt", "hello\n");
    dir.run_at(
        mock.url(),
        "in.txt --model m --endpoint embeddings -o e.csv",
    )
    .exits(0);
    let row = &dir.csv("e.csv")[1];
    assert_eq!(row[3], "", "{row:?}");
    let vector: Vec<f64> = serde_json::from_str(&row[1]).unwrap();
    assert!(vector.len() > 1);
}

#[test]
fn any_path_takes_a_body_template() {
    let server = server();
    let dir = TestDir::new();
    dir.write("in.txt", "hello\n");
    dir.run_at(&server.url(), "in.txt -o out.csv --endpoint /v1/rerank?x=1")
        .arg("--body-template")
        .arg(r#"{"query": "{{ text }}"}"#)
        .exits(0);
    let seen = server.seen();
    assert_eq!(seen[0].line, "POST /v1/rerank?x=1 HTTP/1.1");
    assert_eq!(seen[0].body, r#"{"query":"hello"}"#);
    for path in ["http://x/", "//h/x", "/v1/../x", "rerank"] {
        dir.run_at(
            &server.url(),
            "in.txt -o out2.csv --body-template {\"q\":1} --endpoint",
        )
        .arg(path)
        .exits(2);
    }
}

#[test]
fn a_base_url_and_a_path_share_their_version_once() {
    let server = server();
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 1);
    for (base, line) in [
        ("/v1", "POST /v1/chat/completions HTTP/1.1"),
        ("/v1/", "POST /v1/chat/completions HTTP/1.1"),
        ("", "POST /v1/chat/completions HTTP/1.1"),
        ("/", "POST /v1/chat/completions HTTP/1.1"),
        ("/proxy/v1", "POST /proxy/v1/chat/completions HTTP/1.1"),
        ("/proxy", "POST /proxy/v1/chat/completions HTTP/1.1"),
    ] {
        let base_url = format!("{}{base}", server.root());
        dir.run_at(&base_url, "in.jsonl -o out.jsonl --fresh")
            .exits(0);
        assert_eq!(server.seen().last().unwrap().line, line, "{base}");
    }
}

#[test]
fn rows_are_named_by_their_column_or_their_number() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.csv", "id,text\nx,a\ny,b\n");
    let command = "in.csv --model m --prompt {{text}}";
    dir.run_at(mock.url(), command)
        .args("-o named.csv --id-column id")
        .exits(0);
    dir.run_at(mock.url(), command)
        .args("-o plain.csv")
        .exits(0);
    let ids = |journal: &str| {
        let mut ids: Vec<Value> = dir
            .json_lines(journal)
            .iter()
            .map(|line| line["custom_id"].clone())
            .collect();
        ids.sort_by_key(Value::to_string);
        ids
    };
    assert_eq!(ids("named.csv.journal.jsonl"), ["x", "y"]);
    assert_eq!(ids("plain.csv.journal.jsonl"), ["1", "2"]);
}

#[test]
fn an_estimate_of_the_input_decides_what_a_request_is_charged() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.csv", "text,tokens\na,10\nb,100000\nc,\nd,many\n");
    dir.run_at(mock.url(), "in.csv -o out.csv --model m --prompt {{text}}")
        .args("--estimate-column tokens --tpm 60000")
        .exits(3);
    let errors: Vec<String> = dir.csv("out.csv")[1..]
        .iter()
        .map(|row| row[4].clone())
        .collect();
    assert_eq!((errors[0].as_str(), errors[2].as_str()), ("", ""));
    assert!(errors[1].starts_with("exceeds_limit"), "{}", errors[1]);
    assert!(errors[3].contains("tokens"), "{}", errors[3]);
}
