//! What journal and dead letters say of each request.

use std::io;
use std::path::Path;

use crate::fingerprint::Fingerprint;
use crate::journal::{
    AnswerIndex, AnswerLine, AnswerReader, DeadLetterLine, DeadLetterReader, ReadError,
};

/// Looks requests up by their fingerprint. Equal requests get their lines one by one.
#[derive(Debug)]
pub(crate) struct Lookup {
    answers: AnswerIndex,
    answer_reader: Option<AnswerReader>,
    dead: AnswerIndex,
    dead_reader: Option<DeadLetterReader>,
}

/// What is known of a request.
#[derive(Debug)]
pub(crate) enum Found {
    /// It was answered.
    Answer(AnswerLine),
    /// It ended without an answer.
    Dead(DeadLetterLine),
}

impl Lookup {
    pub(crate) fn open(journal: &Path, dead_letters: Option<&Path>) -> Result<Self, ReadError> {
        let answers = AnswerIndex::build(journal)?;
        let answer_reader = match answers.is_empty() {
            true => None,
            false => Some(AnswerReader::open(journal)?),
        };
        let (mut dead, mut dead_reader) = (AnswerIndex::default(), None);
        if let Some(path) = dead_letters {
            dead = AnswerIndex::build(path)?;
            if !dead.is_empty() {
                dead_reader = Some(DeadLetterReader::open(path)?);
            }
        }
        Ok(Self {
            answers,
            answer_reader,
            dead,
            dead_reader,
        })
    }

    pub(crate) fn find(&mut self, fingerprint: Fingerprint) -> io::Result<Option<Found>> {
        if let (Some(reader), Some(offset)) =
            (&mut self.answer_reader, self.answers.take(fingerprint))
        {
            let line = reader.read(offset).map_err(io::Error::other)?;
            return Ok(Some(Found::Answer(line)));
        }
        if let (Some(reader), Some(offset)) = (&mut self.dead_reader, self.dead.take(fingerprint)) {
            let line = reader.read(offset).map_err(io::Error::other)?;
            return Ok(Some(Found::Dead(line)));
        }
        Ok(None)
    }
}
