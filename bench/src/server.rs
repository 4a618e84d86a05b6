//! The mock alone on one processor: it must never be the bottleneck of a test.

use anyhow::{Context as _, Result};

use crate::bench::Bench;
use crate::figure::{Better, Figure};
use crate::load::{Face, Load};
use crate::mock::Mock;
use crate::workload::{Sizes, Workload};

const NAME: &str = "mock on one core, 64 in flight, short answers";
const WORKLOAD: Workload = Workload {
    requests: 200_000,
    sizes: Sizes::Short,
};
const GOAL_PER_S: f64 = 60_000.0;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    if !bench.wants(NAME) {
        return Ok(());
    }
    let input = WORKLOAD.write(&bench.folder)?;
    let (mut rates, mut cpu_us, mut busy) = (Vec::new(), Vec::new(), Vec::new());
    bench.rounds("mock", || {
        let mock = Mock::start(&bench.binary, &["--no-detail"], Some(1))?;
        let before = mock.cpu_s().context("no /proc to read from")?;
        let loaded = Load {
            url: mock.base_url().parse()?,
            input: input.clone(),
            in_flight: 64,
            face: Face::Connection,
        }
        .spawn(Some(0))?;
        let cpu_s = mock.cpu_s().context("no /proc to read from")? - before;
        rates.push(loaded.per_s());
        cpu_us.push(cpu_s * 1e6 / loaded.requests as f64);
        busy.push(cpu_s / loaded.wall_s * 100.0);
        Ok(())
    })?;
    bench.report.section("The mock");
    let figure = |measure, unit, better, samples| Figure::new(NAME, measure, unit, better, samples);
    bench
        .report
        .add(figure("rate", "req/s", Better::Higher, rates).goal(GOAL_PER_S));
    bench.report.add(figure(
        "CPU of the mock",
        "µs a request",
        Better::Lower,
        cpu_us,
    ));
    // Below 100 % the client on the other core is what limits the rate.
    bench
        .report
        .add(figure("core of the mock busy", "%", Better::Higher, busy));
    Ok(())
}
