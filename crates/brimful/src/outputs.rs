//! Everything that a run writes while it goes on: journal, dead letters, standard output, trace.

mod stdout;
mod stream;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::attempt::AttemptEnd;
use crate::journal::{
    self, Answer, Answered, AppendError, Appended, DeadLetters, DeadResponse, Journal, StaleError,
};
use crate::output::{BAD_ROW, RowResult};
use crate::request::{BadRow, Item, Request};
use crate::run::lookup::{Found, Lookup};
use crate::run::plan::{Plan, Shape};
use crate::run::{RunError, RunOptions};
use crate::trace::AttemptRecord;
use stream::{Place, Stream};

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
    /// Whoever reads standard output has not read it to the end.
    #[error("standard output was given up before it was read to its end")]
    Unread,
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
    /// What earlier runs left, for `-o -`, which gives every row once in each run.
    earlier: Option<Lookup>,
    /// Something beside the journal could not be written. The answers are kept all the same.
    trouble: Option<WriteError>,
    problems: Vec<String>,
}

impl Outputs {
    pub(crate) fn open(
        plan: &Plan,
        options: &mut RunOptions,
        journal: Option<Journal>,
        dead: Option<DeadLetters>,
    ) -> Result<Self, RunError> {
        let trace = match &options.trace {
            Some(path) => {
                let file = File::create(path).map_err(|source| RunError::Write {
                    path: path.display().to_string(),
                    source,
                })?;
                Some(BufWriter::new(file))
            }
            None => None,
        };
        let stream = match plan.shape {
            Shape::StreamedAnswers => Some(Stream::answers(options.ordered)),
            Shape::StreamedRows => Some(Stream::rows(plan, options)?),
            Shape::JournalIsOutput | Shape::Assembled(..) => None,
        };
        let earlier = match (&stream, &plan.journal) {
            (Some(_), Some(path)) => Some(Lookup::open(path, plan.dead_letters.as_deref())?),
            _ => None,
        };
        let upstream = options
            .upstreams
            .first()
            .map_or_else(String::new, |way| way.transport.name());
        let log = options.attempt_log.take();
        Ok(Self {
            journal,
            dead,
            stream,
            trace,
            log,
            upstream,
            on_spare: false,
            earlier,
            trouble: None,
            problems: Vec::new(),
        })
    }

    /// Whether rows may be read ahead: not while too many wait for an earlier one, or for whoever
    /// reads standard output.
    pub(crate) fn has_room(&self) -> bool {
        !self.stream.as_ref().is_some_and(Stream::is_full)
    }

    /// Whether rows of earlier runs are wanted again: standard output has none of them.
    pub(crate) const fn gives_earlier_rows(&self) -> bool {
        self.earlier.is_some()
    }

    /// What went wrong beside the journal, told once.
    pub(crate) const fn take_trouble(&mut self) -> Option<WriteError> {
        self.trouble.take()
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

    /// Keeps answers that arrived together in the journal, before anyone is told of them. An error
    /// means that this one is kept nowhere.
    pub(crate) fn keep(&mut self, answers: &[Answer<'_>]) -> Vec<Result<(), WriteError>> {
        let Some(journal) = &mut self.journal else {
            return answers.iter().map(|_| Ok(())).collect();
        };
        let outcomes = journal.append_all(answers).into_iter();
        let kept = outcomes.map(|outcome| {
            self.on_spare |= outcome? == Appended::OnSpare;
            Ok(())
        });
        kept.collect()
    }

    /// Tells everyone else of an answer that was kept. An error means that there is no journal and
    /// standard output, its only place, did not take it; what else goes wrong is
    /// [`Outputs::take_trouble`]'s.
    pub(crate) fn answer(
        &mut self,
        request: &Request,
        answer: &Answer<'_>,
    ) -> Result<(), WriteError> {
        if let Some(stream) = &mut self.stream {
            match stream.answer(request, answer) {
                Err(error) if self.journal.is_none() => return Err(error),
                result => self.beside(result),
            }
        }
        Ok(())
    }

    /// Gives a row that an earlier run has answered, or given up, to standard output.
    pub(crate) fn earlier(&mut self, item: &Item) {
        let (Some(earlier), Some(stream)) = (&mut self.earlier, &mut self.stream) else {
            return;
        };
        let found = match item {
            Item::Request(request) => earlier.find(request.fingerprint),
            Item::Bad(bad) => earlier.find(bad.fingerprint),
        };
        let given = match (found, item) {
            (Err(source), _) => Err(WriteError::Other {
                what: "answers of an earlier run",
                source,
            }),
            (Ok(Some(Found::Answer(line))), Item::Request(request)) => {
                let answer = Answer {
                    fingerprint: request.fingerprint,
                    custom_id: &line.custom_id,
                    status_code: line.status_code,
                    request_id: line.request_id.as_deref(),
                    body: line.body.get().as_bytes(),
                };
                stream.answer(request, &answer)
            }
            (Ok(Some(Found::Dead(line))), item) => {
                let response = line.response.as_ref();
                let result = RowResult::Dead {
                    code: &line.code,
                    message: &line.message,
                    response: response.map(|(status, body)| (*status, body.get().as_bytes())),
                };
                stream.dead(Place::of(item), result)
            }
            (Ok(_), _) => Ok(()),
        };
        self.beside(given);
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
            let result = RowResult::Dead {
                code: &letter.code,
                message: &letter.message,
                response: response.map(|response| (response.status_code, response.body)),
            };
            let given = stream.dead(Place::of_request(request), result);
            self.beside(given);
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
                response: None,
            };
            let given = stream.dead(Place::of_bad_row(bad), result);
            self.beside(given);
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

    /// Waits until standard output has everything, or `abandoned` is ready.
    pub(crate) async fn finish_stream(&mut self, abandoned: impl Future<Output = ()>) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        let finished = tokio::select! {
            finished = stream.finish() => finished,
            () = abandoned => Err(WriteError::Unread),
        };
        self.problems
            .extend(finished.err().map(|error| told(&error)));
    }

    /// Ends everything but the journal. `input_seen`: every row was read. Returns the journal,
    /// which keeps the lock, and what went wrong.
    pub(crate) fn finish(mut self, input_seen: bool) -> (Option<Journal>, Vec<String>) {
        if let Some(dead) = self.dead.take() {
            let finished = dead.finish(input_seen);
            self.problems
                .extend(finished.err().map(|error| told(&error)));
        }
        if let Some(mut trace) = self.trace.take()
            && let Err(error) = trace.flush()
        {
            self.problems
                .push(format!("cannot write the trace: {error}"));
        }
        (self.journal, self.problems)
    }

    /// Notes what went wrong beside the journal.
    fn beside(&mut self, result: Result<(), WriteError>) {
        if let Err(error) = result {
            self.trouble.get_or_insert(error);
        }
    }

    /// Whether anyone wants to be told of attempts.
    pub(crate) const fn tells_of_attempts(&self) -> bool {
        self.trace.is_some() || self.log.is_some()
    }

    /// Tells of an attempt. A trace that cannot be written ends itself, not the run.
    pub(crate) fn attempt(&mut self, request: &Request, record: &AttemptRecord) {
        if !self.tells_of_attempts() {
            return;
        }
        let line = serde_json::to_string(&TraceLine {
            row: request.row,
            id: &request.id,
            fingerprint: request.fingerprint.to_string(),
            upstream: &self.upstream,
            record,
        })
        .unwrap_or_default();
        self.trace_line(&line);
    }

    /// Tells of something else than an attempt, as a JSON object.
    pub(crate) fn event(&mut self, event: &serde_json::Value) {
        if self.tells_of_attempts() {
            self.trace_line(&event.to_string());
        }
    }

    fn trace_line(&mut self, line: &str) {
        if let Some(log) = &mut self.log {
            (log.0)(line);
        }
        if let Some(trace) = &mut self.trace
            && let Err(error) = writeln!(trace, "{line}")
        {
            self.problems
                .push(format!("cannot write the trace: {error}"));
            self.trace = None;
        }
    }
}

/// An error with everything that led to it, in one line.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
