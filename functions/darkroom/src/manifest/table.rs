//! CSV with a header line, by RFC 4180: quotes, and line breaks within them. Tabs and semicolons separate as well.

use std::{
    collections::HashMap,
    io::{self, BufRead, Read},
    rc::Rc,
};

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};

use super::{
    Stop,
    field::{Column, Field, Meaning, column},
    input::{Input, Place},
    intake::{Intake, Spot},
    item::{self, Item},
    lines::not_utf8,
    problem::{Findings, Problem, quote},
    variables::spelling,
};

const BUFFER_BYTES: usize = 64 << 10;

/// Bytes of one row: 4 MiB, ten times the longest prompt. Every empty cell of a row costs many times its comma in memory.
const ROW_BYTES: u64 = 4 << 20;

/// Columns about which the problem of a header speaks.
const COLUMN_PROBLEMS: usize = 5;

/// Columns of a table: as many as a sheet of Excel has, which exports empty ones too.
const COLUMNS: usize = 16_384;

/// Reads a table, a row at a time.
pub(super) fn read(input: &mut Input<'_>, intake: &mut Intake<'_>) -> Result<(), Stop> {
    let place = input.place();
    input.first_byte().map_err(|error| place.stop(error))?;
    let mut rows = Rows::new(input, place)?;
    let mut record = ByteRecord::new();
    let Some(line) = rows.next(&mut record)? else { return Ok(()) };
    let columns = columns(line, &record, intake)?;
    while let Some(line) = rows.next(&mut record)? {
        intake.check_full()?;
        if record.iter().all(|cell| cell.trim_ascii().is_empty()) {
            continue;
        }
        if let Err(message) = check_count(&columns, &record) {
            intake.problems.push(Problem::error(line, "wrong_cells", message));
            continue;
        }
        match texts(&record, columns.len()) {
            None => intake.problems.push(not_utf8(line)),
            Some(cells) => {
                let mut findings = Findings::default();
                let item = item(&columns, &cells, &mut findings);
                intake.take_item(Spot { line, nameless: ("line", line) }, item, findings)?;
            }
        }
    }
    Ok(())
}

/// The columns: their names, and what they hold. A column without a name must stay empty.
fn columns(line: u64, header: &ByteRecord, intake: &mut Intake<'_>) -> Result<Vec<(String, Option<Column>)>, Stop> {
    if header.len() > COLUMNS {
        let message = format!("the header has {} columns, {COLUMNS} are allowed: is this a table?", header.len());
        return Err(Stop::Problem(Problem::error(line, "too_many_columns", message)));
    }
    let Some(names) = texts(header, COLUMNS) else { return Err(Stop::Problem(not_utf8(line))) };
    let mut findings = Findings::default();
    let mut columns: Vec<(String, Option<Column>)> = Vec::new();
    // The first column of each meaning: a table may have thousands.
    let mut first: HashMap<Meaning, &str> = HashMap::new();
    for name in names {
        let holds = if name.is_empty() { Ok(None) } else { column(name).map(Some) };
        let holds = holds.unwrap_or_else(|(code, message)| {
            findings.error(code, format!("column {}: {message}", columns.len() + 1));
            None
        });
        if let Some(holds) = &holds
            && let Some(other) = first.insert(holds.meaning(name), name)
        {
            findings.error(
                "duplicate_column",
                format!("columns {} and {} are the same: keep one", quote(other), quote(name)),
            );
        }
        columns.push((name.to_owned(), holds));
    }
    check_variables(&columns, intake, &mut findings);
    // Without the columns the rows mean nothing: one problem that is corrected beats one for each row.
    let mut problems = findings.into_problems(line, None);
    let Some(mut problem) = problems.next() else { return Ok(columns) };
    for next in problems.by_ref().take(COLUMN_PROBLEMS - 1) {
        problem.message = format!("{}; {}", problem.message, next.message);
    }
    if problems.next().is_some() {
        problem.message += "; and so on";
    }
    if !columns.iter().any(|(_, holds)| matches!(holds, Some(Column::Field(_)))) {
        problem.message = format!("the first line must name the columns, such as key,prompt: {}", problem.message);
    }
    Err(Stop::Problem(problem))
}

/// A table must have something to draw, and a column that looks like a mistaken field must be used as a variable.
fn check_variables(columns: &[(String, Option<Column>)], intake: &mut Intake<'_>, findings: &mut Findings) {
    let has = |wanted: Field| columns.iter().any(|(_, holds)| *holds == Some(Column::Field(wanted)));
    let defaults = &intake.header.said.defaults;
    let speaks = has(Field::Prompt) || has(Field::Template) || defaults.prompt.is_some() || defaults.template.is_some();
    // Which templates the rows will name isn't known yet.
    if !has(Field::Template) && !has(Field::Output) {
        let used = intake.used_names();
        for (number, (name, holds)) in (1..).zip(columns) {
            let Some(Column::Variable(Some(near))) = holds else { continue };
            if used.as_ref().is_some_and(|used| !used.contains(&spelling(name))) {
                let message = format!("column {number}: there is no field {}: did you mean {near}?", quote(name));
                findings.error("unknown_field", message);
            }
        }
    }
    if !speaks && !findings.failed() {
        let message =
            "there is no column prompt, and no template: add one, or drop the table with the metadata template=…";
        findings.error("missing_prompt", message);
    }
}

/// A row has as many cells as the header, or more that are empty.
fn check_count(columns: &[(String, Option<Column>)], record: &ByteRecord) -> Result<(), String> {
    let (cells, columns) = (record.len(), columns.len());
    let surplus = record.iter().skip(columns).any(|cell| !cell.trim_ascii().is_empty());
    if surplus || cells < columns {
        return Err(format!(
            "the row has {cells} cells and the header {columns}: put texts that hold a comma, a quote or a line break in quotes"
        ));
    }
    Ok(())
}

fn item(columns: &[(String, Option<Column>)], cells: &[&str], findings: &mut Findings) -> Item {
    let mut item = Item::default();
    for ((name, holds), cell) in columns.iter().zip(cells) {
        match holds {
            Some(Column::Field(field)) => {
                item.set_cell(*field, name, cell, findings);
                if *field == Field::Key {
                    item.key_name = item::callers_name(name);
                }
            }
            Some(Column::Variable(_)) if cell.is_empty() => {}
            Some(Column::Variable(_)) => item.vars.set(name, (*cell).to_owned(), findings),
            None if cell.is_empty() => {}
            None => {
                findings.error(
                    "unknown_field",
                    format!("the cell {} stands in a column without a name: name it", quote(cell)),
                );
            }
        }
    }
    item
}

/// The first `count` cells without blanks around them, if all are UTF-8. Text with NUL is UTF-16, or damaged.
fn texts(record: &ByteRecord, count: usize) -> Option<Vec<&str>> {
    record
        .iter()
        .take(count)
        .map(|cell| std::str::from_utf8(cell).ok().filter(|cell| !cell.contains('\0')).map(str::trim))
        .collect()
}

/// The header, which was read to find the delimiter, and then the rest.
type FromTheStart<'a, 'b> = io::Chain<io::Cursor<Vec<u8>>, &'a mut Input<'b>>;

/// Rows with the physical line on which each begins.
struct Rows<'a, 'b> {
    reader: Reader<PlainNewlines<FromTheStart<'a, 'b>>>,
    place: Rc<Place>,
    /// The line on which the parser's counting began, less one.
    lines_before: u64,
    /// The line after the last row.
    next_line: u64,
}

impl<'a, 'b> Rows<'a, 'b> {
    fn new(input: &'a mut Input<'b>, place: Rc<Place>) -> Result<Self, Stop> {
        let line = place.line();
        place.limit_items(ROW_BYTES);
        let header = header(input).map_err(|error| place.stop(error))?;
        let delimiter = delimiter(&header);
        let input = io::Cursor::new(header).chain(input);
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .terminator(Terminator::Any(b'\n'))
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(PlainNewlines { input, after_return: false, last: b'\n' });
        Ok(Self { reader, place, lines_before: line - 1, next_line: line })
    }

    /// Reads the next row and gives its line.
    fn next(&mut self, record: &mut ByteRecord) -> Result<Option<u64>, Stop> {
        self.place.begin_item();
        if !self.reader.read_byte_record(record).map_err(|error| self.stop(error))? {
            return Ok(None);
        }
        // The parser counts from the row's end: blank lines before a row would count as the row's.
        let within: usize = record.iter().map(|cell| memchr::memchr_iter(b'\n', cell).count()).sum();
        let after = self.lines_before + self.reader.position().line();
        let line = after.saturating_sub(1 + within as u64);
        // A row can't begin before the last one ended, unless its own end is missing.
        if line < self.next_line {
            let message = "a quote that opens in this row is never closed: close it, or double it if it is meant";
            return Err(Stop::Problem(Problem::error(self.next_line, "open_quote", message)));
        }
        self.next_line = after;
        Ok(Some(line))
    }

    /// The parser reads ahead: where a row is too long, the place is far behind its first line.
    fn stop(&self, error: csv::Error) -> Stop {
        match self.place.stop(io_error(error)) {
            Stop::Problem(problem) if problem.code == "item_too_large" => {
                Stop::Problem(Problem { line: self.next_line, ..problem })
            }
            stop => stop,
        }
    }
}

/// The reader's own error: `csv` would wrap it once more.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// The header line without its end, which stays in the input.
fn header(input: &mut Input<'_>) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    loop {
        let found = input.fill_buf()?;
        let end = memchr::memchr2(b'\n', b'\r', found);
        let count = end.unwrap_or(found.len());
        header.extend_from_slice(&found[..count]);
        let last = end.is_some() || found.is_empty();
        input.consume(count);
        if last {
            return Ok(header);
        }
    }
}

/// What the header separates its names with; a tab or a semicolon only where there is no comma.
fn delimiter(header: &[u8]) -> u8 {
    [b',', b'\t', b';'].into_iter().find(|delimiter| header.contains(delimiter)).unwrap_or(b',')
}

/// Every line ends in one `\n`, the last one too, whatever system wrote the file.
struct PlainNewlines<R> {
    input: R,
    after_return: bool,
    last: u8,
}

impl<R: BufRead> Read for PlainNewlines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut written = 0;
        while written == 0 && !buffer.is_empty() {
            let found = self.input.fill_buf()?;
            if found.is_empty() {
                if self.last == b'\n' {
                    return Ok(0);
                }
                self.last = b'\n';
                buffer[0] = b'\n';
                return Ok(1);
            }
            let count = found.len().min(buffer.len());
            for byte in &found[..count] {
                let second_half = self.after_return && *byte == b'\n';
                self.after_return = *byte == b'\r';
                if !second_half {
                    self.last = if self.after_return { b'\n' } else { *byte };
                    buffer[written] = self.last;
                    written += 1;
                }
            }
            self.input.consume(count);
        }
        Ok(written)
    }
}
