//! `results.csv`: the result lines as a table for spreadsheets.

use std::io::{self, Write};

use super::Finished;
use crate::csv_cell::guarded;

/// The columns.
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

/// Writes the header line.
///
/// # Errors
/// Those of `to`.
pub fn write_header(to: impl Write) -> io::Result<()> {
    write(to, COLUMNS.map(str::to_owned))
}

/// Writes the line of one image. Cells that a spreadsheet would take for a formula are guarded.
///
/// # Errors
/// Those of `to`.
pub fn row(to: impl Write, finished: &Finished) -> io::Result<()> {
    let line = &finished.line;
    let image = line.image.as_ref();
    let text = |value: Option<String>| value.unwrap_or_default();
    let word = |value: Option<serde_json::Value>| {
        value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    write(
        to,
        [
            line.key.to_string(),
            text(line.variant.map(|variant| variant.to_string())),
            word(serde_json::to_value(line.status).ok()),
            text(image.map(|image| image.uri.to_string())),
            text(image.map(|image| image.width.to_string())),
            text(image.map(|image| image.height.to_string())),
            text(line.model.clone()),
            word(serde_json::to_value(line.lane).ok()),
            text(line.attempts.map(|attempts| attempts.to_string())),
            text(line.finish_reason.clone()),
            text(line.error.as_ref().map(|reason| reason.code.clone())),
            text(line.error.as_ref().map(|reason| reason.message.clone())),
            text(line.cost_usd.map(|cost| cost.dollars().round_dp(6).normalize().to_string())),
        ],
    )
}

fn write(to: impl Write, cells: [String; COLUMNS.len()]) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record(cells.iter().map(|cell| guarded(cell).into_owned()))?;
    writer.flush()
}
