//! `results.csv`: the result lines as a table for spreadsheets.

use std::{
    collections::HashSet,
    io::{self, Write},
};

use serde::Serialize;

use super::Finished;
use crate::{csv_injection::escape_formulas, money::Usd};

/// The byte order mark. Without it, Excel decodes the table in the computer's local encoding, and
/// shows "cafÃ©".
pub(super) const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The columns that every job has. The columns of its variables follow.
const COLUMNS: [&str; 13] = [
    "key",
    "variant",
    "status",
    "image_uri",
    "width",
    "height",
    "model",
    "lane",
    "attempts",
    "finish_reason",
    "error_code",
    "error_message",
    "cost_usd",
];

/// The prefix of a variable whose column would have the name of another column.
const PREFIX: &str = "vars.";

/// Writes the header line of a table with these variables.
pub(super) fn write_header(mut to: impl Write, variables: &[String]) -> io::Result<()> {
    to.write_all(BYTE_ORDER_MARK.as_bytes())?;
    // Databases ignore the case of column names.
    let mut taken: HashSet<String> = COLUMNS.map(str::to_owned).into();
    let variables = variables
        .iter()
        .map(|variable| free_name(variable, PREFIX, &mut taken));
    let columns = COLUMNS.map(str::to_owned).into_iter().chain(variables);
    write_cells(to, columns.map(|name| escape_formulas(&name).into_owned()))
}

/// Writes the row of one image. Cells that a spreadsheet could take for a formula are escaped.
pub(super) fn write_row(
    to: impl Write,
    finished: &Finished,
    variables: &[String],
) -> io::Result<()> {
    let line = &finished.line;
    let image = line.image.as_ref();
    let text = |value: Option<String>| value.unwrap_or_default();
    let cells: [String; COLUMNS.len()] = [
        line.key.to_string(),
        text(line.variant.map(|variant| variant.to_string())),
        word(line.status),
        text(image.map(|image| image.uri.to_string())),
        text(image.map(|image| image.width.to_string())),
        text(image.map(|image| image.height.to_string())),
        text(line.model.clone()),
        word(line.lane),
        text(line.attempts.map(|attempts| attempts.to_string())),
        text(line.finish_reason.clone()),
        text(line.error.as_ref().map(|reason| reason.code.clone())),
        text(line.error.as_ref().map(|reason| reason.message.clone())),
        text(line.cost_usd.map(dollars)),
    ];

    // The columns of the variables follow the fixed ones, as in the header.
    let values = variables
        .iter()
        .map(|name| line.vars.get(name).map(String::as_str).unwrap_or_default());
    let cells = cells.iter().map(String::as_str).chain(values);
    write_cells(to, cells.map(escape_formulas))
}

/// Returns the word that represents a value in JSON, or an empty text for `null`.
pub(super) fn word(value: impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// Returns a cost in dollars, with at most six decimals.
pub(super) fn dollars(cost: Usd) -> String {
    cost.dollars().round_dp(6).normalize().to_string()
}

/// Returns the name of a column, with as many prefixes as it needs to differ from the names that are
/// `taken`, which are in lower case. The name is then taken too.
pub(super) fn free_name(name: &str, prefix: &str, taken: &mut HashSet<String>) -> String {
    let mut name = name.to_owned();
    while !taken.insert(name.to_lowercase()) {
        name.insert_str(0, prefix);
    }
    name
}

/// Writes one row of CSV, with its line break.
pub(super) fn write_cells<S: AsRef<str>>(
    to: impl Write,
    cells: impl Iterator<Item = S>,
) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(to);
    for cell in cells {
        writer.write_field(cell.as_ref())?;
    }
    writer.write_record(None::<&[u8]>)?;
    writer.flush()
}
