//! Everything that a run writes while it goes on: journal, dead letters, standard output, trace.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::attempt::AttemptEnd;
use crate::fingerprint::Fingerprint;
use crate::journal::{
    self, Answer, Answered, AppendError, Appended, DeadLetters, DeadResponse, Journal, StaleError,
};
use crate::output::{BAD_ROW, Ordered, OutputError, RowResult, RowWriter};
use crate::request::{BadRow, Request};
use crate::run::RunOptions;
use crate::run::plan::{Plan, Shape};
use crate::source::Row;
use crate::trace::AttemptRecord;

/// Rows that may wait for an earlier one with `--ordered`.
const ORDERED_MAX: usize = 4096;
/// Most bytes of a refused answer that a dead letter keeps.
const DEAD_BODY_MAX: usize = 64 << 10;

/// Why something could not be written. The run stops: what it can no longer keep it must not buy.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk is full; answers under way still fit in what was kept free for them.
    #[error("the disk is full; nothing more was sent, what was under way is kept")]
    DiskFull,
    /// An answer or a dead letter is lost to the journal.
    #[error(transparent)]
    Journal(#[from] AppendError),
    /// Whoever reads standard output is gone.
    #[error("standard output was closed")]
    Closed,
    /// Another file cannot be written.
    #[error("cannot write {what}: {source}")]
    Other {
        /// Which.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Told of each attempt, as a line of JSON.
pub struct AttemptLog(Box<dyn FnMut(&str) + Send>);

impl AttemptLog {
    /// Calls `write` with each line, without its end.
    pub fn new(write: impl FnMut(&str) + Send + 'static) -> Self {
        Self(Box::new(write))
    }
}

impl std::fmt::Debug for AttemptLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AttemptLog")
    }
}

/// A request that ends without an answer.
#[derive(Debug)]
pub(crate) struct DeadLetter<'a> {
    pub(crate) request: &'a Request,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) last: Option<&'a AttemptEnd>,
    pub(crate) trail: &'a [AttemptRecord],
}

/// What a trace line says beside its attempt.
#[derive(Serialize)]
struct TraceLine<'a> {
    row: u64,
    id: &'a str,
    fingerprint: String,
    upstream: &'a str,
    #[serde(flatten)]
    record: &'a AttemptRecord,
}

#[derive(Debug)]
pub(crate) struct Outputs {
    journal: Option<Journal>,
    dead: Option<DeadLetters>,
    stream: Option<Stream>,
    trace: Option<BufWriter<File>>,
    log: Option<AttemptLog>,
    upstream: String,
    on_spare: bool,
}

impl Outputs {
    pub(crate) fn open(
        plan: &Plan,
        options: &mut RunOptions,
        journal: Option<Journal>,
        dead: Option<DeadLetters>,
    ) -> Result<Self, OutputError> {
        let trace = match &options.trace {
            Some(path) => Some(BufWriter::new(File::create(path)?)),
            None => None,
        };
        let stream = match plan.shape {
            Shape::StreamedAnswers => Some(Stream::answers(options.ordered)),
            Shape::StreamedRows => Some(Stream::rows(plan, options)?),
            Shape::JournalIsOutput | Shape::Assembled(..) => None,
        };
        let upstream = options.transport.name();
        let log = options.attempt_log.take();
        Ok(Self {
            journal,
            dead,
            stream,
            trace,
            log,
            upstream,
            on_spare: false,
        })
    }

    /// Whether rows may be read ahead: not while too many wait for an earlier one.
    pub(crate) fn has_room(&self) -> bool {
        self.stream
            .as_ref()
            .is_none_or(|stream| stream.waiting() < ORDERED_MAX)
    }

    /// Whether the disk is full and the room kept free is in use.
    pub(crate) const fn on_spare(&self) -> bool {
        self.on_spare
    }

    /// A row was taken in; with `--ordered` it keeps its place.
    pub(crate) fn expect(&mut self, row: u64) {
        if let Some(stream) = &mut self.stream {
            stream.expect(row);
        }
    }

    /// Keeps an answer: first in the journal, then for everyone else.
    pub(crate) fn answer(
        &mut self,
        request: &Request,
        end: &AttemptEnd,
        record: &AttemptRecord,
    ) -> Result<(), WriteError> {
        let body = end.body.as_deref().unwrap_or(b"null");
        let answer = Answer {
            fingerprint: request.fingerprint,
            custom_id: &request.id,
            status_code: end.status.unwrap_or(200),
            request_id: end.request_id.as_deref(),
            body,
        };
        if let Some(journal) = &mut self.journal
            && journal.append(&answer)? == Appended::OnSpare
        {
            self.on_spare = true;
        }
        if let Some(stream) = &mut self.stream {
            stream.answer(request, &answer)?;
        }
        self.attempt(request, record)
    }

    /// Tells of an attempt that gave no answer.
    pub(crate) fn attempt_failed(
        &mut self,
        request: &Request,
        record: &AttemptRecord,
    ) -> Result<(), WriteError> {
        self.attempt(request, record)
    }

    /// Keeps a request that ended without an answer.
    pub(crate) fn dead_letter(&mut self, letter: &DeadLetter<'_>) -> Result<(), WriteError> {
        let request = letter.request;
        let response = letter.last.and_then(|last| {
            let body = last.body.as_deref().unwrap_or_default();
            Some(DeadResponse {
                status_code: last.status?,
                request_id: last.request_id.as_deref(),
                body: &body[..body.len().min(DEAD_BODY_MAX)],
            })
        });
        if let Some(dead) = &mut self.dead {
            dead.append(&journal::DeadLetter {
                fingerprint: request.fingerprint,
                custom_id: &request.id,
                response,
                code: &letter.code,
                message: &letter.message,
                attempts: letter.trail,
            })?;
        }
        if let Some(stream) = &mut self.stream {
            let columns = request.columns.as_deref();
            let result = RowResult::Dead {
                code: &letter.code,
                message: &letter.message,
            };
            stream.dead(
                request.row,
                &request.id,
                request.fingerprint,
                columns,
                result,
            )?;
        }
        Ok(())
    }

    /// Keeps a row that could not be made into a request.
    pub(crate) fn bad_row(&mut self, bad: &BadRow) -> Result<(), WriteError> {
        let message = match bad.line {
            0 => bad.reason.clone(),
            line => format!("line {line}: {}", bad.reason),
        };
        if let Some(dead) = &mut self.dead {
            dead.append::<AttemptRecord>(&journal::DeadLetter {
                fingerprint: bad.fingerprint,
                custom_id: &bad.id,
                response: None,
                code: BAD_ROW,
                message: &message,
                attempts: &[],
            })?;
        }
        if let Some(stream) = &mut self.stream {
            let result = RowResult::Dead {
                code: BAD_ROW,
                message: &message,
            };
            stream.dead(
                bad.row,
                &bad.id,
                bad.fingerprint,
                bad.columns.as_deref(),
                result,
            )?;
        }
        Ok(())
    }

    /// Takes what earlier runs left of rows that are no longer in the input out of the files.
    pub(crate) fn drop_stale(
        &mut self,
        stale_path: Option<PathBuf>,
        answers: &Answered,
        dead: Answered,
    ) -> Result<u64, StaleError> {
        if let Some(letters) = &mut self.dead {
            letters.give_back(dead);
        }
        match (&mut self.journal, stale_path) {
            (Some(journal), Some(path)) => journal.split_stale(answers, &path),
            _ => Ok(0),
        }
    }

    /// Ends everything but the journal. `input_seen`: every row was read. Returns the journal,
    /// which keeps the lock, and what went wrong.
    pub(crate) fn finish(self, input_seen: bool) -> (Option<Journal>, Vec<String>) {
        let mut problems = Vec::new();
        let mut note = |what: Result<(), String>| problems.extend(what.err());
        if let Some(stream) = self.stream {
            note(stream.close().map_err(|error| error.to_string()));
        }
        if let Some(dead) = self.dead {
            note(
                dead.finish(input_seen)
                    .map(drop)
                    .map_err(|error| told(&error)),
            );
        }
        if let Some(mut trace) = self.trace {
            note(
                trace
                    .flush()
                    .map_err(|error| format!("cannot write the trace: {error}")),
            );
        }
        (self.journal, problems)
    }

    fn attempt(&mut self, request: &Request, record: &AttemptRecord) -> Result<(), WriteError> {
        if self.trace.is_none() && self.log.is_none() {
            return Ok(());
        }
        let line = serde_json::to_string(&TraceLine {
            row: request.row,
            id: &request.id,
            fingerprint: request.fingerprint.to_string(),
            upstream: &self.upstream,
            record,
        })
        .unwrap_or_default();
        if let Some(log) = &mut self.log {
            (log.0)(&line);
        }
        if let Some(trace) = &mut self.trace {
            let written = writeln!(trace, "{line}");
            written.map_err(|source| WriteError::Other {
                what: "the trace",
                source,
            })?;
        }
        Ok(())
    }
}

/// An error with everything that led to it, in one line.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Rows or answers to standard output, as they arrive or in the order of the input.
#[derive(Debug)]
struct Stream {
    writer: StreamWriter,
    /// Places of rows that were taken in, and lines that wait for an earlier one.
    order: Option<InOrder>,
}

/// Lines that wait for those of earlier rows. Places are counted over the rows of this run: rows
/// that earlier runs answered have none.
#[derive(Debug, Default)]
struct InOrder {
    places: BTreeMap<u64, u64>,
    next: u64,
    lines: Ordered<Vec<u8>>,
}

#[derive(Debug)]
enum StreamWriter {
    Answers,
    Rows(Box<RowWriter<RowBuffer>>),
}

/// Where a row is put together before it goes out as a whole.
#[derive(Debug, Default)]
struct RowBuffer(Vec<u8>);

impl Write for RowBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    fn answers(ordered: bool) -> Self {
        Self {
            writer: StreamWriter::Answers,
            order: ordered.then(InOrder::default),
        }
    }

    fn rows(plan: &Plan, options: &RunOptions) -> Result<Self, OutputError> {
        let settings = plan.output_options(options);
        let writer = RowWriter::new(RowBuffer::default(), &settings, plan.columns())?;
        let writer = StreamWriter::Rows(Box::new(writer));
        Ok(Self {
            writer,
            order: options.ordered.then(InOrder::default),
        })
    }

    fn expect(&mut self, row: u64) {
        if let Some(order) = &mut self.order {
            order.next += 1;
            order.places.insert(row, order.next);
        }
    }

    fn waiting(&self) -> usize {
        self.order.as_ref().map_or(0, |order| order.lines.waiting())
    }

    fn answer(&mut self, request: &Request, answer: &Answer<'_>) -> Result<(), WriteError> {
        let line = match &mut self.writer {
            StreamWriter::Answers => journal::answer_line(answer),
            StreamWriter::Rows(writer) => {
                let result = RowResult::Answer {
                    path: &request.path,
                    body: answer.body,
                };
                row_line(writer, request.columns.as_deref(), result)?
            }
        };
        self.put(request.row, line)
    }

    fn dead(
        &mut self,
        row: u64,
        id: &str,
        fingerprint: Fingerprint,
        columns: Option<&Row>,
        result: RowResult<'_>,
    ) -> Result<(), WriteError> {
        let line = match (&mut self.writer, result) {
            (StreamWriter::Rows(writer), _) => row_line(writer, columns, result)?,
            (StreamWriter::Answers, RowResult::Dead { code, message }) => {
                let line = serde_json::json!({
                    "id": format!("batch_req_{fingerprint}"),
                    "custom_id": id,
                    "response": null,
                    "error": { "code": code, "message": message },
                });
                format!("{line}\n").into_bytes()
            }
            (StreamWriter::Answers, _) => Vec::new(),
        };
        self.put(row, line)
    }

    fn put(&mut self, row: u64, line: Vec<u8>) -> Result<(), WriteError> {
        let Some(order) = &mut self.order else {
            return print(&line);
        };
        let Some(place) = order.places.remove(&row) else {
            return print(&line);
        };
        order.lines.push(place, line);
        while let Some(line) = order.lines.pop() {
            print(&line)?;
        }
        Ok(())
    }

    fn close(self) -> Result<(), WriteError> {
        if let Some(mut order) = self.order {
            for line in order.lines.drain() {
                print(&line)?;
            }
        }
        Ok(())
    }
}

fn row_line(
    writer: &mut RowWriter<RowBuffer>,
    columns: Option<&Row>,
    result: RowResult<'_>,
) -> Result<Vec<u8>, WriteError> {
    let nothing = Row::empty();
    writer
        .write_row(columns.unwrap_or(&nothing), result)
        .map_err(|source| WriteError::Other {
            what: "a row",
            source,
        })?;
    Ok(std::mem::take(&mut writer.out_mut().0))
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

/// One line, whole and at once: whoever reads sees every row as soon as it is there.
fn print(line: &[u8]) -> Result<(), WriteError> {
    let line = without_controls(line);
    let mut out = io::stdout().lock();
    let written = out.write_all(&line).and_then(|()| out.flush());
    written.map_err(|source| match source.kind() {
        io::ErrorKind::BrokenPipe => WriteError::Closed,
        _ => WriteError::Other {
            what: "standard output",
            source,
        },
    })
}
