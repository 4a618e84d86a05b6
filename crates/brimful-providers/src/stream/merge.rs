//! Pieces into wholes.

use serde_json::{Map, Value};

use super::StreamError;

/// Choices, blocks or calls of one answer: OpenAI gives at most 128 choices.
const PARTS_MAX: usize = 1024;

/// Members that name something: a later piece says them again and does not go on with them.
const NAMES: [&str; 7] = ["role", "id", "type", "index", "name", "format", "object"];

/// Parts that arrive under numbers, sorted by them.
#[derive(Debug)]
pub(super) struct Numbered<T>(Vec<(u64, T)>);

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Default> Numbered<T> {
    /// The part of this number, which is begun if it is not there.
    pub(super) fn part(&mut self, number: u64) -> Result<&mut T, StreamError> {
        let at = match self.0.binary_search_by_key(&number, |(known, _)| *known) {
            Ok(at) => at,
            Err(_) if self.0.len() >= PARTS_MAX => return Err(StreamError::TooManyParts),
            Err(at) => {
                self.0.insert(at, (number, T::default()));
                at
            }
        };
        Ok(&mut self.0[at].1)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, part)| part)
    }

    pub(super) fn into_parts(self) -> impl Iterator<Item = (u64, T)> {
        self.0.into_iter()
    }
}

/// Sets a member; a null takes nothing away that is there.
pub(super) fn set(object: &mut Map<String, Value>, name: String, value: Value) {
    if !value.is_null() || !object.contains_key(&name) {
        object.insert(name, value);
    }
}

/// Adds a piece: texts are continued, arrays too unless their items are numbered, objects member by
/// member. Anything else is replaced.
pub(super) fn add(whole: &mut Value, piece: Value) -> Result<(), StreamError> {
    match (&mut *whole, piece) {
        (_, Value::Null) => {}
        (Value::Null, piece @ (Value::Array(_) | Value::Object(_))) => {
            *whole = match piece {
                Value::Array(_) => Value::Array(Vec::new()),
                _ => Value::Object(Map::new()),
            };
            add(whole, piece)?;
        }
        (Value::String(text), Value::String(more)) => text.push_str(&more),
        (Value::Array(items), Value::Array(more)) => {
            for item in more {
                add_item(items, item)?;
            }
        }
        (Value::Object(object), Value::Object(more)) => {
            for (name, piece) in more {
                add_member(object, name, piece)?;
            }
        }
        (whole, piece) => *whole = piece,
    }
    Ok(())
}

/// Adds a piece to a member of an object.
pub(super) fn add_member(
    object: &mut Map<String, Value>,
    name: String,
    piece: Value,
) -> Result<(), StreamError> {
    if NAMES.contains(&name.as_str()) {
        if piece != "" || !object.contains_key(&name) {
            set(object, name, piece);
        }
        return Ok(());
    }
    add(object.entry(name).or_insert(Value::Null), piece)
}

fn add_item(items: &mut Vec<Value>, item: Value) -> Result<(), StreamError> {
    let Some(number) = number(&item) else {
        items.push(item);
        return Ok(());
    };
    // Nearly always the last one goes on.
    let known = items
        .iter()
        .rposition(|known| self::number(known) == Some(number));
    match known {
        Some(at) => add(&mut items[at], item),
        None if items.len() >= PARTS_MAX => Err(StreamError::TooManyParts),
        None => {
            let mut first = Value::Null;
            add(&mut first, item)?;
            items.push(first);
            Ok(())
        }
    }
}

fn number(item: &Value) -> Option<u64> {
    item.get("index")?.as_u64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn added(pieces: Vec<Value>) -> Value {
        let mut whole = Value::Null;
        for piece in pieces {
            add(&mut whole, piece).unwrap();
        }
        whole
    }

    #[test]
    fn texts_and_lists_go_on_names_do_not() {
        let pieces = vec![
            json!({"role": "r", "content": null, "n": 1, "l": [1], "x": null}),
            json!({"role": "r", "content": "a", "n": 2, "l": [2, {"index": "no"}]}),
            json!({"role": "", "content": "b", "n": null, "l": null}),
        ];
        let whole = json!({"role": "r", "content": "ab", "n": 2,
            "l": [1, 2, {"index": "no"}], "x": null});
        assert_eq!(added(pieces), whole);
    }

    #[test]
    fn numbered_items_go_on_each_for_itself() {
        let pieces = vec![
            json!([{"index": 1, "id": "b", "f": {"name": "g", "a": "1"}}]),
            json!([{"index": 0, "f": {"a": "x"}}, {"index": 1, "f": {"a": "2"}}]),
            json!([{"index": 1, "id": "b", "f": {"name": "g", "a": "3"}}]),
        ];
        let whole = json!([{"index": 1, "id": "b", "f": {"name": "g", "a": "123"}},
            {"index": 0, "f": {"a": "x"}}]);
        assert_eq!(added(pieces), whole);
    }

    #[test]
    fn parts_are_bounded() {
        let mut parts = Numbered::<u8>::default();
        let mut items = Value::Null;
        for number in 0..PARTS_MAX as u64 {
            assert!(parts.part(u64::MAX - number).is_ok());
            assert!(add(&mut items, json!([{"index": number}])).is_ok());
        }
        assert_eq!(parts.part(7), Err(StreamError::TooManyParts));
        assert!(parts.part(u64::MAX).is_ok());
        let more = json!([{"index": PARTS_MAX}]);
        assert_eq!(add(&mut items, more), Err(StreamError::TooManyParts));
    }
}
