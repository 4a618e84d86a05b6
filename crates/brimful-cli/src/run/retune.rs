//! A live run is told of limits and upstreams anew: by SIGUSR1, or by a change of its configuration
//! file.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::ensure;
use brimful::source::SourceOptions;
use brimful::upstreams::Retune;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{first_model, limits_of, say, upstreams};
use crate::args::RunArgs;
use crate::read_again;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Listens from now on. A file that is wrong is told, and the run goes on as it was.
pub(super) fn listen(
    args: &RunArgs,
    source: &SourceOptions,
) -> std::io::Result<mpsc::Receiver<Retune>> {
    let (tell, told) = mpsc::channel(1);
    let mut asked = signal(SignalKind::user_defined1())?;
    let (config, log_format) = (args.config.clone(), args.watch.log_format);
    let source = source.clone();
    tokio::spawn(async move {
        let mut seen = config.as_deref().and_then(changed);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                caught = asked.recv() => if caught.is_none() { return },
                _ = look.tick() => {
                    let now = config.as_deref().and_then(changed);
                    // A file that is being replaced may be away for a moment.
                    if now.is_none() || now == seen {
                        continue;
                    }
                }
            }
            seen = config.as_deref().and_then(changed);
            match retune(config.as_deref(), &source) {
                Ok(retune) => {
                    if tell.send(retune).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let text = format!("the run goes on as it was: {error:#}");
                    say(log_format, "warning", &text);
                }
            }
        }
    });
    Ok(told)
}

/// When a file was changed last, and its size: some file systems count whole seconds.
fn changed(path: &Path) -> Option<(SystemTime, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

fn retune(config: Option<&Path>, source: &SourceOptions) -> anyhow::Result<Retune> {
    ensure!(
        config.is_some(),
        "SIGUSR1 reads the configuration file again, and --config names none"
    );
    let args = read_again()?;
    let limits = limits_of(&args, first_model(source).as_deref())?;
    // Rows that were read already were put into lanes and counted by what stood there before.
    ensure!(
        *limits.lanes == *source.lanes,
        "the groups of models that share limits cannot change in a live run"
    );
    ensure!(
        limits.units == source.units,
        "what limits of your own count cannot change in a live run"
    );
    let (upstreams, _) = upstreams::ways(&args, &limits.headers)?;
    Ok(Retune {
        engine: limits.engine,
        limits: limits.notes,
        upstreams,
    })
}
