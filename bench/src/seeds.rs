//! Scenarios in virtual time, each under many seeds, on all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use brimful_sim::virtual_run::{Report, VirtualRun};

/// The runs of one scenario that are done.
#[derive(Default)]
pub(crate) struct Done {
    /// In the order of the seeds once all are done.
    pub(crate) reports: Vec<Report>,
    /// Time that all of them took.
    pub(crate) wall: Duration,
}

/// Runs every scenario under every seed and calls `finished` with a scenario's place as soon as its
/// last seed is done. The first seed runs twice, to show that runs repeat.
pub(crate) fn run(
    scenarios: &[(&str, &VirtualRun)],
    seeds: &[u64],
    finished: impl Fn(usize, &Done) + Sync,
) -> Result<Vec<Done>> {
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Done>> = scenarios.iter().map(|_| Mutex::default()).collect();
    let work = || -> Result<()> {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            let (index, seed) = (task / seeds.len(), seeds[task % seeds.len()]);
            let Some(&(name, scenario)) = scenarios.get(index) else {
                return Ok(());
            };
            let started = Instant::now();
            let report = scenario.run(seed).with_context(|| name.to_owned())?;
            let took = started.elapsed();
            if task.is_multiple_of(seeds.len()) {
                let again = scenario.run(seed)?;
                ensure!(again == report, "`{name}`: seed {seed} does not repeat");
            }
            let mut done = done[index]
                .lock()
                .map_err(|_| anyhow!("a thread panicked"))?;
            done.wall += took;
            done.reports.push(report);
            if done.reports.len() == seeds.len() {
                done.reports.sort_by_key(|report| report.seed);
                finished(index, &done);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(_) => bail!("a thread panicked"),
            })
    })?;
    let done = done.into_iter().map(Mutex::into_inner);
    done.map(|done| done.map_err(|_| anyhow!("a thread panicked")))
        .collect()
}
