//! `output.path`: the path of an image, with placeholders.

use std::borrow::Cow;

use super::{
    template::{self, Unfilled},
    variables::{BUILT_IN, Variables},
};
use crate::manifest::diagnostics::quote;

/// The values of the placeholders.
pub(crate) struct Values<'a> {
    /// The key of the request.
    pub(crate) key: &'a str,
    pub(crate) variant: u32,
    pub(crate) variants: u32,
    pub(crate) model: &'a str,
    pub(crate) aspect_ratio: &'a str,
    pub(crate) image_size: &'a str,
    pub(crate) extension: &'a str,
    pub(crate) vars: &'a Variables,
}

/// Extensions before which the number of a variant is inserted.
const EXTENSIONS: [&str; 4] = [".jpg", ".jpeg", ".png", ".webp"];

/// Returns the extension of a path if it belongs to another image format.
pub(crate) fn other_extension(path: &str, extension: &str) -> Option<&'static str> {
    let lower = path.to_ascii_lowercase();
    EXTENSIONS
        .into_iter()
        .find(|known| lower.ends_with(known) && known.trim_start_matches('.') != extension)
}

/// Returns the suffix of one of several images: `.v01`.
pub(crate) fn variant_suffix(variant: u32) -> String {
    format!(".v{variant:02}")
}

/// The longest template, in bytes: the length of S3's longest key
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>, read 2026-11).
/// Placeholders may make a path longer.
const MAX_TEMPLATE_BYTES: usize = 1024;

/// Checks a template for an item with these variables.
///
/// # Errors
///
/// A message, if it can't be filled in.
pub(crate) fn check(template: &str, vars: &Variables) -> Result<(), String> {
    if template.len() > MAX_TEMPLATE_BYTES {
        return Err(format!(
            "the path {} has more than {MAX_TEMPLATE_BYTES} bytes: shorten it",
            quote(template)
        ));
    }
    let (key, model, aspect_ratio, image_size, extension) = Default::default();
    fill(
        template,
        &Values {
            key,
            variant: 1,
            variants: 1,
            model,
            aspect_ratio,
            image_size,
            extension,
            vars,
        },
    )
    .map(|_| ())
}

/// Fills in a template.
///
/// If an item has several images and the template does not distinguish them, `.v01` is added before
/// the extension.
///
/// # Errors
///
/// A message, if a brace is unmatched or a variable is missing.
pub(crate) fn fill(template: &str, values: &Values<'_>) -> Result<String, String> {
    // Placeholders that differ between variants make a suffix unnecessary.
    let mut distinct = values.variants == 1;
    let filled = template::fill(template, |name| {
        distinct |= matches!(name, "key" | "variant");
        match name {
            "key" => Some(values.key.into()),
            "variant" => Some(format!("{:02}", values.variant).into()),
            "model" => Some(values.model.into()),
            "aspect_ratio" => Some(values.aspect_ratio.into()),
            "image_size" => Some(values.image_size.into()),
            "ext" => Some(values.extension.into()),
            _ => values.vars.get(name).map(Cow::Borrowed),
        }
    });

    // A missing variable is reported with all names that could be used.
    let mut path = filled.map_err(|unfilled| match unfilled {
        Unfilled::Malformed(message) => message,
        Unfilled::Missing(names) => {
            let known: Vec<String> = BUILT_IN
                .into_iter()
                .chain(values.vars.names())
                .map(|name| format!("{{{name}}}"))
                .collect();
            let names: Vec<String> = names
                .iter()
                .map(|name| format!("{{{}}}", quote(name).trim_matches('"')))
                .collect();
            format!(
                "the path needs {}, which this item doesn't have: use {}",
                names.join(", "),
                known.join(", ")
            )
        }
    })?;

    // The suffix goes before the extension.
    if !distinct {
        let lower = path.to_ascii_lowercase();
        let extension = EXTENSIONS
            .into_iter()
            .find(|extension| lower.ends_with(extension))
            .map_or(0, str::len);
        path.insert_str(path.len() - extension, &variant_suffix(values.variant));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::manifest::diagnostics::ItemDiagnostics;

    static VARS: LazyLock<Variables> = LazyLock::new(|| {
        Variables::from_json(
            "vars",
            r#"{"scene":"cafe"}"#,
            &mut ItemDiagnostics::default(),
        )
        .unwrap()
    });

    fn values() -> Values<'static> {
        Values {
            key: "SKU-1",
            variant: 2,
            variants: 1,
            model: "gemini-3-pro-image",
            aspect_ratio: "4:5",
            image_size: "1K",
            extension: "jpg",
            vars: &VARS,
        }
    }

    #[test]
    fn placeholders_are_filled_in() {
        let path = fill("{model}/{key}-{aspect_ratio}_{image_size}.{ext}", &values()).unwrap();
        assert_eq!(path, "gemini-3-pro-image/SKU-1-4:5_1K.jpg");
        assert_eq!(fill("{{{variant}}}", &values()).unwrap(), "{02}");
        assert_eq!(fill("{scene}/{take|one}", &values()).unwrap(), "cafe/one");
    }

    #[test]
    fn several_images_of_one_path_are_numbered() {
        let several = || Values {
            variants: 3,
            ..values()
        };
        for (template, path) in [
            ("hero/{model}", "hero/gemini-3-pro-image.v02"),
            ("sku/1.jpg", "sku/1.v02.jpg"),
            ("sku/1.{ext}", "sku/1.v02.jpg"),
            ("sku/1-{variant}", "sku/1-02"),
            ("x/{key}", "x/SKU-1"),
        ] {
            assert_eq!(fill(template, &several()).unwrap(), path);
        }
    }

    #[test]
    fn only_the_extension_of_another_format_is_returned() {
        for (path, other) in [
            ("a.png", Some(".png")),
            ("a.PNG", Some(".png")),
            ("a.jpeg", Some(".jpeg")),
            ("a.jpg", None),
            ("a", None),
        ] {
            assert_eq!(other_extension(path, "jpg"), other, "{path}");
        }
        assert_eq!(other_extension("x/a.jpg", "png"), Some(".jpg"));
        assert_eq!(other_extension("a.png.txt", "jpg"), None);
    }

    #[test]
    fn an_unknown_placeholder_or_an_unmatched_brace_is_refused() {
        let problem = fill("{sceen}/x", &values()).unwrap_err();
        assert!(
            problem.contains("needs {sceen}") && problem.contains("{ext}, {scene}"),
            "{problem}"
        );
        for template in ["{key", "key}", "{", "}", "{}"] {
            assert!(fill(template, &values()).is_err(), "{template}");
        }
    }
}
