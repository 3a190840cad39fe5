//! The names of fields, and the messages for names that are not fields.

use crate::{
    manifest::{
        diagnostics::quote,
        format::csv::{column::fold, columns::unmap_example},
    },
    models::nearest,
};

/// A field of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Field {
    Key,
    Prompt,
    Template,
    Vars,
    /// The caller's values, which are repeated in the results. Only in JSON.
    Metadata,
    Count,
    Model,
    AspectRatio,
    ImageSize,
    Refs,
    System,
    Seed,
    Temperature,
    Thinking,
    Lane,
    /// `output.path`: an object in JSON, a column in CSV.
    Output,
}

/// The names of all fields, in snake case.
pub(crate) const FIELDS: [(&str, Field); 24] = [
    ("key", Field::Key),
    ("id", Field::Key),
    ("custom_id", Field::Key),
    ("record_id", Field::Key),
    ("prompt", Field::Prompt),
    ("template", Field::Template),
    ("vars", Field::Vars),
    ("metadata", Field::Metadata),
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
    ("thinking", Field::Thinking),
    ("thinking_level", Field::Thinking),
    ("lane", Field::Lane),
    ("output", Field::Output),
    ("out", Field::Output),
];

impl Field {
    /// Whether a column of a table may have this name. The column of the path is called
    /// `output.path`, and a column that is not a field is a variable.
    pub(crate) fn may_be_column(self) -> bool {
        !matches!(self, Self::Output | Self::Vars | Self::Metadata)
    }
}

/// Fields of an item that are not supported yet, and what to do instead.
const UNSUPPORTED_FIELDS: [(&str, &str); 8] = [
    (
        "depends_on",
        "drop a second manifest when the first is done",
    ),
    (
        "gate",
        "make a proof first, with the job's field proof: {\"job\": {\"proof\": {\"count\": 4}}}",
    ),
    (
        "on_block",
        "leave it out: a blocked image is reported with its reason",
    ),
    (
        "max_attempts",
        "leave it out: transient failures are retried automatically",
    ),
    (
        "safety_settings",
        "write a line of Google's form: {\"key\":…,\"request\":…}",
    ),
    (
        "response_modalities",
        "write a line of Google's form: {\"key\":…,\"request\":…}",
    ),
    (
        "deadline",
        "set the job's time limit, such as {\"job\": {\"within\": \"2h\"}}",
    ),
    (
        "priority",
        "choose a lane: batch, flex, interactive or auto",
    ),
];

/// Other names that are not supported yet or belong elsewhere, and what to do instead.
const UNSUPPORTED: [(&str, &str); 16] = [
    (
        "templates",
        "put it next to the items: {\"templates\": …, \"items\": …}",
    ),
    ("matrix", "put it next to the items: {\"matrix\": …}"),
    ("tags", "leave it out: the key comes back with each result"),
    ("custom", "call it metadata: it comes back with each result"),
    (
        "model_input",
        "write a line of Bedrock's form: {\"recordId\":…,\"modelInput\":…}",
    ),
    (
        "body",
        "write a line of OpenAI's form: {\"custom_id\":…,\"body\":…}",
    ),
    ("method", "leave it out"),
    ("url", "leave it out"),
    ("tenant", "leave it out"),
    ("on_error", "leave it out: one failure stops no other image"),
    ("on_duplicate", "give each item a different key"),
    ("notify", "leave it out"),
    ("cache", "leave it out"),
    ("output_prefix", "use output.path"),
    ("retention_days", "leave it out"),
    ("role", "write into the prompt what the picture is for"),
];

/// Why a name is refused: a code and a message.
pub(crate) type BadName = (&'static str, String);

/// Returns the field of a JSON item.
///
/// # Errors
///
/// A code and a message, if there is no such field.
pub(crate) fn field(name: &str) -> Result<Field, BadName> {
    let snake = snake_case(name);
    let found = FIELDS.iter().find(|(known, _)| *known == snake);
    found
        .map(|(_, field)| *field)
        .ok_or_else(|| bad_name(name, FIELDS.iter().map(|(known, _)| *known)))
}

/// Returns the error for a column in a table of prompts that is named like a field that is not
/// supported yet. A single word, such as `priority`, may mean anything and is no error.
pub(crate) fn unsupported(name: &str) -> Option<BadName> {
    let folded = fold(name);
    let mut fields = UNSUPPORTED_FIELDS
        .iter()
        .filter(|(field, _)| field.contains('_'));
    let (field, _) = fields.find(|(field, _)| fold(field) == folded)?;
    let (code, message) = bad_name(field, std::iter::empty());
    let freed = format!(
        "; if the column is a variable, put this into the job document: {}",
        unmap_example(name)
    );
    Some((code, message + &freed))
}

/// Names of fields in other programs, or of the job, and what to write instead.
const MEANT: [(&str, &str); 16] = [
    (
        "size",
        "image_size, such as \"1K\", and aspect_ratio, such as \"4:5\"",
    ),
    ("resolution", "image_size, such as \"1K\""),
    (
        "dimensions",
        "image_size, such as \"1K\", and aspect_ratio, such as \"4:5\"",
    ),
    (
        "width",
        "aspect_ratio, such as \"4:5\", and image_size, such as \"1K\"",
    ),
    (
        "height",
        "aspect_ratio, such as \"4:5\", and image_size, such as \"1K\"",
    ),
    ("ratio", "aspect_ratio, such as \"4:5\""),
    ("aspect", "aspect_ratio, such as \"4:5\""),
    ("orientation", "aspect_ratio, such as \"3:4\""),
    ("quality", "image_size, such as \"2K\""),
    (
        "negative_prompt",
        "it in the prompt: Gemini takes no negative prompt",
    ),
    ("num_images", "n"),
    ("reference_images", "refs"),
    (
        "proof",
        "it into the job, such as {\"job\": {\"proof\": {\"count\": 4}}}",
    ),
    (
        "within",
        "it into the job, such as {\"job\": {\"within\": \"2h\"}}",
    ),
    (
        "rescue",
        "it into the job, such as {\"job\": {\"within\": \"2h\", \"rescue\": \"interactive\"}}",
    ),
    (
        "flex_fallback",
        "it into the job, such as {\"job\": {\"flex_fallback\": \"interactive\"}}",
    ),
];

/// Returns the error for a name that is not among `known`.
pub(crate) fn bad_name<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> BadName {
    let snake = snake_case(name);
    let mut unsupported = UNSUPPORTED_FIELDS.iter().chain(&UNSUPPORTED);

    // A planned field gets its replacement.
    if let Some((_, instead)) = unsupported.find(|(unsupported, _)| *unsupported == snake) {
        return (
            "unsupported_field",
            format!("{} is not supported yet: {instead}", quote(name)),
        );
    }

    // A name of another program or of the job gets the field that it means.
    if let Some((_, meant)) = MEANT.iter().find(|(other, _)| *other == snake) {
        return (
            "unknown_field",
            format!("there is no field {}: write {meant}", quote(name)),
        );
    }
    // The beginning of a name is not a typing error, but it is as clear.
    let whole = || {
        known
            .clone()
            .find(|known| snake.len() > 2 && known.starts_with(&snake))
    };
    let message = match nearest(name, known.clone()).first().copied().or_else(whole) {
        Some(near) => format!("there is no field {}: did you mean {near}?", quote(name)),
        None => {
            format!(
                "there is no field {}: remove it, or use one of {}",
                quote(name),
                known.collect::<Vec<_>>().join(", ")
            )
        }
    };
    ("unknown_field", message)
}

/// Converts a name to snake case: `aspectRatio` is `aspect_ratio`.
pub(crate) fn snake_case(name: &str) -> String {
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
            assert_eq!(field(name), Ok(expected), "{name}");
        }
        assert!(field("output.path").is_err());
    }

    #[test]
    fn a_mistaken_name_gets_the_nearest_one() {
        assert_eq!(
            field("promt").unwrap_err().1,
            r#"there is no field "promt": did you mean prompt?"#
        );
        assert!(
            field("color")
                .unwrap_err()
                .1
                .contains("use one of key, id, ")
        );
    }

    #[test]
    fn a_name_of_another_program_gets_the_right_field() {
        assert!(field("size").unwrap_err().1.contains("image_size"));
        assert!(
            field("negativePrompt")
                .unwrap_err()
                .1
                .contains("no negative prompt")
        );
        for name in ["proof", "within", "rescue", "flexFallback"] {
            let (code, message) = field(name).unwrap_err();
            assert_eq!(code, "unknown_field");
            assert!(message.contains("write it into the job"), "{message}");
        }
    }

    #[test]
    fn an_unsupported_field_is_refused_with_what_to_do_instead() {
        for name in ["depends_on", "dependsOn", "matrix", "onBlock", "gate"] {
            let (code, message) = field(name).unwrap_err();
            assert_eq!(code, "unsupported_field", "{message}");
        }
        assert!(unsupported("On Block").is_some(), "as a column too");
        assert_eq!(unsupported("priority"), None, "a shop's column");
    }
}
