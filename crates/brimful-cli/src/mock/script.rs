//! `--script FILE`: what changes while the mock serves, and when.

use std::ops::Range;
use std::path::Path;

use anyhow::Context as _;
use brimful_gateway::mock::{in_users_words, setting_names};
use brimful_sim::{ConfigPatch, ScriptStep, ServerConfig};
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Usage;
use crate::config::hint;

/// The steps of the file at `path`, each of which can be made after those before it. `config` is
/// what the server starts with.
pub(super) fn read(path: &Path, config: &ServerConfig) -> anyhow::Result<Vec<ScriptStep>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{shown}`"))?;
    parse(&text, config).map_err(|Wrong { line, what }| {
        anyhow::Error::new(Usage(format!("{shown}:{line}: {what}")))
    })
}

/// What is wrong with a script, and where.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    line: usize,
    what: String,
}

fn parse(text: &str, config: &ServerConfig) -> Result<Vec<ScriptStep>, Wrong> {
    let wrong = |span: Range<usize>, what: String| {
        let before = &text.as_bytes()[..span.start.min(text.len())];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        Wrong { line, what }
    };
    let file = DeTable::parse(text)
        .map_err(|error| wrong(error.span().unwrap_or(0..0), error.message().to_owned()))?;
    let mut steps = Vec::new();
    for (key, value) in file.get_ref() {
        let list = match (key.get_ref().as_ref(), value.get_ref()) {
            ("at", DeValue::Array(list)) => list,
            (name, _) => {
                let what = format!(
                    "`{name}` is not part of a script: write [[at]], below it `after = \"30s\"` \
                     and a line for each setting that changes then"
                );
                return Err(wrong(key.span(), what));
            }
        };
        for entry in list.iter() {
            let step = step(entry).map_err(|(span, what)| wrong(span, what))?;
            steps.push((entry.span(), step));
        }
    }
    // In the order of time, in which each of them must be possible after those before.
    steps.sort_by_key(|(_, step)| step.after);
    let mut config = config.clone();
    for (span, step) in &steps {
        config = step.patch.applied_to(&config).map_err(|error| {
            let what = in_users_words(&error.to_string(), "");
            wrong(span.clone(), format!("this change cannot be made: {what}"))
        })?;
    }
    Ok(steps.into_iter().map(|(_, step)| step).collect())
}

type Misplaced = (Range<usize>, String);

fn step(entry: &Spanned<DeValue<'_>>) -> Result<ScriptStep, Misplaced> {
    let DeValue::Table(table) = entry.get_ref() else {
        let what = "a step is a table: write [[at]] above it".to_owned();
        return Err((entry.span(), what));
    };
    // Key by key first: an error in the whole step does not say where it is.
    for (key, value) in table {
        let name: &str = key.get_ref();
        if name != "after" {
            setting(key, value)?;
        }
    }
    ScriptStep::deserialize(entry.clone().into_deserializer()).map_err(|error| {
        let span = table
            .get("after")
            .map_or_else(|| entry.span(), Spanned::span);
        let what = match table.get("after") {
            None => "a step needs its time: write after = \"30s\"".to_owned(),
            Some(_) => format!("after: {}", error.message()),
        };
        (span, what)
    })
}

/// Whether this one setting can be read.
fn setting(
    key: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), Misplaced> {
    let name: &str = key.get_ref();
    let known = setting_names();
    if !known.iter().any(|known| known == name) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let what = format!("unknown setting `{name}`{}", hint(name, &known));
        return Err((key.span(), what));
    }
    let pair = std::iter::once((name, value.clone()));
    let alone = serde::de::value::MapDeserializer::new(pair);
    ConfigPatch::deserialize(alone)
        .map(drop)
        .map_err(|error: toml::de::Error| {
            let span = error.span().unwrap_or_else(|| value.span());
            (span, format!("{name}: {}", error.message()))
        })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use brimful_sim::{Change, Outage};

    use super::*;

    #[test]
    fn steps_come_in_the_order_of_time() {
        let text = "[[at]]\nafter = '45s'\noutage = 'none'\n\n\
                    [[at]]\nafter = '30s'\noutage = 'hang'\nerror-share = 0.5\n";
        let steps = parse(text, &ServerConfig::default()).unwrap();
        let times: Vec<Duration> = steps.iter().map(|step| step.after).collect();
        assert_eq!(times, [30, 45].map(Duration::from_secs));
        assert_eq!(steps[0].patch.outage, Change::Set(Outage::Hang));
        assert_eq!(steps[0].patch.error_share, Some(0.5));
        assert_eq!(steps[1].patch.outage, Change::Clear);
    }

    #[test]
    fn further_limits_can_be_given_as_tables() {
        let text = "[[at]]\nafter = '1s'\n[[at.limits]]\nname = 'burst'\nmeasure = 'requests'\n\
                    amount = 10\nwindow = '1s'\n";
        let steps = parse(text, &ServerConfig::default()).unwrap();
        let limits = steps[0].patch.limits.as_ref().unwrap();
        assert_eq!((limits[0].name.as_str(), limits[0].amount), ("burst", 10));
    }

    #[test]
    fn every_mistake_is_told_with_its_line_and_its_remedy() {
        for (text, line, hint) in [
            (
                "[[at]]\nafter = '1s'\n\nrmp = 600\n",
                4,
                "did you mean `rpm`",
            ),
            (
                "[[at]]\nafter = '1s'\nrpm = 'many'\n",
                3,
                "rpm: invalid type",
            ),
            ("[[at]]\nafter = '1s'\noutage = 'sometimes'\n", 3, "`hang`"),
            ("[[at]]\nafter = '1s'\nlatency = 'soon'\n", 3, "such as"),
            ("[[at]]\nrpm = 600\n", 1, "write after ="),
            ("[[at]]\nafter = 'soon'\n", 2, "such as"),
            ("# a comment\n[[on]]\nafter = '1s'\n", 2, "write [[at]]"),
            ("rpm = 600\n", 1, "write [[at]]"),
            ("[at]\nafter = '1s'\n", 1, "write [[at]]"),
            ("at = [1]\n", 1, "write [[at]]"),
            ("[[at]]\nafter = '1s'\nrpm = \n", 3, ""),
            (
                "[[at]]\nafter = '1s'\n\n[[at]]\nafter = '2s'\nrpm = 0\n",
                4,
                "rpm is 0",
            ),
        ] {
            let wrong = parse(text, &ServerConfig::default()).unwrap_err();
            assert_eq!(wrong.line, line, "{text}: {}", wrong.what);
            assert!(wrong.what.contains(hint), "{text}: {}", wrong.what);
        }
    }

    #[test]
    fn a_step_is_judged_after_those_before_it() {
        let text = "[[at]]\nafter = '2s'\nreset-share = 0.6\n\n\
                    [[at]]\nafter = '1s'\nerror-share = 0.6\n";
        let wrong = parse(text, &ServerConfig::default()).unwrap_err();
        assert_eq!(wrong.line, 1);
        assert!(
            wrong.what.contains("add up to more than 1"),
            "{}",
            wrong.what
        );
    }
}
