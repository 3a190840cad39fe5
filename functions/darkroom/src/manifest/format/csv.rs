//! Tables: CSV with a header line (RFC 4180), as spreadsheets, shops and databases export it.

pub(crate) mod cell;
pub(crate) mod column;
pub(crate) mod columns;
pub(crate) mod continuation;
pub(crate) mod image_columns;
pub(crate) mod key_candidates;
pub(crate) mod rows;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use csv::ByteRecord;

use self::{
    column::{Column, ForeignSetting, TableContext, column, column_field, fold},
    continuation::{ContinuationRows, Group, PendingRow},
    key_candidates::KeyCandidates,
    rows::Rows,
};
use super::{input::Input, jsonl::not_utf8};
use crate::{
    manifest::{
        Stop,
        diagnostics::{Diagnostic, ItemDiagnostics, quote},
        dialect::{
            field::Field,
            item::{self, CellStyle, Item},
        },
        reader::ItemReader,
        resolve::variables::spelling,
    },
    plan::TableRow,
};

/// How many columns the error of a header names.
const MAX_LISTED_COLUMNS: usize = 5;

/// The most columns of a table: the limit of a sheet in Excel, which exports empty columns too.
const MAX_COLUMNS: usize = 16_384;

/// Reads a table, one row at a time.
pub(crate) fn read(input: &mut Input<'_>, reader: &mut ItemReader<'_>) -> Result<(), Stop> {
    let position = input.position();
    input.first_byte().map_err(|error| position.stop(error))?;

    // Names that the manifest uses help to detect the delimiter.
    let used = reader.used_names().unwrap_or_default();
    let declarations = reader.header.declarations.job.columns.clone();
    let known = |name: &str| {
        column_field(name).is_some()
            || declarations.field_of(name).is_some()
            || used.contains(&spelling(name))
    };
    let mut rows = Rows::new(input, known)?;

    // Comments before the header are skipped.
    let mut record = ByteRecord::new();
    let mut line = rows.next(&mut record)?;
    while line.is_some() && is_comment(&record) {
        line = rows.next(&mut record)?;
    }
    let Some(line) = line else { return Ok(()) };

    // The header decides how each row is read.
    let style = CellStyle {
        decimal_comma: rows.has_decimal_commas(),
    };
    let mut table = Table::new(line, &record, style, &used, reader)?;
    reader.columns = table.variables();
    pass_on(line, &record, reader)?;
    while let Some(line) = rows.next(&mut record)? {
        reader.check_full()?;
        pass_on(line, &record, reader)?;
        table.read_row(line, &record, reader)?;
    }
    table.finish(reader)
}

/// Passes a row on as it was written, if the caller keeps the rows.
fn pass_on(line: u64, record: &ByteRecord, reader: &mut ItemReader<'_>) -> Result<(), Stop> {
    let Some(rows) = &mut reader.rows else {
        return Ok(());
    };
    let cells: Result<Vec<Cow<'_, str>>, _> = record
        .iter()
        .map(|cell| std::str::from_utf8(cell).map(Cow::Borrowed))
        .collect();
    match cells {
        Ok(cells) => rows(&TableRow { line, cells }).map_err(Stop::Sink),
        // Reading the row reports the error, and a manifest with an error has no plan.
        Err(_) => Ok(()),
    }
}

/// A table: its columns, and what its rows have shown so far.
struct Table {
    names: Vec<String>,
    columns: Vec<Column>,
    /// The column with the number of images of a row.
    count: Option<usize>,
    style: CellStyle,
    group: Group,
    /// The previous row. It is read once no further row continues it.
    pending: Option<PendingRow>,
    /// Columns with a foreign setting that has been reported. Each is reported once.
    refused: HashSet<usize>,
    notes: Notes,
}

/// What is reported once for the whole table.
#[derive(Default)]
struct Notes {
    /// The rows that continue the previous row.
    continued: Count,
    /// The rows that repeat the header.
    headers: Count,
    /// The rows with a number in a first column that has no name.
    index: Count,
    /// The rows in which a column `count` gives a number of images.
    counted: Count,
    /// The sum of these numbers.
    images: u64,
    /// The rows without a key, and the columns that could be the key.
    keyless: KeyCandidates,
    /// The first column that is not a field and holds pictures.
    pictures: Option<usize>,
}

/// A number of rows, and the line of the first.
#[derive(Clone, Copy, Default)]
struct Count {
    line: u64,
    rows: u64,
}

impl Count {
    fn add(&mut self, line: u64) {
        if self.rows == 0 {
            self.line = line;
        }
        self.rows += 1;
    }

    /// Returns `1 row`, or `2 rows`.
    fn rows(self) -> String {
        if self.rows == 1 {
            "1 row".to_owned()
        } else {
            format!("{} rows", self.rows)
        }
    }
}

impl Table {
    /// Reads the header. `used` holds the variables that the defaults and templates use.
    fn new(
        line: u64,
        header: &ByteRecord,
        style: CellStyle,
        used: &HashSet<String>,
        reader: &mut ItemReader<'_>,
    ) -> Result<Self, Stop> {
        if header.len() > MAX_COLUMNS {
            let message = format!(
                "the header has {} columns, and {MAX_COLUMNS} are allowed: check that the file is a \
                 table",
                header.len()
            );
            return Err(Stop::Diagnostic(Diagnostic::error(
                line,
                "too_many_columns",
                message,
            )));
        }

        // All mistakes of the header are collected.
        let Some(names) = utf8_cells(header) else {
            return Err(Stop::Diagnostic(not_utf8(line)));
        };
        let names: Vec<String> = names.into_iter().map(Cow::into_owned).collect();
        let mut diagnostics = ItemDiagnostics::default();
        let columns = read_columns(&names, used, reader, &mut diagnostics);
        check_has_prompt(&columns, reader, &mut diagnostics);
        for missing in reader.header.declarations.job.columns.missing(&names) {
            let message = format!(
                "job.columns names the column {}, which the table doesn't have",
                quote(missing)
            );
            diagnostics.error("unknown_column", message);
        }
        // Without the columns, no row can be read. One error that lists the wrong columns helps
        // more than one for each row.
        let mut problems = diagnostics.into_diagnostics(line, None);
        if let Some(mut diagnostic) = problems.next() {
            for next in problems.by_ref().take(MAX_LISTED_COLUMNS - 1) {
                diagnostic.message = format!("{}; {}", diagnostic.message, next.message);
            }
            if problems.next().is_some() {
                diagnostic.message += "; and so on";
            }
            if !columns
                .iter()
                .any(|holds| matches!(holds, Column::Field(_)))
                && diagnostic.code == "missing_prompt"
            {
                diagnostic.message = format!(
                    "the first line must name the columns, such as key,prompt: {}",
                    diagnostic.message
                );
            }
            return Err(Stop::Diagnostic(diagnostic));
        }

        // The header is valid. The rest follows from it.
        let group = Group::new(&names, &columns, reader);
        let has_key = columns.contains(&Column::Field(Field::Key))
            || reader.header.declarations.defaults.key.is_some();
        let keyless = KeyCandidates::new(&names, has_key);
        let notes = Notes {
            keyless,
            ..Notes::default()
        };
        let count = columns
            .iter()
            .position(|column| *column == Column::Field(Field::Count));
        Ok(Self {
            names,
            columns,
            count,
            style,
            group,
            pending: None,
            refused: HashSet::new(),
            notes,
        })
    }

    /// Returns the columns that are variables, by their normalized names.
    fn variables(&self) -> Vec<String> {
        let columns = self.columns.iter().zip(&self.names);
        columns
            .filter(|(holds, _)| **holds == Column::Variable)
            .map(|(_, name)| spelling(name))
            .collect()
    }

    /// Reads a row.
    fn read_row(
        &mut self,
        line: u64,
        record: &ByteRecord,
        reader: &mut ItemReader<'_>,
    ) -> Result<(), Stop> {
        let Some(cells) = utf8_cells(record) else {
            return self.refuse(not_utf8(line), reader);
        };

        // Empty rows and repeated headers are not items.
        if cells.iter().all(|cell| cell.is_empty()) {
            return Ok(());
        }
        if self.is_header(&cells) {
            self.notes.headers.add(line);
            return Ok(());
        }

        // Missing cells at the end are empty, but additional cells are a mistake.
        let (count, columns) = (cells.len(), self.columns.len());
        if cells.iter().skip(columns).any(|cell| !cell.is_empty()) {
            let message = format!(
                "the row has {count} cells and the header {columns}: put texts that contain a \
                 comma, a quote or a line \
                 break in quotes"
            );
            return self.refuse(Diagnostic::error(line, "wrong_cells", message), reader);
        }
        let mut diagnostics = ItemDiagnostics::default();
        let mut item = self.item(line, &cells, &mut diagnostics);

        // A row may continue the pending row instead of being an item.
        let mut head = None;
        if let Some(pending) = self
            .pending
            .as_mut()
            .filter(|pending| self.group.continues(pending, &cells))
        {
            self.notes.continued.add(line);
            match reader.header.job().continuation_rows.unwrap_or_default() {
                ContinuationRows::Skip => return Ok(()),
                ContinuationRows::References => {
                    pending.add_references(reader.references_of(item));
                    return Ok(());
                }
                ContinuationRows::Fill => {
                    item = item.filled_from(pending.item());
                    head = Some(pending.head().clone());
                }
            }
        }

        // The whole table is judged at its end.
        let is_keyless = item.key.is_none() && reader.header.declarations.defaults.key.is_none();
        self.notes.keyless.add(line, &cells, is_keyless);
        if self.count.is_some() {
            self.notes.counted.add(line);
            self.notes.images += u64::from(item.count.unwrap_or(1));
        }
        // A filled row does not begin a product: the rows after it are compared with the same first
        // row.
        let head = head.unwrap_or_else(|| self.group.head(&cells));
        match self
            .pending
            .replace(PendingRow::new(line, item, diagnostics, head))
        {
            Some(above) => above.finish(reader),
            None => Ok(()),
        }
    }

    /// Reports a row that can't be read, after the pending row, so that reports stay in order.
    fn refuse(&mut self, diagnostic: Diagnostic, reader: &mut ItemReader<'_>) -> Result<(), Stop> {
        if let Some(above) = self.pending.take() {
            above.finish(reader)?;
        }
        reader.diagnostics.push(diagnostic);
        Ok(())
    }

    /// Reads the last row, and reports what concerns the whole table.
    fn finish(self, reader: &mut ItemReader<'_>) -> Result<(), Stop> {
        if let Some(pending) = self.pending {
            pending.finish(reader)?;
        }

        // What was skipped is reported first.
        let notes = self.notes;
        let mut warn = |line, code, message: String| {
            reader
                .diagnostics
                .push(Diagnostic::warning(line, code, message))
        };
        if notes.headers.rows > 0 {
            let message = format!(
                "the header is repeated among the rows: {} skipped",
                notes.headers.rows()
            );
            warn(notes.headers.line, "repeated_header", message);
        }
        if notes.index.rows > 0 {
            let message =
                "the first column has no name and numbers the rows: it is ignored".to_owned();
            warn(notes.index.line, "nameless_column", message);
        }

        // A column named `count` may hold a shop's stock, which would be expensive.
        if let Some(name) = self.count.map(|position| &self.names[position])
            && fold(name) == "count"
            && notes.counted.rows > 0
        {
            let message = format!(
                "the column {} asks for {} images in {}: if it counts something else, put this \
                 into the job document: {}",
                quote(name),
                notes.images,
                notes.counted.rows(),
                columns::unmap_example("count")
            );
            warn(notes.counted.line, "count_column", message);
        }

        // Continuation rows were merged, which the user should know.
        if notes.continued.rows > 0 {
            let choice = reader.header.job().continuation_rows.unwrap_or_default();
            let message =
                self.group
                    .describe(&notes.continued.rows(), notes.continued.rows == 1, choice);
            reader.diagnostics.push(Diagnostic::warning(
                notes.continued.line,
                "continuation_rows",
                message,
            ));
        }

        // A column with pictures that no image uses is probably a mistake.
        let has_refs = self.columns.contains(&Column::Field(Field::Refs))
            || reader.header.declarations.defaults.refs.is_some();
        if let Some(name) = notes.pictures.map(|position| &self.names[position])
            && !has_refs
            && !reader.uses(name)
        {
            let message = format!(
                "the column {} holds pictures that no image uses: to send them as references, set \
                 the \
                 metadata refs={{{}}}",
                quote(name),
                spelling(name)
            );
            reader
                .diagnostics
                .push(Diagnostic::warning(1, "unused_pictures", message));
        }

        // Keys made of line numbers change when rows move.
        if let Some((line, message)) = notes.keyless.describe() {
            reader
                .diagnostics
                .push(Diagnostic::warning(line, "missing_key", message));
        }
        Ok(())
    }

    /// Whether a row repeats the header.
    fn is_header(&self, cells: &[Cow<'_, str>]) -> bool {
        cells.len() == self.names.len()
            && cells
                .iter()
                .zip(&self.names)
                .all(|(cell, name)| fold(cell) == fold(name))
    }

    fn item(
        &mut self,
        line: u64,
        cells: &[Cow<'_, str>],
        diagnostics: &mut ItemDiagnostics,
    ) -> Item {
        let mut item = Item::default();
        let mut sides = image_columns::Sides::default();
        for (position, (cell, column)) in cells
            .iter()
            .zip(&self.columns)
            .enumerate()
            .filter(|(_, (cell, _))| !cell.is_empty())
        {
            // Empty cells leave a field to the defaults.
            let name = &self.names[position];
            match column {
                Column::Field(field) => {
                    item.set_cell(*field, name, cell, self.style, diagnostics);
                    if *field == Field::Key {
                        item.key_name = item::reported_key_name(name);
                    }
                }
                Column::Foreign(ForeignSetting::Width) => sides.width = Some((name, cell)),
                Column::Foreign(ForeignSetting::Height) => sides.height = Some((name, cell)),
                Column::Foreign(other) => {
                    if let Err(message) = image_columns::set(&mut item, *other, name, cell)
                        && self.refused.insert(position)
                    {
                        diagnostics.error("unknown_setting", message);
                    }
                }
                Column::Variable => {
                    if self.notes.pictures.is_none() && cell::is_picture(cell) {
                        self.notes.pictures = Some(position);
                    }
                    item.vars.set_column(name, cell.clone().into_owned());
                }
                Column::Repeated => {}
                // pandas, R and some spreadsheets write row numbers this way.
                Column::Unnamed
                    if position == 0 && cell.bytes().all(|byte| byte.is_ascii_digit()) =>
                {
                    self.notes.index.add(line);
                }
                Column::Unnamed => diagnostics.error(
                    "unknown_field",
                    format!(
                        "the cell {} is in a column without a name: give the column a name",
                        quote(cell)
                    ),
                ),
            }
        }

        // Width and height only make sense together, so they are applied last.
        if let Err(message) = sides.set(&mut item)
            && self.refused.insert(self.columns.len())
        {
            diagnostics.error("unknown_setting", message);
        }
        if item.pixels.is_some() && (item.aspect_ratio.is_some() || item.image_size.is_some()) {
            let message = "one column gives pixels, and another gives aspect_ratio or image_size: \
                           keep one of them";
            diagnostics.error("unknown_setting", message);
        }
        item
    }
}

/// Whether a row before the header is a comment, as in the templates of Meta's catalogs: each of
/// its cells begins with `# `.
fn is_comment(record: &ByteRecord) -> bool {
    record
        .iter()
        .all(|cell| cell.trim_ascii().starts_with(b"# "))
}

/// Determines what each column holds. Two columns may not hold the same field, except mapped
/// references.
fn read_columns(
    names: &[String],
    used: &HashSet<String>,
    reader: &mut ItemReader<'_>,
    diagnostics: &mut ItemDiagnostics,
) -> Vec<Column> {
    let declarations = &reader.header.declarations;

    // What a column means depends on what the other columns hold.
    let names_field = |wanted: Field| {
        let columns = &declarations.job.columns;
        let is_wanted = |name: &String| match columns.field_of(name) {
            Some(field) => field == wanted,
            None => column_field(name) == Some(wanted) && !columns.is_taken(wanted),
        };
        names.iter().any(is_wanted)
    };
    let about = TableContext {
        columns: &declarations.job.columns,
        has_prompt: names_field(Field::Prompt) || declarations.defaults.prompt.is_some(),
        has_template: names_field(Field::Template),
        key_is_made: declarations.defaults.key.is_some(),
        refs_are_made: declarations.defaults.refs.is_some(),
    };

    // Each field and each variable needs a single column.
    let mut fields: HashMap<Field, &str> = HashMap::new();
    let mut variables: HashSet<String> = HashSet::new();
    let mut columns = Vec::with_capacity(names.len());
    for (number, name) in (1..).zip(names) {
        let holds = column(name, &about).unwrap_or_else(|(code, message)| {
            diagnostics.error(code, format!("column {number}: {message}"));
            Column::Unnamed
        });
        let holds = match holds {
            Column::Field(field) => {
                let is_mapped = declarations.job.columns.field_of(name).is_some();
                if let Some(other) = fields.insert(field, name)
                    && !(field == Field::Refs && is_mapped)
                {
                    let message = format!(
                        "columns {} and {} are the same: keep one",
                        quote(other),
                        quote(name)
                    );
                    diagnostics.error("duplicate_column", message);
                }
                Column::Field(field)
            }
            Column::Variable if !variables.insert(spelling(name)) => {
                let spelt = spelling(name);
                if used.contains(&spelt) {
                    let message = format!(
                        "there are two columns {}, and a template uses it: keep one",
                        quote(name)
                    );
                    diagnostics.error("duplicate_column", message);
                }
                reader.duplicate_variables.insert(spelt);
                Column::Repeated
            }
            holds => holds,
        };
        columns.push(holds);
    }
    columns
}

/// Checks that a prompt or a template is given somewhere.
fn check_has_prompt(
    columns: &[Column],
    reader: &ItemReader<'_>,
    diagnostics: &mut ItemDiagnostics,
) {
    let has = |wanted: Field| columns.contains(&Column::Field(wanted));
    let defaults = &reader.header.declarations.defaults;
    let has_prompt = has(Field::Prompt)
        || has(Field::Template)
        || defaults.prompt.is_some()
        || defaults.template.is_some();
    if !has_prompt && !diagnostics.failed() {
        let message = "there is no column prompt and no template: add one, or drop the table with \
                       the metadata template=…";
        diagnostics.error("missing_prompt", message);
    }
}

/// Returns the text of the cells, or `None` if one is not valid. Text with NUL is UTF-16 without a
/// byte order mark, or damaged.
fn utf8_cells(record: &ByteRecord) -> Option<Vec<Cow<'_, str>>> {
    let text = |cell| {
        std::str::from_utf8(cell)
            .ok()
            .filter(|cell| !cell.contains('\0'))
            .map(cell::text)
    };
    record.iter().map(text).collect()
}
