//! `--limit NAME=AMOUNT/WINDOW[,KEY=VALUE…]`: limits beside those with flags of their own.

use brimful_sim::{LimitRule, Measure};

use super::args::named;
use crate::units;

/// `burst=10/1s`, `input=50k/10s,measure=input-tokens,enforcement=sliding`.
pub(super) fn parse(text: &str) -> Result<LimitRule, String> {
    let wrong = || format!("`{text}` is not a limit such as burst=10/1s,enforcement=sliding");
    let mut parts = text.split(',');
    let (name, rate) = parts
        .next()
        .and_then(|part| part.split_once('='))
        .ok_or_else(wrong)?;
    let (amount, window) = rate.split_once('/').ok_or_else(wrong)?;
    let (amount, window) = (units::positive(amount)?, units::some_time(window)?);
    let mut rule = LimitRule::new(name, Measure::Requests, amount, window);
    for part in parts {
        let (key, value) = part.split_once('=').ok_or_else(wrong)?;
        match key {
            "measure" => rule.measure = named(value)?,
            "enforcement" => rule.enforcement = Some(named(value)?),
            "burst" => rule.burst = Some(units::duration(value)?),
            "window-phase" => rule.window_phase = Some(units::duration(value)?),
            "judged-over" => rule.judged_over = Some(units::some_time(value)?),
            _ => {
                return Err(format!(
                    "unknown key `{key}`: use measure, enforcement, burst, window-phase or \
                     judged-over"
                ));
            }
        }
    }
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use brimful_sim::Enforcement;

    use super::*;

    #[test]
    fn a_limit_has_a_name_an_amount_and_a_window() {
        let rule = parse("burst=10/1s").unwrap();
        let expected = LimitRule::new("burst", Measure::Requests, 10, Duration::from_secs(1));
        assert_eq!(rule, expected);
    }

    #[test]
    fn the_rest_is_said_by_name() {
        let text = "in=50k/10s,measure=input-tokens,enforcement=fixed,window-phase=500ms";
        let rule = parse(text).unwrap();
        assert_eq!((rule.measure, rule.amount), (Measure::InputTokens, 50_000));
        assert_eq!(rule.enforcement, Some(Enforcement::FixedWindow));
        assert_eq!(rule.window_phase, Some(Duration::from_millis(500)));
    }

    #[test]
    fn what_is_no_limit_is_refused_with_an_example_or_the_choices() {
        for (text, hint) in [
            ("", "such as"),
            ("burst", "such as"),
            ("burst=10", "such as"),
            ("burst=0/1s", "at least 1"),
            ("burst=10/0s", "more than 0"),
            ("burst=10/1s,fixed", "such as"),
            ("burst=10/1s,measure=words", "input-tokens"),
            ("burst=10/1s,shape=fixed", "use measure"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
