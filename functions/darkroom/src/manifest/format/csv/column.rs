//! What a column of a table holds, by its name in the header.
//!
//! The name of a field means that field, whatever its case, blanks, `-` and `_`. A name that is one
//! typing error away from a field of six or more letters is refused. Every other column is a
//! variable. A table with a prompt was written for images: there, a column that sets the image
//! under another name, such as `size`, is accepted or refused, and `images` and `references` hold
//! references. In a shop's export these names mean other things.

use super::{
    cell::is_blank,
    columns::{Columns, unmap_example},
};
use crate::manifest::{
    diagnostics::quote,
    dialect::field::{BadName, FIELDS, Field, unsupported},
};

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// A field of the item.
    Field(Field),
    /// A setting of the image, under a name that other programs use.
    Foreign(ForeignSetting),
    /// A variable.
    Variable,
    /// A column without a name.
    Unnamed,
    /// A column with the name of a previous one.
    Repeated,
}

/// Settings of an image as other programs name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ForeignSetting {
    /// A size by name, pixels, or a ratio.
    Size,
    /// A ratio.
    Ratio,
    /// The width in pixels.
    Width,
    /// The height in pixels.
    Height,
    /// A negative prompt.
    Negative,
    /// A quality by name.
    Quality,
    /// Portrait, landscape or square.
    Orientation,
}

/// What the meaning of a column depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableContext<'a> {
    /// The manifest's declarations about columns.
    pub(crate) columns: &'a Columns,
    /// Whether a column holds prompts, or the defaults give one.
    pub(crate) has_prompt: bool,
    /// Whether a column holds templates.
    pub(crate) has_template: bool,
    /// Whether a template outside of the table makes the key.
    pub(crate) key_is_made: bool,
    /// Whether references are given outside of the table.
    pub(crate) refs_are_made: bool,
}

/// Names of settings in other programs, folded.
const FOREIGN_SETTINGS: [(&str, ForeignSetting); 24] = [
    ("size", ForeignSetting::Size),
    ("dimensions", ForeignSetting::Size),
    ("resolution", ForeignSetting::Size),
    ("imageresolution", ForeignSetting::Size),
    ("imagedimensions", ForeignSetting::Size),
    ("outputsize", ForeignSetting::Size),
    ("outputresolution", ForeignSetting::Size),
    ("imgsize", ForeignSetting::Size),
    ("ratio", ForeignSetting::Ratio),
    ("aspect", ForeignSetting::Ratio),
    ("imageratio", ForeignSetting::Ratio),
    ("imageaspect", ForeignSetting::Ratio),
    ("ar", ForeignSetting::Ratio),
    ("width", ForeignSetting::Width),
    ("imagewidth", ForeignSetting::Width),
    ("height", ForeignSetting::Height),
    ("imageheight", ForeignSetting::Height),
    ("negativeprompt", ForeignSetting::Negative),
    ("negprompt", ForeignSetting::Negative),
    ("negative", ForeignSetting::Negative),
    ("quality", ForeignSetting::Quality),
    ("imagequality", ForeignSetting::Quality),
    ("orientation", ForeignSetting::Orientation),
    ("imageorientation", ForeignSetting::Orientation),
];

/// Names of fields in other programs that are unambiguous, folded.
const FOREIGN_FIELDS: [(&str, Field); 20] = [
    ("numimages", Field::Count),
    ("numberofimages", Field::Count),
    ("numoutputs", Field::Count),
    ("nimages", Field::Count),
    ("modelname", Field::Model),
    ("modelid", Field::Model),
    ("ref", Field::Refs),
    ("reference", Field::Refs),
    ("referenceimage", Field::Refs),
    ("referenceimages", Field::Refs),
    ("referenceurl", Field::Refs),
    ("referenceurls", Field::Refs),
    ("refimage", Field::Refs),
    ("refimages", Field::Refs),
    ("inputimage", Field::Refs),
    ("inputimages", Field::Refs),
    ("initimage", Field::Refs),
    ("systemprompt", Field::System),
    ("systeminstruction", Field::System),
    ("systeminstructions", Field::System),
];

/// Fields of which a typing error is refused: those of six or more letters. `images`, `custom_id`
/// and `record_id` are not among them, because a shop's `image` or `recorded` is a name that is one
/// letter away.
const GUARDED: [&str; 10] = [
    "prompt",
    "template",
    "aspectratio",
    "imagesize",
    "references",
    "system",
    "temperature",
    "thinking",
    "thinkinglevel",
    "outputpath",
];

/// Normalizes a name: without case, blanks, `-`, `_` and invisible characters.
pub(crate) fn fold(name: &str) -> String {
    let kept = name
        .chars()
        .filter(|letter| !is_blank(*letter) && !matches!(letter, '-' | '_'));
    kept.flat_map(char::to_lowercase).collect()
}

/// Returns the field that has this name in a table.
pub(crate) fn column_field(name: &str) -> Option<Field> {
    let folded = fold(name);
    if matches!(folded.as_str(), "output.path" | "outputpath") {
        return Some(Field::Output);
    }
    let names = FIELDS.iter().filter(|(_, field)| field.may_be_column());
    names
        .into_iter()
        .find(|(known, _)| fold(known) == folded)
        .map(|(_, field)| *field)
}

/// Determines what the column of this name holds.
///
/// # Errors
///
/// A code and a message, if the name is refused.
pub(crate) fn column(name: &str, about: &TableContext<'_>) -> Result<Column, BadName> {
    let folded = fold(name);
    if folded.is_empty() {
        return Ok(Column::Unnamed);
    }

    // Declarations in `job.columns` take precedence.
    if let Some(field) = about.columns.field_of(name) {
        return Ok(Column::Field(field));
    }
    if about.columns.is_variable(name) {
        return Ok(Column::Variable);
    }

    // The name of a field is that field, unless the manifest gets the field from elsewhere.
    let for_images = about.has_prompt || about.has_template;
    if let Some(field) = column_field(name) {
        let is_alias = !matches!(folded.as_str(), "key" | "refs");
        let is_free = about.columns.is_taken(field)
            || (field == Field::Key && is_alias && about.key_is_made)
            || (field == Field::Refs && is_alias && (about.refs_are_made || !for_images));
        return Ok(if is_free {
            Column::Variable
        } else {
            Column::Field(field)
        });
    }
    if about.has_prompt

        // In a table that was written for images, names of other programs have their meaning too.
        && let Some((_, other)) = FOREIGN_SETTINGS.iter().find(|(known, _)| *known == folded)
    {
        return Ok(Column::Foreign(*other));
    }
    if about.has_prompt
        && let Some((_, field)) = FOREIGN_FIELDS.iter().find(|(known, _)| *known == folded)
    {
        return Ok(if about.columns.is_taken(*field) {
            Column::Variable
        } else {
            Column::Field(*field)
        });
    }
    if for_images && let Some(refused) = unsupported(name) {
        return Err(refused);
    }
    // Shops call an article's number `Reference`.
    let is_shop_word = folded == "reference";
    match GUARDED
        .iter()
        .find(|field| is_typing_error(&folded, field))
        .filter(|_| !is_shop_word)
    {
        Some(near) => {
            let near = match *near {
                "aspectratio" => "aspect_ratio",
                "imagesize" => "image_size",
                "thinkinglevel" => "thinking_level",
                "outputpath" => "output.path",
                near => near,
            };
            let message = format!(
                "there is no field {}: did you mean {near}? If the column is a variable, put this \
                 into the job document: {}",
                quote(name),
                unmap_example(name)
            );
            Err(("unknown_field", message))
        }
        None => Ok(Column::Variable),
    }
}

/// Whether one letter is missing, added or changed, or two neighbors are swapped.
fn is_typing_error(name: &str, field: &str) -> bool {
    let (name, field): (Vec<char>, Vec<char>) = (name.chars().collect(), field.chars().collect());
    let same_start = name
        .iter()
        .zip(&field)
        .take_while(|(left, right)| left == right)
        .count();
    let (name, field) = (&name[same_start..], &field[same_start..]);
    match (name, field) {
        ([], []) => false,
        (_, [_, rest @ ..]) if name == rest => true,
        ([_, rest @ ..], _) if rest == field => true,
        ([_, left @ ..], [_, right @ ..]) if left == right => true,
        ([a, b, left @ ..], [c, d, right @ ..]) => a == d && b == c && left == right,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::diagnostics::ItemDiagnostics;

    fn about(columns: &Columns) -> TableContext<'_> {
        TableContext {
            columns,
            has_prompt: true,
            has_template: false,
            key_is_made: false,
            refs_are_made: false,
        }
    }

    fn holds(name: &str) -> Result<Column, &'static str> {
        column(name, &about(&Columns::default())).map_err(|(code, _)| code)
    }

    fn in_export(name: &str) -> Result<Column, &'static str> {
        let columns = Columns::default();
        column(
            name,
            &TableContext {
                has_prompt: false,
                ..about(&columns)
            },
        )
        .map_err(|(code, _)| code)
    }

    #[test]
    fn a_field_may_be_written_as_a_sheet_writes_it() {
        for (name, field) in [
            ("Prompt", Field::Prompt),
            ("\u{200b}prompt", Field::Prompt),
            ("Aspect Ratio", Field::AspectRatio),
            ("aspect-ratio", Field::AspectRatio),
            ("ASPECT_RATIO", Field::AspectRatio),
            ("aspectRatio", Field::AspectRatio),
            ("ID", Field::Key),
            ("Record ID", Field::Key),
            ("Output Path", Field::Output),
            ("output.path", Field::Output),
            ("N", Field::Count),
        ] {
            assert_eq!(holds(name), Ok(Column::Field(field)), "{name}");
        }
    }

    #[test]
    fn a_typing_error_is_refused_and_any_other_name_is_a_variable() {
        for name in [
            "aspect_ration",
            "image_siz",
            "promt",
            "prompts",
            "porompt",
            "Tempalte",
            "imgae size",
            "refrences",
        ] {
            assert_eq!(holds(name), Err("unknown_field"), "{name}");
            assert_eq!(in_export(name), Err("unknown_field"), "{name}");
        }
        for name in [
            "No",
            "#",
            "Country",
            "Image",
            "image_link",
            "Image Src",
            "UID",
            "Lang",
            "Color",
            "Recorded",
            "IMAGE1",
        ] {
            assert_eq!(holds(name), Ok(Column::Variable), "{name}");
            assert_eq!(in_export(name), Ok(Column::Variable), "{name}");
        }
    }

    #[test]
    fn settings_of_other_programs_are_recognized_only_with_a_prompt() {
        assert_eq!(holds("Size"), Ok(Column::Foreign(ForeignSetting::Size)));
        assert_eq!(
            holds("negative_prompt"),
            Ok(Column::Foreign(ForeignSetting::Negative))
        );
        assert_eq!(holds("Reference Image"), Ok(Column::Field(Field::Refs)));
        assert_eq!(holds("images"), Ok(Column::Field(Field::Refs)));
        for name in [
            "Size",
            "Width",
            "Quality",
            "Images",
            "Reference",
            "Reference Image",
        ] {
            assert_eq!(in_export(name), Ok(Column::Variable), "{name}");
        }
    }

    #[test]
    fn a_manifest_can_declare_what_its_columns_hold() {
        let mut diagnostics = ItemDiagnostics::default();
        let text = r#"{"key":"SKU","refs":["Image 1","Image 2"],"model":null,"prompt 2":null}"#;
        let columns = Columns::read(text, &mut diagnostics);
        assert!(!diagnostics.failed());
        for (name, expected) in [
            ("sku", Column::Field(Field::Key)),
            ("id", Column::Variable),
            ("image 2", Column::Field(Field::Refs)),
            ("refs", Column::Variable),
            ("Model", Column::Variable),
            ("Prompt 2", Column::Variable),
            ("prompt", Column::Field(Field::Prompt)),
        ] {
            assert_eq!(
                column(name, &about(&columns)).ok(),
                Some(expected),
                "{name}"
            );
        }
        for text in [
            r#"{"key":1}"#,
            r#"{"SKU":"key"}"#,
            r#"{"model":"{a}"}"#,
            "[]",
            r#"{"key":["a","b"]}"#,
        ] {
            let mut diagnostics = ItemDiagnostics::default();
            Columns::read(text, &mut diagnostics);
            assert!(diagnostics.failed(), "{text}");
        }
    }

    #[test]
    fn an_id_column_is_a_variable_if_a_template_makes_the_key() {
        let columns = Columns::default();
        let made = TableContext {
            key_is_made: true,
            ..about(&columns)
        };
        assert_eq!(column("ID", &made).ok(), Some(Column::Variable));
        assert_eq!(column("key", &made).ok(), Some(Column::Field(Field::Key)));
    }

    proptest! {
        /// Every name has one meaning or one error, whatever its case, blanks and hyphens.
        #[test]
        fn matching_is_total_and_ignores_case_and_blanks(name in "[a-zA-Z #()/._-]{0,14}|\\PC{0,8}") {
            let written = [name.to_uppercase(), format!(" {name}\u{a0}"), name.replace(' ', "_"), name.replace('_', "-")];
            // Some letters, such as ß, change if they are converted to upper case and back.
            prop_assume!(name.to_uppercase().to_lowercase() == name.to_lowercase());
            for written in written {
                prop_assert_eq!(holds(&written), holds(&name));
            }
        }

        /// One typing error never turns a field into a variable.
        #[test]
        fn a_typing_error_is_never_a_variable(field in prop::sample::select(&GUARDED), place in 0_usize..12, letter in "[a-z]", kind in 0..4) {
            let mut letters: Vec<char> = field.chars().collect();
            let place = place % letters.len();
            match kind {
                0 => { letters.remove(place); }
                1 => letters.insert(place, letter.chars().next().unwrap_or('x')),
                2 => letters[place] = letter.chars().next().unwrap_or('x'),
                _ => letters.swap(place, (place + 1) % field.len()),
            }
            let name: String = letters.into_iter().collect();
            // The first and the last letter are not neighbors, and `reference` is a word.
            prop_assume!(!(kind == 3 && place + 1 == field.len()) && name != "reference");
            prop_assert_ne!(holds(&name), Ok(Column::Variable), "{}", name);
        }
    }
}
