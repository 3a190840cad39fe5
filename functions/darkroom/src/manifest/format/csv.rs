//! Tables: CSV with a header line, by RFC 4180, as spreadsheets, shops and databases export it.

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
use crate::manifest::{
    Stop,
    diagnostics::{Diagnostic, ItemDiagnostics, quote},
    dialect::{
        field::Field,
        item::{self, CellStyle, Item},
    },
    reader::ItemReader,
    resolve::variables::spelling,
};

/// Columns about which the problem of a header speaks.
const COLUMN_PROBLEMS: usize = 5;

/// Columns of a table: as many as a sheet of Excel has, which exports empty ones too.
const COLUMNS: usize = 16_384;

/// Reads a table, a row at a time.
pub(crate) fn read(input: &mut Input<'_>, reader: &mut ItemReader<'_>) -> Result<(), Stop> {
    let position = input.position();
    input.first_byte().map_err(|error| position.stop(error))?;
    let used = reader.used_names().unwrap_or_default();
    let declarations = reader.header.declarations.job.columns.clone();
    let known = |name: &str| {
        column_field(name).is_some()
            || declarations.field_of(name).is_some()
            || used.contains(&spelling(name))
    };
    let mut rows = Rows::new(input, known)?;
    let mut record = ByteRecord::new();
    let mut line = rows.next(&mut record)?;
    while line.is_some() && is_note(&record) {
        line = rows.next(&mut record)?;
    }
    let Some(line) = line else { return Ok(()) };
    let style = CellStyle {
        decimal_comma: rows.has_decimal_commas(),
    };
    let mut table = Table::new(line, &record, style, &used, reader)?;
    reader.columns = table.variables();
    while let Some(line) = rows.next(&mut record)? {
        reader.check_full()?;
        table.take(line, &record, reader)?;
    }
    table.finish(reader)
}

/// A table: its columns, and what was met in its rows.
struct Table {
    names: Vec<String>,
    columns: Vec<Column>,
    /// The column that says how many images a row orders.
    count: Option<usize>,
    style: CellStyle,
    group: Group,
    /// The row above, which is taken once no further row continues it.
    pending: Option<PendingRow>,
    /// Settings under other names that hold what no image can be, each of which is said once.
    refused: HashSet<usize>,
    notes: Notes,
}

/// What is said once for the whole table.
#[derive(Default)]
struct Notes {
    /// The rows that continue the one above, and the line of the first.
    continued: Count,
    /// The lines that repeat the header.
    headers: Count,
    /// The rows with a cell in a first column without name.
    index: Count,
    /// The rows that a column `count` orders several images for, or one.
    counted: Count,
    /// The images that it orders.
    images: u64,
    /// The rows without a key, and the columns that could be one.
    keyless: KeyCandidates,
    /// The first column that is no field and holds a picture.
    pictures: Option<usize>,
}

/// So many rows, and the line of the first.
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

    /// `1 row`, or `2 rows`.
    fn rows(self) -> String {
        if self.rows == 1 {
            "1 row".to_owned()
        } else {
            format!("{} rows", self.rows)
        }
    }
}

impl Table {
    /// Reads the header. `used` are the variables that what counts for all rows uses.
    fn new(
        line: u64,
        header: &ByteRecord,
        style: CellStyle,
        used: &HashSet<String>,
        reader: &mut ItemReader<'_>,
    ) -> Result<Self, Stop> {
        if header.len() > COLUMNS {
            let message = format!(
                "the header has {} columns, {COLUMNS} are allowed: is this a table?",
                header.len()
            );
            return Err(Stop::Diagnostic(Diagnostic::error(
                line,
                "too_many_columns",
                message,
            )));
        }
        let Some(names) = texts(header) else {
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
        // Without the columns the rows mean nothing: one problem that is corrected beats one for
        // each row.
        let mut problems = diagnostics.into_diagnostics(line, None);
        if let Some(mut diagnostic) = problems.next() {
            for next in problems.by_ref().take(COLUMN_PROBLEMS - 1) {
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

    /// The variables among the columns, by their names in one spelling.
    fn variables(&self) -> Vec<String> {
        let columns = self.columns.iter().zip(&self.names);
        columns
            .filter(|(holds, _)| **holds == Column::Variable)
            .map(|(_, name)| spelling(name))
            .collect()
    }

    /// Takes a row.
    fn take(
        &mut self,
        line: u64,
        record: &ByteRecord,
        reader: &mut ItemReader<'_>,
    ) -> Result<(), Stop> {
        let Some(cells) = texts(record) else {
            return self.refuse(not_utf8(line), reader);
        };
        if cells.iter().all(|cell| cell.is_empty()) {
            return Ok(());
        }
        if self.is_header(&cells) {
            self.notes.headers.add(line);
            return Ok(());
        }
        let (count, columns) = (cells.len(), self.columns.len());
        if cells.iter().skip(columns).any(|cell| !cell.is_empty()) {
            let message = format!(
                "the row has {count} cells and the header {columns}: put texts that hold a comma, a quote or a line \
                 break in quotes"
            );
            return self.refuse(Diagnostic::error(line, "wrong_cells", message), reader);
        }
        let mut diagnostics = ItemDiagnostics::default();
        let mut item = self.item(line, &cells, &mut diagnostics);
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
        let is_keyless = item.key.is_none() && reader.header.declarations.defaults.key.is_none();
        self.notes.keyless.add(line, &cells, is_keyless);
        if self.count.is_some() {
            self.notes.counted.add(line);
            self.notes.images += u64::from(item.count.unwrap_or(1));
        }
        // A row that was filled is no product's first: the rows after it are compared with the same
        // one.
        let head = head.unwrap_or_else(|| self.group.head(&cells));
        match self
            .pending
            .replace(PendingRow::new(line, item, diagnostics, head))
        {
            Some(above) => above.take(reader),
            None => Ok(()),
        }
    }

    /// Takes note of a row that can't be read, after what is to be said of the row above.
    fn refuse(&mut self, diagnostic: Diagnostic, reader: &mut ItemReader<'_>) -> Result<(), Stop> {
        if let Some(above) = self.pending.take() {
            above.take(reader)?;
        }
        reader.diagnostics.push(diagnostic);
        Ok(())
    }

    /// Takes the last row, and says what is to be said of the table.
    fn finish(self, reader: &mut ItemReader<'_>) -> Result<(), Stop> {
        if let Some(pending) = self.pending {
            pending.take(reader)?;
        }
        let notes = self.notes;
        let mut warn = |line, code, message: String| {
            reader
                .diagnostics
                .push(Diagnostic::warning(line, code, message))
        };
        if notes.headers.rows > 0 {
            let message = format!(
                "the header is repeated among the rows: {} left out",
                notes.headers.rows()
            );
            warn(notes.headers.line, "repeated_header", message);
        }
        if notes.index.rows > 0 {
            let message =
                "the first column has no name and numbers the rows: it is left out".to_owned();
            warn(notes.index.line, "nameless_column", message);
        }
        if let Some(name) = self.count.map(|position| &self.names[position])
            && fold(name) == "count"
            && notes.counted.rows > 0
        {
            let message = format!(
                "the column {} orders {} images in {}: if it counts something else, say so in the job document: {}",
                quote(name),
                notes.images,
                notes.counted.rows(),
                columns::unmap_example("count")
            );
            warn(notes.counted.line, "count_column", message);
        }
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
        let has_refs = self.columns.contains(&Column::Field(Field::Refs))
            || reader.header.declarations.defaults.refs.is_some();
        if let Some(name) = notes.pictures.map(|position| &self.names[position])
            && !has_refs
            && !reader.uses(name)
        {
            let message = format!(
                "the column {} holds pictures, and no image is made with them: to send them as references use the \
                 metadata refs={{{}}}",
                quote(name),
                spelling(name)
            );
            reader
                .diagnostics
                .push(Diagnostic::warning(1, "unused_pictures", message));
        }
        if let Some((line, message)) = notes.keyless.describe() {
            reader
                .diagnostics
                .push(Diagnostic::warning(line, "missing_key", message));
        }
        Ok(())
    }

    /// Whether a row says what the header says.
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
                // Programs number the rows so: pandas, R, and whoever saved a sheet's row numbers.
                Column::Unnamed
                    if position == 0 && cell.bytes().all(|byte| byte.is_ascii_digit()) =>
                {
                    self.notes.index.add(line);
                }
                Column::Unnamed => diagnostics.error(
                    "unknown_field",
                    format!(
                        "the cell {} stands in a column without a name: name it",
                        quote(cell)
                    ),
                ),
            }
        }
        if let Err(message) = sides.set(&mut item)
            && self.refused.insert(self.columns.len())
        {
            diagnostics.error("unknown_setting", message);
        }
        if item.pixels.is_some() && (item.aspect_ratio.is_some() || item.image_size.is_some()) {
            let message =
                "a column says pixels, and another aspect_ratio or image_size: keep one of them";
            diagnostics.error("unknown_setting", message);
        }
        item
    }
}

/// Whether a row ahead of the header only explains the columns, as the templates of Meta's catalogs
/// do: each cell begins with `# `.
fn is_note(record: &ByteRecord) -> bool {
    record
        .iter()
        .all(|cell| cell.trim_ascii().starts_with(b"# "))
}

/// What each column holds. Two columns may not hold one field, except references that were mapped.
fn read_columns(
    names: &[String],
    used: &HashSet<String>,
    reader: &mut ItemReader<'_>,
    diagnostics: &mut ItemDiagnostics,
) -> Vec<Column> {
    let declarations = &reader.header.declarations;
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
                reader.twice.insert(spelt);
                Column::Repeated
            }
            holds => holds,
        };
        columns.push(holds);
    }
    columns
}

/// A table must have something to draw.
fn check_has_prompt(
    columns: &[Column],
    reader: &ItemReader<'_>,
    diagnostics: &mut ItemDiagnostics,
) {
    let has = |wanted: Field| columns.contains(&Column::Field(wanted));
    let defaults = &reader.header.declarations.defaults;
    let speaks = has(Field::Prompt)
        || has(Field::Template)
        || defaults.prompt.is_some()
        || defaults.template.is_some();
    if !speaks && !diagnostics.failed() {
        let message = "there is no column prompt, and no template: add one, or drop the table with the metadata template=…";
        diagnostics.error("missing_prompt", message);
    }
}

/// What the cells say, if all are UTF-8. Text with NUL is UTF-16 without a byte order mark, or
/// damaged.
fn texts(record: &ByteRecord) -> Option<Vec<Cow<'_, str>>> {
    let text = |cell| {
        std::str::from_utf8(cell)
            .ok()
            .filter(|cell| !cell.contains('\0'))
            .map(cell::text)
    };
    record.iter().map(text).collect()
}
