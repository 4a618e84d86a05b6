//! The program against the bare HTTP client: what engine, journal and all cost.

use anyhow::Result;

use crate::bench::Bench;
use crate::client::{Client, Ran};
use crate::figure::{Better, Figure};
use crate::load::{Face, Load, Loaded};
use crate::mock::Mock;
use crate::workload::{Sizes, Workload};

/// The processor of the clients, and that of the server.
const CLIENT: usize = 0;
const SERVER: usize = 1;

struct Scenario {
    name: &'static str,
    workload: Workload,
    mock: &'static [&'static str],
    in_flight: usize,
    /// Whether client and server have a processor each; else they share all.
    pinned: bool,
    /// Least rate of the program ÷ that of the bare client.
    goal: f64,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "2 KB answers, 64 in flight, a core each",
        workload: KILOBYTES,
        mock: KILOBYTES_MOCK,
        in_flight: 64,
        pinned: true,
        goal: 0.7,
    },
    Scenario {
        name: "2 KB answers, 1,000 in flight, a core each",
        workload: KILOBYTES,
        mock: KILOBYTES_MOCK,
        in_flight: 1000,
        pinned: true,
        goal: 0.8,
    },
    Scenario {
        name: "W1: no limit, no latency, 64 in flight, all cores",
        workload: Workload {
            requests: 200_000,
            sizes: Sizes::Short,
        },
        mock: &["--no-detail"],
        in_flight: 64,
        pinned: false,
        goal: 0.4,
    },
];

/// Enough that some 10 ms of starting and ending are below 1 % of a run.
const KILOBYTES: Workload = Workload {
    requests: 100_000,
    sizes: Sizes::LongAnswer,
};
const KILOBYTES_MOCK: &[&str] = &["--no-detail", "--output-tokens", "350"];

/// One round.
struct Measured {
    run: Ran,
    pooled: Loaded,
    connection: Loaded,
    /// Share of the wall time for which the server computed during `run`; at 100 % it is the server
    /// that is measured.
    server_busy: Option<f64>,
}

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let scenarios: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(|scenario| bench.wants(scenario.name))
        .collect();
    if scenarios.is_empty() {
        return Ok(());
    }
    let mut measured: Vec<Vec<Measured>> = scenarios.iter().map(|_| Vec::new()).collect();
    bench.rounds("bare client", || {
        for (scenario, rounds) in scenarios.iter().zip(&mut measured) {
            rounds.push(measure(bench, scenario)?);
        }
        Ok(())
    })?;
    bench.report.section("Against the bare HTTP client");
    for (scenario, rounds) in scenarios.iter().zip(&measured) {
        for figure in figures(scenario, rounds) {
            bench.report.add(figure);
        }
    }
    bench.report.note(
        "`brimful run` with its journal, whole process, start and end included, against a closed \
         loop with the same bodies of hyper-util's pooled client and of bare hyper connections, \
         from the first connection to the last answer; each client in turn in each round.",
    );
    Ok(())
}

fn measure(bench: &Bench, scenario: &Scenario) -> Result<Measured> {
    let input = scenario.workload.write(&bench.folder)?;
    let (client_core, server_core) = if scenario.pinned {
        (Some(CLIENT), Some(SERVER))
    } else {
        (None, None)
    };
    // A server for each client: none finds it warmer, or fuller, than the others.
    let start = || Mock::start(&bench.binary, scenario.mock, server_core);
    let load = |face| {
        let mock = start()?;
        Load {
            url: mock.base_url().parse()?,
            input: input.clone(),
            in_flight: scenario.in_flight,
            face,
        }
        .spawn(client_core)
    };
    let connection = load(Face::Connection)?;
    let mock = start()?;
    let client = Client {
        binary: &bench.binary,
        input: &input,
        output: bench.folder.join("bare.jsonl"),
        base_url: mock.base_url(),
        flags: &["--concurrency", &scenario.in_flight.to_string()],
        core: client_core,
    };
    client.clear()?;
    let before = mock.cpu_s();
    let run = client.run()?;
    let after = mock.cpu_s();
    client.clear()?;
    Ok(Measured {
        server_busy: before
            .zip(after)
            .map(|(before, after)| (after - before) / run.wall_s * 100.0),
        run,
        pooled: load(Face::Pooled)?,
        connection,
    })
}

fn figures(scenario: &Scenario, rounds: &[Measured]) -> Vec<Figure> {
    let requests = scenario.workload.requests as f64;
    let of = |value: &dyn Fn(&Measured) -> f64| rounds.iter().map(value).collect::<Vec<f64>>();
    let higher = |measure, unit, value: &dyn Fn(&Measured) -> f64| {
        Figure::new(scenario.name, measure, unit, Better::Higher, of(value))
    };
    let lower = |measure, unit, value: &dyn Fn(&Measured) -> f64| {
        Figure::new(scenario.name, measure, unit, Better::Lower, of(value))
    };
    let rate = |round: &Measured| requests / round.run.wall_s;
    let cpu_us = |round: &Measured| round.run.cpu_s * 1e6 / requests;
    let per_pooled = |round: &Measured| rate(round) / round.pooled.per_s();
    let per_connection = |round: &Measured| rate(round) / round.connection.per_s();
    let busy: Vec<f64> = rounds
        .iter()
        .filter_map(|round| round.server_busy)
        .collect();
    let mut figures = vec![
        higher("rate", "req/s", &rate),
        lower("CPU", "µs a request", &cpu_us),
        higher("pooled client, rate", "req/s", &|round| {
            round.pooled.per_s()
        }),
        lower("pooled client, CPU", "µs a request", &|round| {
            round.pooled.cpu_us()
        }),
        higher("÷ pooled client", "", &per_pooled).goal(scenario.goal),
        higher("bare connections, rate", "req/s", &|round| {
            round.connection.per_s()
        }),
        lower("bare connections, CPU", "µs a request", &|round| {
            round.connection.cpu_us()
        }),
        higher("÷ bare connections", "", &per_connection).goal(scenario.goal),
        lower("peak memory", "MB", &|round| round.run.peak_mb),
    ];
    if !busy.is_empty() {
        let name = scenario.name;
        figures.push(Figure::new(
            name,
            "server busy",
            "% of a core",
            Better::Lower,
            busy,
        ));
    }
    figures
}
