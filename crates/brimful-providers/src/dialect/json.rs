//! A request's body, parsed but not copied: strings point into the text that was parsed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

/// A JSON value that borrows the strings of its text.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    /// `null`, and numbers that are none, such as `1e999`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as `serde_json` reads it.
    Number(Number),
    /// A string.
    Text(JsonText<'a>),
    /// An array.
    Array(Vec<Self>),
    /// An object, sorted by the bytes of its keys; of equal keys only the last one.
    Object(Vec<(JsonText<'a>, Self)>),
}

/// A string, without its quotes and escapes.
#[derive(Clone, Debug)]
pub struct JsonText<'a> {
    text: Cow<'a, str>,
    needs_no_escapes: bool,
}

impl JsonText<'_> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is known to stand in JSON as it is, but for its quotes. `false`: it may all the
    /// same.
    #[must_use]
    pub const fn needs_no_escapes(&self) -> bool {
        self.needs_no_escapes
    }
}

impl PartialEq for JsonText<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<'a> Json<'a> {
    /// Parses a whole text.
    ///
    /// # Errors
    /// The text is not one JSON value, or is more than 127 levels deep.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = AnyValue.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(value)
    }

    /// The member of this name; `None` when there is none or this is no object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else {
            return None;
        };
        let found = members.iter().find(|(key, _)| key.text == name);
        found.map(|(_, value)| value)
    }

    /// The string, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// The number, if it is a whole one from 0 on.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(number) => number.as_u64(),
            _ => None,
        }
    }
}

impl<'a> From<&'a Value> for Json<'a> {
    fn from(value: &'a Value) -> Self {
        let text = |text: &'a String| JsonText {
            text: Cow::Borrowed(text.as_str()),
            needs_no_escapes: false,
        };
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(string) => Self::Text(text(string)),
            Value::Array(items) => Self::Array(items.iter().map(Self::from).collect()),
            Value::Object(map) => {
                let members = map.iter().map(|(key, value)| (text(key), value.into()));
                Self::Object(in_order(members.collect()))
            }
        }
    }
}

fn in_order<'a>(mut members: Vec<(JsonText<'a>, Json<'a>)>) -> Vec<(JsonText<'a>, Json<'a>)> {
    // Most programs write the same few keys in the same order: sorted ones need no work.
    if !members.is_sorted_by(|(one, _), (next, _)| one.text < next.text) {
        members.sort_by(|(one, _), (other, _)| one.text.cmp(&other.text));
        members.dedup_by(|later, kept| {
            let same = later.0.text == kept.0.text;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
    }
    members
}

struct AnyValue;

impl<'de> DeserializeSeed<'de> for AnyValue {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        AnyText.visit_borrowed_str(text).map(Json::Text)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        AnyText.visit_str(text).map(Json::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry_seed(AnyText, Self)? {
            members.push(member);
        }
        Ok(Json::Object(in_order(members)))
    }
}

struct AnyText;

impl<'de> DeserializeSeed<'de> for AnyText {
    type Value = JsonText<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for AnyText {
    type Value = JsonText<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    /// `serde_json` lends what stands in the text without escapes.
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(JsonText {
            text: Cow::Borrowed(text),
            needs_no_escapes: true,
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(JsonText {
            text: Cow::Owned(text.to_owned()),
            needs_no_escapes: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_equal_keys_the_last_counts_and_keys_are_sorted() {
        let parsed = Json::parse(r#"{"b":1,"a":2,"b":3,"\u0061":4,"":5}"#).unwrap();
        let value: Value = serde_json::from_str(r#"{"":5,"a":4,"b":3}"#).unwrap();
        assert_eq!(parsed, Json::from(&value));
        assert_eq!(parsed.get("a").and_then(Json::as_u64), Some(4));
    }

    #[test]
    fn only_one_whole_value_of_a_bounded_depth_is_parsed() {
        for text in ["", "{", "{}x", "[1,]", "'a'", "{1:2}", "\"\n\"", "nul"] {
            assert!(Json::parse(text).is_err(), "{text}");
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Json::parse(&nested(127)).is_ok());
        assert!(Json::parse(&nested(100_000)).is_err());
    }

    #[test]
    fn a_string_with_escapes_is_not_said_to_need_none() {
        for (text, known) in [
            (r#""a/é""#, true),
            (r#""a\n""#, false),
            (r#""\u0061""#, false),
        ] {
            let Json::Text(text) = Json::parse(text).unwrap() else {
                panic!("{text} is a string");
            };
            assert_eq!(text.needs_no_escapes(), known, "{text:?}");
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..5).prop_map(Value::from),
                btree_map(".{0,4}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().rev().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_text_is_parsed_to_what_serde_json_parses(value in values(), pretty: bool) {
            let text = match pretty {
                true => serde_json::to_string_pretty(&value).unwrap(),
                false => value.to_string(),
            };
            // Not `value` itself: long fractions are read to within one unit in the last place.
            let parsed: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(Json::parse(&text).unwrap(), Json::from(&parsed));
        }

        #[test]
        fn what_serde_json_refuses_is_refused(text in "[\\[\\]{},:\"a1e.\\\\-]{0,12}") {
            let expected = serde_json::from_str::<Value>(&text);
            prop_assert_eq!(Json::parse(&text).is_ok(), expected.is_ok(), "{}", text);
        }
    }
}
