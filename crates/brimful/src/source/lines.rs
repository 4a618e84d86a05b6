//! Lines and CSV records out of a stream of bytes, numbered, bounded, without a copy of each.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;

/// One read of the operating system. Larger reads gain nothing measurable.
const CHUNK_BYTES: usize = 256 * 1024;

/// What is kept of a line that is too long, to tell it from others.
const HEAD_BYTES: usize = 4096;

/// How often a part of the input is scanned again because a quote in it is not closed.
const MAX_RESCANS: u32 = 16;

/// A line or record within the buffer of [`Lines`], valid until the next one is asked for.
#[derive(Debug)]
pub(super) struct Line {
    /// 1-based number of the physical line on which it starts.
    pub(super) number: u64,
    pub(super) text: Text,
}

#[derive(Debug)]
pub(super) enum Text {
    /// Where the bytes are, without line end.
    Whole(Range<usize>),
    /// A CSV record with a quoted field that does not end within the input or the bound; the range
    /// is its first physical line, and reading goes on with the second.
    Unclosed(Range<usize>),
    /// Longer than the bound, skipped.
    TooLong {
        /// Its first bytes and its length: enough to identify it.
        head: Vec<u8>,
        bytes: u64,
    },
}

/// Splits a stream into lines or CSV records. Memory is bounded by the longest line allowed.
pub(super) struct Lines {
    input: Box<dyn Read + Send>,
    spool: Option<File>,
    buf: Vec<u8>,
    start: usize,
    filled: usize,
    at_end: bool,
    next_number: u64,
    consumed: u64,
    max_bytes: usize,
    /// See `remember_unclosed`.
    unclosed_until: u64,
    unclosed_count: u32,
}

impl Line {
    fn unclosed(self) -> Self {
        let text = match self.text {
            Text::Whole(range) => Text::Unclosed(range),
            other => other,
        };
        Self { text, ..self }
    }
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines")
            .field("next_number", &self.next_number)
            .finish_non_exhaustive()
    }
}

impl Lines {
    /// Everything read from `input` is also written to `spool`.
    pub(super) fn new(input: Box<dyn Read + Send>, spool: Option<File>, max_bytes: usize) -> Self {
        Self {
            input,
            spool,
            buf: Vec::new(),
            start: 0,
            filled: 0,
            at_end: false,
            next_number: 1,
            consumed: 0,
            max_bytes,
            unclosed_until: 0,
            unclosed_count: 0,
        }
    }

    /// Bytes of all lines given out so far.
    pub(super) const fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Whether the next line has to be read from the input, which may take its time.
    pub(super) fn is_drained(&self) -> bool {
        !self.at_end && memchr::memchr(b'\n', &self.buf[self.start..self.filled]).is_none()
    }

    /// Number of the line that comes next.
    pub(super) const fn next_number(&self) -> u64 {
        self.next_number
    }

    pub(super) fn bytes(&self, range: &Range<usize>) -> &[u8] {
        &self.buf[range.clone()]
    }

    /// The first bytes of the input, at least `count` unless it is shorter.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.filled - self.start < count && self.fill()? {}
        Ok(&self.buf[self.start..self.filled])
    }

    /// The physical line that begins `offset` bytes ahead, and the offset of the one after it,
    /// without consuming either. `None` at the end of the input and for a line beyond the bound.
    pub(super) fn peek_line(&mut self, offset: usize) -> io::Result<Option<(&[u8], usize)>> {
        let mut scanned = offset;
        loop {
            let ahead = &self.buf[self.start..self.filled];
            if let Some(found) = memchr::memchr(b'\n', ahead.get(scanned..).unwrap_or_default()) {
                let end = scanned + found;
                let range = self.start + offset..self.start + end;
                return Ok(Some((without_cr(&self.buf[range]), end + 1)));
            }
            scanned = ahead.len().max(offset);
            if scanned - offset > self.max_bytes {
                return Ok(None);
            }
            if !self.fill()? {
                let rest = &self.buf[self.start..self.filled];
                let rest = rest.get(offset..).unwrap_or_default();
                let next = offset + rest.len();
                return Ok((!rest.is_empty()).then(|| (without_cr(rest), next)));
            }
        }
    }

    /// Drops the next `count` bytes, which must not contain a line end.
    pub(super) fn skip(&mut self, count: usize) {
        let count = count.min(self.filled - self.start);
        self.start += count;
        self.consumed += count as u64;
    }

    /// The next physical line, empty ones included.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Line>> {
        let number = self.next_number;
        let mut scanned = self.start;
        loop {
            if let Some(found) = memchr::memchr(b'\n', &self.buf[scanned..self.filled]) {
                return Ok(Some(self.give(number, scanned + found, 1)));
            }
            let ahead = self.filled - self.start;
            // With room for a carriage return that does not count.
            if ahead > self.max_bytes.saturating_add(1) {
                return self.skip_line(number).map(Some);
            }
            if !self.fill()? {
                let at_end = (ahead > 0).then(|| self.give(number, self.filled, 0));
                return Ok(at_end);
            }
            scanned = self.start + ahead;
        }
    }

    /// The next CSV record that is not an empty line: up to a line end outside of quotes.
    ///
    /// What is given out depends on the bytes and the bound only, not on how they arrive.
    pub(super) fn next_record(&mut self, delimiter: u8) -> io::Result<Option<Line>> {
        self.skip_empty_lines()?;
        if self.has_given_up_quotes() {
            return self.next_line_as_record(delimiter);
        }
        let number = self.next_number;
        // With room for the line end of the longest record allowed.
        let bound = self.max_bytes.saturating_add(2);
        let mut state = State::FieldStart;
        let mut scanned = 0;
        loop {
            let ahead = &self.buf[self.start..self.filled];
            let within = &ahead[..ahead.len().min(bound)];
            if let Some(found) = state.scan(&within[scanned..], delimiter) {
                let end = scanned + found;
                let lines = memchr::memchr_iter(b'\n', &ahead[..=end]).count();
                return Ok(Some(self.give(number, self.start + end, lines)));
            }
            scanned = within.len();
            if scanned < bound && self.fill()? {
                continue;
            }
            let spans_lines = memchr::memchr(b'\n', &self.buf[self.start..self.filled]).is_some();
            if state == State::Quoted || (scanned == bound && spans_lines) {
                self.remember_unclosed(scanned);
                return Ok(self.next_line()?.map(Line::unclosed));
            }
            if scanned == bound {
                return self.skip_line(number).map(Some);
            }
            let lines = memchr::memchr_iter(b'\n', &self.buf[self.start..self.filled]).count();
            return Ok((scanned > 0).then(|| self.give(number, self.filled, lines)));
        }
    }

    /// A quote that opens and never closes would swallow the rest of the file; only the line on
    /// which the record starts is given up for it, and the rest is scanned again. So that a hostile
    /// file cannot make that happen for every line, after some times a quote has to close on its
    /// own line until the part that was scanned in vain is passed.
    fn remember_unclosed(&mut self, scanned: usize) {
        let end = self.consumed + scanned as u64;
        if end > self.unclosed_until {
            self.unclosed_until = end;
        }
        self.unclosed_count += 1;
    }

    fn has_given_up_quotes(&mut self) -> bool {
        if self.consumed >= self.unclosed_until {
            self.unclosed_count = 0;
        }
        self.unclosed_count >= MAX_RESCANS
    }

    fn next_line_as_record(&mut self, delimiter: u8) -> io::Result<Option<Line>> {
        let Some(line) = self.next_line()? else {
            return Ok(None);
        };
        let mut state = State::FieldStart;
        if let Text::Whole(range) = &line.text {
            state.scan(self.bytes(range), delimiter);
        }
        Ok(Some(if state == State::Quoted {
            line.unclosed()
        } else {
            line
        }))
    }

    fn skip_empty_lines(&mut self) -> io::Result<()> {
        loop {
            while self.filled - self.start < 2 && self.fill()? {}
            let empty = match &self.buf[self.start..self.filled] {
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                _ => return Ok(()),
            };
            self.start += empty;
            self.consumed += empty as u64;
            self.next_number += 1;
        }
    }

    /// Gives out `start..end` and moves behind it and its `lines` line ends, the last of which
    /// stands at `end`.
    fn give(&mut self, number: u64, end: usize, lines: usize) -> Line {
        let range = self.start..end;
        let ended = self.buf.get(end) == Some(&b'\n') && end < self.filled;
        let next = end + usize::from(ended);
        self.consumed += (next - self.start) as u64;
        self.next_number += lines as u64;
        self.start = next;
        let text = without_cr(&self.buf[range.clone()]);
        if text.len() > self.max_bytes {
            let head = text[..text.len().min(HEAD_BYTES)].to_vec();
            return Line {
                number,
                text: Text::TooLong {
                    head,
                    bytes: text.len() as u64,
                },
            };
        }
        Line {
            number,
            text: Text::Whole(range.start..range.start + text.len()),
        }
    }

    /// Reads to the end of a physical line that is beyond the bound, keeping only its head.
    fn skip_line(&mut self, number: u64) -> io::Result<Line> {
        let ahead = &self.buf[self.start..self.filled];
        let head = ahead[..ahead.len().min(HEAD_BYTES)].to_vec();
        let mut bytes = 0;
        let mut last = 0;
        loop {
            let ahead = &self.buf[self.start..self.filled];
            let end = memchr::memchr(b'\n', ahead);
            let skipped = end.unwrap_or(ahead.len());
            bytes += skipped as u64;
            last = ahead[..skipped].last().copied().unwrap_or(last);
            self.start += skipped + usize::from(end.is_some());
            self.consumed += (skipped + usize::from(end.is_some())) as u64;
            if end.is_some() || !self.fill()? {
                self.next_number += u64::from(end.is_some());
                bytes -= u64::from(last == b'\r');
                return Ok(Line {
                    number,
                    text: Text::TooLong { head, bytes },
                });
            }
        }
    }

    /// Reads once more behind what is there. False at the end of the input.
    fn fill(&mut self) -> io::Result<bool> {
        if self.at_end {
            return Ok(false);
        }
        if self.start > 0 {
            self.buf.copy_within(self.start..self.filled, 0);
            self.filled -= self.start;
            self.start = 0;
        }
        if self.buf.len() > 4 * CHUNK_BYTES && self.filled < CHUNK_BYTES {
            self.buf.truncate(2 * CHUNK_BYTES);
            self.buf.shrink_to_fit();
        }
        if self.buf.len() - self.filled < CHUNK_BYTES {
            self.buf
                .resize((self.buf.len() * 2).max(2 * CHUNK_BYTES), 0);
        }
        loop {
            match self.input.read(&mut self.buf[self.filled..]) {
                Ok(0) => {
                    self.at_end = true;
                    return Ok(false);
                }
                Ok(count) => {
                    if let Some(spool) = &mut self.spool {
                        spool.write_all(&self.buf[self.filled..self.filled + count])?;
                    }
                    self.filled += count;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

pub(super) fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Where in a CSV record the scan stands. A quote means something only at the start of a field and
/// within a quoted one, as spreadsheets and the `csv` crate have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    FieldStart,
    Plain,
    Quoted,
    AfterQuote,
}

impl State {
    /// What the next byte does to the state.
    #[inline]
    pub(super) const fn after(self, byte: u8, delimiter: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::AfterQuote,
            (Self::Quoted, _) | (Self::FieldStart | Self::AfterQuote, b'"') => Self::Quoted,
            (_, byte) if byte == delimiter => Self::FieldStart,
            _ => Self::Plain,
        }
    }

    /// Moves through `bytes` up to the line end that ends the record, and says where that is.
    fn scan(&mut self, bytes: &[u8], delimiter: u8) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if *self == Self::Quoted {
                // Only a quote ends a quoted field; everything before it is passed over at once.
                at += memchr::memchr(b'"', &bytes[at..])?;
                *self = Self::AfterQuote;
            } else if bytes[at] == b'\n' {
                return Some(at);
            } else {
                *self = self.after(bytes[at], delimiter);
            }
            at += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hands out a few bytes a time, so that every boundary is met.
    struct Drip(Vec<u8>, usize);

    impl Read for Drip {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buf.len());
            buf[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }

    fn lines(input: &[u8], step: usize, max_bytes: usize) -> Lines {
        Lines::new(Box::new(Drip(input.to_vec(), step)), None, max_bytes)
    }

    fn shown(lines: &Lines, line: &Line) -> (u64, String) {
        let text = match &line.text {
            Text::Whole(range) => String::from_utf8_lossy(lines.bytes(range)).into_owned(),
            Text::Unclosed(range) => {
                format!("unclosed {}", String::from_utf8_lossy(lines.bytes(range)))
            }
            Text::TooLong { bytes, .. } => format!("{bytes} bytes"),
        };
        (line.number, text)
    }

    fn all_lines(input: &[u8], step: usize, max_bytes: usize) -> Vec<(u64, String)> {
        let mut lines = lines(input, step, max_bytes);
        let mut all = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            all.push(shown(&lines, &line));
        }
        assert_eq!(lines.consumed(), input.len() as u64);
        all
    }

    fn all_records(input: &[u8], step: usize, max_bytes: usize) -> Vec<(u64, String)> {
        let mut lines = lines(input, step, max_bytes);
        let mut all = Vec::new();
        while let Some(line) = lines.next_record(b',').unwrap() {
            all.push(shown(&lines, &line));
        }
        assert_eq!(lines.consumed(), input.len() as u64);
        all
    }

    fn numbered(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
        expected
            .iter()
            .map(|(number, text)| (*number, (*text).to_owned()))
            .collect()
    }

    #[test]
    fn lines_are_numbered_and_lose_their_ends() {
        for step in [1, 2, 100] {
            let all = all_lines(b"a\r\n\nb\nlast", step, 100);
            assert_eq!(all, numbered(&[(1, "a"), (2, ""), (3, "b"), (4, "last")]));
        }
        assert!(all_lines(b"", 1, 100).is_empty());
        assert_eq!(all_lines(b"\n", 1, 100), numbered(&[(1, "")]));
    }

    #[test]
    fn a_line_beyond_the_bound_is_skipped_and_the_next_is_read() {
        for step in [1, 3, 100] {
            let all = all_lines(b"12345\n123456\nb\n1234567890", step, 5);
            let expected = [(1, "12345"), (2, "6 bytes"), (3, "b"), (4, "10 bytes")];
            assert_eq!(all, numbered(&expected), "step {step}");
        }
    }

    #[test]
    fn the_buffer_stays_near_the_bound_whatever_the_length_of_a_line() {
        let long = vec![b'x'; 8 * CHUNK_BYTES];
        let mut lines = lines(&long, usize::MAX, 10);
        assert!(matches!(
            lines.next_line().unwrap().unwrap().text,
            Text::TooLong { .. }
        ));
        assert!(lines.buf.len() <= 4 * CHUNK_BYTES, "{}", lines.buf.len());
    }

    #[test]
    fn a_quoted_line_end_belongs_to_the_record_and_lines_count_on() {
        let input = b"a,b\r\n\r\n1,\"x\ny\"\n\n2,\"\"\"\n\"\n3,5\" pipe\nend,";
        for step in [1, 2, 7, 100] {
            let all = all_records(input, step, 100);
            let expected = [
                (1, "a,b"),
                (3, "1,\"x\ny\""),
                (6, "2,\"\"\"\n\""),
                (8, "3,5\" pipe"),
                (9, "end,"),
            ];
            assert_eq!(all, numbered(&expected), "step {step}");
        }
    }

    #[test]
    fn an_unclosed_quote_costs_one_line_only() {
        for step in [1, 100] {
            let all = all_records(b"a\n\"b\nc\nd", step, 100);
            assert_eq!(
                all,
                numbered(&[(1, "a"), (2, "unclosed \"b"), (3, "c"), (4, "d")])
            );
            let all = all_records(b"\"bb\ncccccccccc\nd", step, 6);
            assert_eq!(
                all,
                numbered(&[(1, "unclosed \"bb"), (2, "10 bytes"), (3, "d")])
            );
        }
    }

    #[test]
    fn a_hostile_file_of_open_quotes_is_read_in_linear_time() {
        let input = "x\",\"\n".repeat(50_000);
        let mut lines = lines(input.as_bytes(), usize::MAX, 1 << 30);
        let mut count = 0;
        while lines.next_record(b',').unwrap().is_some() {
            count += 1;
            assert!(lines.unclosed_count <= MAX_RESCANS);
        }
        assert_eq!(count, 50_000);
    }

    #[test]
    fn peeking_consumes_nothing() {
        let mut lines = lines(b"ab\r\ncd", 1, 100);
        assert_eq!(lines.peek(1).unwrap(), b"a");
        assert_eq!(lines.peek_line(0).unwrap(), Some((&b"ab"[..], 4)));
        assert_eq!(lines.peek_line(4).unwrap(), Some((&b"cd"[..], 6)));
        assert_eq!(lines.peek_line(6).unwrap(), None);
        assert_eq!(lines.consumed(), 0);
        let line = lines.next_line().unwrap().unwrap();
        assert_eq!(shown(&lines, &line), (1, "ab".to_owned()));
    }

    proptest! {
        #[test]
        fn no_line_is_lost_at_any_chunking(input in "[ab\r\n]{0,40}", step in 1..9_usize) {
            let mut expected: Vec<_> = input.split('\n').collect();
            if expected.last() == Some(&"") {
                expected.pop();
            }
            let got: Vec<_> = all_lines(input.as_bytes(), step, 1000).into_iter().collect();
            prop_assert_eq!(got.len(), expected.len());
            for ((number, text), (at, line)) in got.iter().zip(expected.iter().enumerate()) {
                prop_assert_eq!(*number, at as u64 + 1);
                prop_assert_eq!(text.as_str(), line.strip_suffix('\r').unwrap_or(line));
            }
        }

        #[test]
        fn records_do_not_depend_on_chunking(
            input in "[a\",\r\n]{0,30}", step in 1..7_usize, max in 1..40_usize,
        ) {
            let whole = all_records(input.as_bytes(), usize::MAX, max);
            prop_assert_eq!(all_records(input.as_bytes(), step, max), whole);
        }
    }
}
