//! The tables `[[upstream]]`: the flags of `run` that say where requests go and how fast, and what
//! only an upstream among several has.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{Arg, CommandFactory};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{File, check, hint, key_of};
use crate::args::Cli;
use crate::units;

/// What only upstreams have.
const OWN: [&str; 4] = ["name", "weight", "fallback-after", "models"];
/// The flags of `run` that an upstream has for itself, by the headings of `--help`.
const HEADINGS: [&str; 2] = ["Where to", "Limits"];
/// Those of them that belong to the run.
const RUNS: [&str; 4] = [
    "default-output-tokens",
    "state-dir",
    "no-state",
    "daily-reset",
];

/// A table `[[upstream]]`.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamTable {
    /// `FILE:LINE`, for errors.
    pub(crate) place: String,
    /// `None`: the host of its address.
    pub(crate) name: Option<String>,
    pub(crate) weight: u32,
    /// `None`: a primary.
    pub(crate) fallback_after: Option<Duration>,
    /// Its own names for the models that it serves; `None`: it serves all, under their names.
    pub(crate) models: Option<BTreeMap<String, String>>,
    /// Its flags, to be parsed as those of `run`.
    pub(crate) flags: Vec<OsString>,
}

pub(super) fn read(file: &File<'_>, table: &Spanned<DeValue<'_>>) -> anyhow::Result<UpstreamTable> {
    let place = file.place(&table.span());
    let DeValue::Table(entries) = table.get_ref() else {
        bail!("{place}: write [[upstream]] and a line for each flag below it");
    };
    let mut command = Cli::command();
    command.build();
    let command = command
        .find_subcommand("run")
        .context("`run` is a command")?;
    let has = |arg: &&Arg| {
        let heading = arg.get_help_heading();
        let is_own = heading.is_some_and(|heading| HEADINGS.contains(&heading));
        is_own && key_of(arg).is_some_and(|key| !RUNS.contains(&key))
    };
    let mut upstream = UpstreamTable {
        place,
        name: None,
        weight: 1,
        fallback_after: None,
        models: None,
        flags: Vec::new(),
    };
    for (key, value) in entries {
        let name: &str = key.get_ref();
        let wrong = |said: String| anyhow!("{}: `{name}`: {said}", file.place(&value.span()));
        match name {
            "name" => upstream.name = Some(file.scalar(name, value)?),
            "weight" => {
                let weight = file.scalar(name, value)?;
                let weight = weight.parse().ok().filter(|n| (1..=1_000).contains(n));
                upstream.weight = weight.ok_or_else(|| wrong("is 1 to 1,000".to_owned()))?;
            }
            "fallback-after" => {
                let time = units::duration(&file.scalar(name, value)?);
                upstream.fallback_after = Some(time.map_err(wrong)?);
            }
            "models" => upstream.models = Some(models(file, value)?),
            _ => {
                let Some(arg) = command
                    .get_arguments()
                    .filter(has)
                    .find(|arg| key_of(arg) == Some(name))
                else {
                    let flags = command.get_arguments().filter(has).filter_map(key_of);
                    let known: Vec<&str> = OWN.into_iter().chain(flags).collect();
                    bail!(
                        "{}: unknown key `{name}` of an upstream{}",
                        file.place(&key.span()),
                        hint(name, &known)
                    );
                };
                let added = upstream.flags.len();
                file.add_flag(arg, name, value, &mut upstream.flags)?;
                for flag in &upstream.flags[added..] {
                    check(command, flag)
                        .map_err(|wrong| anyhow!("{}: {wrong}", file.place(&value.span())))?;
                }
            }
        }
    }
    Ok(upstream)
}

fn models(
    file: &File<'_>,
    value: &Spanned<DeValue<'_>>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut models = BTreeMap::new();
    match value.get_ref() {
        DeValue::Array(names) => {
            for name in names {
                let name = file.scalar("models", name)?;
                models.insert(name.clone(), name);
            }
        }
        DeValue::Table(names) => names_of(file, names, &mut models)?,
        _ => bail!(
            "{}: `models` is a list of names, or a table of names and what they are called here",
            file.place(&value.span())
        ),
    }
    Ok(models)
}

fn names_of(
    file: &File<'_>,
    names: &DeTable<'_>,
    models: &mut BTreeMap<String, String>,
) -> anyhow::Result<()> {
    for (asked, own) in names {
        models.insert(asked.get_ref().to_string(), file.scalar("models", own)?);
    }
    Ok(())
}
