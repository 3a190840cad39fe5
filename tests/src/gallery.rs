//! Reads the page of a job as its script does.

use std::io::Read;

use darkroom::gallery::stored;
use flate2::read::GzDecoder;
use serde_json::Value;

/// Rows, each with the values of its positions.
type Rows = Vec<Vec<Value>>;

/// The content of a page.
#[derive(Debug)]
pub struct GalleryContent {
    /// What applies to the whole job.
    pub head: Value,
    /// The rows.
    pub rows: Rows,
    /// The sums over all rows.
    pub sums: Value,
}

impl GalleryContent {
    /// Reads a page.
    pub fn read(page: &str) -> Self {
        Self::parse(page).unwrap_or_else(|| panic!("the page can't be read"))
    }

    /// Reads a page. Returns `None` if its script could not read it.
    pub fn parse(page: &str) -> Option<Self> {
        let contents = stored::data_elements(page)?.lines().map(|line| {
            let (_, content) = line.split_once('>')?;
            content.strip_suffix("</script>")
        });
        let contents: Vec<&str> = contents.collect::<Option<_>>()?;
        let [head, sections @ .., sums] = &contents[..] else {
            return None;
        };
        let sections: Vec<Rows> = sections
            .iter()
            .map(|section| rows(section))
            .collect::<Option<_>>()?;
        Some(Self {
            head: serde_json::from_str(head).ok()?,
            rows: sections.concat(),
            sums: serde_json::from_str(sums).ok()?,
        })
    }

    /// Returns the values of a position in all rows. A position that a row does not have is null.
    pub fn column(&self, position: usize) -> Vec<Value> {
        let rows = self.rows.iter();
        rows.map(|row| row.get(position).cloned().unwrap_or_default())
            .collect()
    }
}

fn rows(section: &str) -> Option<Rows> {
    let bytes = base64_simd::STANDARD.decode_to_vec(section).ok()?;
    let mut json = String::new();
    GzDecoder::new(&bytes[..]).read_to_string(&mut json).ok()?;
    serde_json::from_str(&json).ok()
}
