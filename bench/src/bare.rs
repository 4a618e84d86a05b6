//! The program against the bare HTTP client: what engine, journal and all cost.

use anyhow::{Context as _, Result};

use crate::bench::Bench;
use crate::client::{Client, Ran};
use crate::figure::{Better, Figure, number};
use crate::load::{Face, Load, Loaded};
use crate::mock::Mock;
use crate::workload::{Sizes, Workload};

/// The processor of the clients, and that of the server.
const CLIENT: usize = 0;
const SERVER: usize = 1;

/// From here on, in per cent of a core, it is the server that limits the rate. A bare client that
/// is held back by it makes the program look better than it is.
const SATURATED: f64 = 95.0;

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

/// One round: what each client did, and the share of its wall time for which its server computed,
/// in per cent of a core.
struct Measured {
    run: Ran,
    run_server: f64,
    pooled: Loaded,
    pooled_server: f64,
    connection: Loaded,
    connection_server: f64,
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
        let load = Load {
            url: mock.base_url().parse()?,
            input: input.clone(),
            in_flight: scenario.in_flight,
            face,
        };
        let (loaded, cpu_s) = with_cpu_s(&mock, || load.spawn(client_core))?;
        anyhow::Ok((loaded, cpu_s / loaded.wall_s * 100.0))
    };
    let (connection, connection_server) = load(Face::Connection)?;
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
    let (run, cpu_s) = with_cpu_s(&mock, || client.run())?;
    client.clear()?;
    let (pooled, pooled_server) = load(Face::Pooled)?;
    Ok(Measured {
        run_server: cpu_s / run.wall_s * 100.0,
        run,
        pooled,
        pooled_server,
        connection,
        connection_server,
    })
}

/// Does `work`; also the seconds of processor time that the server used meanwhile.
fn with_cpu_s<T>(mock: &Mock, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let cpu_s = || mock.cpu_s().context("no /proc to read from");
    let before = cpu_s()?;
    let done = work()?;
    Ok((done, cpu_s()? - before))
}

/// Why a ratio to a client whose server was so busy is no measure of the program; else `None`.
fn flattered(server_busy: &[f64]) -> Option<String> {
    let most = server_busy.iter().copied().fold(0.0, f64::max);
    (most > SATURATED).then(|| {
        let most = number(most);
        format!("the other client's server was busy for {most} % of a core, over {SATURATED} %")
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
    let ratio = |measure, value: &dyn Fn(&Measured) -> f64, server: &dyn Fn(&Measured) -> f64| {
        higher(measure, "", value)
            .goal(scenario.goal)
            .not_judged(flattered(&of(server)))
    };
    let busy = |measure, value| lower(measure, "% of a core", value);
    let pooled_server = |round: &Measured| round.pooled_server;
    let connection_server = |round: &Measured| round.connection_server;
    vec![
        higher("rate", "req/s", &rate),
        lower("CPU", "µs a request", &cpu_us),
        busy("server busy", &|round| round.run_server),
        higher("pooled client, rate", "req/s", &|round| {
            round.pooled.per_s()
        }),
        lower("pooled client, CPU", "µs a request", &|round| {
            round.pooled.cpu_us()
        }),
        busy("pooled client, server busy", &pooled_server),
        ratio("÷ pooled client", &per_pooled, &pooled_server),
        higher("bare connections, rate", "req/s", &|round| {
            round.connection.per_s()
        }),
        lower("bare connections, CPU", "µs a request", &|round| {
            round.connection.cpu_us()
        }),
        busy("bare connections, server busy", &connection_server),
        ratio("÷ bare connections", &per_connection, &connection_server),
        lower("peak memory", "MB", &|round| round.run.peak_mb),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(pooled_server: f64, connection_server: f64) -> Measured {
        let loaded = Loaded {
            requests: 100_000,
            answer_bytes: 1,
            wall_s: 1.0,
            cpu_s: 1.0,
        };
        Measured {
            run: Ran {
                began_s: 0.0,
                wall_s: 1.0,
                cpu_s: 1.0,
                peak_mb: 1.0,
            },
            run_server: 99.0,
            pooled: loaded,
            pooled_server,
            connection: loaded,
            connection_server,
        }
    }

    fn verdicts(rounds: &[Measured]) -> Vec<String> {
        figures(&SCENARIOS[0], rounds)
            .iter()
            .filter(|figure| figure.goal.is_some())
            .map(Figure::verdict)
            .collect()
    }

    #[test]
    fn a_ratio_to_a_client_whose_server_was_saturated_in_a_round_is_not_judged() {
        assert_eq!(
            verdicts(&[measured(60.0, 95.0), measured(60.0, 95.1)]),
            [
                "≥ 0.700 met",
                "≥ 0.700 not judged: the other client's server was busy for 95.10 % of a core, \
                 over 95 %"
            ]
        );
    }

    #[test]
    fn the_server_of_the_program_itself_does_not_flatter_it() {
        assert_eq!(
            verdicts(&[measured(60.0, 60.0)]),
            ["≥ 0.700 met", "≥ 0.700 met"]
        );
    }

    #[test]
    fn how_busy_each_of_the_three_servers_was_is_printed() {
        let busy: Vec<f64> = figures(&SCENARIOS[0], &[measured(10.0, 20.0)])
            .iter()
            .filter(|figure| figure.unit == "% of a core")
            .map(Figure::median)
            .collect();
        assert_eq!(busy, [99.0, 10.0, 20.0]);
    }
}
