//! Lines of a file, without their number or length being trusted.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// First size of the buffer; it grows to the longest line.
const BUFFER_BYTES: usize = 256 << 10;

/// Reads a file from its beginning without moving its position.
#[derive(Debug)]
pub(super) struct FromStart<'a> {
    pub(super) file: &'a File,
    pub(super) offset: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// The lines of `source`, one after the other.
#[derive(Debug)]
pub(super) struct Lines<R> {
    source: R,
    max_line_bytes: usize,
    buffer: Vec<u8>,
    /// The line that is being read is `buffer[start..]`, filled up to `end` and searched for a
    /// newline up to `searched`.
    start: usize,
    searched: usize,
    end: usize,
    /// Where in the source the line starts.
    offset: u64,
    /// Bytes of the line that were thrown away because it is too long.
    dropped: u64,
    at_end: bool,
}

/// One line.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// Where it starts.
    pub(super) start: u64,
    /// Where the next line starts.
    pub(super) end: u64,
    /// Without its newline. `None`: too long to be looked at.
    pub(super) bytes: Option<&'a [u8]>,
    /// Whether it has its newline. Only the last line may lack it.
    pub(super) ended: bool,
}

impl<'a> Lines<FromStart<'a>> {
    pub(super) fn of(file: &'a File, max_line_bytes: usize) -> Self {
        Self::new(FromStart { file, offset: 0 }, max_line_bytes)
    }
}

impl<R: Read> Lines<R> {
    pub(super) fn new(source: R, max_line_bytes: usize) -> Self {
        Self {
            source,
            max_line_bytes,
            buffer: vec![0; BUFFER_BYTES.min(max_line_bytes + 2)],
            start: 0,
            searched: 0,
            end: 0,
            offset: 0,
            dropped: 0,
            at_end: false,
        }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            let newline = memchr::memchr(b'\n', &self.buffer[self.searched..self.end]);
            if let Some(at) = newline {
                return Ok(Some(self.line(self.searched + at, true)));
            }
            self.searched = self.end;
            if self.at_end {
                let nothing_left = self.start == self.end && self.dropped == 0;
                return Ok((!nothing_left).then(|| self.line(self.end, false)));
            }
            self.fill()?;
        }
    }

    fn line(&mut self, line_end: usize, ended: bool) -> Line<'_> {
        let range = self.start..line_end;
        let start = self.offset;
        self.offset += self.dropped + range.len() as u64 + u64::from(ended);
        let whole = self.dropped == 0 && range.len() <= self.max_line_bytes;
        self.dropped = 0;
        self.start = line_end + usize::from(ended);
        self.searched = self.start;
        Line {
            start,
            end: self.offset,
            bytes: whole.then(|| &self.buffer[range]),
            ended,
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.end - self.start > self.max_line_bytes {
            self.dropped += (self.end - self.start) as u64;
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            let length = (self.buffer.len() * 2).min(self.max_line_bytes + 2);
            self.buffer.resize(length, 0);
        }
        self.searched = self.end;
        let count = loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.end += count;
        self.at_end = count == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives out a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let limit = self.1.min(buffer.len());
            self.0.read(&mut buffer[..limit])
        }
    }

    type Seen = (u64, u64, Option<Vec<u8>>, bool);

    fn lines_of(bytes: &[u8], max_line_bytes: usize, step: usize) -> Vec<Seen> {
        let mut lines = Lines::new(Trickle(bytes, step), max_line_bytes);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            seen.push((
                line.start,
                line.end,
                line.bytes.map(<[u8]>::to_vec),
                line.ended,
            ));
        }
        seen
    }

    #[test]
    fn a_line_is_too_long_only_from_one_byte_beyond_the_bound() {
        let seen = lines_of(b"1234\n12345\n123456\n1", 5, 100);
        let texts: Vec<_> = seen.iter().map(|line| line.2.as_deref()).collect();
        assert_eq!(
            texts,
            [Some(&b"1234"[..]), Some(b"12345"), None, Some(b"1")]
        );
        assert_eq!(seen[2].0..seen[2].1, 11..18);
        assert!(!seen[3].3);
    }

    #[test]
    fn a_huge_line_does_not_fill_the_memory() {
        let mut lines = Lines::new(io::repeat(0).take(50 << 20), 1000);
        let line = lines.next().unwrap().unwrap();
        assert_eq!(
            (line.start, line.end, line.bytes, line.ended),
            (0, 50 << 20, None, false)
        );
        assert!(lines.next().unwrap().is_none());
        assert!(lines.buffer.len() <= 1002);
    }

    proptest! {
        #[test]
        fn lines_are_those_of_a_plain_split(
            bytes in "[a\n]{0,60}", max_line_bytes in 0..12_usize, step in 1..20_usize,
        ) {
            let mut expected = Vec::new();
            let mut start = 0;
            for piece in bytes.as_bytes().split_inclusive(|&byte| byte == b'\n') {
                let text = piece.strip_suffix(b"\n");
                let content = text.unwrap_or(piece);
                let end = start + piece.len() as u64;
                let whole = content.len() <= max_line_bytes;
                expected.push((start, end, whole.then(|| content.to_vec()), text.is_some()));
                start = end;
            }
            prop_assert_eq!(lines_of(bytes.as_bytes(), max_line_bytes, step), expected);
        }
    }
}
