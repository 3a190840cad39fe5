//! Detects images that a model writes into a text.

use base64_simd::STANDARD_NO_PAD;

use super::super::image::MediaType;

/// The message about such an image.
pub(super) const MESSAGE: &str = "Gemini wrote the image as base64 into a text instead of sending it as an image, so it was \
    not stored. It is in this request's line of the batch's output; asking for it again would be charged again.";

/// The maximum distance between the start of a `data:` URL and its base64, in bytes.
const MEDIA_TYPE_BYTES: usize = 256;

/// The characters of base64 that determine an image's type: those of its first 12 bytes.
const TYPE_CHARACTERS: usize = 16;

/// The minimum number of base64 characters of an image: half of the smallest image file.
const BASE64_CHARACTERS: usize = 40;

/// Whether a text, or the beginning of a long text, contains an image: as a `data:` URL, alone or in
/// Markdown or HTML, or as base64, alone or in a code block.
pub(super) fn is_image(text: &str) -> bool {
    holds_data_url(text) || is_base64(text)
}

fn holds_data_url(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.match_indices("data:image/").any(|(at, _)| {
        let url = text.as_bytes()[at..]
            .iter()
            .take(MEDIA_TYPE_BYTES)
            .copied()
            .collect::<Vec<_>>();
        url.windows(8).any(|window| window == b";base64,")
    })
}

fn is_base64(text: &str) -> bool {
    let code = text.trim().trim_matches('`');
    let is_block = code.len() < text.trim().len();
    // A code block may begin with the name of its language.
    let code = code
        .split_once('\n')
        .filter(|_| is_block)
        .map_or(code, |(_, code)| code);
    let standard = |byte: u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    };
    let characters: Vec<u8> = code
        .bytes()
        .filter(|byte| !matches!(byte, b'\n' | b'\r'))
        .map(standard)
        .collect();
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    characters.len() >= BASE64_CHARACTERS
        && characters.iter().all(is_base64)
        && STANDARD_NO_PAD
            .decode_to_vec(&characters[..TYPE_CHARACTERS])
            .is_ok_and(|bytes| MediaType::of(&bytes).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR42mM4YSMHRAwQCgAibgSJSCiuIAAAAABJRU5ErkJggg==";

    #[test]
    fn detects_an_image_in_every_form() {
        for text in [
            format!("data:image/png;base64,{PNG}"),
            format!("DATA:IMAGE/PNG;charset=utf-8;BASE64,{PNG}"),
            format!("Here it is:\n\n![a fox](data:image/png;base64,{PNG})\n"),
            format!("<img alt=\"\" src='data:image/webp;base64,{PNG}'>"),
            "data:image/ is how it begins: data:image/png;base64,".to_owned() + PNG,
            PNG.to_owned(),
            format!(" \n{PNG}\n"),
            format!("```\n{}\n{}\n```", &PNG[..40], &PNG[40..]),
            format!("```base64\n{PNG}\n```"),
            format!("`{PNG}`"),
            format!("/9j/{}", "4AAQ".repeat(20)),
            format!("UklGRiQAAABXRUJQ{}", "VlA4".repeat(20)),
            PNG.replace('+', "-").replace('/', "_"),
        ] {
            assert!(is_image(&text), "{text}");
        }
    }

    #[test]
    fn ordinary_text_is_not_an_image() {
        for text in [
            "",
            "I can't draw that.",
            "An image in a page is written as data:image/png, followed by its bytes.",
            "data:text/plain;base64,iVBORw0KGgo=",
            "iVBORw0KGgo is how the base64 of a PNG begins, and /9j/ that of a JPEG",
            "/9j/4AAQSkZJRg==",
            &"A".repeat(1000),
            "```\ncode\n```",
            "\u{1f600}data:image/\u{1f600}",
        ] {
            assert!(!is_image(text), "{text}");
        }
    }
}
