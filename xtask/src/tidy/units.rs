//! Settings that do not say what their number means.
//!
//! Whoever sets a field must know its unit, and what happens when it is left alone.

use syn::{Attribute, Expr, Field, GenericArgument, ItemStruct, Lit, Meta, PathArguments, Type};

use super::Problem;
use super::public::{is_public, structs};
use super::source::Source;

/// Ends of the names of structs whose public fields are settings.
const SETTINGS: [&str; 5] = ["Config", "Options", "Policy", "Settings", "Spec"];

/// How the doc of any other such struct begins.
const MARK: &str = "Settings:";

const NUMBERS: [&str; 14] = [
    "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32",
    "f64",
];

/// Types of the standard library that hold a whole number.
const NONZERO: &str = "NonZero";

/// Types that say their unit themselves.
const WITH_UNIT: [&str; 1] = ["Duration"];

/// What a plain number can count or measure, in the singular; an `s` may follow.
const UNITS: [&str; 41] = [
    "%",
    "answer",
    "attempt",
    "byte",
    "char",
    "character",
    "column",
    "connection",
    "dollar",
    "entrie",
    "factor",
    "failure",
    "fraction",
    "GB",
    "GiB",
    "hour",
    "KB",
    "KiB",
    "line",
    "MB",
    "MiB",
    "microsecond",
    "millisecond",
    "min",
    "minute",
    "ms",
    "nanosecond",
    "ns",
    "port",
    "probability",
    "request",
    "row",
    "second",
    "seed",
    "share",
    "status",
    "stream",
    "thread",
    "token",
    "unit",
    "weight",
];

/// Words that say what happens when a field is left alone, or at its lower end.
const LEFT_ALONE: [&str; 5] = ["default", "none", "zero", "0", "required"];

pub(super) fn check(source: &Source) -> Vec<Problem> {
    let mut problems = Vec::new();
    for item in structs(source)
        .into_iter()
        .filter(|item| holds_settings(item))
    {
        for field in item.fields.iter().filter(|field| is_public(&field.vis)) {
            field_problems(source, item, field, &mut problems);
        }
    }
    problems
}

fn holds_settings(item: &ItemStruct) -> bool {
    let name = item.ident.to_string();
    SETTINGS.iter().any(|end| name.ends_with(end)) || doc(&item.attrs).starts_with(MARK)
}

fn field_problems(source: &Source, item: &ItemStruct, field: &Field, problems: &mut Vec<Problem>) {
    let Some(name) = &field.ident else { return };
    let Some(quantity) = Quantity::of(&field.ty) else {
        return;
    };
    let doc = doc(&field.attrs);
    let words: Vec<&str> = doc
        .split(|c: char| !c.is_alphanumeric() && c != '%')
        .collect();
    let mut complain = |what: &str| {
        let what = format!("`{}::{name}` {what}", item.ident);
        problems.push(Problem::new(&source.path, name.span().start().line, what));
    };
    let unit = |word: &&str| UNITS.iter().any(|unit| is_unit(word, unit));
    if quantity == Quantity::Bare && !words.iter().any(unit) {
        complain("does not say its unit: name it in the doc (bytes, requests, a share, …)");
    }
    let says = |word: &&str| {
        LEFT_ALONE
            .iter()
            .any(|known| word.eq_ignore_ascii_case(known))
    };
    if !words.iter().any(says) {
        complain("does not say its default: name it in the doc, or what None or zero means");
    }
}

fn is_unit(word: &str, unit: &str) -> bool {
    let singular = word.strip_suffix('s').unwrap_or(word);
    [word, singular]
        .iter()
        .any(|word| *word == unit || (unit.len() > 3 && word.eq_ignore_ascii_case(unit)))
}

/// A type whose value is an amount of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantity {
    /// A number, which says nothing about what.
    Bare,
    /// A type that says its unit.
    WithUnit,
}

impl Quantity {
    /// Looks into `Option`; `None` for types that are no amount.
    fn of(of: &Type) -> Option<Self> {
        let Type::Path(path) = of else { return None };
        let last = path.path.segments.last()?;
        let name = last.ident.to_string();
        if name == "Option" {
            let PathArguments::AngleBracketed(arguments) = &last.arguments else {
                return None;
            };
            return arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(inner) => Self::of(inner),
                _ => None,
            });
        }
        if WITH_UNIT.contains(&name.as_str()) {
            return Some(Self::WithUnit);
        }
        (NUMBERS.contains(&name.as_str()) || name.starts_with(NONZERO)).then_some(Self::Bare)
    }
}

/// The text of a doc comment on one line.
fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else {
            return None;
        };
        match &pair.value {
            Expr::Lit(literal) if pair.path.is_ident("doc") => match &literal.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        }
    });
    lines.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let source = Source::parse("src/a.rs", text.to_owned()).unwrap();
        check(&source).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_number_without_unit_or_default_is_found() {
        let text = "pub struct PoolConfig {\n    /// How many.\n    pub size: usize,\n\
                    \n    /// Longest line in bytes.\n    pub line: Option<u64>,\n\
                    \n    /// How patient to be. Default 3.\n    pub patience: f64,\n}";
        assert_eq!(
            found(text),
            [
                "src/a.rs:3: `PoolConfig::size` does not say its unit: name it in the doc (bytes, \
                 requests, a share, …)",
                "src/a.rs:3: `PoolConfig::size` does not say its default: name it in the doc, or \
                 what None or zero means",
                "src/a.rs:6: `PoolConfig::line` does not say its default: name it in the doc, or \
                 what None or zero means",
                "src/a.rs:9: `PoolConfig::patience` does not say its unit: name it in the doc \
                 (bytes, requests, a share, …)",
            ]
        );
    }

    #[test]
    fn a_duration_says_its_unit_but_not_its_default() {
        let text = "pub struct RetryPolicy {\n    /// First backoff.\n    pub base: Duration,\n\
                    \n    /// The last. Default 60 s.\n    pub last: std::time::Duration,\n}";
        let found = found(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("`RetryPolicy::base` does not say its default"));
    }

    #[test]
    fn documented_private_and_other_fields_are_fine() {
        let text = "/// Settings: how a server behaves.\npub struct Server {\n\
                    /// Requests at once; `None` is any number.\n    pub at_once: Option<u32>,\n\
                    /// In bytes; zero keeps none.\n    pub room: NonZeroU64,\n\
                    /// A name.\n    pub name: String,\n    hidden: u64,\n}\n\
                    pub struct Counts {\n    /// So many.\n    pub so_many: u64,\n}\n\
                    struct OwnConfig {\n    pub size: u64,\n}\n";
        assert_eq!(found(text), [] as [&str; 0]);
    }

    #[test]
    fn a_marked_struct_is_held_to_it() {
        let text =
            "/// Settings: a server.\npub struct Server {\n    /// Room.\n    pub room: u64,\n}";
        assert_eq!(found(text).len(), 2);
    }
}
