//! Which files a run uses, decided and checked before anything is sent.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{RunError, RunOptions, Summary, Target};
use crate::journal::JournalOptions;
use crate::output::{self, RowFormat};
use crate::source::{Format, Input, Source};

/// Why the files of a run cannot be used this way.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Output and input are one file.
    #[error("`{0}` is the input: choose another name for the output")]
    OutputIsInput(String),
    /// The output's name does not say what to write.
    #[error("`{0}`: the output's name must end in `.jsonl` or `.csv`, or be `-`")]
    UnknownOutput(String),
    /// The output's folder is not there.
    #[error("`{0}` is not a folder: create it first")]
    NoFolder(String),
    /// The output is something that Brimful did not write.
    #[error("`{0}` exists and was not written by brimful: move it away or choose another name")]
    NotOurs(String),
    /// The output is not a plain file.
    #[error("`{0}` is not a plain file")]
    NotAFile(String),
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
    Assembled(PathBuf, RowFormat),
    /// Journal lines to standard output.
    StreamedAnswers,
    /// Rows to standard output.
    StreamedRows,
}

/// The files of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) shape: Shape,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) dead_letters: Option<PathBuf>,
    pub(crate) summary: Option<PathBuf>,
    spool: Option<PathBuf>,
    /// Reads the same rows again, for assembling.
    reread: Option<crate::source::SourceOptions>,
    columns: Option<Vec<String>>,
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
        if let Some(path) = &path {
            check_output(path, options)?;
        }
        // Standard input cannot be read twice, and a file is made from its rows at the end.
        let streamed_in = options.source.input == Input::Stdin;
        let spool = path.as_ref().filter(|_| streamed_in).map(|path| beside(path, ".input"));
        options.source.spool.clone_from(&spool);
        options.source.keep_columns = path.is_none();
        let source = Source::open(options.source.clone())?;
        let batch = source.format() == Format::Batch;
        let shape = match &path {
            None if batch => Shape::StreamedAnswers,
            None => Shape::StreamedRows,
            Some(path) => match RowFormat::of(path) {
                Some(RowFormat::Jsonl) if batch => Shape::JournalIsOutput,
                Some(format) => Shape::Assembled(path.clone(), format),
                None => return Err(PlanError::UnknownOutput(shown(path)).into()),
            },
        };
        check_flags(options, &shape)?;
        let journal = match (&shape, &options.journal, &path) {
            (Shape::JournalIsOutput, _, path) => path.clone(),
            (_, Some(journal), _) => Some(journal.clone()),
            (Shape::Assembled(..), None, Some(path)) => Some(beside(path, ".journal.jsonl")),
            _ => None,
        };
        if let (Shape::Assembled(path, _), Some(journal)) = (&shape, &journal)
            && is_something(path)
            && !journal.exists()
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
            journal,
            spool,
        };
        if matches!(plan.shape, Shape::Assembled(..) | Shape::StreamedRows) {
            let columns = plan.columns.as_deref().unwrap_or_default();
            output::check_columns(columns, options.output_prefix.as_deref())?;
        }
        Ok((plan, source))
    }

    pub(super) fn journal_options(&self, path: &Path, options: &RunOptions) -> JournalOptions {
        let mut journal = JournalOptions::new(path);
        journal.durability = options.durability;
        journal.private = self.shape != Shape::JournalIsOutput;
        journal
    }

    /// Writes the summary beside the output.
    pub(super) fn write_summary(&self, summary: &Summary) -> Result<(), RunError> {
        let Some(path) = &self.summary else { return Ok(()) };
        write_whole(path, summary.to_json().as_bytes())
            .map_err(|source| RunError::Write { path: shown(path), source })
    }

    pub(super) fn assemble(&self, options: &RunOptions) -> Result<(), RunError> {
        let (Shape::Assembled(path, format), Some(journal)) = (&self.shape, &self.journal) else {
            self.remove_spool();
            return Ok(());
        };
        let Some(reread) = self.reread.clone() else { return Ok(()) };
        let settings = output::Assembly {
            source: reread,
            target: path,
            format: *format,
            journal,
            dead_letters: self.dead_letters.as_deref(),
            response_path: options.response_path.as_deref(),
            prefix: options.output_prefix.as_deref(),
        };
        output::assemble(settings)?;
        self.remove_spool();
        Ok(())
    }

    /// The copy of standard input is of no use once the final file holds its rows.
    fn remove_spool(&self) {
        if let Some(spool) = &self.spool {
            // It may never have been created.
            let _absent = std::fs::remove_file(spool);
        }
    }
}

fn check_flags(options: &RunOptions, shape: &Shape) -> Result<(), PlanError> {
    let refuse = |text: &str| Err(PlanError::Flag(text.to_owned()));
    let streamed = matches!(shape, Shape::StreamedAnswers | Shape::StreamedRows);
    if options.ordered && !streamed {
        return refuse("--ordered is for `-o -`: files are in the order of the input anyway");
    }
    if options.journal.is_some() && *shape == Shape::JournalIsOutput {
        return refuse("--journal has no use here: the output of a Batch file is its own journal");
    }
    let rows = matches!(shape, Shape::Assembled(..) | Shape::StreamedRows);
    if !rows && (options.response_path.is_some() || options.output_prefix.is_some()) {
        return refuse("--response-path and --output-prefix are for rows, not for Batch output");
    }
    Ok(())
}

fn check_output(path: &Path, options: &RunOptions) -> Result<(), PlanError> {
    if let Input::Path(input) = &options.source.input
        && same_file(input, path)
    {
        return Err(PlanError::OutputIsInput(shown(path)));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
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

fn is_something(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0)
}

fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(a), Ok(b)) = (std::fs::metadata(a), std::fs::metadata(b)) else { return false };
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Replaces a file as a whole: never half of it is seen.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = beside(path, ".tmp");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&temporary, path)
}
