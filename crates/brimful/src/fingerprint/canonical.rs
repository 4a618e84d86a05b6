//! One spelling for every JSON value.

use brimful_providers::dialect::{Json, JsonText};

/// Appends `value` to `out` in canonical form: keys sorted by their UTF-8 bytes at every depth, no
/// white space, numbers and strings as `serde_json` writes them.
///
/// `1` and `1.0` stay different: a server may treat them differently.
///
/// Recurses once a level; values that were parsed are at most 128 levels deep.
pub fn write_canonical_json(value: &Json<'_>, out: &mut Vec<u8>) {
    match value {
        Json::Null => out.extend_from_slice(b"null"),
        Json::Bool(true) => out.extend_from_slice(b"true"),
        Json::Bool(false) => out.extend_from_slice(b"false"),
        Json::Number(number) => write_scalar(number, out),
        Json::Text(text) => write_text(text, out),
        Json::Array(items) => {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_canonical_json(item, out);
            }
            out.push(b']');
        }
        Json::Object(members) => {
            out.push(b'{');
            // They are sorted.
            for (n, (key, value)) in members.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_text(key, out);
                out.push(b':');
                write_canonical_json(value, out);
            }
            out.push(b'}');
        }
    }
}

fn write_text(text: &JsonText<'_>, out: &mut Vec<u8>) {
    if text.needs_no_escapes() {
        out.push(b'"');
        out.extend_from_slice(text.as_str().as_bytes());
        out.push(b'"');
    } else {
        write_scalar(text.as_str(), out);
    }
}

fn write_scalar<T: serde::Serialize + ?Sized>(scalar: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, scalar).expect("a vector takes every number and every string");
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use serde_json::Value;

    use super::*;

    fn canonical(text: &str) -> String {
        let mut out = Vec::new();
        write_canonical_json(&Json::parse(text).unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn keys_are_sorted_by_bytes_and_white_space_goes() {
        assert_eq!(
            canonical(r#" { "b" : [ 1 , { "z":null, "Z":true } ] , "a":"x", "é":0, "":false } "#),
            r#"{"":false,"a":"x","b":[1,{"Z":true,"z":null}],"é":0}"#
        );
    }

    #[test]
    fn escapes_have_one_spelling_and_numbers_keep_their_kind() {
        assert_eq!(
            canonical(r#"["\u0041\/\u00e9\u001f\"\\", 1, 1.0, 1e2, -0.0, 18446744073709551615]"#),
            r#"["A/é\u001f\"\\",1,1.0,100.0,-0.0,18446744073709551615]"#
        );
    }

    #[test]
    fn the_deepest_value_that_can_be_parsed_is_written() {
        let text = format!("{}{}", "[".repeat(127), "]".repeat(127));
        assert_eq!(canonical(&text), text);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // Eighths: serde_json reads long fractions only to within one unit in the last place.
            any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
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
        fn canonical_json_is_the_same_value_and_a_fixed_point(value in values()) {
            let mut out = Vec::new();
            write_canonical_json(&Json::from(&value), &mut out);
            let text = String::from_utf8(out).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), &value);
            prop_assert_eq!(canonical(&text), text);
        }
    }
}
