//! Killed in the middle and started again, as W6 of the rivals: what was lost, what was paid twice?

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::bench::Bench;
use crate::client::{Client, lines};
use crate::figure::{Better, Figure};
use crate::mock::Mock;
use crate::workload::{Sizes, Workload};

const NAME: &str = "W6: kill -9 after 5 s and again, 3,000 requests, 200 ms latency, 64 in flight";
const REQUESTS: u64 = 3_000;

/// Once, whatever the rounds: it counts, and does not time.
pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    if !bench.wants(NAME) {
        return Ok(());
    }
    let workload = Workload {
        requests: REQUESTS as usize,
        sizes: Sizes::Short,
    };
    let mock = Mock::start(&bench.binary, &["--latency", "200ms"], None)?;
    let client = Client {
        binary: &bench.binary,
        input: &workload.write(&bench.folder)?,
        output: bench.folder.join("kill.jsonl"),
        base_url: mock.base_url(),
        flags: &["--concurrency", "64"],
        core: None,
    };
    client.clear()?;
    let mut first = client.start()?;
    thread::sleep(Duration::from_secs(5));
    first.kill()?;
    first.wait()?;
    let kept = lines(&client.output)?;
    let admitted = |stats: &Value| stats["requests_admitted"].as_u64().unwrap_or(0);
    let in_flight = admitted(&mock.stats()?).saturating_sub(kept);
    client.run()?;
    let again = admitted(&mock.stats()?).saturating_sub(REQUESTS);
    let answers = fs::read_to_string(&client.output)?;
    let ids: BTreeSet<String> = answers.lines().filter_map(id_of).collect();
    let rows = lines(&client.output)?;
    let answered = ids.len() as u64;
    client.clear()?;
    let count =
        |measure, better, value: u64| Figure::new(NAME, measure, "", better, vec![value as f64]);
    bench.report.section("Crash");
    for figure in [
        count("answers kept", Better::Higher, kept),
        count("in flight", Better::Lower, in_flight),
        count("sent again", Better::Lower, again),
        count(
            "journaled answers paid again",
            Better::Lower,
            again.saturating_sub(in_flight),
        )
        .goal(0.0),
        count(
            "rows lost",
            Better::Lower,
            REQUESTS.saturating_sub(answered),
        )
        .goal(0.0),
        count("rows doubled", Better::Lower, rows - answered).goal(0.0),
    ] {
        bench.report.add(figure);
    }
    Ok(())
}

fn id_of(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    Some(line["custom_id"].as_str()?.to_owned())
}
