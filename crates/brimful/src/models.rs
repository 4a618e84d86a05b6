//! Groups of models that share limits, and the lane of each model.
//!
//! The engine knows no models, only lanes: requests of one lane count in the same limits. Models
//! are not known before their requests are read, but which groups there are is; so there is a lane
//! for every set of groups that one model can be in.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Groups with a `*` in a pattern: each doubles the lanes.
const OPEN_GROUPS_MAX: usize = 6;
/// Characters of a group as it is written.
const GROUP_MAX_CHARS: usize = 500;

/// Models that share a limit: patterns joined by `+`, in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelGroup(Vec<String>);

/// The text is no group of models.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no models: write names or patterns joined by +, such as gpt-4o*+o3")]
pub struct ParseModelGroupError(String);

impl FromStr for ModelGroup {
    type Err = ParseModelGroupError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut patterns: Vec<String> = text.split('+').map(|p| p.trim().to_owned()).collect();
        let is_wrong = |pattern: &String| {
            pattern.is_empty() || pattern.chars().any(|c| c.is_control() || c.is_whitespace())
        };
        if patterns.iter().any(is_wrong) || text.chars().count() > GROUP_MAX_CHARS {
            return Err(ParseModelGroupError(text.to_owned()));
        }
        patterns.sort();
        patterns.dedup();
        Ok(Self(patterns))
    }
}

impl fmt::Display for ModelGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("+"))
    }
}

impl ModelGroup {
    /// Whether a model is in it.
    #[must_use]
    pub fn contains(&self, model: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, model))
    }

    /// Names without a `*`.
    fn names(&self) -> impl Iterator<Item = &str> {
        let plain = self.0.iter().filter(|pattern| !pattern.contains('*'));
        plain.map(String::as_str)
    }

    fn is_open(&self) -> bool {
        self.0.iter().any(|pattern| pattern.contains('*'))
    }
}

/// Whether `pattern`, in which `*` stands for any characters, is all of `text`.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        // The first place is the best: it leaves the most to the parts that follow.
        let Some(at) = text.find(part) else {
            return false;
        };
        text = &text[at + part.len()..];
    }
    true
}

/// More groups than lanes can be made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "more than {OPEN_GROUPS_MAX} different groups of models have a `*`: name the models instead"
)]
pub struct TooManyGroups;

/// The lane of each model, by the groups that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelLanes {
    groups: Vec<ModelGroup>,
    /// By the groups that a model is in, in their order. The lane of a model in none is 0.
    lanes: BTreeMap<Vec<bool>, u16>,
}

impl Default for ModelLanes {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            lanes: BTreeMap::from([(Vec::new(), 0)]),
        }
    }
}

impl ModelLanes {
    /// Lanes for these groups; one that stands twice counts once.
    ///
    /// # Errors
    /// More groups have patterns than lanes can be made for.
    pub fn new(groups: impl IntoIterator<Item = ModelGroup>) -> Result<Self, TooManyGroups> {
        let mut groups: Vec<ModelGroup> = groups.into_iter().collect();
        groups.sort();
        groups.dedup();
        let is_open: Vec<bool> = groups.iter().map(ModelGroup::is_open).collect();
        let open = is_open.iter().filter(|open| **open).count();
        if open > OPEN_GROUPS_MAX {
            return Err(TooManyGroups);
        }
        // What no group names is in a part of the open ones; what one names is where it is.
        let unnamed = (0_u32..1 << open).map(|part| {
            let mut bit = 0;
            let within = is_open.iter().map(|open| {
                let taken = *open && part >> bit & 1 == 1;
                bit += u32::from(*open);
                taken
            });
            within.collect::<Vec<bool>>()
        });
        let named = groups.iter().flat_map(ModelGroup::names);
        let named = named.map(|name| membership(&groups, name));
        let mut lanes = BTreeMap::new();
        for groups_of_model in unnamed.chain(named) {
            let next = u16::try_from(lanes.len()).map_err(|_| TooManyGroups)?;
            lanes.entry(groups_of_model).or_insert(next);
        }
        Ok(Self { groups, lanes })
    }

    /// The number of the lane that requests for this model go in; `None`: no model is named.
    #[must_use]
    pub fn lane_of(&self, model: Option<&str>) -> u16 {
        let groups_of_model = match model {
            Some(model) => membership(&self.groups, model),
            None => vec![false; self.groups.len()],
        };
        self.lanes.get(&groups_of_model).copied().unwrap_or(0)
    }

    /// The numbers of the lanes whose models are in this group.
    #[must_use]
    pub fn lanes_of(&self, group: &ModelGroup) -> Vec<u16> {
        let Ok(at) = self.groups.binary_search(group) else {
            return Vec::new();
        };
        let within = self.lanes.iter().filter(|(groups, _)| groups[at]);
        within.map(|(_, lane)| *lane).collect()
    }

    /// The groups whose models go in a lane, joined by ` & `; `None` for models in no group.
    #[must_use]
    pub fn label(&self, lane: u16) -> Option<String> {
        let (groups, _) = self.lanes.iter().find(|(_, number)| **number == lane)?;
        let within = self
            .groups
            .iter()
            .zip(groups)
            .filter(|(_, within)| **within);
        let names: Vec<String> = within.map(|(group, _)| group.to_string()).collect();
        (!names.is_empty()).then(|| names.join(" & "))
    }

    /// How many lanes there are, at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lanes.len()
    }
}

fn membership(groups: &[ModelGroup], model: &str) -> Vec<bool> {
    groups.iter().map(|group| group.contains(model)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(text: &str) -> ModelGroup {
        text.parse().unwrap()
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, inside, outside) in [
            ("gpt-4o", &["gpt-4o"][..], &["gpt-4o-mini", "gpt-4", ""][..]),
            ("gpt-4o*", &["gpt-4o", "gpt-4o-mini"], &["gpt-4", "xgpt-4o"]),
            ("*mini", &["mini", "gpt-4o-mini"], &["mini-2"]),
            ("*", &["", "anything"], &[]),
            (
                "a*b*c",
                &["abc", "aXbYc", "abbc", "abcbc"],
                &["ab", "acb", "abcx"],
            ),
            ("a*a", &["aa", "aba"], &["a"]),
            ("o1+o3", &["o1", "o3"], &["o1+o3", "o"]),
        ] {
            for name in inside {
                assert!(group(pattern).contains(name), "{pattern} {name}");
            }
            for name in outside {
                assert!(!group(pattern).contains(name), "{pattern} {name}");
            }
        }
        for wrong in ["", "+", "a+", "a b", "a\u{7}b", &"x".repeat(600)] {
            assert!(wrong.parse::<ModelGroup>().is_err(), "{wrong:?}");
        }
        assert_eq!(group("b+a+b").to_string(), "a+b");
    }

    #[test]
    fn models_in_the_same_groups_share_a_lane_and_count_in_exactly_their_groups() {
        let texts = ["gpt*", "*mini", "o1+o3", "gpt-4o+o3"];
        let lanes = ModelLanes::new(texts.map(group)).unwrap();
        let models = [
            "gpt-4", "gpt-4o", "gpt-mini", "mini", "o1", "o3", "other", "gpt-5",
        ];
        for model in models {
            let lane = lanes.lane_of(Some(model));
            for text in texts {
                let counts = lanes.lanes_of(&group(text)).contains(&lane);
                assert_eq!(counts, group(text).contains(model), "{model} {text}");
            }
        }
        assert_eq!(lanes.lane_of(Some("gpt-4")), lanes.lane_of(Some("gpt-5")));
        assert_ne!(lanes.lane_of(Some("o1")), lanes.lane_of(Some("o3")));
        assert_eq!(lanes.lane_of(None), lanes.lane_of(Some("other")));
        assert_eq!(lanes.lane_of(None), 0);
        let label = |model| lanes.label(lanes.lane_of(Some(model)));
        assert_eq!(label("other"), None);
        assert_eq!(label("gpt-mini").as_deref(), Some("*mini & gpt*"));
        assert!(lanes.count() <= 4 + 4, "{}", lanes.count());
    }

    #[test]
    fn without_groups_there_is_one_lane() {
        for lanes in [ModelLanes::default(), ModelLanes::new([]).unwrap()] {
            assert_eq!((lanes.count(), lanes.lane_of(Some("any"))), (1, 0));
            assert!(lanes.lanes_of(&group("any")).is_empty());
        }
    }

    #[test]
    fn many_named_models_are_no_trouble_and_many_patterns_are_refused() {
        let named = (0..200).map(|n| group(&format!("model-{n}")));
        assert_eq!(ModelLanes::new(named).unwrap().count(), 201);
        let open = |count| ModelLanes::new((0..count).map(|n| group(&format!("model-{n}*"))));
        assert_eq!(open(6).unwrap().count(), 64);
        assert!(open(7).is_err());
    }
}
