//! Chosen members of a JSON object, unparsed, in one pass that validates the whole text.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The values of `keys` in a JSON object, in the order of `keys`; the last of equal keys counts.
/// An error when `text` is not exactly one JSON object.
///
/// Values are not interpreted, so that no surprising type or number can fail the object.
pub(crate) fn pick<'a, const N: usize>(
    text: &'a str,
    keys: &[&str; N],
) -> Result<[Option<&'a RawValue>; N], serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let picked = Pick(keys).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(picked)
}

/// The first element of a JSON array, unparsed. `None` for anything but one array that has one.
pub(crate) fn first_element(text: &str) -> Option<&RawValue> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let first = deserializer.deserialize_seq(First).ok()?;
    deserializer.end().ok()?;
    first
}

struct Pick<'k, const N: usize>(&'k [&'k str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Pick<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Pick<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut picked = [None; N];
        while let Some(index) = map.next_key_seed(Index(self.0))? {
            match index {
                Some(index) => picked[index] = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(picked)
    }
}

struct Index<'k>(&'k [&'k str]);

impl<'de> DeserializeSeed<'de> for Index<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Index<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|k| *k == key))
    }
}

struct First;

impl<'de> Visitor<'de> for First {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let first = seq.next_element()?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use super::{first_element, pick};

    fn texts(text: &str) -> Option<[Option<String>; 2]> {
        let picked = pick(text, &["a", "b"]).ok()?;
        Some(picked.map(|raw| raw.map(|raw| raw.get().to_owned())))
    }

    #[test]
    fn values_come_as_they_are_written() {
        assert_eq!(
            texts(r#" {"x":1e999,"b":[ 1 ],"\u0061":1e999} "#),
            Some([Some("1e999".to_owned()), Some("[ 1 ]".to_owned())])
        );
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        assert_eq!(
            texts(r#"{"a":1,"a":null}"#),
            Some([Some("null".to_owned()), None])
        );
    }

    #[test]
    fn only_one_whole_object_is_accepted() {
        for text in [
            "",
            "[]",
            "1",
            "null",
            "{",
            "{}x",
            "{}{}",
            r#"{"a":}"#,
            r#"{"x":[1,}"#,
            "{'a':1}",
        ] {
            assert_eq!(texts(text), None, "{text}");
        }
    }

    #[test]
    fn depth_has_no_limit() {
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(texts(&deep), Some([None, None]));
    }

    #[test]
    fn the_first_element_is_found_in_a_whole_array_only() {
        assert_eq!(first_element("[ {} , 2]").map(|raw| raw.get()), Some("{}"));
        for text in ["[]", "[1", "[1]x", "{}", ""] {
            assert!(first_element(text).is_none(), "{text}");
        }
    }
}
