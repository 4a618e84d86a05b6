//! What is in a journal, and which bytes of it are damaged.

use std::fs::File;
use std::io;
use std::ops::Range;

use super::answered::Answered;
use super::line::{Kind, LINE_START, MAX_LINE_BYTES, fingerprint, is_torn_head};

use super::lines::{Line, Lines};
use crate::fingerprint::Fingerprint;

/// How many beginnings of lines are tried in one damaged line before it is given up. The bodies of
/// damaged lines may contain any number of them.
const MAX_SALVAGE_TRIES: u32 = 8;

/// What a pass over a whole file has found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The fingerprints of the whole lines.
    pub(super) answered: Answered,
    /// The damaged bytes, in the order of the file. A line may lose its newline to them.
    pub(super) cuts: Vec<Range<u64>>,
    /// Damaged lines that have a newline.
    pub(super) damaged_lines: u64,
    /// The last line lacks its newline.
    pub(super) unended: bool,
    /// The last line lacks its newline and more than that.
    pub(super) torn_tail: bool,
    /// At least one line begins as only ours do.
    pub(super) ours: bool,
    /// Length of the file.
    pub(super) length: u64,
}

impl Scan {
    pub(super) fn of(file: &File, kind: Kind, max_line_bytes: usize) -> io::Result<Self> {
        let mut scan = Self::default();
        let mut lines = Lines::of(file, max_line_bytes);
        while let Some(line) = lines.next()? {
            scan.take(kind, &line);
        }
        scan.answered.settle();
        Ok(scan)
    }

    fn take(&mut self, kind: Kind, line: &Line<'_>) {
        self.length = line.end;
        self.unended = !line.ended;
        if let Some(fingerprint) = line.bytes.and_then(|bytes| kind.parse(bytes)) {
            self.answered.push(fingerprint);
            self.ours = true;
            return;
        }
        self.damaged_lines += u64::from(line.ended);
        self.torn_tail = !line.ended;
        self.ours |= line.bytes.is_some_and(|bytes| {
            // A file of which only this much reached the disk is ours as well.
            let torn_first_line =
                line.start == 0 && !line.ended && is_torn_head(without_nuls(bytes));
            fingerprint(bytes).is_some() || torn_first_line
        });
        let mut from = line.start;
        for kept in line
            .bytes
            .map(|bytes| self.salvage(kind, bytes))
            .unwrap_or_default()
        {
            self.ours = true;
            self.cut(from..line.start + kept.start as u64);
            from = line.start + kept.end as u64;
            // The newline belongs to a line that ends where it stands.
            if line.ended && from + 1 == line.end {
                from = line.end;
            }
        }
        self.cut(from..line.end);
    }

    fn cut(&mut self, bytes: Range<u64>) {
        match self.cuts.last_mut() {
            Some(last) if last.end == bytes.start => last.end = bytes.end,
            _ if bytes.is_empty() => {}
            _ => self.cuts.push(bytes),
        }
    }

    /// Finds whole lines that are glued to damage because a newline was damaged, or because a block
    /// of zeros ended before them.
    fn salvage(&mut self, kind: Kind, line: &[u8]) -> Vec<Range<usize>> {
        let mut kept = Vec::new();
        let mut region = without_nuls(line);
        'region: while !region.is_empty() {
            let mut before = region;
            for _ in 0..MAX_SALVAGE_TRIES {
                let Some(start) = memchr::memmem::rfind(before, LINE_START) else {
                    break 'region;
                };
                before = &region[..start];
                // Within the JSON of another line it is part of an answer, not an answer. No
                // single bit makes one of these from a newline.
                if matches!(before.last(), Some(b':' | b',' | b'[' | b' ')) {
                    continue;
                }
                if let Some(fingerprint) = kind.parse(&region[start..]) {
                    self.answered.push(fingerprint);
                    kept.push(start..region.len());
                    // The byte before was a newline.
                    region = without_nuls(before.split_last().map_or(&[], |(_, rest)| rest));
                    continue 'region;
                }
            }
            break;
        }
        kept.reverse();
        kept
    }
}

/// Looks at every line that begins as ours do, of a file that has been healed.
pub(super) fn each_line(
    file: &File,
    mut look: impl FnMut(Fingerprint, Range<u64>),
) -> io::Result<()> {
    let mut lines = Lines::of(file, MAX_LINE_BYTES);
    while let Some(line) = lines.next()? {
        if let Some(fingerprint) = line.bytes.and_then(fingerprint) {
            look(fingerprint, line.start..line.end);
        }
    }
    Ok(())
}

fn without_nuls(bytes: &[u8]) -> &[u8] {
    let length = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    &bytes[..length]
}
