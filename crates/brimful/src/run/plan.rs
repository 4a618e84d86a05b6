//! Which files a run uses, decided and checked before anything is sent.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::lookup::{Found, Lookup};
use super::{RunError, RunOptions, Summary, Target};
use crate::journal::{DeadLetterOptions, Earlier, JournalOptions, OutputLock};
use crate::output::{self, OutputOptions, Recorded, RowCounts, RowFormat};
use crate::source::{Format, Input, Source};

/// Why the files of a run cannot be used this way.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Output and input are one file.
    #[error("`{0}` is the input: choose another name for the output")]
    OutputIsInput(String),
    /// The output's folder is not there.
    #[error("`{0}` is not a folder: create it first")]
    NoFolder(String),
    /// The output is something that Brimful did not write.
    #[error("`{0}` exists and was not written by brimful: move it away or choose another name")]
    NotOurs(String),
    /// The output is not a plain file.
    #[error("`{0}` is not a plain file")]
    NotAFile(String),
    /// One file would be written over another.
    #[error("{flag} `{path}` is {what}: choose another name")]
    Taken {
        /// Which names it.
        flag: &'static str,
        /// The name.
        path: String,
        /// What it is already.
        what: &'static str,
    },
    /// A flag that has no meaning here.
    #[error("{0}")]
    Flag(String),
}

/// How rows leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The output is the journal.
    JournalIsOutput,
    /// The output is assembled from input and journal at the end.
    Assembled(PathBuf),
    /// Journal lines to standard output.
    StreamedAnswers,
    /// Rows to standard output.
    StreamedRows,
}

/// The files of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) shape: Shape,
    format: RowFormat,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) dead_letters: Option<PathBuf>,
    pub(crate) summary: Option<PathBuf>,
    spool: Option<PathBuf>,
    /// Reads the same rows again, for assembling.
    reread: Option<crate::source::SourceOptions>,
    columns: Option<Vec<String>>,
    /// Keeps other runs away from the output, whatever journal they use. Where the output is the
    /// journal, the journal takes it over.
    lock: Option<OutputLock>,
}

/// `answers.csv` and `.journal.jsonl` as `answers.csv.journal.jsonl`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

impl Plan {
    /// Opens the input and decides.
    pub(super) fn make(options: &mut RunOptions) -> Result<(Self, Source), RunError> {
        let path = match &options.target {
            Target::File(path) => Some(path.clone()),
            Target::Stdout => None,
        };
        let mut lock = None;
        if let Some(path) = &path {
            check_output(path, options)?;
            // Before the copy of a stream is begun: it may be another run's.
            lock = Some(OutputLock::acquire(path)?);
        }
        // What is not a plain file cannot be read twice, and the output is made from its rows at
        // the end.
        let spool = path.as_ref().map(|path| beside(path, ".input"));
        options.source.spool.clone_from(&spool);
        options.source.keep_columns = path.is_none();
        let format = path
            .as_deref()
            .map_or(Ok(RowFormat::Jsonl), RowFormat::of_path)?;
        let row_output = output_options(format, options);
        row_output.check_response_path()?;
        options.source.reserved_columns = row_output.own_columns().to_vec();
        let source = Source::open(options.source.clone())?;
        let batch = source.format() == Format::Batch;
        let format = match (source.format(), format) {
            (Format::Native(form), RowFormat::Jsonl) => RowFormat::Native(form),
            _ => format,
        };
        let shape = match &path {
            None if batch => Shape::StreamedAnswers,
            None => Shape::StreamedRows,
            Some(_) if batch && format == RowFormat::Jsonl => Shape::JournalIsOutput,
            Some(path) => Shape::Assembled(path.clone()),
        };
        check_flags(options, &shape, format)?;
        let journal = match (&shape, &options.journal, &path) {
            (Shape::JournalIsOutput, _, path) => path.clone(),
            (_, Some(journal), _) => Some(journal.clone()),
            (Shape::Assembled(..), None, Some(path)) => Some(beside(path, ".journal.jsonl")),
            _ => None,
        };
        check_names(options, journal.as_deref())?;
        if let Shape::Assembled(path) = &shape
            && is_something(path)
            && !is_ours(path, journal.as_deref(), options.journal.is_none())
        {
            return Err(PlanError::NotOurs(shown(path)).into());
        }
        let anchor = path.or_else(|| journal.clone());
        let plan = Self {
            dead_letters: anchor.as_ref().map(|path| beside(path, ".errors.jsonl")),
            summary: anchor.as_ref().map(|path| beside(path, ".summary.json")),
            columns: source.columns().map(<[String]>::to_vec),
            reread: source.options_to_reread(),
            shape,
            format,
            journal,
            spool,
            lock,
        };
        Ok((plan, source))
    }

    /// Names of the input's columns; `None` where rows may differ.
    pub(crate) fn columns(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    pub(crate) fn output_options(&self, options: &RunOptions) -> OutputOptions {
        output_options(self.format, options)
    }

    pub(super) fn dead_letter_options(
        &self,
        path: &Path,
        options: &RunOptions,
    ) -> DeadLetterOptions {
        let mut letters = DeadLetterOptions::new(path);
        letters.durability = options.durability;
        letters.earlier = match (options.fresh, options.retry_failed) {
            (true, _) => Earlier::SetAside,
            (false, true) => Earlier::Retry,
            (false, false) => Earlier::Keep,
        };
        letters
    }

    fn beside_output(&self, suffix: &str) -> Option<PathBuf> {
        match &self.shape {
            Shape::JournalIsOutput => self.journal.as_deref().map(|path| beside(path, suffix)),
            Shape::Assembled(path) => Some(beside(path, suffix)),
            Shape::StreamedAnswers | Shape::StreamedRows => None,
        }
    }

    /// Where answers go whose request is no longer in the input.
    pub(super) fn stale(&self) -> Option<PathBuf> {
        self.beside_output(".stale.jsonl")
    }

    pub(super) fn journal_options(&mut self, path: &Path, options: &RunOptions) -> JournalOptions {
        let mut journal = JournalOptions::new(path);
        journal.durability = options.durability;
        journal.private = self.shape != Shape::JournalIsOutput;
        journal.fresh = options.fresh;
        journal.stale_path = self.stale();
        if let Some(corrupt) = self.beside_output(".corrupt") {
            journal.corrupt_path = corrupt;
        }
        if self.shape == Shape::JournalIsOutput {
            journal.lock = self.lock.take();
        }
        journal
    }

    /// Says that a run has begun, so that the summary of an earlier one is not taken for its own.
    pub(super) fn begin_summary(&self) -> Result<(), RunError> {
        let Some(path) = &self.summary else {
            return Ok(());
        };
        let begun = "{\n  \"version\": 1,\n  \"complete\": false,\n  \"message\": \"this run has not \
                     come to its end\"\n}\n";
        write_whole(path, begun.as_bytes()).map_err(|source| RunError::Write {
            path: shown(path),
            source,
        })
    }

    /// Writes the summary beside the output.
    pub(super) fn write_summary(&self, summary: &Summary) -> Result<(), RunError> {
        let Some(path) = &self.summary else {
            return Ok(());
        };
        write_whole(path, summary.to_json().as_bytes()).map_err(|source| RunError::Write {
            path: shown(path),
            source,
        })
    }

    /// Makes the final file from the input and the journal, where the output is one.
    pub(super) fn assemble(&self, options: &RunOptions) -> Result<Option<RowCounts>, RunError> {
        let (Shape::Assembled(target), Some(journal), Some(reread)) =
            (&self.shape, &self.journal, &self.reread)
        else {
            self.remove_spool();
            return Ok(None);
        };
        let mut lookup = Lookup::open(journal, self.dead_letters.as_deref())?;
        let mut find = |fingerprint: &_| Ok(recorded(lookup.find(*fingerprint)?));
        let counts = output::assemble(reread, target, &self.output_options(options), &mut find)?;
        self.remove_spool();
        Ok(Some(counts))
    }

    /// The copy of standard input is of no use once the final file holds its rows.
    fn remove_spool(&self) {
        if let Some(spool) = &self.spool {
            // It may never have been created.
            let _absent = std::fs::remove_file(spool);
        }
    }
}

fn recorded(found: Option<Found>) -> Recorded {
    match found {
        Some(Found::Answer(line)) => {
            let body: Box<str> = line.body.into();
            Recorded::Answer(Bytes::from(String::from(body)))
        }
        Some(Found::Dead(line)) => Recorded::Dead {
            code: line.code,
            message: line.message,
            response: line.response.map(|(status, body)| {
                let body: Box<str> = body.into();
                (status, Bytes::from(String::from(body)))
            }),
        },
        None => Recorded::Pending,
    }
}

fn output_options(format: RowFormat, options: &RunOptions) -> OutputOptions {
    let mut settings = OutputOptions::new(format);
    settings.prefix = options.output_prefix.clone().unwrap_or_default();
    settings.response_path.clone_from(&options.response_path);
    settings
}

fn check_flags(options: &RunOptions, shape: &Shape, format: RowFormat) -> Result<(), PlanError> {
    let refuse = |text: &str| Err(PlanError::Flag(text.to_owned()));
    let streamed = matches!(shape, Shape::StreamedAnswers | Shape::StreamedRows);
    if options.ordered && !streamed {
        return refuse("--ordered is for `-o -`: files are in the order of the input anyway");
    }
    if options.journal.is_some() && *shape == Shape::JournalIsOutput {
        return refuse("--journal has no use here: the output of a Batch file is its own journal");
    }
    let rows = matches!(shape, Shape::Assembled(..) | Shape::StreamedRows)
        && !matches!(format, RowFormat::Native(_));
    if !rows && (options.response_path.is_some() || options.output_prefix.is_some()) {
        return refuse("--response-path and --output-prefix are for rows, not for Batch output");
    }
    Ok(())
}

/// No file that is written may be the input, and no two of them may be one.
fn check_names(options: &RunOptions, journal: Option<&Path>) -> Result<(), PlanError> {
    let output = match &options.target {
        Target::File(path) => Some(path.as_path()),
        Target::Stdout => None,
    };
    let input = match &options.source.input {
        Input::Path(path) => Some(path.as_path()),
        _ => None,
    };
    let anchor = output.or(journal);
    let beside = |suffix| anchor.map(|anchor| beside(anchor, suffix));
    // The output of a Batch file is its own journal.
    let journal = options
        .journal
        .as_deref()
        .or_else(|| journal.filter(|journal| Some(*journal) != output));
    let names = [
        ("the input", input.map(Path::to_owned)),
        ("the output", output.map(Path::to_owned)),
        ("the file of dead letters", beside(".errors.jsonl")),
        ("the summary", beside(".summary.json")),
        ("the file of stale answers", beside(".stale.jsonl")),
        ("the file of damaged lines", beside(".corrupt")),
        ("--journal", journal.map(Path::to_owned)),
        ("--trace", options.trace.clone()),
    ];
    let mut taken: Vec<(&'static str, PathBuf)> = Vec::new();
    for (flag, path) in names {
        let Some(path) = path else { continue };
        let what = taken.iter().find(|(_, other)| same_place(other, &path));
        if let Some((what, _)) = what {
            let what = match *what {
                "--journal" => "the journal",
                other => other,
            };
            let path = shown(&path);
            return Err(PlanError::Taken { flag, path, what });
        }
        taken.push((flag, path));
    }
    Ok(())
}

fn check_output(path: &Path, options: &RunOptions) -> Result<(), PlanError> {
    if let Input::Path(input) = &options.source.input
        && same_file(input, path)
    {
        return Err(PlanError::OutputIsInput(shown(path)));
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder
        && !folder.is_dir()
    {
        return Err(PlanError::NoFolder(shown(folder)));
    }
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(PlanError::NotAFile(shown(path))),
        _ => Ok(()),
    }
}

/// Whether an earlier run has made this file from this journal. Without its journal it is left
/// alone: it may be the only copy of answers that were paid. A journal elsewhere may be another
/// output's, so that a summary must be beside the output as well.
fn is_ours(output: &Path, journal: Option<&Path>, default_journal: bool) -> bool {
    let summary = || {
        let bytes = std::fs::read(beside(output, ".summary.json")).ok()?;
        let summary = serde_json::from_slice::<serde_json::Value>(&bytes).ok()?;
        Some(summary["complete"].is_boolean())
    };
    journal.is_some_and(Path::exists) && (default_journal || summary() == Some(true))
}

fn is_something(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0)
}

fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(a), Ok(b)) = (std::fs::metadata(a), std::fs::metadata(b)) else {
        return false;
    };
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// One file, also when it is not there yet.
fn same_place(a: &Path, b: &Path) -> bool {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    same_file(a, b) || absolute(a) == absolute(b)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Replaces a file as a whole: never half of it is seen.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = beside(path, ".tmp");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&temporary, path)
}
