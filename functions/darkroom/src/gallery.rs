//! The gallery of a job, `jobs/<job>/index.html`: one page with all images, and everything that a
//! user needs to choose among them.
//!
//! The page is a single file. Its script reads the rows from the page itself, because browsers
//! refuse to load data for a page that was opened from a disk. A section holds up to
//! [`SECTION_ROWS`] rows as a JSON array, compressed and in base64, which has no `<`. So no text of
//! a row can end the element, and memory stays flat while a page is written.

mod head;
mod row;
mod shell;
pub mod stored;
mod sums;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};

pub use self::{
    head::{Head, HeadModel},
    row::{Row, RowStatus},
    shell::review_shell,
    sums::{RowCounts, Sums},
};

/// The maximum number of rows of a section.
pub const SECTION_ROWS: usize = 500;

/// The length of a section, before it is compressed, after which it is complete, in bytes. It
/// bounds the memory of a section whose rows have long prompts.
const SECTION_BYTES: usize = 1 << 20;

/// Writes a page section by section.
#[derive(Debug, Default)]
pub struct Page {
    /// The rows of the current section, as the beginning of a JSON array.
    section: Vec<u8>,
    rows: usize,
}

impl Page {
    /// Begins a page. Returns it with its bytes up to the first section.
    pub fn begin(head: &Head) -> (Self, Vec<u8>) {
        (Self::default(), shell::beginning(head).into_bytes())
    }

    /// Adds a row. Returns the current section if this row completes it.
    ///
    /// # Errors
    /// Returns the error of the writer. It does not occur, since the section is in memory.
    pub fn row(&mut self, row: &Row<'_>) -> io::Result<Option<Vec<u8>>> {
        self.section.push(if self.rows == 0 { b'[' } else { b',' });
        serde_json::to_writer(&mut self.section, row)?;
        self.rows += 1;
        if self.rows < SECTION_ROWS && self.section.len() < SECTION_BYTES {
            return Ok(None);
        }
        self.take_section().map(Some)
    }

    /// Ends the page. Returns its last section and the rest.
    ///
    /// # Errors
    /// Returns the error of the writer. It does not occur, since the section is in memory.
    pub fn end(mut self, sums: &Sums) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if self.rows > 0 {
            bytes = self.take_section()?;
        }
        bytes.extend_from_slice(shell::end(sums).as_bytes());
        Ok(bytes)
    }

    fn take_section(&mut self) -> io::Result<Vec<u8>> {
        self.section.push(b']');
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&self.section)?;
        self.section.clear();
        self.rows = 0;
        let text = base64_simd::STANDARD.encode_to_string(encoder.finish()?);
        Ok(stored::section(&text).into_bytes())
    }
}
