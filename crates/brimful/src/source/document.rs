//! Anthropic's batches as the one document that its API takes: `{"requests":[…]}`. It is turned
//! into lines while it is read, one for each request, so that its size does not matter.

use std::io::{self, Cursor, Read};

/// Bytes that are looked at before the first request; white space may stand between any two words.
const START_MAX_BYTES: usize = 64 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;

/// The words that such a document begins with. What follows must be the key of a request: other
/// rows may have a column `requests`.
const START: [&str; 5] = ["{", "\"requests\"", ":", "[", "{"];
const KEYS: [&str; 2] = ["\"custom_id\"", "\"params\""];

/// Reads the requests of such a document as lines, anything else as it is; and says whether it is
/// one.
///
/// # Errors
/// When reading fails.
pub(super) fn lines_of(
    mut reader: Box<dyn Read + Send>,
) -> io::Result<(Box<dyn Read + Send>, bool)> {
    let mut start = Vec::new();
    loop {
        match begins(&start) {
            Begins::Maybe if start.len() < START_MAX_BYTES => {}
            Begins::Yes(requests) => {
                let rest = Cursor::new(start.split_off(requests)).chain(reader);
                return Ok((Box::new(Requests::new(Box::new(rest))), true));
            }
            _ => return Ok((Box::new(Cursor::new(start).chain(reader)), false)),
        }
        let known = start.len();
        start.resize(known + 256, 0);
        let read = loop {
            match reader.read(&mut start[known..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        start.truncate(known + read);
        if read == 0 {
            return Ok((Box::new(Cursor::new(start)), false));
        }
    }
}

enum Begins {
    /// The first request begins here.
    Yes(usize),
    No,
    /// There is too little to tell.
    Maybe,
}

fn begins(start: &[u8]) -> Begins {
    let mut at = match is_word(start, "\u{FEFF}") {
        Some(true) => "\u{FEFF}".len(),
        Some(false) => 0,
        None => return Begins::Maybe,
    };
    let mut request = at;
    let skip = |mut at: usize| {
        while start.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        at
    };
    for word in START {
        at = skip(at);
        request = at;
        match is_word(&start[at..], word) {
            Some(true) => at += word.len(),
            Some(false) => return Begins::No,
            None => return Begins::Maybe,
        }
    }
    at = skip(at);
    let keys = KEYS.map(|key| is_word(&start[at..], key));
    if keys.contains(&Some(true)) {
        Begins::Yes(request)
    } else if keys.contains(&None) {
        Begins::Maybe
    } else {
        Begins::No
    }
}

/// Whether `text` begins with a word; `None` while it may.
fn is_word(text: &[u8], word: &str) -> Option<bool> {
    let known = text.len().min(word.len());
    match text[..known] == word.as_bytes()[..known] {
        false => Some(false),
        true if known < word.len() => None,
        true => Some(true),
    }
}

/// The elements of an array, from behind its bracket, each on a line of its own.
struct Requests {
    reader: Box<dyn Read + Send>,
    raw: Vec<u8>,
    lines: Vec<u8>,
    /// What of `lines` was handed out.
    taken: usize,
    depth: usize,
    in_string: bool,
    after_backslash: bool,
    /// The element has begun.
    has_begun: bool,
    /// The array has ended, or the file.
    has_ended: bool,
}

impl Requests {
    fn new(reader: Box<dyn Read + Send>) -> Self {
        Self {
            reader,
            raw: vec![0; BUFFER_BYTES],
            lines: Vec::with_capacity(BUFFER_BYTES),
            taken: 0,
            depth: 0,
            in_string: false,
            after_backslash: false,
            has_begun: false,
            has_ended: false,
        }
    }

    fn take(&mut self, byte: u8) {
        if self.has_ended {
            return;
        }
        if self.in_string {
            self.lines.push(byte);
            if self.after_backslash {
                self.after_backslash = false;
            } else if byte == b'\\' {
                self.after_backslash = true;
            } else if byte == b'"' {
                self.in_string = false;
            }
            return;
        }
        match byte {
            b',' | b']' if self.depth == 0 => {
                if self.has_begun {
                    self.lines.push(b'\n');
                }
                self.has_begun = false;
                self.has_ended = byte == b']';
                return;
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b'"' => self.in_string = true,
            // Between words all white space is the same, and a line must not end here.
            b' ' | b'\t' | b'\r' | b'\n' => {
                if self.has_begun {
                    self.lines.push(b' ');
                }
                return;
            }
            _ => {}
        }
        self.has_begun = true;
        self.lines.push(byte);
    }
}

impl Read for Requests {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.lines.len() {
            self.lines.clear();
            self.taken = 0;
            let read = self.reader.read(&mut self.raw)?;
            if read == 0 {
                if self.has_ended {
                    return Ok(0);
                }
                self.has_ended = true;
                let reason = "the document ends before its list of requests does";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
            }
            let raw = std::mem::take(&mut self.raw);
            raw[..read].iter().for_each(|&byte| self.take(byte));
            self.raw = raw;
        }
        let count = buffer.len().min(self.lines.len() - self.taken);
        buffer[..count].copy_from_slice(&self.lines[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Gives one byte at a time.
    struct Dripping(Cursor<Vec<u8>>);

    impl Read for Dripping {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(1);
            self.0.read(&mut buffer[..most])
        }
    }

    fn lines(text: &str) -> io::Result<String> {
        let mut read = String::new();
        let (mut dripping, _) = lines_of(Box::new(Dripping(Cursor::new(text.into()))))?;
        dripping.read_to_string(&mut read)?;
        let mut whole = String::new();
        let (mut reader, is_document) = lines_of(Box::new(Cursor::new(text.to_owned())))?;
        reader.read_to_string(&mut whole)?;
        assert!(is_document || whole == text);
        assert_eq!(read, whole);
        Ok(read)
    }

    #[test]
    fn each_request_of_a_document_is_a_line() {
        let text = "\u{FEFF} {\n \"requests\" : [\n {\"custom_id\":\"a\",\r\n \"params\":{\"x\":\"]},\\\"\"}} ,\
                    {\"custom_id\":\"b\", \"params\":[1,[2]]}, 7,\n], \"more\": [1]}\n";
        assert_eq!(
            lines(text).unwrap(),
            "{\"custom_id\":\"a\",   \"params\":{\"x\":\"]},\\\"\"}} \n\
             {\"custom_id\":\"b\", \"params\":[1,[2]]}\n7\n"
        );
    }

    #[test]
    fn anything_else_is_read_as_it_is() {
        for text in [
            "",
            "{",
            "{\"requests\"",
            "{\"requests\":[]}",
            "{\"requests\":[{\"text\":1}]}\n{\"requests\":[]}\n",
            "{\"custom_id\":\"a\",\"params\":{}}\n",
            "{\"requests\":[\"a\"]}",
            "text\nof any kind\n",
        ] {
            assert_eq!(lines(text).unwrap(), text);
        }
    }

    #[test]
    fn a_document_that_was_cut_off_is_not_taken_for_a_whole_one() {
        let text = "{\"requests\":[{\"custom_id\":\"a\",\"params\":{}},{\"custom_id\":\"b\"}]}";
        for length in text.len() - 20..text.len() - 2 {
            let error = lines(&text[..length]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length}");
        }
        assert!(lines(&text[..text.len() - 1]).is_ok());
    }

    proptest! {
        #[test]
        fn no_request_is_changed(
            texts in proptest::collection::vec("\\PC{0,8}|[\\[\\]{},\"\\\\ \n]{0,8}", 1..5),
            pretty: bool,
        ) {
            let request = |text: &String| json!({"custom_id": text, "params": {text: [text, 1]}});
            let requests: Vec<Value> = texts.iter().map(request).collect();
            let document = json!({"requests": requests});
            let text = match pretty {
                true => serde_json::to_string_pretty(&document).unwrap(),
                false => document.to_string(),
            };
            let lines = lines(&text).unwrap();
            let read: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            prop_assert_eq!(read, requests);
        }
    }
}
