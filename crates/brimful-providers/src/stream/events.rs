//! Server-sent events: the data of each, whatever pieces it arrives in.
//!
//! Written after the WHATWG's "event stream interpretation"
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>). Two things differ: names and
//! ids of events are of no interest, and the last event counts without the blank line that should
//! follow it, which some servers leave out.

/// A reader of events. Its memory is bounded by the longest event.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The line that is not at its end.
    line: Vec<u8>,
    /// The data of the event that is not at its end.
    data: Vec<u8>,
    /// The last line ended with a carriage return: a line feed now belongs to it.
    after_return: bool,
    /// A line was read, so that a byte order mark is none any more.
    has_line: bool,
}

impl Events {
    /// Takes bytes and tells of the events that end in them.
    pub(super) fn push(&mut self, mut bytes: &[u8], tell: &mut dyn FnMut(&str)) {
        if bytes.is_empty() {
            return;
        }
        if std::mem::take(&mut self.after_return) && bytes[0] == b'\n' {
            bytes = &bytes[1..];
        }
        while let Some(at) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, rest) = bytes.split_at(at);
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_return = true;
                    &[]
                }
                _ => &rest[1..],
            };
            if self.line.is_empty() {
                self.line(line, tell);
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.line(&whole, tell);
                whole.clear();
                self.line = whole;
            }
        }
        self.line.extend_from_slice(bytes);
    }

    /// Tells of an event whose end the stream does not have.
    pub(super) fn finish(&mut self, tell: &mut dyn FnMut(&str)) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.line(&line, tell);
        }
        self.line(b"", tell);
    }

    fn line(&mut self, mut line: &[u8], tell: &mut dyn FnMut(&str)) {
        if !std::mem::replace(&mut self.has_line, true) {
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.is_empty() {
            if !self.data.is_empty() {
                let data = std::mem::take(&mut self.data);
                tell(&String::from_utf8_lossy(&data));
                self.data = data;
                self.data.clear();
            }
            return;
        }
        let Some(value) = line.strip_prefix(b"data").filter(|rest| {
            // `data` alone is an empty line of data; `database:` is another field.
            rest.is_empty() || rest[0] == b':'
        }) else {
            return;
        };
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if !self.data.is_empty() {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut told = Vec::new();
        let mut events = Events::default();
        for piece in pieces {
            events.push(piece, &mut |data| told.push(data.to_owned()));
        }
        events.finish(&mut |data| told.push(data.to_owned()));
        told
    }

    #[test]
    fn every_line_end_separates_events_and_comments_are_none() {
        let expected = ["a", "b\nc", "d"];
        for end in ["\n", "\r\n", "\r"] {
            let text = ": hello|event: x|data: a||||:keep-alive||id: 7|data:b|data: c|retry: 1||\
                        data: d||database: e||"
                .replace('|', end);
            assert_eq!(events(&[text.as_bytes()]), expected, "{end:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_data_and_one_space_is_no_part_of_it() {
        assert_eq!(events(&[b"\xEF\xBB\xBFdata:  a\n\n"]), [" a"]);
    }

    #[test]
    fn an_event_counts_also_without_the_end_of_its_last_line() {
        for text in ["data: a", "data: a\n", "data: a\r", "data: a\n\n"] {
            assert_eq!(events(&[text.as_bytes()]), ["a"], "{text:?}");
        }
        assert!(events(&[b""]).is_empty());
        assert!(events(&[b"data:\n\ndata\n\n"]).is_empty());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            text in "(data: ?|[a-z:]|\r|\n|\r\n|é){0,40}", cuts in proptest::collection::vec(0..60_usize, 0..5),
        ) {
            let bytes = text.as_bytes();
            let whole = events(&[bytes]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(&events(&pieces), &whole);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(events(&single), whole);
        }
    }
}
