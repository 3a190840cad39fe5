//! JSON documents, one item at a time: an array of items, or an envelope
//! `{version, job, defaults, templates, references, matrix, items}`.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, Error as _, IgnoredAny},
};
use serde_json::value::RawValue;

use super::input::{Input, Place};
use crate::manifest::{
    Stop,
    diagnostics::Problem,
    dialect::field::bad_name,
    header::Format,
    reader::{Intake, Spot},
    strict_json,
};

/// An envelope's members.
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

/// What the first object of a manifest says about the whole.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    /// Whether the object is an envelope. Else it is a JSON line.
    pub(crate) envelope: bool,
    /// `manifest`, and all that an envelope has but its items, each with its line.
    pub(crate) found: Vec<(u64, String, Box<RawValue>)>,
}

impl Sections {
    fn has(&self, name: &str) -> bool {
        self.found.iter().any(|(_, found, _)| found == name)
    }

    /// Reads the first object. Where it can't be understood, reading the items will say so.
    pub(crate) fn read(&mut self, mut input: Input<'_>) -> Result<(), Stop> {
        let place = input.place();
        let visitor = SectionsVisitor {
            sections: self,
            place: &place,
        };
        match serde_json::Deserializer::from_reader(&mut input).deserialize_map(visitor) {
            Err(error) if error.is_io() => Err(place.stop(error.into())),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

struct SectionsVisitor<'a> {
    sections: &'a mut Sections,
    place: &'a Place,
}

impl<'de> de::Visitor<'de> for SectionsVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            let (line, name_str) = (self.place.line(), name.as_str());
            // An item has references as well.
            self.sections.envelope |= name_str != "references" && ENVELOPE.contains(&name_str);
            match name_str {
                "items" => members.next_value_seed(&mut Items::new(self.place, None))?,
                // One that stands twice is a problem that reading the items will meet: the first is
                // all that is kept.
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
            self.place.begin_item();
        }
        Ok(())
    }
}

/// Reads a document's items.
pub(crate) fn read(
    input: &mut Input<'_>,
    format: Format,
    intake: &mut Intake<'_>,
) -> Result<(), Stop> {
    let place = input.place();
    input.first_byte().map_err(|error| place.stop(error))?;
    let lines_before = place.line() - 1;
    let mut items = Items::new(&place, Some(intake));
    let mut deserializer = serde_json::Deserializer::from_reader(&mut *input);
    let read = match format {
        Format::Envelope => deserializer.deserialize_map(Envelope(&mut items)),
        Format::Array | Format::Lines | Format::Table => items.deserialize(&mut deserializer),
    };
    let read = read.and_then(|()| deserializer.end());
    match (items.stop, read) {
        (Some(stop), _) => Err(stop),
        (None, Ok(())) => intake.take_matrix(),
        (None, Err(error)) if error.is_io() => Err(place.stop(error.into())),
        (None, Err(error)) => {
            let (code, message) = strict_json::refusal(&error, lines_before);
            Err(Stop::Problem(Problem::error(
                lines_before + error.line() as u64,
                code,
                message,
            )))
        }
    }
}

/// The members of an envelope, of which only the items count here.
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
            let line = items.place.line();
            match ENVELOPE.into_iter().find(|known| *known == name) {
                Some(known) if seen.contains(&known) => {
                    items.problem(Problem::error(
                        line,
                        "duplicate_member",
                        strict_json::twice(known),
                    ));
                }
                Some(known) => seen.push(known),
                None => {
                    let (code, message) = bad_name(&name, ENVELOPE.into_iter());
                    items.problem(Problem::error(line, code, message));
                }
            }
            if name == "items" {
                members.next_value_seed(&mut *items)?;
            } else {
                // Not ignored: what can't be read is missing from the header, and here alone can be
                // said so.
                members.next_value::<Box<RawValue>>()?;
            }
            items.place.begin_item();
        }
        if !seen.contains(&"items") && !seen.contains(&"matrix") {
            items.problem(Problem::error(
                items.place.line(),
                "no_items",
                "there are no items: add \"items\": [ … ]",
            ));
        }
        Ok(())
    }
}

/// A list of items, handed to the intake one by one; or, without one, skipped.
struct Items<'a, 'b> {
    place: &'a Place,
    intake: Option<&'a mut Intake<'b>>,
    number: u64,
    stop: Option<Stop>,
}

impl<'a, 'b> Items<'a, 'b> {
    fn new(place: &'a Place, intake: Option<&'a mut Intake<'b>>) -> Self {
        Self {
            place,
            intake,
            number: 0,
            stop: None,
        }
    }

    fn problem(&mut self, problem: Problem) {
        if let Some(intake) = &mut self.intake {
            intake.problems.push(problem);
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

/// One item. Its first byte has been read when this begins.
struct Element<'a, 'b, 'c>(&'a mut Items<'b, 'c>);

impl<'de> DeserializeSeed<'de> for Element<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self(items) = self;
        items.place.begin_item();
        let line = items.place.line();
        items.number += 1;
        let Some(intake) = &mut items.intake else {
            return IgnoredAny::deserialize(deserializer).map(|_| ());
        };
        let item = Box::<RawValue>::deserialize(deserializer)?;
        let taken = intake.check_full().and_then(|()| {
            intake.take_json(
                Spot {
                    line,
                    nameless: ("item", items.number),
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
