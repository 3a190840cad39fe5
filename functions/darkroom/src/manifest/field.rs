//! The names that a manifest may use, and what to say about all others.

use crate::models::nearest;

use super::problem::quote;

/// A field of a friendly item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Key,
    Prompt,
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

const FIELDS: [(&str, Field); 17] = [
    ("key", Field::Key),
    ("id", Field::Key),
    ("prompt", Field::Prompt),
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

/// Names with a meaning that this version doesn't act on, and what to do instead.
const UNSUPPORTED: [(&str, &str); 30] = [
    ("template", "write the whole prompt"),
    ("templates", "write the whole prompts"),
    ("vars", "write the whole prompt"),
    ("matrix", "write out the items"),
    ("depends_on", "drop a second manifest when the first is done"),
    ("gate", "look at the images and drop a second manifest"),
    ("deadline", "leave it out: batches take up to a day"),
    ("priority", "leave it out"),
    ("tags", "leave it out: the key comes back with each result"),
    ("metadata", "leave it out: the key comes back with each result"),
    ("custom", "leave it out: the key comes back with each result"),
    ("on_block", "leave it out: a blocked image is reported with its reason"),
    ("max_attempts", "leave it out: failures worth another try get one"),
    ("thinking_level", "write a line of Google's form: {\"key\":…,\"request\":…}"),
    ("safety_settings", "write a line of Google's form: {\"key\":…,\"request\":…}"),
    ("response_modalities", "write a line of Google's form: {\"key\":…,\"request\":…}"),
    ("custom_id", "call it key, and put prompt beside it"),
    ("record_id", "call it key, and put prompt beside it"),
    ("model_input", "write a friendly item or a line of Google's form"),
    ("body", "write a friendly item: key, prompt"),
    ("method", "leave it out"),
    ("url", "leave it out"),
    ("tenant", "leave it out"),
    ("mode", "leave it out"),
    ("proof", "drop a small manifest first"),
    ("on_error", "leave it out: one failure stops no other image"),
    ("notify", "leave it out"),
    ("cache", "leave it out"),
    ("output_prefix", "use output.path"),
    ("retention_days", "leave it out"),
];

/// A name that can't be used: a code, and what to say.
pub(super) type BadName = (&'static str, String);

/// The field of a JSON item.
pub(super) fn field(name: &str) -> Result<Field, BadName> {
    let snake = snake_case(name);
    let found = FIELDS.iter().find(|(known, _)| *known == snake);
    found.map(|(_, field)| *field).ok_or_else(|| bad_name(name, FIELDS.iter().map(|(known, _)| *known)))
}

/// The field of a CSV column.
pub(super) fn column(name: &str) -> Result<Field, BadName> {
    let snake = snake_case(name);
    if PATH_COLUMNS.contains(&snake.as_str()) {
        return Ok(Field::Output);
    }
    let names = || FIELDS.iter().filter(|(_, field)| *field != Field::Output);
    let found = names().find(|(known, _)| *known == snake);
    found
        .map(|(_, field)| *field)
        .ok_or_else(|| bad_name(name, names().map(|(known, _)| *known).chain(["output.path"])))
}

/// What to say about a name that is not among `known`.
pub(super) fn bad_name<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> BadName {
    let snake = snake_case(name);
    if let Some((_, instead)) = UNSUPPORTED.iter().find(|(unsupported, _)| *unsupported == snake) {
        return ("unsupported_field", format!("{} is not supported yet: {instead}", quote(name)));
    }
    let message = match nearest(name, known.clone()).first() {
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
            assert_eq!((field(name), column(name)), (Ok(expected), Ok(expected)), "{name}");
        }
        for name in ["output.path", "output_path", "outputPath"] {
            assert_eq!(column(name), Ok(Field::Output));
        }
        assert!(column("output").is_err() && field("output.path").is_err());
    }

    #[test]
    fn a_mistaken_name_gets_the_nearest_one() {
        assert_eq!(field("promt").unwrap_err().1, r#"there is no field "promt": did you mean prompt?"#);
        assert_eq!(
            column("Aspect Ratio").unwrap_err().1,
            r#"there is no field "Aspect Ratio": did you mean aspect_ratio?"#
        );
        assert!(field("colour").unwrap_err().1.contains("use one of key, id, prompt"));
    }

    #[test]
    fn a_field_that_is_not_acted_on_is_refused_and_says_what_to_do() {
        for name in ["depends_on", "dependsOn", "recordId", "matrix", "onBlock"] {
            let (code, message) = field(name).unwrap_err();
            assert_eq!(code, "unsupported_field", "{message}");
        }
    }
}
