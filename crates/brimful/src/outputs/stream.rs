//! Rows or answers to standard output.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::WriteError;
use super::stdout::StdoutWriter;
use crate::fingerprint::Fingerprint;
use crate::journal::{self, Answer};
use crate::output::{Ordered, OutputError, RowResult, RowWriter};
use crate::request::{BadRow, Item, Request};
use crate::run::RunOptions;
use crate::run::plan::Plan;
use crate::source::Row;

/// Rows that may wait for an earlier one with `--ordered`.
const ORDERED_MAX: usize = 4096;
/// Bytes that may wait for an earlier row, and bytes that may wait for whoever reads them.
const BYTES_MAX: usize = 64 << 20;

/// Rows or answers to standard output, as they arrive or in the order of the input.
#[derive(Debug)]
pub(super) struct Stream {
    writer: StreamWriter,
    stdout: StdoutWriter,
    /// Places of rows that were taken in, and lines that wait for an earlier one.
    order: Option<InOrder>,
}

/// Lines that wait for those of earlier rows.
#[derive(Debug, Default)]
struct InOrder {
    places: BTreeMap<u64, u64>,
    next: u64,
    lines: Ordered<Vec<u8>>,
    bytes: usize,
}

/// Which row a line is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    row: u64,
    id: &'a str,
    fingerprint: Fingerprint,
    columns: Option<&'a Row>,
}

impl<'a> Place<'a> {
    pub(super) fn of(item: &'a Item) -> Self {
        match item {
            Item::Request(request) => Self::of_request(request),
            Item::Bad(bad) => Self::of_bad_row(bad),
        }
    }

    pub(super) fn of_request(request: &'a Request) -> Self {
        Self {
            row: request.row,
            id: &request.id,
            fingerprint: request.fingerprint,
            columns: request.columns.as_deref(),
        }
    }

    pub(super) fn of_bad_row(bad: &'a BadRow) -> Self {
        Self {
            row: bad.row,
            id: &bad.id,
            fingerprint: bad.fingerprint,
            columns: bad.columns.as_deref(),
        }
    }
}

#[derive(Debug)]
enum StreamWriter {
    Answers,
    Rows(Box<RowWriter<RowBuffer>>),
}

/// Where a row is put together before it goes out as a whole.
#[derive(Debug, Default)]
struct RowBuffer(Vec<u8>);

impl Write for RowBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    pub(super) fn answers(ordered: bool) -> Self {
        Self {
            writer: StreamWriter::Answers,
            stdout: StdoutWriter::start(),
            order: ordered.then(InOrder::default),
        }
    }

    pub(super) fn rows(plan: &Plan, options: &RunOptions) -> Result<Self, OutputError> {
        let settings = plan.output_options(options);
        let writer = RowWriter::new(RowBuffer::default(), &settings, plan.columns())?;
        let writer = StreamWriter::Rows(Box::new(writer));
        Ok(Self {
            writer,
            stdout: StdoutWriter::start(),
            order: options.ordered.then(InOrder::default),
        })
    }

    pub(super) fn expect(&mut self, row: u64) {
        if let Some(order) = &mut self.order {
            order.next += 1;
            order.places.insert(row, order.next);
        }
    }

    /// Whether lines wait for an earlier one, or for whoever reads them, up to the bound.
    pub(super) fn is_full(&self) -> bool {
        let order = self.order.as_ref();
        order.is_some_and(|order| order.lines.waiting() >= ORDERED_MAX || order.bytes >= BYTES_MAX)
            || self.stdout.waiting_bytes() >= BYTES_MAX
    }

    pub(super) fn answer(
        &mut self,
        request: &Request,
        answer: &Answer<'_>,
    ) -> Result<(), WriteError> {
        let line = match &mut self.writer {
            StreamWriter::Answers => journal::answer_line(answer),
            StreamWriter::Rows(writer) => {
                let result = RowResult::Answer {
                    path: &request.path,
                    body: answer.body,
                };
                row_line(writer, &request.id, request.columns.as_deref(), result)?
            }
        };
        self.put(request.row, line)
    }

    /// A row that ended without an answer.
    pub(super) fn dead(
        &mut self,
        place: Place<'_>,
        result: RowResult<'_>,
    ) -> Result<(), WriteError> {
        let Place {
            row,
            id,
            fingerprint,
            columns,
        } = place;
        let line = match (&mut self.writer, result) {
            (StreamWriter::Rows(writer), _) => row_line(writer, id, columns, result)?,
            (StreamWriter::Answers, RowResult::Dead { code, message, .. }) => {
                let line = serde_json::json!({
                    "id": format!("batch_req_{fingerprint}"),
                    "custom_id": id,
                    "response": null,
                    "error": { "code": code, "message": message },
                });
                format!("{line}\n").into_bytes()
            }
            (StreamWriter::Answers, _) => Vec::new(),
        };
        self.put(row, line)
    }

    fn put(&mut self, row: u64, line: Vec<u8>) -> Result<(), WriteError> {
        let Some(order) = &mut self.order else {
            return self.stdout.print(line);
        };
        let Some(place) = order.places.remove(&row) else {
            return self.stdout.print(line);
        };
        order.bytes += line.len();
        order.lines.push(place, line);
        while let Some(line) = order.lines.pop() {
            order.bytes -= line.len();
            self.stdout.print(line)?;
        }
        Ok(())
    }

    /// Waits until everything is written; lines without the row before them come out last.
    pub(super) async fn finish(self) -> Result<(), WriteError> {
        if let Some(mut order) = self.order {
            for line in order.lines.drain() {
                self.stdout.print(line)?;
            }
        }
        self.stdout.finish().await
    }
}

fn row_line(
    writer: &mut RowWriter<RowBuffer>,
    id: &str,
    columns: Option<&Row>,
    result: RowResult<'_>,
) -> Result<Vec<u8>, WriteError> {
    let nothing = Row::empty();
    writer
        .write_row(id, columns.unwrap_or(&nothing), result)
        .map_err(|source| WriteError::Other {
            what: "a row",
            source,
        })?;
    Ok(std::mem::take(&mut writer.out_mut().0))
}
