//! Rows that continue the row above: a shop's export has one row for each variant and each further
//! picture of a product, and only the first of them has the product's title and texts.
//!
//! A row continues the row above it when both name the same product and it lacks what the prompt is
//! made of. The product is named by a column `handle` where there is one, else by the columns that
//! make the key. What the prompt is made of is the prompt, the template, or the columns that the
//! template uses, and a column `title` or `name`.

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

/// Columns by which shops' exports name a product, folded.
const PRODUCTS: [&str; 4] = ["handle", "handleid", "urlhandle", "producthandle"];

/// Columns that only the first row of a product fills, folded.
const TITLES: [&str; 4] = ["title", "name", "producttitle", "productname"];

/// What is done with a row that continues the row above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContinuationRows {
    /// Its pictures become references of the row above.
    #[default]
    References,
    /// It is left out.
    Skip,
    /// What it leaves empty is taken from the row above, and it is an item of its own.
    Fill,
}

/// The columns that tell whether a row continues the row above.
pub(crate) struct Group {
    /// Those that name the product.
    product: Vec<usize>,
    /// Those that only its first row fills.
    lead: Vec<usize>,
    /// The name of a column of the product, for people.
    called: String,
    /// Whether a row that doesn't name the product may continue the row above: in an export, not
    /// where people write prompts into rows, as there a row without key and prompt is a mistake.
    may_be_unnamed: bool,
}

/// The first row of a product.
#[derive(Clone)]
pub(crate) struct ProductHead {
    product: Vec<String>,
    /// Which of [`Group::lead`] it fills.
    fills: Vec<bool>,
}

/// A row whose item is not taken yet.
pub(crate) struct PendingRow {
    line: u64,
    item: Item,
    diagnostics: ItemDiagnostics,
    head: ProductHead,
}

impl Group {
    /// The columns of a table whose header was read.
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
        let speaks = |column| is_field(column, Field::Prompt) || is_field(column, Field::Template);
        let mut lead: Vec<usize> = columns_where(&speaks);
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
        let called = product
            .first()
            .map(|column| names[*column].clone())
            .unwrap_or_default();
        Self {
            product,
            lead,
            called,
            may_be_unnamed,
        }
    }

    /// Whether a row continues the one that is held.
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

    /// What a row that begins a product is remembered by.
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

    /// What is said of the rows that continued the one above.
    pub(crate) fn describe(&self, rows: &str, is_one: bool, choice: ContinuationRows) -> String {
        let (continues, what) = (
            if is_one { "continues" } else { "continue" },
            if is_one { "its" } else { "their" },
        );
        let done = match choice {
            ContinuationRows::References => {
                format!(
                    "{what} pictures are references of the row above, where references come from a column"
                )
            }
            ContinuationRows::Skip if is_one => "it is left out".to_owned(),
            ContinuationRows::Skip => "they are left out".to_owned(),
            ContinuationRows::Fill => format!("{what} empty cells are taken from the row above"),
        };
        format!(
            "{rows} {continues} the row above (the same {}, but no title or prompt): {done}; job.continuation_rows may be \
             \"references\", \"skip\" or \"fill\"",
            self.called
        )
    }
}

impl PendingRow {
    /// Holds a row until it is known that no other continues it.
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

    /// What the row says.
    pub(crate) fn item(&self) -> &Item {
        &self.item
    }

    /// The first row of the product.
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

    /// Hands the item over.
    pub(crate) fn take(self, reader: &mut ItemReader<'_>) -> Result<(), Stop> {
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
