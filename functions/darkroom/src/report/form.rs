//! The form in which the results of a job are published.

use std::{collections::HashSet, io};

use super::{Finished, published_line::PublishedLine, table};
use crate::plan::{CustomNames, PlanLine};

/// The form of `results.jsonl` and `results.csv`: which members and columns a job has in addition
/// to those of every job.
#[derive(Debug, Default)]
pub struct ResultForm {
    pub(super) names: CustomNames,
    /// The variables again, to look one up.
    listed: HashSet<String>,
}

impl ResultForm {
    /// That of a job whose manifest uses these names.
    pub fn new(names: CustomNames) -> Self {
        Self {
            listed: names.variables.iter().cloned().collect(),
            names,
        }
    }

    /// A line of `results.jsonl`, with its end.
    ///
    /// # Errors
    /// None: all that a line holds can be written as JSON.
    pub fn line(&self, plan: &PlanLine, finished: &Finished) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(&PublishedLine::new(plan, &finished.line, self))?;
        line.push(b'\n');
        Ok(line)
    }

    /// The header line of `results.csv`, with a byte order mark before it.
    ///
    /// # Errors
    /// None: it is written into memory.
    pub fn header(&self) -> io::Result<Vec<u8>> {
        let mut header = Vec::new();
        table::write_header(&mut header, &self.names.variables)?;
        Ok(header)
    }

    /// The row of one image in `results.csv`.
    ///
    /// # Errors
    /// None: it is written into memory.
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
