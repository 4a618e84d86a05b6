//! Fields of CSV and TSV records.

use super::lines::State;

/// The fields of one record, in one buffer that is used again for the next.
#[derive(Debug, Default)]
pub(super) struct Fields {
    data: String,
    ends: Vec<usize>,
}

impl Fields {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn at(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        self.data.get(start..end)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.at(index))
    }

    pub(super) fn contains(&self, character: char) -> bool {
        self.data.contains(character)
    }

    /// Takes a record apart. Quotes are doubled within quoted fields; what follows a closing quote
    /// belongs to the field as it is.
    pub(super) fn split(&mut self, record: &str, delimiter: u8) {
        self.data.clear();
        self.ends.clear();
        let mut state = State::FieldStart;
        // Runs of bytes that belong to the field are copied at once.
        let mut run = 0;
        for (at, byte) in record.bytes().enumerate() {
            let next = state.after(byte, delimiter);
            let kept = match (state, next) {
                (State::Quoted, State::AfterQuote) | (State::FieldStart, State::Quoted) => false,
                // The second of two quotes stands for one.
                (State::AfterQuote, State::Quoted) => true,
                (_, State::FieldStart) => {
                    self.data.push_str(&record[run..at]);
                    self.ends.push(self.data.len());
                    run = at + 1;
                    state = next;
                    continue;
                }
                _ => true,
            };
            if !kept {
                self.data.push_str(&record[run..at]);
                run = at + 1;
            }
            state = next;
        }
        self.data.push_str(&record[run..]);
        self.ends.push(self.data.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(record: &str) -> Vec<String> {
        let mut fields = Fields::default();
        fields.split(record, b',');
        fields.iter().map(str::to_owned).collect()
    }

    #[test]
    fn quotes_delimiters_and_empty_fields_are_understood() {
        assert_eq!(split(""), [""]);
        assert_eq!(split(","), ["", ""]);
        assert_eq!(split("a,\"b,\"\"c\"\"\",d"), ["a", "b,\"c\"", "d"]);
        assert_eq!(split("\"x\ny\",\"\""), ["x\ny", ""]);
        assert_eq!(split("5\" pipe,\"a\"b"), ["5\" pipe", "ab"]);
    }

    proptest! {
        #[test]
        fn a_written_record_is_read_back(cells in prop::collection::vec("[a\",é \n]{0,6}", 1..5)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(&cells).unwrap();
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            prop_assert_eq!(split(text.strip_suffix('\n').unwrap()), cells);
        }

        #[test]
        fn fields_are_what_the_csv_crate_reads(record in "[a\",é]{1,20}") {
            let mut reader =
                csv::ReaderBuilder::new().has_headers(false).from_reader(record.as_bytes());
            let expected = reader.records().next().unwrap().unwrap();
            prop_assert_eq!(split(&record), expected.iter().collect::<Vec<_>>());
        }
    }
}
