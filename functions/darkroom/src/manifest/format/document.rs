//! JSON documents, read one item at a time: an array of items, or an envelope `{version, job,
//! defaults, templates, references, matrix, items}`.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, Error as _, IgnoredAny},
};
use serde_json::value::RawValue;

use super::input::{Input, Position};
use crate::manifest::{
    Stop,
    diagnostics::Diagnostic,
    dialect::field::bad_name,
    header::Format,
    reader::{ItemReader, SourceLocation},
    strict_json,
};

/// The members of an envelope.
pub(crate) const ENVELOPE: [&str; 8] = [
    "version",
    "job",
    "defaults",
    "templates",
    "references",
    "matrix",
    "items",
    "$schema",
];

/// The parts of a manifest's first object that hold for the whole manifest.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    /// Whether the object is an envelope. Otherwise it is a JSON line.
    pub(crate) envelope: bool,
    /// `manifest`, and all members of an envelope except its items, each with its line.
    pub(crate) found: Vec<(u64, String, Box<RawValue>)>,
}

impl Sections {
    fn has(&self, name: &str) -> bool {
        self.found.iter().any(|(_, found, _)| found == name)
    }

    /// Reads the first object. If it can't be parsed, reading the items reports that.
    pub(crate) fn read(&mut self, mut input: Input<'_>) -> Result<(), Stop> {
        let position = input.position();
        let visitor = SectionsVisitor {
            sections: self,
            position: &position,
        };
        match serde_json::Deserializer::from_reader(&mut input).deserialize_map(visitor) {
            Err(error) if error.is_io() => Err(position.stop(error.into())),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

struct SectionsVisitor<'a> {
    sections: &'a mut Sections,
    position: &'a Position,
}

impl<'de> de::Visitor<'de> for SectionsVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            let (line, name_str) = (self.position.line(), name.as_str());
            // `references` proves nothing, because an item may have that member too.
            self.sections.envelope |= name_str != "references" && ENVELOPE.contains(&name_str);
            match name_str {
                "items" => members.next_value_seed(&mut Items::new(self.position, None))?,
                // Only the first of two equal members is kept. Reading the items reports the
                // second.
                "version" | "job" | "defaults" | "templates" | "references" | "matrix"
                | "manifest"
                    if !self.sections.has(&name) =>
                {
                    self.sections
                        .found
                        .push((line, name, members.next_value()?));
                }
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
            self.position.begin_item();
        }
        Ok(())
    }
}

/// Reads a document's items.
pub(crate) fn read(
    input: &mut Input<'_>,
    format: Format,
    reader: &mut ItemReader<'_>,
) -> Result<(), Stop> {
    let position = input.position();
    input.first_byte().map_err(|error| position.stop(error))?;
    let lines_before = position.line() - 1;

    // The items are read while the document is parsed, so that only one is in memory.
    let mut items = Items::new(&position, Some(reader));
    let mut deserializer = serde_json::Deserializer::from_reader(&mut *input);
    let read = match format {
        Format::Envelope => deserializer.deserialize_map(Envelope(&mut items)),
        Format::Array | Format::Lines | Format::Table => items.deserialize(&mut deserializer),
    };
    let read = read.and_then(|()| deserializer.end());

    // A stop of the reader surfaces as a parser error, and takes precedence over it.
    match (items.stop, read) {
        (Some(stop), _) => Err(stop),
        (None, Ok(())) => reader.read_matrix(),
        (None, Err(error)) if error.is_io() => Err(position.stop(error.into())),
        (None, Err(error)) => {
            let (code, message) = strict_json::refusal(&error, lines_before);
            Err(Stop::Diagnostic(Diagnostic::error(
                lines_before + error.line() as u64,
                code,
                message,
            )))
        }
    }
}

/// The members of an envelope. Only its items are read here; the header holds the others.
struct Envelope<'a, 'b, 'c>(&'a mut Items<'b, 'c>);

impl<'de> de::Visitor<'de> for Envelope<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with items")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self(items) = self;
        let mut seen: Vec<&str> = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            let line = items.position.line();
            match ENVELOPE.into_iter().find(|known| *known == name) {
                Some(known) if seen.contains(&known) => {
                    items.report(Diagnostic::error(
                        line,
                        "duplicate_member",
                        strict_json::duplicate_member(known),
                    ));
                }
                Some(known) => seen.push(known),
                None => {
                    let (code, message) = bad_name(&name, ENVELOPE.into_iter());
                    items.report(Diagnostic::error(line, code, message));
                }
            }
            if name == "items" {
                members.next_value_seed(&mut *items)?;
            } else {
                // The value must be parsed, although the header holds it already: a value that
                // can't be parsed is missing from the header, and only this read can report that.
                members.next_value::<Box<RawValue>>()?;
            }
            items.position.begin_item();
        }
        if !seen.contains(&"items") && !seen.contains(&"matrix") {
            items.report(Diagnostic::error(
                items.position.line(),
                "no_items",
                "there are no items: add \"items\": [ … ]",
            ));
        }
        Ok(())
    }
}

/// A list of items, passed to the reader one by one, or skipped if there is no reader.
struct Items<'a, 'b> {
    position: &'a Position,
    reader: Option<&'a mut ItemReader<'b>>,
    number: u64,
    stop: Option<Stop>,
}

impl<'a, 'b> Items<'a, 'b> {
    fn new(position: &'a Position, reader: Option<&'a mut ItemReader<'b>>) -> Self {
        Self {
            position,
            reader,
            number: 0,
            stop: None,
        }
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        if let Some(reader) = &mut self.reader {
            reader.diagnostics.push(diagnostic);
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Items<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> de::Visitor<'de> for &mut Items<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of items")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(Element(self))?.is_some() {}
        Ok(())
    }
}

/// One item. Its first byte has already been read when its deserialization begins.
struct Element<'a, 'b, 'c>(&'a mut Items<'b, 'c>);

impl<'de> DeserializeSeed<'de> for Element<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self(items) = self;
        items.position.begin_item();
        let line = items.position.line();
        items.number += 1;
        let Some(reader) = &mut items.reader else {
            return IgnoredAny::deserialize(deserializer).map(|_| ());
        };
        let item = Box::<RawValue>::deserialize(deserializer)?;
        let taken = reader.check_full().and_then(|()| {
            reader.read_json(
                SourceLocation {
                    line,
                    fallback_key: ("item", items.number),
                    is_row: false,
                },
                item.get(),
            )
        });
        taken.map_err(|stop| {
            items.stop = Some(stop);
            D::Error::custom("stopped")
        })
    }
}
