//! `table.csv`: the user's own table, with the results next to each row.
//!
//! The user's cells come back exactly as they were written. They are not escaped against formulas:
//! they are in the file that the user already has, and an apostrophe in an SKU or a price would be
//! imported into the shop. The result columns hold text of Gemini and of file names, so they are
//! escaped as in `results.csv`, in which every cell is.

use std::{
    collections::HashSet,
    io::{self, Write},
};

use super::{
    Finished,
    table::{BYTE_ORDER_MARK, dollars, free_name, word, write_cells},
};
use crate::{
    csv_injection::escape_formulas, image_url::ImageBaseUrl, names::JobId, object_keys,
    results::Reason,
};

/// The columns that follow those of the user.
const COLUMNS: [&str; 8] = [
    "image_uri",
    "image_path",
    "image_url",
    "status",
    "error",
    "width",
    "height",
    "cost_usd",
];

/// The prefix of a result column whose name is taken by a column of the user.
const PREFIX: &str = "result.";

/// The form of `table.csv`.
#[derive(Clone, Debug)]
pub struct OwnTable {
    /// The number of the user's columns.
    columns: usize,
    /// The folder of the job. Paths of images are relative to it.
    folder: String,
    base_url: Option<ImageBaseUrl>,
}

impl OwnTable {
    /// Returns the form of a job's table with this number of columns. `base_url` is where the
    /// deployment serves its images.
    pub fn new(job: &JobId, columns: usize, base_url: Option<ImageBaseUrl>) -> Self {
        Self {
            columns,
            folder: object_keys::document(job, ""),
            base_url,
        }
    }

    /// Returns the header line, with a byte order mark before it. The user's names stay as they
    /// are. A result column whose name is taken, in any case, gets a prefix.
    ///
    /// # Errors
    /// Returns the error of the writer. It does not occur, since the line is written to memory.
    pub fn header<S: AsRef<str>>(&self, names: &[S]) -> io::Result<Vec<u8>> {
        let folded = |name: &S| name.as_ref().trim().to_lowercase();
        let mut taken: HashSet<String> = names.iter().map(folded).collect();
        let results = COLUMNS.map(|column| free_name(column, PREFIX, &mut taken));
        let mut header = BYTE_ORDER_MARK.as_bytes().to_vec();
        self.write(&mut header, names, &results)?;
        Ok(header)
    }

    /// Returns a row of the user's table: with the result of one of its images, or as it is if it
    /// became no image.
    ///
    /// # Errors
    /// Returns the error of the writer. It does not occur, since the row is written to memory.
    pub fn row<S: AsRef<str>>(
        &self,
        cells: &[S],
        result: Option<&Finished>,
    ) -> io::Result<Vec<u8>> {
        let mut row = Vec::new();
        let results = result.map(|result| self.results(result));
        self.write(&mut row, cells, &results.unwrap_or_default())?;
        Ok(row)
    }

    /// Returns the cells of the result columns.
    fn results(&self, finished: &Finished) -> [String; COLUMNS.len()] {
        let line = &finished.line;
        let image = line.image.as_ref();
        let key = image.map(|image| image.uri.key.as_str());
        let path = key.map(|key| key.strip_prefix(&self.folder).unwrap_or(key));
        let url = key.zip(self.base_url.as_ref());
        let cells = [
            image.map(|image| image.uri.to_string()),
            path.map(str::to_owned),
            url.map(|(key, base)| base.of_object(key)),
            Some(word(line.status)),
            line.error.as_ref().map(reason),
            image.map(|image| image.width.to_string()),
            image.map(|image| image.height.to_string()),
            line.cost_usd.map(dollars),
        ];
        cells.map(|cell| {
            let cell = cell.unwrap_or_default();
            escape_formulas(&cell).into_owned()
        })
    }

    /// Writes a row. Cells that the row lacks are empty, and cells beyond the header are left out:
    /// a manifest in which one of those has a text is rejected.
    fn write<S: AsRef<str>>(
        &self,
        to: impl Write,
        own: &[S],
        results: &[String; COLUMNS.len()],
    ) -> io::Result<()> {
        write_cells(
            to,
            own.iter()
                .map(AsRef::as_ref)
                .chain(std::iter::repeat(""))
                .take(self.columns)
                .chain(results.iter().map(String::as_str)),
        )
    }
}

/// Returns the code and the message of a missing image.
fn reason(reason: &Reason) -> String {
    match reason.message.as_str() {
        "" => reason.code.clone(),
        message => format!("{}: {message}", reason.code),
    }
}

#[cfg(test)]
mod tests;
