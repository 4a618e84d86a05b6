//! Ctrl-C, SIGTERM and SIGHUP, turned into what the run is asked to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use brimful::driver::Control;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

const SIGHUP: u8 = 1;
const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;
/// Of this number on Linux and macOS.
const SIGXFSZ: i32 = 25;

/// The first signal that came; decides the exit code.
#[derive(Clone, Debug, Default)]
pub(crate) struct FirstSignal(Arc<AtomicU8>);

impl FirstSignal {
    pub(crate) fn number(&self) -> Option<u8> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            number => Some(number),
        }
    }

    fn note(&self, number: u8) {
        let _already = self
            .0
            .compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Makes a file that has become as large as `ulimit -f` allows an error of the write, which is
/// told and loses nothing: the signal would kill. To be called within a runtime, before files are
/// opened.
pub(crate) fn survive_file_size_limit() -> std::io::Result<()> {
    // Once caught it stays caught, whether or not anyone listens.
    signal(SignalKind::from_raw(SIGXFSZ)).map(drop)
}

/// Listens from now on. Ctrl-C drains, a second one abandons; SIGTERM and SIGHUP drain and abandon
/// after `grace`.
pub(crate) fn listen(
    grace: Duration,
    control: watch::Sender<Control>,
) -> std::io::Result<FirstSignal> {
    let first = FirstSignal::default();
    let noted = first.clone();
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminates = signal(SignalKind::terminate())?;
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        let number = next(&mut interrupts, &mut terminates, &mut hangups).await;
        noted.note(number);
        control.send_replace(Control::Drain);
        if number == SIGINT {
            next(&mut interrupts, &mut terminates, &mut hangups).await;
        } else {
            let again = next(&mut interrupts, &mut terminates, &mut hangups);
            let _either = tokio::time::timeout(grace, again).await;
        }
        control.send_replace(Control::Abandon);
    });
    Ok(first)
}

async fn next(interrupts: &mut Signal, terminates: &mut Signal, hangups: &mut Signal) -> u8 {
    tokio::select! {
        _ = interrupts.recv() => SIGINT,
        _ = terminates.recv() => SIGTERM,
        _ = hangups.recv() => SIGHUP,
    }
}
