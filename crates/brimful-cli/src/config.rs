//! `brimful.toml`: everything the flags of `run` say can stand in its table `[run]`; flags win.
//!
//! A key is a flag's long name, `input` or `output`. The file is turned into arguments and parsed
//! by the same parser, so that both always mean the same.

use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, bail};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::args::Cli;

/// `argv` with the flags added that only the configuration file gives.
pub(crate) fn merged(argv: Vec<OsString>, matches: &ArgMatches) -> anyhow::Result<Vec<OsString>> {
    let Some(("run", run)) = matches.subcommand() else {
        return Ok(argv);
    };
    let Some(path) = run.get_one::<std::path::PathBuf>("config") else {
        return Ok(argv);
    };
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{shown}`"))?;
    let file = File { path, text: &text };
    let table = DeTable::parse(&text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        anyhow::anyhow!("{}: {}", file.place(&span), error.message())
    })?;
    let mut argv = argv;
    for (key, value) in table.get_ref() {
        let name: &str = key.get_ref();
        match value.get_ref() {
            DeValue::Table(entries) if name == "run" => {
                file.add_run(entries, run, &mut argv)?;
            }
            _ => bail!(
                "{}: unknown table `{name}`{}",
                file.place(&key.span()),
                hint(name, &["run"])
            ),
        }
    }
    Ok(argv)
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
        let command = Cli::command();
        let command = command
            .find_subcommand("run")
            .context("`run` is a command")?;
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
            if given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine) {
                continue;
            }
            if arg.is_positional() {
                input = Some(OsString::from(self.scalar(name, value)?));
                continue;
            }
            self.add_flag(arg, name, value, argv)?;
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
                    let value = json(item.get_ref()).to_string();
                    argv.push(flag(format!("{}={value}", param.get_ref())));
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

/// The name of a flag in the file; `None` for flags that make no sense there.
fn key_of(arg: &Arg) -> Option<&str> {
    if arg.is_positional() {
        return Some(arg.get_id().as_str());
    }
    arg.get_long()
        .filter(|long| !matches!(*long, "help" | "version" | "config"))
}

fn hint(name: &str, known: &[&str]) -> String {
    let close = |candidate: &&&str| strsim::jaro_winkler(name, candidate);
    let best = known.iter().max_by(|a, b| close(a).total_cmp(&close(b)));
    match best {
        Some(best) if strsim::jaro_winkler(name, best) > 0.75 => {
            format!("; did you mean `{best}`?")
        }
        _ => format!("; known are {}", known.join(", ")),
    }
}

fn json(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Integer(number) => {
            serde_json::from_str(&number.to_string()).unwrap_or(serde_json::Value::Null)
        }
        DeValue::Float(number) => {
            serde_json::from_str(&number.to_string()).unwrap_or(serde_json::Value::Null)
        }
        DeValue::Datetime(datetime) => datetime.to_string().into(),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(items) => items
            .iter()
            .map(|(key, item)| (key.get_ref().to_string(), json(item.get_ref())))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}
