//! The names that a manifest may use, and what to say about all others.

use crate::models::nearest;

use super::{problem::quote, variables::spelling};

/// A field of a friendly item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Field {
    Key,
    Prompt,
    Template,
    Vars,
    Count,
    Model,
    AspectRatio,
    ImageSize,
    Refs,
    System,
    Seed,
    Temperature,
    Lane,
    /// `output.path`: in JSON an object, in CSV a column.
    Output,
}

/// The fields of a friendly item, by all their names in snake case.
pub(super) const FIELDS: [(&str, Field); 21] = [
    ("key", Field::Key),
    ("id", Field::Key),
    ("custom_id", Field::Key),
    ("record_id", Field::Key),
    ("prompt", Field::Prompt),
    ("template", Field::Template),
    ("vars", Field::Vars),
    ("n", Field::Count),
    ("count", Field::Count),
    ("model", Field::Model),
    ("aspect_ratio", Field::AspectRatio),
    ("image_size", Field::ImageSize),
    ("refs", Field::Refs),
    ("references", Field::Refs),
    ("images", Field::Refs),
    ("system", Field::System),
    ("seed", Field::Seed),
    ("temperature", Field::Temperature),
    ("lane", Field::Lane),
    ("output", Field::Output),
    ("out", Field::Output),
];

/// What a CSV file writes for `output: {path}`.
const PATH_COLUMNS: [&str; 2] = ["output.path", "output_path"];

/// Fields of an item that this version doesn't act on, and what to do instead. They may not be columns either.
const UNSUPPORTED_FIELDS: [(&str, &str); 9] = [
    ("depends_on", "drop a second manifest when the first is done"),
    ("gate", "look at the images and drop a second manifest"),
    ("on_block", "leave it out: a blocked image is reported with its reason"),
    ("max_attempts", "leave it out: failures worth another try get one"),
    ("thinking_level", "write a line of Google's form: {\"key\":…,\"request\":…}"),
    ("safety_settings", "write a line of Google's form: {\"key\":…,\"request\":…}"),
    ("response_modalities", "write a line of Google's form: {\"key\":…,\"request\":…}"),
    ("deadline", "leave it out: batches take up to a day"),
    ("priority", "leave it out"),
];

/// Other names with a meaning that this version doesn't act on, and what to do instead. A column may have them.
const UNSUPPORTED: [(&str, &str); 18] = [
    ("templates", "put it beside the items: {\"templates\": …, \"items\": …}"),
    ("matrix", "put it beside the items: {\"matrix\": …}"),
    ("tags", "leave it out: the key comes back with each result"),
    ("metadata", "leave it out: the key comes back with each result"),
    ("custom", "leave it out: the key comes back with each result"),
    ("model_input", "write a line of Bedrock's form: {\"recordId\":…,\"modelInput\":…}"),
    ("body", "write a line of OpenAI's form: {\"custom_id\":…,\"body\":…}"),
    ("method", "leave it out"),
    ("url", "leave it out"),
    ("tenant", "leave it out"),
    ("proof", "drop a small manifest first"),
    ("on_error", "leave it out: one failure stops no other image"),
    ("on_duplicate", "give each item a key of its own"),
    ("notify", "leave it out"),
    ("cache", "leave it out"),
    ("output_prefix", "use output.path"),
    ("retention_days", "leave it out"),
    ("role", "say in the prompt what the picture is for"),
];

/// A name that can't be used: a code, and what to say.
pub(super) type BadName = (&'static str, String);

/// The field of a JSON item.
pub(super) fn field(name: &str) -> Result<Field, BadName> {
    let snake = snake_case(name);
    let found = FIELDS.iter().find(|(known, _)| *known == snake);
    found.map(|(_, field)| *field).ok_or_else(|| bad_name(name, FIELDS.iter().map(|(known, _)| *known)))
}

/// What a CSV column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// A field of the item.
    Field(Field),
    /// A variable. It may be a mistaken field: then the nearest one is here.
    Variable(Option<&'static str>),
}

/// What two columns can't both be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Meaning {
    /// A field.
    Field(Field),
    /// A variable, by its name in one spelling.
    Variable(String),
}

impl Column {
    /// What the column of this name means.
    pub(super) fn meaning(&self, name: &str) -> Meaning {
        match self {
            Self::Field(field) => Meaning::Field(*field),
            Self::Variable(_) => Meaning::Variable(spelling(name)),
        }
    }
}

/// What the CSV column of this name holds. Only a field that isn't acted on can't be a column.
pub(super) fn column(name: &str) -> Result<Column, BadName> {
    let snake = snake_case(name);
    if PATH_COLUMNS.contains(&snake.as_str()) {
        return Ok(Column::Field(Field::Output));
    }
    let names = || FIELDS.iter().filter(|(_, field)| !matches!(field, Field::Output | Field::Vars));
    if let Some((_, field)) = names().find(|(known, _)| *known == snake) {
        return Ok(Column::Field(*field));
    }
    if UNSUPPORTED_FIELDS.iter().any(|(unsupported, _)| *unsupported == snake) {
        return Err(bad_name(name, std::iter::empty()));
    }
    let known = names().map(|(known, _)| *known).chain(["output.path"]);
    Ok(Column::Variable(nearest(name, known).first().copied()))
}

/// What to say about a name that is not among `known`.
pub(super) fn bad_name<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> BadName {
    let snake = snake_case(name);
    let mut unsupported = UNSUPPORTED_FIELDS.iter().chain(&UNSUPPORTED);
    if let Some((_, instead)) = unsupported.find(|(unsupported, _)| *unsupported == snake) {
        return ("unsupported_field", format!("{} is not supported yet: {instead}", quote(name)));
    }
    // Half a name is no slip of the finger, but as clear.
    let whole = || known.clone().find(|known| snake.len() > 2 && known.starts_with(&snake));
    let message = match nearest(name, known.clone()).first().copied().or_else(whole) {
        Some(near) => format!("there is no field {}: did you mean {near}?", quote(name)),
        None => {
            format!(
                "there is no field {}: take it out, or use one of {}",
                quote(name),
                known.collect::<Vec<_>>().join(", ")
            )
        }
    };
    ("unknown_field", message)
}

/// `aspectRatio` and `aspect_ratio` are one name.
pub(super) fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_and_all_aliases_are_known() {
        for (name, expected) in [
            ("aspect_ratio", Field::AspectRatio),
            ("aspectRatio", Field::AspectRatio),
            ("imageSize", Field::ImageSize),
            ("references", Field::Refs),
            ("id", Field::Key),
            ("count", Field::Count),
        ] {
            assert_eq!((field(name), column(name)), (Ok(expected), Ok(Column::Field(expected))), "{name}");
        }
        for name in ["output.path", "output_path", "outputPath"] {
            assert_eq!(column(name), Ok(Column::Field(Field::Output)));
        }
        assert!(field("output.path").is_err());
    }

    #[test]
    fn a_mistaken_name_gets_the_nearest_one() {
        assert_eq!(field("promt").unwrap_err().1, r#"there is no field "promt": did you mean prompt?"#);
        assert_eq!(column("Aspect Ratio"), Ok(Column::Variable(Some("aspect_ratio"))));
        assert_eq!(column("colour"), Ok(Column::Variable(None)));
        assert!(field("colour").unwrap_err().1.contains("use one of key, id, "));
    }

    #[test]
    fn a_field_that_is_not_acted_on_is_refused_and_says_what_to_do() {
        for name in ["depends_on", "dependsOn", "matrix", "onBlock"] {
            let (code, message) = field(name).unwrap_err();
            assert_eq!(code, "unsupported_field", "{message}");
        }
        assert!(column("gate").is_err(), "a column can't make it acted on");
        assert_eq!(column("tags"), Ok(Column::Variable(None)), "a shop's column");
    }
}
