//! One batch from its input to its outputs: opens everything, drives it, closes everything.

pub(crate) mod lookup;
pub(crate) mod plan;
mod reader;
mod summary;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use brimful_core::{EngineConfig, EngineConfigError};
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::driver::{Control, Driver, DriverOptions, DriverReport, EndCause};
use crate::journal::{self, DeadLetters, Durability, Journal};
use crate::limits::LimitNote;
use crate::output::{self, RowCounts};
use crate::outputs::{AttemptLog, Outputs, told};
use crate::progress::Progress;
use crate::report::Price;
use crate::source::{self, SourceOptions};
use crate::state::{KeepOptions, Keeper};
use crate::upstreams::{Retune, UpstreamOptions};

pub use plan::PlanError;
pub use summary::{RequestSums, Resources, Stop, Summary, Tokens};

use plan::Plan;
use reader::{Finished, Reader};

/// Items that may wait between the reader thread and the driver.
const READ_AHEAD_BATCHES: usize = 4;

/// Where answers go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This file, `.jsonl` or `.csv`.
    File(PathBuf),
    /// Standard output, as they arrive.
    Stdout,
}

/// Everything that a run needs to know.
#[derive(Debug)]
#[non_exhaustive]
pub struct RunOptions {
    /// What to read and how to make requests of it.
    pub source: SourceOptions,
    /// Where answers go.
    pub target: Target,
    /// Where answers are kept for resuming, if not in the default place.
    pub journal: Option<PathBuf>,
    /// What an answer must survive.
    pub durability: Durability,
    /// Send the dead letters of earlier runs again.
    pub retry_failed: bool,
    /// Forget earlier answers.
    pub fresh: bool,
    /// To standard output in the order of the input.
    pub ordered: bool,
    /// Part of the answer that becomes the column `response`.
    pub response_path: Option<String>,
    /// Goes before the names of the columns that are added.
    pub output_prefix: Option<String>,
    /// Where requests are sent: the engine's upstreams, in their order.
    pub upstreams: Vec<UpstreamOptions>,
    /// Limits and retry.
    pub engine: EngineConfig,
    /// Where levels of long windows are kept. `None`: nowhere, and none of earlier runs count.
    pub keep: Option<KeepOptions>,
    /// What else there is to know of each limit of the engine, in their order. One that is missing
    /// here was given by the user and counts for all models.
    pub limits: Vec<LimitNote>,
    /// Output tokens of a request that does not say how many it may produce. Default 1024.
    pub default_output_tokens: u64,
    /// For the cost in progress and summary.
    pub price: Option<Price>,
    /// Start nothing once this many US dollars are spent; `None` spends what it takes.
    pub spending_cap_usd: Option<f64>,
    /// Start nothing after this long; `None` goes on to the end.
    pub deadline: Option<Duration>,
    /// Where each attempt is written.
    pub trace: Option<PathBuf>,
    /// Told of each attempt.
    pub attempt_log: Option<AttemptLog>,
}

impl RunOptions {
    /// Defaults around the four things that have none.
    #[must_use]
    pub fn new(
        source: SourceOptions,
        target: Target,
        upstreams: Vec<UpstreamOptions>,
        engine: EngineConfig,
    ) -> Self {
        Self {
            source,
            target,
            upstreams,
            engine,
            keep: None,
            limits: Vec::new(),
            journal: None,
            durability: Durability::Power,
            retry_failed: false,
            fresh: false,
            ordered: false,
            response_path: None,
            output_prefix: None,
            default_output_tokens: 1024,
            price: None,
            spending_cap_usd: None,
            deadline: None,
            trace: None,
            attempt_log: None,
        }
    }
}

/// Why a run could not start, or could not be brought to its end. Nothing that was answered is
/// lost.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The options contradict each other or the files that are there.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The input cannot be read, or no row of it could become a request.
    #[error(transparent)]
    Source(#[from] source::OpenError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// A limit is out of range.
    #[error(transparent)]
    Limit(#[from] EngineConfigError),
    /// Rows cannot be written out the way that was asked for.
    #[error(transparent)]
    Output(#[from] output::OutputError),
    /// The final file could not be made. The journal holds every answer.
    #[error("the answers are safe in the journal, but the output could not be made")]
    Assemble(#[from] output::AssembleError),
    /// The journal could not be read back.
    #[error("the journal could not be read back")]
    Lookup(#[from] journal::ReadError),
    /// A file could not be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Counts that the reader thread keeps for whoever shows progress. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Totals(Arc<TotalCounts>);

#[derive(Debug, Default)]
struct TotalCounts {
    /// 0: not known.
    rows: AtomicU64,
    answered_before: AtomicU64,
    dead_before: AtomicU64,
}

impl Totals {
    /// Rows of the input: exact or extrapolated; `None` while nothing is known.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        Some(self.0.rows.load(Ordering::Relaxed)).filter(|&rows| rows > 0)
    }

    /// Rows that need no sending: answered, or ended as dead letters, in earlier runs.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.answered_before() + self.0.dead_before.load(Ordering::Relaxed)
    }

    /// Rows that earlier runs answered.
    #[must_use]
    pub fn answered_before(&self) -> u64 {
        self.0.answered_before.load(Ordering::Relaxed)
    }
}

/// A run with everything open and nothing sent.
#[derive(Debug)]
pub struct Run {
    options: RunOptions,
    plan: Plan,
    outputs: Outputs,
    reader: Reader,
    totals: Totals,
    notes: Vec<String>,
}

impl Run {
    /// Opens the input, takes the lock, heals and reads the journal.
    ///
    /// # Errors
    /// Whatever would make every request fail, or lose an answer.
    pub fn open(mut options: RunOptions) -> Result<Self, RunError> {
        let (mut plan, source) = Plan::make(&mut options)?;
        let mut notes = Vec::new();
        let (journal, answered) = match plan.journal.clone() {
            Some(path) => {
                let (journal, recovered) = Journal::open(plan.journal_options(&path, &options))?;
                notes.extend(note(&recovered));
                (Some(journal), recovered.answered)
            }
            None => (None, journal::Answered::default()),
        };
        let mut dead = None;
        if let Some(path) = &plan.dead_letters {
            dead = Some(DeadLetters::open(plan.dead_letter_options(path, &options))?);
        }
        let dead_before = dead
            .as_mut()
            .map(DeadLetters::lend_earlier)
            .unwrap_or_default();
        let outputs = Outputs::open(&plan, &mut options, journal, dead)?;
        plan.begin_summary()?;
        let totals = Totals::default();
        let gives_earlier_rows = outputs.gives_earlier_rows();
        let reader = Reader::new(
            source,
            answered,
            dead_before,
            gives_earlier_rows,
            totals.clone(),
        );
        Ok(Self {
            options,
            plan,
            outputs,
            reader,
            totals,
            notes,
        })
    }

    /// What was found and healed, for people.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What is read, and how.
    #[must_use]
    pub const fn source(&self) -> &SourceOptions {
        &self.options.source
    }

    /// Counts for progress.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals.clone()
    }

    /// Sends what has no answer yet, until the input ends or `control` says otherwise. The final
    /// file and the summary are written at every end.
    ///
    /// What could not be written at the end stands in [`Summary::problems`]: the journal holds
    /// every answer all the same.
    ///
    /// # Errors
    /// A limit is out of range. Nothing was sent.
    pub async fn run(
        self,
        control: watch::Receiver<Control>,
        retunes: mpsc::Receiver<Retune>,
        progress: watch::Sender<Progress>,
    ) -> Result<Summary, RunError> {
        let Self {
            mut options,
            plan,
            mut outputs,
            reader,
            totals,
            ..
        } = self;
        let clock = Clock::start();
        let driver_options = DriverOptions {
            engine: options.engine.clone(),
            limits: options.limits.clone(),
            lanes: Arc::clone(&options.source.lanes),
            upstreams: options.upstreams.clone(),
            // Announced only now: a run that cannot start disturbs no other.
            keeper: options.keep.take().map(Keeper::open),
            default_output_tokens: options.default_output_tokens,
            price: options.price,
            spending_cap_usd: options.spending_cap_usd,
            deadline: options.deadline,
            clock,
        };
        let (driver, inbox) = Driver::new(driver_options, &mut outputs)?;
        let (items, source) = mpsc::channel(READ_AHEAD_BATCHES);
        let reading = reader.start(items);
        let mut asked = control.clone();
        let mut report = driver
            .drive(inbox, source, control, retunes, &progress)
            .await;
        // A reader that still waits for standard input is left behind: it holds nothing.
        let finished = report.source_finished.then(|| reading.join()).flatten();
        if report.source_finished && finished.is_none() && report.cause.is_none() {
            let defect = "a defect in this program ended the reading; please report it";
            report.cause = Some(EndCause::Source(defect.to_owned()));
        }
        outputs
            .finish_stream(async {
                // Whoever could ask is gone: then there is nobody to give anything up.
                if asked
                    .wait_for(|wanted| *wanted == Control::Abandon)
                    .await
                    .is_err()
                {
                    std::future::pending::<()>().await;
                }
            })
            .await;
        drop(progress);
        Ok(Self::close(
            &mut options,
            plan,
            outputs,
            &report,
            finished,
            &totals,
            clock,
        ))
    }

    fn close(
        options: &mut RunOptions,
        plan: Plan,
        mut outputs: Outputs,
        report: &DriverReport,
        finished: Option<Finished>,
        totals: &Totals,
        clock: Clock,
    ) -> Summary {
        let mut stale = 0;
        let mut problems = Vec::new();
        // With `--first` the rest of the input is not known, so nothing is stale.
        let finished = finished.filter(|_| options.source.first.is_none());
        let input_seen = finished.is_some();
        if let Some(Finished {
            stale_answers,
            stale_dead,
        }) = finished
        {
            let dropped = outputs.drop_stale(plan.stale(), &stale_answers, stale_dead);
            stale = dropped.unwrap_or_else(|error| {
                problems.push(told(&error));
                0
            });
        }
        let (mut journal, more) = outputs.finish(input_seen);
        problems.extend(more);
        if let Some(journal) = &mut journal {
            journal.give_up_spare();
        }
        // Under the journal's lock: another run must not see half of it.
        // Whatever cannot be made: people are told what the run came to all the same.
        match plan.assemble(options) {
            Ok(counts) => {
                problems.extend(counts.and_then(|counts| changed(&counts, report, totals)))
            }
            Err(error) => problems.push(told(&error)),
        }
        if let Some(Err(error)) = journal.map(Journal::close) {
            problems.push(told(&error));
        }
        let mut summary = Summary::new(options, &plan, report, totals, clock, stale, problems);
        if let Err(error) = plan.write_summary(&summary) {
            summary.complete = false;
            summary.problems.push(told(&error));
        }
        summary
    }
}

/// Says so when the input that was read at the end is not the one that was sent.
fn changed(counts: &RowCounts, report: &DriverReport, totals: &Totals) -> Option<String> {
    let read = report.tally.counts().rows_read + totals.skipped();
    let same = counts.rows() == read && counts.pending == report.unanswered;
    (report.source_finished && !same).then(|| {
        format!(
            "the input changed while it was read: {} of its {} rows have no answer yet; run the \
             same command again",
            counts.pending,
            counts.rows()
        )
    })
}

/// What was healed, for people.
fn note(recovered: &journal::Recovered) -> Option<String> {
    let mut parts = Vec::new();
    if recovered.corrupt_lines > 0 {
        parts.push(format!("{} damaged lines", recovered.corrupt_lines));
    }
    if recovered.torn_tail && recovered.corrupt_file.is_some() {
        parts.push("an unfinished last line".to_owned());
    }
    if let (Some(file), false) = (&recovered.corrupt_file, parts.is_empty()) {
        let what = parts.join(" and ");
        return Some(format!(
            "{what} of an interrupted run moved to `{}`; their requests are sent again",
            file.display()
        ));
    }
    let old = recovered.set_aside.as_ref()?;
    Some(format!("earlier answers are kept in `{}`", old.display()))
}
