//! Limits as a user gives them: custom ones, shares, groups of models, requests that never fit.

use serde_json::Value;

use crate::mock_process::Mock;
use crate::workdir::TestDir;

fn limit<'a>(summary: &'a Value, name: &str) -> &'a Value {
    let limits = summary["limits"].as_array().unwrap();
    limits
        .iter()
        .find(|limit| limit["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {limits:?}"))
}

#[test]
fn a_share_takes_part_of_every_limit_and_tells_where_it_rounds() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 3);
    let flags = "in.jsonl -o out.jsonl --rpm 6001 --tpm 100k --concurrency 9 --share 50%";
    dir.run_at(mock.url(), flags)
        .exits(0)
        .says(&["--share 50 % of rpm 6001 is rounded to 3000"]);
    let summary = dir.summary("out.jsonl");
    for (name, amount) in [("rpm", 3000), ("tpm", 50_000), ("concurrency", 4)] {
        assert_eq!(limit(&summary, name)["amount"], amount, "{name}");
    }
    let flags = "in.jsonl -o out.jsonl --rpm 60 --share 150%";
    dir.run_at(mock.url(), flags).exits(2).says(&["150%"]);
}

#[test]
fn a_custom_limit_counts_what_its_expression_gives() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write("in.csv", "text,n\na,2\nb,3\nc,\nd,9\n");
    let run = |flags: &str| {
        dir.run_at(
            mock.url(),
            "in.csv -o out.csv --model m --fresh --prompt {{text}}",
        )
        .args("--no-state")
        .args(flags)
    };
    run("--limit images=8/1h,of=n")
        .exits(3)
        .says(&["limit `images`"]);
    let summary = dir.summary("out.csv");
    assert_eq!(limit(&summary, "images")["admitted"], 5);
    let errors: Vec<String> = dir
        .csv("out.csv")
        .iter()
        .map(|row| row[4].clone())
        .collect();
    assert!(errors[1].is_empty() && errors[2].is_empty(), "{errors:?}");
    assert!(errors[3].contains("`n`, which is ``"), "{errors:?}");
    let never = "needs 9 of limit `images`, which never admits more than 8";
    assert!(errors[4].contains(never), "{errors:?}");
    assert_eq!(mock.count("answered"), 2);
    run("--strict --limit images=8/1h,of=n").exits(2).says(&[
        "in.csv:4: limit `images`",
        "in.csv:5: needs 9 of limit `images`",
        "2 of 4 rows are bad",
    ]);
    run("--limit images=8/1h,of=m")
        .exits(2)
        .says(&["`m` is no column"]);
    assert_eq!(mock.count("answered"), 2, "nothing was sent");
}

#[test]
fn a_limit_of_some_models_leaves_the_others_alone() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    let line = |id: usize, model: &str| {
        let line = crate::workdir::batch_line(&format!("r{id}"));
        line.replacen("\"model\":\"m\"", &format!("\"model\":\"{model}\""), 1)
    };
    let models = ["big-1", "small", "big-2", "small", "big-1", "small"];
    let lines: String = (0..)
        .zip(models)
        .map(|(id, model)| line(id, model))
        .collect();
    dir.write("in.jsonl", lines);
    dir.run_at(mock.url(), "in.jsonl -o out.jsonl --no-state --deadline 1s")
        .args("--limit big=2/1h,models=big*")
        .exits(4);
    let summary = dir.summary("out.jsonl");
    assert_eq!(limit(&summary, "big")["admitted"], 2);
    assert_eq!(mock.count("answered"), 2 + 3);
}

#[test]
fn custom_limits_may_stand_in_the_configuration_file() {
    let mock = Mock::start("");
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 2);
    dir.write(
        "brimful.toml",
        "[run]\nrph = 500\nshare = \"50%\"\n[run.limit]\nimages = \"90/1m,of=body.messages|length\"\n",
    );
    dir.run_at(
        mock.url(),
        "in.jsonl -o out.jsonl --no-state --config brimful.toml",
    )
    .exits(0);
    let summary = dir.summary("out.jsonl");
    assert_eq!(limit(&summary, "images")["amount"], 45);
    assert_eq!(limit(&summary, "images")["admitted"], 2);
    assert_eq!(limit(&summary, "rph")["amount"], 250);
    dir.write("brimful.toml", "[run]\nlimit = [\"images=0/1m\"]\n");
    dir.run_at(mock.url(), "in.jsonl -o out.jsonl --config brimful.toml")
        .exits(2)
        .says(&["brimful.toml:2", "at least 1"]);
}

#[test]
fn flags_about_limits_that_have_no_effect_are_refused() {
    let dir = TestDir::new();
    dir.write_batch("in.jsonl", 1);
    for (flags, told) in [
        ("--jitter 5ms", "--jitter has no effect without a rate"),
        ("--ramp +50%/15m --rpd 9", "--ramp has no effect"),
        (
            "--daily-reset 00:00@UTC --rpm 9",
            "--daily-reset has no effect",
        ),
        (
            "--daily-reset 00:00@Nowhere --rpd 9",
            "00:00@America/Los_Angeles",
        ),
        ("--limit images", "NAME=AMOUNT/WINDOW"),
        ("--rpm 9 --limit rpm=9/1m", "two limits are called `rpm`"),
    ] {
        dir.run_at("http://127.0.0.1:9/v1", "in.jsonl -o out.jsonl")
            .args(flags)
            .exits(2)
            .says(&[told]);
    }
    assert!(!dir.exists("out.jsonl"));
}
