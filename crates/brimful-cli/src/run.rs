//! `brimful run`: flags in, a run, an exit code out.

mod aws;
pub(crate) mod custom;
mod limits;
pub(crate) mod provider;
mod report;
mod retune;
mod state;
pub(crate) mod target;
mod upstreams;

use std::io::Write;
use std::sync::Arc;

use brimful::driver::Control;
use brimful::journal::Durability;
use brimful::progress::Progress;
use brimful::report::Price;
use brimful::request::Request;
use brimful::run::{Run, RunError, RunOptions, Stop, Summary, Target};
use brimful::source::{BatchForm, Format, Input, Problem, SourceOptions, first_model, validate};
use brimful_providers::profile::CountRule;
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::Usage;
use crate::args::{self, InputFormat, LogFormat, RunArgs};
use crate::exit::Exit;
use crate::{screen, signals, units};

/// Problems that `--strict` lists; more are counted.
const PROBLEMS_SHOWN: usize = 20;

pub(crate) fn run(runtime: &tokio::runtime::Runtime, args: RunArgs) -> anyhow::Result<Exit> {
    let source = source_options(&args)?;
    if args.requests.strict && !passes(&args, &source)? {
        return Ok(Exit::Usage);
    }
    let options = run_options(&args, source)?;
    let to_stdout = options.target == Target::Stdout;
    {
        let _within = runtime.enter();
        signals::survive_file_size_limit()?;
    }
    let run = Run::open(options).map_err(refused)?;
    for note in run.notes() {
        say(args.watch.log_format, "note", note);
    }
    let summary = runtime.block_on(async {
        let (control, obeyed) = watch::channel(Control::Run);
        let first_signal = signals::listen(args.stop.grace, control)?;
        let (told, progress) = watch::channel(Progress::start());
        let screen = tokio::spawn(screen::show(
            args.watch.progress,
            args.watch.progress_every,
            args.watch.log_format,
            run.totals(),
            progress,
        ));
        let retunes = retune::listen(&args, run.source())?;
        // Boxed: it is large, and there is one of it.
        let summary = Box::pin(run.run(obeyed, retunes, told)).await;
        // The screen ends with the run; a defect in it must not cost the summary.
        let _shown = screen.await;
        summary
            .map(|summary| (summary, first_signal.number()))
            .map_err(anyhow::Error::new)
    })?;
    let (summary, signal) = summary;
    report::print(args.watch.log_format, &summary, signal, to_stdout);
    Ok(exit(&summary, signal))
}

/// Several causes: fatal before signal before cap before dead letters.
fn exit(summary: &Summary, signal: Option<u8>) -> Exit {
    if summary.is_fatal() {
        return Exit::Fatal;
    }
    // A signal that came when everything was done changes nothing.
    if let (Some(number), false) = (signal, summary.complete) {
        return Exit::Signal(number);
    }
    if matches!(summary.stopped_by, Some(Stop::SpendingCap | Stop::Deadline)) {
        return Exit::Capped;
    }
    if summary.requests.dead > 0 {
        Exit::DeadLetters
    } else {
        Exit::Complete
    }
}

/// Whether a run could not start because of what was typed (2) or of what is there (1).
fn refused(error: RunError) -> anyhow::Error {
    match &error {
        RunError::Plan(_) | RunError::Source(_) | RunError::Limit(_) | RunError::Output(_) => {
            Usage(chain(&error)).into()
        }
        _ => error.into(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn usage(text: impl Into<String>) -> anyhow::Error {
    Usage(text.into()).into()
}

fn source_options(args: &RunArgs) -> anyhow::Result<SourceOptions> {
    let requests = &args.requests;
    if args.outputs.retry_failed && requests.first.is_some() {
        return Err(usage(
            "--retry-failed sends all dead letters again, --first leaves rows out: give one of the \
             two",
        ));
    }
    let input = match (&args.input, requests.repeat) {
        (None, Some(count)) => Input::Repeat(count),
        (Some(path), None) if path.as_os_str() == "-" => Input::Stdin,
        (Some(path), None) => Input::Path(path.clone()),
        (Some(_), Some(_)) => return Err(usage("--repeat has no INPUT: give one of the two")),
        (None, None) => {
            return Err(usage(
                "give INPUT, as an argument or as `input` in the configuration file",
            ));
        }
    };
    let read = |path: &std::path::Path| {
        std::fs::read_to_string(path)
            .map_err(|error| usage(format!("cannot read `{}`: {error}", path.display())))
    };
    let mut source = SourceOptions::new(input);
    source.format = requests.input_format.map(|format| match format {
        InputFormat::Batch => Format::Batch,
        InputFormat::AnthropicBatch => Format::Native(BatchForm::Anthropic),
        InputFormat::GeminiBatch => Format::Native(BatchForm::Gemini),
        InputFormat::BedrockBatch => Format::Native(BatchForm::Bedrock),
        InputFormat::MistralBatch => Format::Native(BatchForm::Mistral),
        InputFormat::Jsonl => Format::Jsonl,
        InputFormat::Csv => Format::Csv,
        InputFormat::Tsv => Format::Tsv,
        InputFormat::Text => Format::Text,
    });
    source.prompt = match &requests.prompt_file {
        Some(path) => Some(read(path)?),
        None => requests.prompt.clone(),
    };
    source.system.clone_from(&requests.system);
    source.body_template = match &requests.body_template {
        Some(text) if text.trim_start().starts_with('{') => Some(text.clone()),
        Some(path) => Some(read(path.as_ref())?),
        None => None,
    };
    source.model.clone_from(&requests.model);
    source.endpoint = match &requests.endpoint {
        Some(endpoint) => endpoint
            .parse()
            .map_err(|error| usage(format!("{error}")))?,
        None => provider::default_endpoint(args),
    };
    source.params = params(&requests.param)?;
    source.id_column.clone_from(&requests.id_column);
    source.estimate_column.clone_from(&requests.estimate_column);
    source.count = match requests.count {
        Some(args::Count::Exact) => CountRule::Exact,
        Some(args::Count::Chars) => CountRule::Chars,
        None => provider::count(args),
    };
    source.first = requests.first;
    source.line_max_bytes = usize::try_from(requests.line_max_bytes).unwrap_or(usize::MAX);
    Ok(source)
}

fn params(given: &[String]) -> anyhow::Result<Map<String, Value>> {
    let mut params = Map::new();
    for param in given {
        let Some((name, value)) = param.split_once('=') else {
            return Err(usage(format!(
                "--param `{param}`: write NAME=JSON, such as temperature=0"
            )));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        params.insert(name.trim().to_owned(), value);
    }
    Ok(params)
}

fn run_options(args: &RunArgs, source: SourceOptions) -> anyhow::Result<RunOptions> {
    let target = match &args.output {
        Some(path) if path.as_os_str() == "-" => Target::Stdout,
        Some(path) => Target::File(path.clone()),
        None => {
            return Err(usage(
                "give --output, or `output` in the configuration file",
            ));
        }
    };
    let model = first_model(&source);
    let limits = limits_of(args, model.as_deref())?;
    for note in &limits.told {
        say(args.watch.log_format, "note", note);
    }
    let mut source = source;
    source.units = limits.units;
    source.lanes = limits.lanes;
    let (upstreams, identities) = upstreams::ways(args, &limits.headers)?;
    let mut options = RunOptions::new(source, target, upstreams, limits.engine);
    options.keep =
        identities.and_then(|who| state::keep(args, model.as_deref(), &limits.notes, &who));
    options.limits = limits.notes;
    options.journal.clone_from(&args.outputs.journal);
    options.durability = match args.outputs.durability {
        args::Durability::Power => Durability::Power,
        args::Durability::Process => Durability::Process,
    };
    options.retry_failed = args.outputs.retry_failed;
    options.fresh = args.outputs.fresh;
    options.ordered = args.outputs.ordered;
    options
        .response_path
        .clone_from(&args.outputs.response_path);
    options
        .output_prefix
        .clone_from(&args.outputs.output_prefix);
    options.default_output_tokens = args.limits.default_output_tokens;
    options.price = args.stop.price.as_deref().map(price).transpose()?;
    options.spending_cap_usd = args.stop.max_cost;
    options.deadline = args.stop.deadline;
    options.trace.clone_from(&args.watch.trace);
    if args.watch.log_format == LogFormat::Json {
        options.attempt_log = Some(report::attempt_log());
    }
    Ok(options)
}

/// The limits of the flags, or of the configuration file's upstreams.
fn limits_of(args: &RunArgs, model: Option<&str>) -> anyhow::Result<limits::Limits> {
    if args.upstreams.is_empty() {
        let concurrency = limits::concurrency(args, model)?;
        return limits::limits(args, model, concurrency);
    }
    limits::several(args, model)
}

fn price(text: &str) -> anyhow::Result<Price> {
    let wrong = || {
        usage(format!(
            "--price `{text}`: write IN,OUT in US dollars, such as 0.15,0.60"
        ))
    };
    let (input, output) = text.split_once(',').ok_or_else(wrong)?;
    let (input, output) = (
        units::dollars(input).map_err(|_| wrong())?,
        units::dollars(output).map_err(|_| wrong())?,
    );
    Ok(Price { input, output })
}

/// `--strict`: reads everything once and lists what is wrong.
fn passes(args: &RunArgs, source: &SourceOptions) -> anyhow::Result<bool> {
    if source.input == Input::Stdin {
        return Err(usage(
            "--strict reads the input twice: give a file, not standard input",
        ));
    }
    let limits = limits_of(args, first_model(source).as_deref())?;
    let mut fits = |request: &Request| {
        let cost = request.cost(args.limits.default_output_tokens);
        limits.never(&cost)
    };
    let mut source = source.clone();
    source.units.clone_from(&limits.units);
    source.lanes = Arc::clone(&limits.lanes);
    let input = source.input.clone();
    let found =
        validate(source, PROBLEMS_SHOWN, &mut fits).map_err(|error| usage(chain(&error)))?;
    let file = match &input {
        Input::Path(path) => path.display().to_string(),
        _ => "input".to_owned(),
    };
    let format = args.watch.log_format;
    for problem in &found.problems {
        let Problem {
            row, line, reason, ..
        } = problem;
        let text = match line {
            0 => format!("row {row}: {reason}"),
            line => format!("{file}:{line}: {reason}"),
        };
        match format {
            LogFormat::Text => show(&text),
            LogFormat::Json => say(format, "error", &text),
        }
    }
    if found.bad > 0 {
        let text = format!(
            "{} of {} rows are bad; nothing was sent",
            found.bad, found.rows
        );
        say(format, "error", &text);
    }
    Ok(found.bad == 0)
}

/// One message on standard error.
pub(crate) fn say(format: LogFormat, level: &str, text: &str) {
    let line = match format {
        LogFormat::Text => format!("brimful: {text}"),
        LogFormat::Json => serde_json::json!({ "level": level, "message": text }).to_string(),
    };
    show(&line);
}

/// A line on standard error.
fn show(line: &str) {
    // There is nobody to tell if standard error is gone, and it is no reason to fail.
    let _unseen = writeln!(std::io::stderr(), "{line}");
}
