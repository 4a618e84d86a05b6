//! Chosen members of a JSON object in one pass that checks the whole text.
//!
//! Every answer and every line of a Batch file is looked at so, and nearly all of it is strings
//! that nobody asked for. `serde_json` decides what JSON is; this only says yes to what it takes,
//! faster, and leaves everything unusual to it.

use memchr::memchr2;

/// Deeper values are left to the caller. Each level is one of the stack.
const DEPTH_MAX: u32 = 64;

/// The values of `keys` in a JSON object as they are written, in the order of `keys`.
///
/// `None`: `text` is not exactly one JSON object, or it is unusual: very deep, or with a key of the
/// outermost object that is written with an escape, or with one of `keys` twice. Then ask
/// `serde_json`.
#[must_use]
pub fn members<'a, const N: usize>(
    text: &'a str,
    keys: &[&str; N],
) -> Option<[Option<&'a str>; N]> {
    let mut picked = [None; N];
    let mut scan = Scan { text, at: 0 };
    scan.space();
    scan.object(|scan| {
        let key = scan.key()?;
        let value = scan.member_value()?;
        if let Some(index) = keys.iter().position(|known| *known == key)
            && picked[index].replace(value).is_some()
        {
            return None;
        }
        Some(())
    })?;
    scan.space();
    (scan.at == text.len()).then_some(picked)
}

/// Bytes of a string that are looked at one by one.
const NEAR: usize = 24;

/// A place in a text. Whatever is not JSON, or too deep, ends a scan with `None`.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// `{`, members that `member` takes one by one, `}`.
    fn object(&mut self, mut member: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        self.list(b'}', |scan| {
            scan.take(b'"')?;
            member(scan)
        })
    }

    /// What stands between commas, and the `end`.
    fn list(&mut self, end: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.space();
        if self.peek()? == end {
            self.at += 1;
            return Some(());
        }
        loop {
            self.space();
            item(self)?;
            self.space();
            let next = self.peek()?;
            self.at += 1;
            match next {
                b',' => {}
                _ if next == end => return Some(()),
                _ => return None,
            }
        }
    }

    /// A key behind its opening quote, with nothing in it that would have to be unescaped.
    fn key(&mut self) -> Option<&'a str> {
        let begin = self.at;
        let escaped = self.string()?;
        (!escaped).then(|| &self.text[begin..self.at - 1])
    }

    /// What stands behind a key.
    fn member_value(&mut self) -> Option<&'a str> {
        self.space();
        self.take(b':')?;
        self.space();
        let begin = self.at;
        self.value(DEPTH_MAX)?;
        Some(&self.text[begin..self.at])
    }

    fn value(&mut self, depth: u32) -> Option<()> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                self.string().map(drop)
            }
            b'{' => {
                let depth = depth.checked_sub(1)?;
                self.object(|scan| {
                    scan.string()?;
                    scan.space();
                    scan.take(b':')?;
                    scan.space();
                    scan.value(depth)
                })
            }
            b'[' => {
                let depth = depth.checked_sub(1)?;
                self.at += 1;
                self.list(b']', |scan| scan.value(depth))
            }
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.rest().starts_with(word).then(|| self.at += word.len())
    }

    /// A string behind its opening quote, up to and with the closing one. Says whether anything in
    /// it is escaped.
    fn string(&mut self) -> Option<bool> {
        let mut escaped = false;
        loop {
            let rest = self.rest();
            let run = plain(rest)?;
            self.at += run + 1;
            if rest[run] == b'"' {
                return Some(escaped);
            }
            escaped = true;
            match *rest.get(run + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
                b'u' => {
                    let digits = rest.get(run + 2..run + 6)?;
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return None;
                    }
                    self.at += 5;
                }
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Option<()> {
        let count = self
            .rest()
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        self.at += count;
        (count > 0).then_some(())
    }
}

/// How many bytes of a string come before a quote or a backslash. `None` when there is neither, or
/// a control character before it.
fn plain(rest: &[u8]) -> Option<usize> {
    // Most strings are short, and over before a wide search would have begun.
    let near = rest.iter().take(NEAR).position(|&byte| is_special(byte));
    if let Some(run) = near {
        return (rest[run] >= b' ').then_some(run);
    }
    let far = rest.get(NEAR..)?;
    let run = memchr2(b'"', b'\\', far)?;
    // Without a branch for each byte, so that it is done for many at once.
    let lowest = far[..run].iter().fold(u8::MAX, |low, &byte| low.min(byte));
    (lowest >= b' ').then_some(NEAR + run)
}

const fn is_special(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde::{Deserialize, Deserializer};
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::members;

    const KEYS: [&str; 3] = ["a", "b", "é"];

    /// The judge: the same members as `serde_json` reads them.
    fn judged(text: &str) -> Option<[Option<&str>; 3]> {
        /// `null` is a value too.
        fn some<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
            <&RawValue>::deserialize(value).map(Some)
        }
        #[derive(Deserialize)]
        struct Judged<'a> {
            #[serde(borrow, default, deserialize_with = "some")]
            a: Option<&'a RawValue>,
            #[serde(borrow, default, deserialize_with = "some")]
            b: Option<&'a RawValue>,
            #[serde(borrow, default, deserialize_with = "some", rename = "é")]
            e: Option<&'a RawValue>,
        }
        // An array would be taken for the fields in their order, and `null` for no field.
        if !text.trim_start().starts_with('{') {
            return None;
        }
        let judged: Judged<'_> = serde_json::from_str(text).ok()?;
        Some([judged.a, judged.b, judged.e].map(|raw| raw.map(RawValue::get)))
    }

    #[test]
    fn values_come_as_they_are_written() {
        let text = " {\"b\" : [1, {\"a\": 2}] ,\"x\":\"\\u00e9\\\"}\", \"a\":-0.5e+3\n} ";
        let [a, b, other] = members(text, &KEYS).unwrap();
        assert_eq!(
            (a, b, other),
            (Some("-0.5e+3"), Some("[1, {\"a\": 2}]"), None)
        );
        assert_eq!(members("{}", &KEYS), Some([None; 3]));
    }

    #[test]
    fn what_is_not_one_whole_object_is_refused() {
        for text in [
            "",
            " ",
            "null",
            "[]",
            "\"a\"",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{,}",
            "{\"a\" 1}",
            "{a:1}",
            "{\"a\":1}}",
            "{\"a\":1} {}",
            "{\"x\":\"\n\"}",
            "{\"x\":\"\\x\"}",
            "{\"x\":\"\\u12g4\"}",
            "{\"x\":\"\\u12",
            "{\"x\":\"\\",
            "{\"x\":\"abc",
            "{\"x\":01}",
            "{\"x\":1.}",
            "{\"x\":.5}",
            "{\"x\":-}",
            "{\"x\":1e}",
            "{\"x\":+1}",
            "{\"x\":nul}",
            "{\"x\":tru",
            "{\"x\":[1,]}",
            "{\"x\":[1 2]}",
            "{\"x\":[}",
            "{\"x\":NaN}",
        ] {
            assert_eq!(members(text, &KEYS), None, "{text}");
            assert_eq!(judged(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_the_caller() {
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(65), "]".repeat(65));
        for text in ["{\"a\":1,\"a\":2}", "{\"\\u0061\":1}", deep.as_str()] {
            assert_eq!(members(text, &KEYS), None, "{text}");
        }
        let less = format!("{{\"x\":{}{}}}", "[".repeat(64), "]".repeat(64));
        assert!(members(&less, &KEYS).is_some());
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
            "[ -~]{0,80}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..5).prop_map(Value::from),
                btree_map("[abx\u{e9}]{0,2}|.{0,3}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn objects() -> impl Strategy<Value = Value> {
        let key = prop_oneof!["a", "b", "é", "[a-z]{0,12}"];
        btree_map(key, values(), 0..6).prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    /// Bytes that change what a text means.
    fn pieces() -> impl Strategy<Value = &'static str> {
        proptest::sample::select(vec![
            "\"", "\\", "{", "}", "[", "]", ",", ":", " ", "\n", "\t", "0", "1", "-", "+", ".",
            "e", "E", "u", "\u{1f}", "\u{7f}", "é", "a", "true", "null", "\\u00", "\"a\":",
        ])
    }

    proptest! {
        #[test]
        fn every_ordinary_object_is_read_as_serde_json_reads_it(object in objects()) {
            for text in [object.to_string(), serde_json::to_string_pretty(&object).unwrap()] {
                let read = members(&text, &KEYS);
                prop_assert!(read.is_some(), "{}", text);
                prop_assert_eq!(read, judged(&text));
            }
        }

        #[test]
        fn nothing_is_taken_that_serde_json_refuses(
            object in objects(),
            edits in vec((any::<usize>(), any::<u8>(), pieces()), 1..4),
        ) {
            let mut text = object.to_string();
            for (place, cut, piece) in edits {
                let mut begin = place % (text.len() + 1);
                while !text.is_char_boundary(begin) {
                    begin -= 1;
                }
                let mut end = (begin + usize::from(cut % 4)).min(text.len());
                while !text.is_char_boundary(end) {
                    end += 1;
                }
                text.replace_range(begin..end, piece);
            }
            if let Some(read) = members(&text, &KEYS) {
                prop_assert_eq!(Some(read), judged(&text), "{}", text);
            }
        }

        #[test]
        fn no_beginning_of_an_object_is_one(object in objects(), length in any::<usize>()) {
            let text = object.to_string();
            let mut end = length % text.len();
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            prop_assert_eq!(members(&text[..end], &KEYS), None);
        }
    }
}
