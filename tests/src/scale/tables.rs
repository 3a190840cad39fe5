//! Tables in Markdown.

use std::fmt::Write;

/// A table whose first column is text and whose other columns are numbers.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates a table with these names of columns.
    pub fn new(columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            rows: vec![columns.into_iter().map(Into::into).collect()],
        }
    }

    /// Adds a row. A row with fewer cells than the header ends with empty cells.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        row.resize(self.rows[0].len(), String::new());
        self.rows.push(row);
    }

    /// Returns the table with aligned columns.
    pub fn markdown(&self) -> String {
        let columns = 0..self.rows[0].len();
        let width = |column: usize| {
            let widths = self.rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0).max(3)
        };
        let widths: Vec<usize> = columns.map(width).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = if column == 0 {
                    write!(text, "| {cell:<width$} ")
                } else {
                    write!(text, "| {cell:>width$} ")
                };
            }
            text += "|\n";
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let (dashes, end) =
                        ("-".repeat(width - 1), if column == 0 { "-" } else { ":" });
                    let _ = write!(text, "| {dashes}{end} ");
                }
                text += "|\n";
            }
        }
        text
    }
}

/// Returns a whole number with separators of thousands: `1,234,567`.
pub fn whole(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0.0 && digits != "0" {
        text.insert(0, '-');
    }
    text
}

/// Returns a number with three significant digits: `0.00123`, `12.3`, `1,234`.
pub fn short(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let magnitude = number.abs().log10().floor();
    if magnitude >= 2.0 {
        return whole(number);
    }
    let digits = (2.0 - magnitude) as usize;
    format!("{number:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [0.0, 999.0, 1_000.0, 1_234_567.0, -1_234.0].map(whole),
            ["0", "999", "1,000", "1,234,567", "-1,234"]
        );
        assert_eq!(
            [0.0, 0.001234, 1.5, 12.34, 123.4, 1_234.5].map(short),
            ["0", "0.00123", "1.50", "12.3", "123", "1,234"]
        );
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(["kind", "images"]);
        table.row(["S3 PUT", "1,000"]);
        table.row(["SQS"]);
        assert_eq!(
            table.markdown(),
            "| kind   | images |\n| ------ | -----: |\n| S3 PUT |  1,000 |\n| SQS    |        |\n"
        );
    }
}
