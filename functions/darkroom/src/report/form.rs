//! The members and columns of a job's published results.

use std::{collections::HashSet, io};

use super::{Finished, published_line::PublishedLine, table};
use crate::plan::{CustomNames, PlanLine};

/// The form of `results.jsonl` and `results.csv`: the members and columns that a job has in addition
/// to those of every job.
#[derive(Debug, Default)]
pub struct ResultForm {
    pub(super) names: CustomNames,
    /// The variables, for lookup.
    listed: HashSet<String>,
}

impl ResultForm {
    /// Returns the form of a job whose manifest uses these names.
    pub fn new(names: CustomNames) -> Self {
        Self {
            listed: names.variables.iter().cloned().collect(),
            names,
        }
    }

    /// Returns a line of `results.jsonl`, with its line break.
    ///
    /// # Errors
    /// Returns serde's error. It does not occur, since every result can be written as JSON.
    pub fn line(&self, plan: &PlanLine, finished: &Finished) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(&PublishedLine::new(plan, &finished.line, self))?;
        line.push(b'\n');
        Ok(line)
    }

    /// Returns the header line of `results.csv`, with a byte order mark before it.
    ///
    /// # Errors
    /// Returns the error of the writer. It does not occur, since the line is written to memory.
    pub fn header(&self) -> io::Result<Vec<u8>> {
        let mut header = Vec::new();
        table::write_header(&mut header, &self.names.variables)?;
        Ok(header)
    }

    /// Returns the row of one image in `results.csv`.
    ///
    /// # Errors
    /// Returns the error of the writer. It does not occur, since the row is written to memory.
    pub fn row(&self, finished: &Finished) -> io::Result<Vec<u8>> {
        let mut row = Vec::new();
        table::write_row(&mut row, finished, &self.names.variables)?;
        Ok(row)
    }

    /// Whether every line has this variable.
    pub(super) fn is_listed(&self, variable: &str) -> bool {
        self.listed.contains(variable)
    }
}

#[cfg(test)]
mod tests;
