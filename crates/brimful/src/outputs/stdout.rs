//! Standard output, written by a thread of its own: whoever reads it slowly, or not at all, must
//! not keep signals and answers waiting.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use tokio::sync::oneshot;

use super::WriteError;

/// Lines on their way to standard output. Not bounded by itself: [`StdoutWriter::waiting_bytes`]
/// tells the driver when to read no further, and what is in flight is bounded.
#[derive(Debug)]
pub(super) struct StdoutWriter {
    lines: mpsc::Sender<Vec<u8>>,
    state: Arc<State>,
    done: oneshot::Receiver<()>,
}

#[derive(Debug, Default)]
struct State {
    waiting_bytes: AtomicUsize,
    failed: Mutex<Option<io::Error>>,
}

impl StdoutWriter {
    pub(super) fn start() -> Self {
        let (lines, inbox) = mpsc::channel();
        let (finished, done) = oneshot::channel();
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            write_all(&inbox, &shared);
            // If nobody waits for it any more, the run has been abandoned.
            let _abandoned = finished.send(());
        });
        Self { lines, state, done }
    }

    /// Hands one whole line over. Fails when an earlier one could not be written.
    pub(super) fn print(&self, line: Vec<u8>) -> Result<(), WriteError> {
        if let Some(error) = self.state.error() {
            return Err(error);
        }
        self.state
            .waiting_bytes
            .fetch_add(line.len(), Ordering::Relaxed);
        self.lines
            .send(line)
            .map_err(|_| self.state.error().unwrap_or(WriteError::Closed))
    }

    /// Bytes that are not written yet.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.state.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, or cannot be.
    pub(super) async fn finish(self) -> Result<(), WriteError> {
        drop(self.lines);
        // A thread that has panicked has sent nothing, and its error is none of the system's.
        let _ended = self.done.await;
        self.state.error().map_or(Ok(()), Err)
    }
}

impl State {
    fn error(&self) -> Option<WriteError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().map(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => WriteError::Closed,
            kind => WriteError::Other {
                what: "standard output",
                source: error
                    .raw_os_error()
                    .map_or_else(|| kind.into(), io::Error::from_raw_os_error),
            },
        })
    }
}

fn write_all(inbox: &mpsc::Receiver<Vec<u8>>, state: &State) {
    for line in inbox {
        let mut out = io::stdout().lock();
        let clean = without_controls(&line);
        let written = out.write_all(&clean).and_then(|()| out.flush());
        state.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        if let Err(error) = written {
            *state.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            return;
        }
    }
}

/// JSON lets DEL and the control characters U+0080 to U+009F stand as they are, but terminals may
/// obey them: they become `\u009b` and the like, which means the same to every JSON reader.
fn without_controls(line: &[u8]) -> Cow<'_, [u8]> {
    let is_c1 = |pair: &[u8]| matches!(pair, [0xC2, 0x80..=0x9F]);
    let clean = !line.contains(&0x7F) && !line.windows(2).any(is_c1);
    let Some(text) = str::from_utf8(line).ok().filter(|_| !clean) else {
        return Cow::Borrowed(line);
    };
    let mut escaped = String::with_capacity(line.len() + 16);
    for c in text.chars() {
        match c {
            '\u{7F}'..='\u{9F}' => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped.into_bytes())
}
