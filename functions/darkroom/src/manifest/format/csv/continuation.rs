//! Continuation rows. A shop's export has one row for each variant and each further picture of a
//! product, and only the first of them has the product's title and texts.
//!
//! A row continues the previous one if both name the same product and it lacks what the prompt is
//! made of. The product is named by a column `handle`, or by the columns that make the key if there
//! is none. The prompt is made of the prompt, the template, or the columns that the template uses
//! and a column `title` or `name`.

use std::borrow::Cow;

use serde::Deserialize;

use super::column::{Column, fold};
use crate::manifest::{
    Stop,
    diagnostics::ItemDiagnostics,
    dialect::{field::Field, item::Item},
    reader::{ItemReader, SourceLocation},
    resolve::{template, variables::spelling},
};

/// Columns that name the product in a shop's export, folded.
const PRODUCTS: [&str; 4] = ["handle", "handleid", "urlhandle", "producthandle"];

/// Columns that are filled only in the first row of a product, folded.
const TITLES: [&str; 4] = ["title", "name", "producttitle", "productname"];

/// How rows that continue the previous row are handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContinuationRows {
    /// The pictures of the row become references of the product's first row.
    #[default]
    References,
    /// The row is skipped.
    Skip,
    /// The row is a separate item. Its empty cells are filled from the previous row.
    Fill,
}

/// The columns that show whether a row continues the previous one.
pub(crate) struct Group {
    /// The columns that name the product.
    product: Vec<usize>,
    /// The columns that are filled only in a product's first row.
    lead: Vec<usize>,
    /// The name of the column that names the product, for messages.
    column_name: String,
    /// Whether a row without a product may continue the previous row. This holds for exports. In
    /// tables with prompts, a row without key and prompt is a mistake.
    may_be_unnamed: bool,
}

/// The values that identify a product.
#[derive(Clone)]
pub(crate) struct ProductHead {
    product: Vec<String>,
    /// Which of the columns in [`Group::lead`] are filled.
    fills: Vec<bool>,
}

/// A row whose item is not read yet, because the next row may continue it.
pub(crate) struct PendingRow {
    line: u64,
    item: Item,
    diagnostics: ItemDiagnostics,
    head: ProductHead,
}

impl Group {
    /// Determines the columns of a table from its header.
    pub(crate) fn new(names: &[String], columns: &[Column], reader: &ItemReader<'_>) -> Self {
        let columns_where = |is_meant: &dyn Fn(usize) -> bool| {
            (0..names.len())
                .filter(|column| is_meant(*column))
                .collect()
        };
        let is_field = |column: usize, field| columns[column] == Column::Field(field);
        let is_variable = |column: usize, wanted: &[String]| {
            columns[column] == Column::Variable && wanted.contains(&spelling(&names[column]))
        };

        // The product is identified by its handle, or by what makes the key.
        let mut product: Vec<usize> =
            columns_where(&|column| PRODUCTS.contains(&fold(&names[column]).as_str()));
        product.truncate(1);
        if product.is_empty() {
            let key = reader
                .header
                .declarations
                .defaults
                .key
                .as_deref()
                .unwrap_or_default();
            let used: Vec<String> = template::variables(key).map(spelling).collect();
            product =
                columns_where(&|column| is_field(column, Field::Key) || is_variable(column, &used));
        }

        // The lead columns are those that make the prompt. Only the first row of a product fills
        // them.
        let is_prompt =
            |column| is_field(column, Field::Prompt) || is_field(column, Field::Template);
        let mut lead: Vec<usize> = columns_where(&is_prompt);
        let may_be_unnamed = lead.is_empty();
        if lead.is_empty() {
            let used: Vec<String> = reader
                .prompt_template()
                .map(|text| template::variables(&text).map(spelling).collect())
                .unwrap_or_default();
            lead = columns_where(&|column| {
                is_variable(column, &used) || TITLES.contains(&fold(&names[column]).as_str())
            });
            lead.retain(|column| !product.contains(column));
        }

        // Messages name one of the product's columns.
        let column_name = product
            .first()
            .map(|column| names[*column].clone())
            .unwrap_or_default();
        Self {
            product,
            lead,
            column_name,
            may_be_unnamed,
        }
    }

    /// Whether a row continues the pending one.
    pub(crate) fn continues(&self, pending: &PendingRow, cells: &[Cow<'_, str>]) -> bool {
        let cell = |column: &usize| cells.get(*column).map_or("", Cow::as_ref);
        let mut product = self.product.iter().map(cell);
        let is_named = product.clone().any(|cell| !cell.is_empty());
        let is_same = if is_named {
            product.eq(pending.head.product.iter().map(String::as_str))
        } else {
            self.may_be_unnamed
                && product.next().is_some()
                && pending.head.product.iter().any(|cell| !cell.is_empty())
        };
        is_same
            && self
                .lead
                .iter()
                .zip(&pending.head.fills)
                .any(|(column, fills)| *fills && cell(column).is_empty())
    }

    /// Returns what identifies the product that this row begins.
    pub(crate) fn head(&self, cells: &[Cow<'_, str>]) -> ProductHead {
        let cell = |column: &usize| cells.get(*column).map_or("", Cow::as_ref);
        let product = self
            .product
            .iter()
            .map(|column| cell(column).to_owned())
            .collect();
        let fills = self
            .lead
            .iter()
            .map(|column| !cell(column).is_empty())
            .collect();
        ProductHead { product, fills }
    }

    /// Describes the rows that continued the previous one.
    pub(crate) fn describe(&self, rows: &str, is_one: bool, choice: ContinuationRows) -> String {
        let (continues, what) = (
            if is_one { "continues" } else { "continue" },
            if is_one { "its" } else { "their" },
        );
        let done = match choice {
            ContinuationRows::References => {
                format!(
                    "{what} pictures become references of the row above, if references come from \
                     a column"
                )
            }
            ContinuationRows::Skip if is_one => "it is skipped".to_owned(),
            ContinuationRows::Skip => "they are skipped".to_owned(),
            ContinuationRows::Fill => format!("{what} empty cells are filled from the row above"),
        };
        format!(
            "{rows} {continues} the row above (the same {}, but no title or prompt): {done}; \
             job.continuation_rows may be \
             \"references\", \"skip\" or \"fill\"",
            self.column_name
        )
    }
}

impl PendingRow {
    /// Keeps a row until it is known that no other continues it.
    pub(crate) fn new(
        line: u64,
        item: Item,
        diagnostics: ItemDiagnostics,
        head: ProductHead,
    ) -> Self {
        Self {
            line,
            item,
            diagnostics,
            head,
        }
    }

    /// The item of the row.
    pub(crate) fn item(&self) -> &Item {
        &self.item
    }

    /// The product of the row.
    pub(crate) fn head(&self) -> &ProductHead {
        &self.head
    }

    /// Adds the references of a row that continues this one.
    pub(crate) fn add_references(&mut self, references: Vec<String>) {
        for reference in references {
            if !self.item.more_refs.contains(&reference) {
                self.item.more_refs.push(reference);
            }
        }
    }

    /// Passes the item to the reader.
    pub(crate) fn finish(self, reader: &mut ItemReader<'_>) -> Result<(), Stop> {
        let Self {
            line,
            item,
            diagnostics,
            ..
        } = self;
        reader.read_item(
            SourceLocation {
                line,
                fallback_key: ("line", line),
                is_row: true,
            },
            item,
            diagnostics,
        )
    }
}
