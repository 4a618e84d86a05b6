//! `brimful limits`: what is known of a provider, and from where.

mod learned;

use std::fmt::Write;
use std::path::PathBuf;

use brimful_providers::profile::{self, Evidence, Profile};
use clap::Args;

use crate::Usage;
use crate::exit::Exit;
use crate::pages::print;

const EXAMPLES: &str = "\
Examples:
  brimful limits            every provider in a line
  brimful limits groq       what is known of one, and from where
  brimful limits groq --json
  brimful limits --learned  what runs on this machine have found out
  brimful limits --forget api.groq.com";

/// Print what is known of a provider's limits, and from where
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LimitsArgs {
    /// Whose; without it, all in short
    pub(crate) provider: Option<String>,
    /// As one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// As the page of the documentation, with every provider
    #[arg(long, conflicts_with_all = ["json", "provider"])]
    pub(crate) markdown: bool,
    /// What runs on this machine have learnt instead, of all or of one provider or host
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) learned: bool,
    /// Forget what was learnt, of all or of one provider or host. How much of a day is spent stays
    #[arg(long, conflicts_with_all = ["markdown", "learned", "json"])]
    pub(crate) forget: bool,
    /// Where it is kept, if not in the default place (see `brimful run --help`)
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state_dir: Option<PathBuf>,
}

pub(crate) fn limits(args: &LimitsArgs) -> anyhow::Result<Exit> {
    if args.state_dir.is_some() && !args.learned && !args.forget {
        let text = "--state-dir has no effect without --learned or --forget";
        return Err(Usage(text.to_owned()).into());
    }
    let text = match &args.provider {
        _ if args.markdown => profile::page(),
        _ if args.learned => learned::shown(args)?,
        _ if args.forget => learned::forgotten(args)?,
        Some(name) => {
            let profile = Profile::by_name(name).ok_or_else(|| unknown(name))?;
            if args.json {
                json(profile)?
            } else {
                one(profile)?
            }
        }
        None if args.json => json(&Profile::all().collect::<Vec<_>>())?,
        None => all()?,
    };
    print(text.as_bytes())
}

fn unknown(name: &str) -> Usage {
    let names: Vec<&str> = Profile::names().collect();
    let near = names
        .iter()
        .max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)))
        .filter(|near| strsim::jaro(near, name) > 0.8)
        .map(|near| format!("; did you mean `{near}`?"));
    Usage(format!(
        "nothing is known of `{name}`{}: there are {}",
        near.unwrap_or_default(),
        names.join(", ")
    ))
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(text)
}

fn all() -> Result<String, std::fmt::Error> {
    let mut rows = vec![["PROVIDER", "LIMITS", "CHARGED"].map(str::to_owned)];
    for profile in Profile::all() {
        let limits: Vec<&str> = profile.limits.iter().map(|l| l.name.as_str()).collect();
        let limits = match limits.as_slice() {
            [] => "as given".to_owned(),
            limits => limits.join(" "),
        };
        rows.push([profile.name.clone(), limits, profile.charge().words()]);
    }
    let mut text = String::new();
    table(&mut text, "", &rows)?;
    text.push_str("\nbrimful limits PROVIDER prints what is known of one, and from where.\n");
    Ok(text)
}

fn one(profile: &Profile) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(text, "{} ({})\n", profile.title, profile.name)?;
    let facts = profile.facts();
    let rows: Vec<[String; 3]> = facts
        .into_iter()
        .map(|(what, words, source, evidence)| {
            let words = words.replace('`', "");
            [what.to_owned(), words, cited(source, evidence)]
        })
        .collect();
    table(&mut text, "", &rows)?;
    let mut rows = vec![["LIMIT", "COUNTS", "EACH", "ENFORCED AS", "SOURCE"].map(str::to_owned)];
    for limit in &profile.limits {
        let counts = match limit.window_words() {
            window if window.is_empty() => limit.kind.as_str().to_owned(),
            window => format!("{}, {window}", limit.kind.as_str()),
        };
        rows.push([
            limit.name.clone(),
            counts,
            limit.scope_words(),
            limit.shape_words(),
            cited(&limit.source, limit.evidence),
        ]);
    }
    titled(&mut text, &rows)?;
    let mut rows = vec![["TIER", "MODELS", "AMOUNTS", "SOURCE"].map(str::to_owned)];
    for tier in &profile.tiers {
        rows.push([
            tier.name.clone(),
            tier.models.join(" "),
            tier.words(),
            cited(&tier.source, tier.evidence),
        ]);
    }
    titled(&mut text, &rows)?;
    let mut notes: Vec<String> = profile
        .ramps
        .iter()
        .map(|ramp| {
            format!(
                "Growth of {} {}",
                ramp.words(),
                cited(&ramp.source, ramp.evidence)
            )
        })
        .collect();
    let of_notes = profile.notes.iter();
    notes.extend(of_notes.map(|note| {
        let text = note.text.replace('`', "");
        format!("{text} {}", cited(&note.source, note.evidence))
    }));
    if !notes.is_empty() {
        text.push('\n');
    }
    for note in notes {
        writeln!(text, "- {note}")?;
    }
    text.push_str("\nSOURCES\n");
    let rows: Vec<[String; 3]> = profile
        .sources
        .iter()
        .map(|(name, source)| [name.clone(), source.date.clone(), source.url.clone()])
        .collect();
    table(&mut text, "", &rows)?;
    Ok(text)
}

fn cited(source: &str, evidence: Evidence) -> String {
    format!("[{source}, {}]", evidence.as_str())
}

/// A table with a row of titles, unless there is nothing below them.
fn titled<const N: usize>(text: &mut String, rows: &[[String; N]]) -> std::fmt::Result {
    if rows.len() < 2 {
        return Ok(());
    }
    text.push('\n');
    table(text, "", rows)
}

/// Columns as wide as their longest cell, the last one as it is.
pub(crate) fn table<const N: usize>(
    text: &mut String,
    indent: &str,
    rows: &[[String; N]],
) -> std::fmt::Result {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:<width$}  ")?;
        }
        writeln!(text, "{indent}{}", line.trim_end())?;
    }
    Ok(())
}
