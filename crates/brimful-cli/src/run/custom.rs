//! Limits that a user describes: `images=50/1m,of=body.n,models=gpt-image*`.

use std::time::Duration;

use brimful::daily::DailyReset;
use brimful::models::ModelGroup;
use clap::ValueEnum;

use crate::args::LimitShape;
use crate::units;

/// Characters of a name: it stands in tables.
const NAME_MAX_CHARS: usize = 32;
/// Words for what every request has. A column of that name is written `row.tokens`.
const BUILT_IN: [(&str, Counts); 5] = [
    ("requests", Counts::Requests),
    ("tokens", Counts::Tokens),
    ("input_tokens", Counts::InputTokens),
    ("output_tokens", Counts::OutputTokens),
    ("in_flight", Counts::InFlight),
];

/// A limit beside those that have flags of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CustomLimit {
    pub(crate) name: String,
    pub(crate) amount: u64,
    /// Zero for what is in flight.
    pub(crate) window: Duration,
    pub(crate) counts: Counts,
    /// The models that share it; `None`: all.
    pub(crate) models: Option<ModelGroup>,
    /// When it begins anew, for a limit of a day.
    pub(crate) reset: Option<DailyReset>,
    pub(crate) shape: Option<LimitShape>,
}

/// What a limit counts of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    Requests,
    Tokens,
    InputTokens,
    OutputTokens,
    InFlight,
    /// What this expression over the row gives.
    Expression(String),
}

/// How fast limits are grown into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RampArg {
    pub(crate) percent: u32,
    pub(crate) period: Duration,
    /// What it begins with, in per cent of each limit.
    pub(crate) from_percent: u32,
}

pub(crate) fn parse(text: &str) -> Result<CustomLimit, String> {
    let mut parts = parts(text).into_iter();
    let first = parts.next().unwrap_or_default();
    let (name, amount) = first
        .split_once('=')
        .ok_or("write NAME=AMOUNT/WINDOW, such as images=50/1m")?;
    let name = name.trim();
    if !is_name(name) {
        return Err(format!(
            "`{name}` is no name: write letters, digits, - and _, beginning with a letter"
        ));
    }
    let mut limit = CustomLimit {
        name: name.to_owned(),
        amount: 0,
        window: Duration::ZERO,
        counts: Counts::Requests,
        models: None,
        reset: None,
        shape: None,
    };
    for part in parts {
        let (key, value) = part
            .split_once('=')
            .ok_or_else(|| format!("`{part}`: write of=, models=, reset= or shape="))?;
        add(&mut limit, key.trim(), value.trim())?;
    }
    (limit.amount, limit.window) = amount_of(amount.trim(), &limit.counts)?;
    if limit.reset.is_some() && limit.window != DAY {
        return Err("reset= is for limits of a day: write AMOUNT/24h".to_owned());
    }
    if limit.counts == Counts::InFlight && limit.shape.is_some() {
        return Err("shape= has no effect on what is in flight: drop it".to_owned());
    }
    if limit.reset.is_some() && limit.shape.is_some_and(|shape| shape != LimitShape::Fixed) {
        return Err("a limit with reset= begins anew, so its shape is fixed: drop shape=".into());
    }
    Ok(limit)
}

const DAY: Duration = Duration::from_secs(24 * 3600);

fn amount_of(text: &str, counts: &Counts) -> Result<(u64, Duration), String> {
    if *counts == Counts::InFlight {
        if text.contains('/') {
            return Err("what is in flight has no window: write NAME=AMOUNT,of=in_flight".into());
        }
        return Ok((units::positive(text)?, Duration::ZERO));
    }
    let (amount, window) = text
        .split_once('/')
        .ok_or("write the window, too: images=50/1m")?;
    let window = match window.trim() {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        "d" | "1d" => DAY,
        window => units::some_time(window)?,
    };
    Ok((units::positive(amount.trim())?, window))
}

fn add(limit: &mut CustomLimit, key: &str, value: &str) -> Result<(), String> {
    match key {
        "of" if value.is_empty() => return Err("of= names nothing to count".to_owned()),
        "of" => {
            let built_in = BUILT_IN.iter().find(|(word, _)| *word == value);
            limit.counts = match built_in {
                Some((_, counts)) => counts.clone(),
                None => Counts::Expression(value.to_owned()),
            };
        }
        "models" => {
            let group = value.parse();
            limit.models = Some(group.map_err(|error| format!("models={error}"))?);
        }
        "reset" => {
            let reset = value.parse();
            limit.reset = Some(reset.map_err(|error| format!("reset={error}"))?);
        }
        "shape" => {
            let shape = LimitShape::from_str(value, false);
            limit.shape = Some(shape.map_err(|_| {
                format!("shape={value}: write paced, token-bucket, sliding or fixed")
            })?);
        }
        key => {
            let hint = crate::config::hint(key, &["of", "models", "reset", "shape"]);
            return Err(format!("`{key}` is not known{hint}"));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= NAME_MAX_CHARS
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Split at commas that stand in no bracket and no quotes: expressions have commas, too.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut depth, mut quote) = (0, 0_u32, None);
    for (at, c) in text.char_indices() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(c),
            ('(' | '[' | '{', None) => depth += 1,
            (')' | ']' | '}', None) => depth = depth.saturating_sub(1),
            (',', None) if depth == 0 => {
                parts.push(text[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[begin..].trim());
    parts
}

pub(crate) fn parse_ramp(text: &str) -> Result<RampArg, String> {
    let wrong = || format!("`{text}` is no ramp such as +50%/15m or +50%/15m,from=25%");
    let percent = |text: &str| {
        let digits = text.trim().strip_suffix('%')?;
        digits.parse::<u32>().ok().filter(|percent| *percent > 0)
    };
    let (growth, from) = match text.split_once(',') {
        Some((growth, from)) => {
            let from = from.trim().strip_prefix("from=").ok_or_else(wrong)?;
            let from = percent(from).filter(|from| *from < 100);
            (growth, from.ok_or_else(wrong)?)
        }
        None => (text, 10),
    };
    let growth = growth.trim().strip_prefix('+').ok_or_else(wrong)?;
    let (growth, period) = growth.split_once('/').ok_or_else(wrong)?;
    Ok(RampArg {
        percent: percent(growth).ok_or_else(wrong)?,
        period: units::some_time(period.trim()).map_err(|_| wrong())?,
        from_percent: from,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_has_a_name_an_amount_and_a_window() {
        let limit = parse("images=50/1m").unwrap();
        assert_eq!((limit.name.as_str(), limit.amount), ("images", 50));
        assert_eq!(limit.window, Duration::from_secs(60));
        assert_eq!(limit.counts, Counts::Requests);
        for (text, seconds) in [
            ("a=1/s", 1),
            ("a=1/h", 3600),
            ("a=2k/1d", 86_400),
            ("a=1/90s", 90),
        ] {
            assert_eq!(parse(text).unwrap().window.as_secs(), seconds, "{text}");
        }
    }

    #[test]
    fn what_it_counts_may_have_commas_in_brackets_and_quotes() {
        let text = "big = 50 / 24h, of=max(body.n, 1) if x != ',' else [1,2]|length , \
                    models=gpt-4o*+o3, reset=17:00@UTC, shape=fixed";
        let limit = parse(text).unwrap();
        let expression = "max(body.n, 1) if x != ',' else [1,2]|length";
        assert_eq!(limit.counts, Counts::Expression(expression.to_owned()));
        assert_eq!(limit.models.unwrap().to_string(), "gpt-4o*+o3");
        assert_eq!(limit.reset.unwrap().to_string(), "17:00@UTC");
        assert_eq!(limit.shape, Some(LimitShape::Fixed));
        assert_eq!(parse("t=9/1m,of=tokens").unwrap().counts, Counts::Tokens);
        let slots = parse("slots=9,of=in_flight").unwrap();
        assert_eq!((slots.amount, slots.window), (9, Duration::ZERO));
    }

    #[test]
    fn every_mistake_is_named_with_what_to_write() {
        for (text, told) in [
            ("", "NAME=AMOUNT/WINDOW"),
            ("50/1m", "NAME=AMOUNT/WINDOW"),
            ("1a=50/1m", "no name"),
            ("a b=50/1m", "no name"),
            ("a=50", "images=50/1m"),
            ("a=0/1m", "at least 1"),
            ("a=5/0s", "more than 0"),
            ("a=5/soon", "duration"),
            ("a=5/1m,off=x", "did you mean `of`"),
            ("a=5/1m,models", "models="),
            ("a=5/1m,models=", "names no models"),
            ("a=5/1m,of=", "nothing to count"),
            ("a=5/1m,reset=00:00@UTC", "of a day"),
            ("a=5/24h,reset=never", "00:00@America/Los_Angeles"),
            ("a=5/24h,reset=00:00@UTC,shape=paced", "its shape is fixed"),
            ("a=5/1m,shape=round", "token-bucket"),
            ("a=5/1m,of=in_flight", "no window"),
            ("a=5,of=in_flight,shape=fixed", "in flight"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn a_ramp_is_growth_in_a_time_from_a_part() {
        let ramp = |percent, seconds, from_percent| RampArg {
            percent,
            period: Duration::from_secs(seconds),
            from_percent,
        };
        assert_eq!(parse_ramp("+50%/15m"), Ok(ramp(50, 900, 10)));
        assert_eq!(parse_ramp("+100% / 1h, from=25%"), Ok(ramp(100, 3600, 25)));
        for text in [
            "",
            "50%/15m",
            "+50/15m",
            "+0%/15m",
            "+50%",
            "+50%/0s",
            "+5%/1m,from=100%",
            "+5%/1m,to=3%",
        ] {
            assert!(parse_ramp(text).unwrap_err().contains("+50%/15m"), "{text}");
        }
    }
}
