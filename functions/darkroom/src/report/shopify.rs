//! `shopify.csv`: a product table of Shopify with the new images, which a Shopify store imports.
//!
//! The rules are those of the page "Using CSV files to import and export products"
//! (<https://help.shopify.com/en/manual/products/import-export/using-csv>, read 2026-11). All rows
//! of a product are together and have its handle. Each row may have one picture with its position,
//! from 1, and its alt text. A picture more than there are variants is a row that has nothing but
//! the handle, the picture, its position and its alt text.
//!
//! Nothing is escaped against formulas and there is no byte order mark: the file is read by a
//! program, which would import both.

use std::{borrow::Cow, collections::HashMap, io};

use super::table::write_cells;
use crate::manifest::{cell, fold};

/// The longest alt text, in characters.
const MAX_ALT_CHARACTERS: usize = 512;

/// How many bytes of a product are kept until its last row is known. A product has at most 2,048
/// variants, which take about 5 MB.
const MAX_PRODUCT_BYTES: usize = 8 << 20;

/// The names of a column in the older and in the newer form of the table, folded.
type Names = [&'static str; 2];

const HANDLE: Names = ["handle", "urlhandle"];
const IMAGE: Names = ["imagesrc", "productimageurl"];
const POSITION: Names = ["imageposition"; 2];
const ALT: Names = ["imagealttext"; 2];
const VARIANT_IMAGE: Names = ["variantimage", "variantimageurl"];
const TITLE: Names = ["title"; 2];

/// A product table of Shopify that is written with new images, one product at a time.
#[derive(Debug)]
pub struct ShopifyTable {
    columns: Columns,
    names: Vec<String>,
    product: Product,
}

/// An image that was made for a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewImage {
    /// Its address on the web.
    url: String,
    /// The beginning of its prompt, as an alt text.
    prompt: String,
}

impl NewImage {
    /// Returns the image at an address on the web, and what it shows.
    pub fn new(url: String, prompt: Option<&str>) -> Self {
        Self {
            url,
            prompt: one_line(prompt.unwrap_or_default()),
        }
    }
}

/// The places of the columns.
#[derive(Clone, Copy, Debug)]
struct Columns {
    handle: usize,
    image: usize,
    position: Option<usize>,
    alt: Option<usize>,
    variant_image: Option<usize>,
    title: Option<usize>,
}

/// The rows of one product, until the next one begins.
#[derive(Debug, Default)]
struct Product {
    handle: String,
    title: String,
    rows: Vec<(Vec<String>, Vec<NewImage>)>,
    /// The memory that the rows take, in bytes.
    bytes: usize,
    /// The last position of a picture so far.
    last_position: u32,
}

impl ShopifyTable {
    /// Returns the table if its header is that of a Shopify export: a handle and a picture under
    /// their older names (`Handle`, `Image Src`) or their newer ones (`URL handle`,
    /// `Product image URL`).
    pub fn recognize<S: AsRef<str>>(names: &[S]) -> Option<Self> {
        let folded: Vec<String> = names.iter().map(|name| fold(name.as_ref())).collect();
        let [older, newer] = [0, 1].map(|form: usize| {
            let column = |names: Names| folded.iter().position(|name| name == names[form]);
            Some(Columns {
                handle: column(HANDLE)?,
                image: column(IMAGE)?,
                position: column(POSITION),
                alt: column(ALT),
                variant_image: column(VARIANT_IMAGE),
                title: column(TITLE),
            })
        });
        Some(Self {
            columns: older.or(newer)?,
            names: names.iter().map(|name| name.as_ref().to_owned()).collect(),
            product: Product::default(),
        })
    }

    /// Returns the header line.
    ///
    /// # Errors
    /// Returns the error of the writer. It does not occur, since the line is written to memory.
    pub fn header(&self) -> io::Result<Vec<u8>> {
        let mut header = Vec::new();
        let names = self.names.iter();
        write_cells(
            &mut header,
            names.map(|name| name.trim_matches(cell::is_blank)),
        )?;
        Ok(header)
    }

    /// Adds a row with the images that were made for it. Returns the rows of the product before it,
    /// if the row begins another one.
    ///
    /// Rows that Shopify would refuse because they hold no product are left out: rows without a
    /// text, and repeated headers.
    ///
    /// # Errors
    /// Returns the error of the writer. It does not occur, since the rows are written to memory.
    pub fn add<S: AsRef<str>>(
        &mut self,
        cells: &[S],
        images: Vec<NewImage>,
    ) -> io::Result<Vec<u8>> {
        let text = |column: usize| match cells.get(column) {
            Some(cell) => cell::text(cell.as_ref()),
            None => Cow::Borrowed(""),
        };
        let is_header = || {
            let names = self.names.iter().map(|name| fold(name));
            cells.iter().map(|cell| fold(cell.as_ref())).eq(names)
        };
        if (0..cells.len()).all(|column| text(column).is_empty()) || is_header() {
            return Ok(Vec::new());
        }

        // A row without a handle continues the product, as in the manifest.
        let mut ended = Vec::new();
        let handle = text(self.columns.handle);
        if !handle.is_empty() && *handle != self.product.handle {
            ended = self.product_rows()?;
            self.product = Product {
                handle: handle.into_owned(),
                ..Product::default()
            };
        }
        if self.product.bytes > MAX_PRODUCT_BYTES {
            // Shopify refuses a product of this size. Its rows are passed on to keep memory flat.
            ended.append(&mut self.product_rows()?);
        }
        if let Some(title) = self.columns.title.map(text)
            && self.product.title.is_empty()
        {
            self.product.title = title.into_owned();
        }
        let position = self.columns.position.map(text);
        if let Some(position) = position.and_then(|at| cell::number(&at, false).parse().ok()) {
            self.product.last_position = self.product.last_position.max(position);
        }
        let mut row: Vec<String> = cells.iter().map(|cell| cell.as_ref().to_owned()).collect();
        row.resize(self.names.len(), String::new());
        // Each further image becomes a row with its handle, its address, its alt text, and commas.
        let of_cells = row.iter().map(|cell| cell.len() + size_of::<String>());
        let of_images = images.iter().map(|image| {
            size_of::<NewImage>() + 2 * image.url.len() + image.prompt.len() + row.len()
        });
        self.product.bytes += of_cells.chain(of_images).sum::<usize>();
        self.product.rows.push((row, images));
        Ok(ended)
    }

    /// Returns the rows of the last product.
    ///
    /// # Errors
    /// Returns the error of the writer. It does not occur, since the rows are written to memory.
    pub fn finish(mut self) -> io::Result<Vec<u8>> {
        self.product_rows()
    }

    /// Takes the rows of the product and writes them with their new images. Further images of a row
    /// follow the product's rows.
    fn product_rows(&mut self) -> io::Result<Vec<u8>> {
        let mut rows = std::mem::take(&mut self.product.rows);
        self.product.bytes = 0;

        // The first image of a row takes the place of its picture.
        let mut replaced: HashMap<String, String> = HashMap::new();
        let mut further = Vec::new();
        for (number, (row, images)) in rows.iter_mut().enumerate() {
            let mut images = std::mem::take(images).into_iter();
            if let Some(image) = images.next() {
                let old = std::mem::replace(&mut row[self.columns.image], image.url.clone());
                self.complete(row, &image);
                if !old.trim().is_empty() {
                    replaced.entry(old.trim().to_owned()).or_insert(image.url);
                }
            }
            further.extend(images.map(|image| (number, image)));
        }

        // A variant that showed a replaced picture shows the new one.
        let mut written = Vec::new();
        for (row, _) in &mut rows {
            let cell = self.columns.variant_image.map(|column| &mut row[column]);
            if let Some(cell) = cell
                && let Some(url) = replaced.get(cell.trim())
            {
                cell.clone_from(url);
            }
            write_cells(&mut written, row.iter().map(String::as_str))?;
        }

        // Further images have rows without anything else, and the alt text of the first.
        for (number, image) in further {
            let mut row = vec![String::new(); self.names.len()];
            row[self.columns.handle].clone_from(&self.product.handle);
            if let Some(alt) = self.columns.alt {
                row[alt].clone_from(&rows[number].0[alt]);
            }
            self.complete(&mut row, &image);
            row[self.columns.image] = image.url;
            write_cells(&mut written, row.iter().map(String::as_str))?;
        }
        Ok(written)
    }

    /// Gives the picture of a row a position and an alt text, if it has none.
    fn complete(&mut self, row: &mut [String], image: &NewImage) {
        if let Some(position) = self.columns.position
            && row[position].trim().is_empty()
        {
            self.product.last_position = self.product.last_position.saturating_add(1);
            row[position] = self.product.last_position.to_string();
        }
        if let Some(alt) = self.columns.alt
            && row[alt].trim().is_empty()
        {
            row[alt] = match self.product.title.as_str() {
                "" => image.prompt.clone(),
                title => one_line(title),
            };
        }
    }
}

/// Returns a text on one line, cut to the length of an alt text.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    let mut left = MAX_ALT_CHARACTERS;
    for word in text.split_whitespace() {
        let is_first = line.is_empty();
        for letter in (!is_first).then_some(' ').into_iter().chain(word.chars()) {
            if left == 0 {
                return line;
            }
            line.push(letter);
            left -= 1;
        }
    }
    line
}

#[cfg(test)]
mod tests;
