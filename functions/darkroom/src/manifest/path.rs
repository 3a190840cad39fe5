//! `output.path`: where an image should lie, with placeholders.

use super::problem::quote;

/// What placeholders stand for.
pub(super) struct Values<'a> {
    /// The request key.
    pub(super) key: &'a str,
    pub(super) variant: u32,
    pub(super) variants: u32,
    pub(super) model: &'a str,
    pub(super) aspect_ratio: &'a str,
    pub(super) image_size: &'a str,
    pub(super) extension: &'a str,
}

const PLACEHOLDERS: [&str; 6] = ["key", "variant", "model", "aspect_ratio", "image_size", "ext"];

/// Endings before which the number of a variant goes.
const EXTENSIONS: [&str; 4] = [".jpg", ".jpeg", ".png", ".webp"];

/// How the n-th of several images is told from the others: `.v01`.
pub(super) fn variant_suffix(variant: u32) -> String {
    format!(".v{variant:02}")
}

/// The longest template, in bytes: as long as S3's longest key
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>, read 2026-11). Placeholders make it longer.
const TEMPLATE_BYTES: usize = 1024;

/// Says what is wrong with a template.
pub(super) fn check(template: &str) -> Result<(), String> {
    if template.len() > TEMPLATE_BYTES {
        return Err(format!("the path {} has more than {TEMPLATE_BYTES} bytes: shorten it", quote(template)));
    }
    let (key, model, aspect_ratio, image_size, extension) = Default::default();
    fill(template, &Values { key, variant: 1, variants: 1, model, aspect_ratio, image_size, extension }).map(|_| ())
}

/// Fills a template in, or says what is wrong with it. `{{` and `}}` stand for braces.
///
/// Where an item has several images and the template doesn't tell them apart, `.v01` is added before the extension.
pub(super) fn fill(template: &str, values: &Values<'_>) -> Result<String, String> {
    let mut path = String::with_capacity(template.len() + 16);
    let mut distinct = values.variants == 1;
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        path.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            path.push_str(brace);
            rest = after;
            continue;
        }
        let (name, after) = match rest.split_once('}') {
            Some(found) if brace == "{" => found,
            _ => {
                return Err(format!(
                    "a brace in {} has no partner: write {brace}{brace} for the brace itself",
                    quote(template)
                ));
            }
        };
        rest = after;
        match name {
            "key" => path.push_str(values.key),
            "variant" => path.push_str(&format!("{:02}", values.variant)),
            "model" => path.push_str(values.model),
            "aspect_ratio" => path.push_str(values.aspect_ratio),
            "image_size" => path.push_str(values.image_size),
            "ext" => path.push_str(values.extension),
            _ => {
                let known = PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(", ");
                return Err(format!("there is no placeholder {{{}}}: use {known}", quote(name).trim_matches('"')));
            }
        }
        distinct |= matches!(name, "key" | "variant");
    }
    path.push_str(rest);
    if !distinct {
        let lower = path.to_ascii_lowercase();
        let extension = EXTENSIONS.into_iter().find(|extension| lower.ends_with(extension)).map_or(0, str::len);
        path.insert_str(path.len() - extension, &variant_suffix(values.variant));
    }
    Ok(path)
}

/// The template that fills in to exactly this path.
pub(super) fn literal(path: &str) -> String {
    path.replace('{', "{{").replace('}', "}}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> Values<'static> {
        Values {
            key: "SKU-1",
            variant: 2,
            variants: 1,
            model: "gemini-3-pro-image",
            aspect_ratio: "4:5",
            image_size: "1K",
            extension: "jpg",
        }
    }

    #[test]
    fn placeholders_are_filled_in() {
        let path = fill("{model}/{key}-{aspect_ratio}_{image_size}.{ext}", &values()).unwrap();
        assert_eq!(path, "gemini-3-pro-image/SKU-1-4:5_1K.jpg");
        assert_eq!(fill("{{{variant}}}", &values()).unwrap(), "{02}");
    }

    #[test]
    fn several_images_of_one_path_are_numbered() {
        let several = || Values { variants: 3, ..values() };
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
    fn an_unknown_placeholder_or_a_lone_brace_is_refused() {
        assert!(fill("{scene}/x", &values()).unwrap_err().contains("use {key}, {variant}"));
        for template in ["{key", "key}", "{", "}", "{}"] {
            assert!(fill(template, &values()).is_err(), "{template}");
        }
    }

    proptest! {
        #[test]
        fn a_literal_fills_in_to_itself(path in "[a-z{}/.é]{0,20}") {
            prop_assert_eq!(fill(&literal(&path), &values()), Ok(path));
        }
    }
}
