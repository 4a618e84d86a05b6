//! `brimful.toml`: everything the flags of `run` say can stand in its table `[run]`; flags win.
//!
//! A key is a flag's long name, `input` or `output`. The file is turned into arguments and parsed
//! by the same parser, so that both always mean the same.

mod upstream;

use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::args::Cli;

pub(crate) use upstream::UpstreamTable;

/// What the command line and the configuration file say together.
pub(crate) struct Merged {
    pub(crate) argv: Vec<OsString>,
    /// A table `[[upstream]]` each.
    pub(crate) upstreams: Vec<UpstreamTable>,
}

/// `argv` with the flags added that only the configuration file gives.
pub(crate) fn merged(argv: Vec<OsString>, matches: &ArgMatches) -> anyhow::Result<Merged> {
    let mut upstreams = Vec::new();
    let Some(("run", run)) = matches.subcommand() else {
        return Ok(Merged { argv, upstreams });
    };
    let Some(path) = run.get_one::<std::path::PathBuf>("config") else {
        return Ok(Merged { argv, upstreams });
    };
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{shown}`"))?;
    let file = File { path, text: &text };
    let table = DeTable::parse(&text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        anyhow!("{}: {}", file.place(&span), error.message())
    })?;
    let mut argv = argv;
    for (key, value) in table.get_ref() {
        let name: &str = key.get_ref();
        match value.get_ref() {
            DeValue::Table(entries) if name == "run" => {
                file.add_run(entries, run, &mut argv)?;
            }
            DeValue::Array(tables) if name == "upstream" => {
                for table in tables {
                    upstreams.push(upstream::read(&file, table)?);
                }
            }
            _ if name == "upstream" => bail!(
                "{}: write [[upstream]] and a line for each flag below it",
                file.place(&value.span())
            ),
            _ if name == "run" => bail!(
                "{}: `run` is a table: write [run] and a line for each flag below it",
                file.place(&value.span())
            ),
            DeValue::Table(_) => bail!(
                "{}: unknown table `{name}`{}",
                file.place(&key.span()),
                hint(name, &["run", "upstream"])
            ),
            _ => bail!(
                "{}: `{name}` stands outside of a table: write [run] above it",
                file.place(&key.span())
            ),
        }
    }
    Ok(Merged { argv, upstreams })
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn place(&self, span: &Range<usize>) -> String {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        format!("{}:{line}", self.path.display())
    }

    fn add_run(
        &self,
        entries: &DeTable<'_>,
        given: &ArgMatches,
        argv: &mut Vec<OsString>,
    ) -> anyhow::Result<()> {
        let mut command = Cli::command();
        command.build();
        let command = command
            .find_subcommand("run")
            .context("`run` is a command")?;
        let typed =
            |arg: &Arg| given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        let mut input = None;
        for (key, value) in entries {
            let name: &str = key.get_ref();
            let Some(arg) = command
                .get_arguments()
                .find(|arg| key_of(arg) == Some(name))
            else {
                let known: Vec<&str> = command.get_arguments().filter_map(key_of).collect();
                bail!(
                    "{}: unknown key `{name}`{}",
                    self.place(&key.span()),
                    hint(name, &known)
                );
            };
            // Flags win, also over what says the same in other words: --prompt-file over `prompt`.
            if typed(arg) || rivals(command, arg).any(typed) {
                continue;
            }
            if arg.is_positional() {
                input = Some(OsString::from(self.scalar(name, value)?));
                continue;
            }
            let added = argv.len();
            self.add_flag(arg, name, value, argv)?;
            for flag in &argv[added..] {
                check(command, flag)
                    .map_err(|wrong| anyhow!("{}: {wrong}", self.place(&value.span())))?;
            }
        }
        argv.extend(input);
        Ok(())
    }

    fn add_flag(
        &self,
        arg: &Arg,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        argv: &mut Vec<OsString>,
    ) -> anyhow::Result<()> {
        let flag = |value: String| OsString::from(format!("--{name}={value}"));
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            match value.get_ref() {
                DeValue::Boolean(true) => argv.push(format!("--{name}").into()),
                DeValue::Boolean(false) => {}
                _ => bail!("{}: `{name}` is true or false", self.place(&value.span())),
            }
            return Ok(());
        }
        let many = matches!(arg.get_action(), ArgAction::Append);
        match value.get_ref() {
            DeValue::Array(items) if many => {
                for item in items {
                    argv.push(flag(self.scalar(name, item)?));
                }
            }
            DeValue::Table(items) if name == "param" => {
                for (param, item) in items {
                    let Some(value) = json(item.get_ref()) else {
                        let place = self.place(&item.span());
                        bail!("{place}: `{}` is no number of JSON", param.get_ref());
                    };
                    argv.push(flag(format!("{}={value}", param.get_ref())));
                }
            }
            DeValue::Table(items) if name == "limit" => {
                for (limit, item) in items {
                    let rest = self.scalar(name, item)?;
                    argv.push(flag(format!("{}={rest}", limit.get_ref())));
                }
            }
            DeValue::Table(items) if name == "header" => {
                for (header, item) in items {
                    argv.push(flag(format!(
                        "{}: {}",
                        header.get_ref(),
                        self.scalar(name, item)?
                    )));
                }
            }
            _ => argv.push(flag(self.scalar(name, value)?)),
        }
        Ok(())
    }

    fn scalar(&self, name: &str, value: &Spanned<DeValue<'_>>) -> anyhow::Result<String> {
        Ok(match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            _ => bail!("{}: `{name}` is a single value", self.place(&value.span())),
        })
    }
}

/// Flags that cannot stand beside this one.
fn rivals<'a>(command: &'a Command, arg: &'a Arg) -> impl Iterator<Item = &'a Arg> {
    let excludes = |one: &Arg, other: &Arg| {
        let conflicts = command.get_arg_conflicts_with(one);
        conflicts.iter().any(|arg| arg.get_id() == other.get_id())
    };
    let others = command.get_arguments();
    others.filter(move |other| excludes(arg, other) || excludes(other, arg))
}

/// Whether the flag's own parser takes the value; else what it says, on one line.
fn check(command: &Command, flag: &OsString) -> Result<(), String> {
    let alone = [OsString::from("run"), flag.clone()];
    let Err(error) = command.clone().try_get_matches_from(alone) else {
        return Ok(());
    };
    if !matches!(
        error.kind(),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation
    ) {
        return Ok(());
    }
    let text = error.to_string();
    let said = text.strip_prefix("error: ").unwrap_or(&text);
    let lines = said.lines().take_while(|line| !line.is_empty());
    Err(lines.map(str::trim).collect::<Vec<_>>().join(" "))
}

/// The name of a flag in the file; `None` for flags that make no sense there.
fn key_of(arg: &Arg) -> Option<&str> {
    if arg.is_positional() {
        return Some(arg.get_id().as_str());
    }
    arg.get_long()
        .filter(|long| !matches!(*long, "help" | "version" | "config"))
}

/// The known name that was probably meant, or all of them.
pub(crate) fn hint(name: &str, known: &[&str]) -> String {
    // Jaro-Winkler likes common beginnings; short names with two letters swapped need the other.
    let letters = |word: &str| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.sort_unstable();
        letters
    };
    let closeness = |candidate: &str| {
        // Of short names, `rmp` is nearer to `ramp` by any measure, and is `rpm` all the same.
        if letters(candidate) == letters(name) {
            return 2.0;
        }
        let winkler = strsim::jaro_winkler(name, candidate);
        winkler.max(1.1 * strsim::normalized_damerau_levenshtein(name, candidate))
    };
    let best = known
        .iter()
        .max_by(|a, b| closeness(a).total_cmp(&closeness(b)));
    match best {
        Some(best) if closeness(best) > 0.73 => format!("; did you mean `{best}`?"),
        _ => format!("; known are {}", known.join(", ")),
    }
}

/// A value of TOML in JSON; `None` for infinities and numbers out of range, which JSON has not.
fn json(value: &DeValue<'_>) -> Option<serde_json::Value> {
    Some(match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()?
            .into(),
        DeValue::Float(number) => {
            serde_json::Number::from_f64(number.as_str().parse().ok()?)?.into()
        }
        DeValue::Datetime(datetime) => datetime.to_string().into(),
        DeValue::Array(items) => serde_json::Value::Array(
            items
                .iter()
                .map(|item| json(item.get_ref()))
                .collect::<Option<_>>()?,
        ),
        DeValue::Table(items) => serde_json::Value::Object(
            items
                .iter()
                .map(|(key, item)| Some((key.get_ref().to_string(), json(item.get_ref())?)))
                .collect::<Option<_>>()?,
        ),
    })
}
