//! Lines of OpenAI's batch files:
//! `{"custom_id":…,"method":"POST","url":"/v1/images/generations","body":{…}}`
//! (<https://platform.openai.com/docs/api-reference/batch>, read 2026-11).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    field::bad_name,
    item::{self, Item},
};
use crate::manifest::{
    diagnostics::{ItemDiagnostics, quote, quote_json},
    strict_json,
};

const LINE: [&str; 4] = ["custom_id", "method", "url", "body"];
const GENERATIONS: &str = "/v1/images/generations";
const BODY: [&str; 4] = ["model", "prompt", "n", "size"];

/// Members of a body that have no effect in Gemini, and why.
const IGNORED: [(&str, &str); 9] = [
    ("quality", "Gemini has one quality"),
    ("style", "write it into the prompt"),
    ("response_format", "every image becomes a file"),
    ("output_format", "images are kept as Gemini makes them"),
    ("output_compression", "images are kept as Gemini makes them"),
    ("moderation", "Gemini has its own filters"),
    ("user", "the key comes back with each result"),
    ("stream", "a batch doesn't stream"),
    ("partial_images", "a batch doesn't stream"),
];

/// Whether these members make a line of OpenAI's batch files.
pub(crate) fn is_line(members: &[(Cow<'_, str>, &RawValue)]) -> bool {
    let has = |wanted: &str| members.iter().any(|(name, _)| name == wanted);
    has("custom_id") && has("body")
}

/// Reads a line. [`Item::model`] holds the model as it is written there.
pub(crate) fn item(
    members: &[(Cow<'_, str>, &RawValue)],
    diagnostics: &mut ItemDiagnostics,
) -> Item {
    let mut item = Item {
        key_name: item::reported_key_name("custom_id"),
        ..Item::default()
    };

    // Every member has an effect or is reported.
    for (name, value) in members {
        let value = value.get();
        match name.as_ref() {
            "custom_id" => item.key = item::read_key(name, value, diagnostics),
            "method" if value == "\"POST\"" => {}
            "method" => diagnostics.error(
                "bad_value",
                format!("method must be \"POST\", not {}", quote_json(value)),
            ),
            "url" => check_url(value, diagnostics),
            "body" => read_body(value, &mut item, diagnostics),
            _ => {
                let (code, message) = bad_name(name, LINE.into_iter());
                diagnostics.error(code, format!("next to body: {message}"));
            }
        }
    }
    item
}

const A_TEXT: &str = "a text in quotes";

fn check_url(value: &str, diagnostics: &mut ItemDiagnostics) {
    let url: Option<String> = item::read("url", value, A_TEXT, diagnostics);
    if let Some(url) = url.filter(|url| url != GENERATIONS) {
        let message = format!(
            "requests to {} are not supported: use {GENERATIONS}",
            quote(&url)
        );
        diagnostics.error("unsupported_url", message);
    }
}

fn read_body(value: &str, item: &mut Item, diagnostics: &mut ItemDiagnostics) {
    for (name, value) in strict_json::members_of("body", value, diagnostics) {
        let value = value.get();
        match name.as_ref() {
            "model" => item.model = item::read("body.model", value, A_TEXT, diagnostics),
            "prompt" => item.prompt = item::read("body.prompt", value, A_TEXT, diagnostics),
            "n" => {
                item.count =
                    item::read_whole("body.n", value, "a whole number such as 2", diagnostics)
            }
            "size" => item.pixels = size(value, diagnostics),
            "background" => check_background(value, diagnostics),
            _ => match IGNORED.iter().find(|(known, _)| *known == name) {
                Some((_, why)) => {
                    diagnostics.warning("left_aside", format!("body.{name} is ignored: {why}"))
                }
                None => {
                    let (code, message) = bad_name(&name, BODY.into_iter());
                    diagnostics.error(code, format!("in body: {message}"));
                }
            },
        }
    }
}

/// Reads a size such as `1536x1024`. `auto` leaves it to the model.
fn size(value: &str, diagnostics: &mut ItemDiagnostics) -> Option<(u32, u32)> {
    let size: String = item::read(
        "body.size",
        value,
        "a text such as \"1024x1024\"",
        diagnostics,
    )?;
    if size == "auto" {
        return None;
    }

    // A size is two numbers in the range of an image.
    let pixels = size
        .split_once('x')
        .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let pixels = pixels
        .filter(|(width, height)| (1..=16_384).contains(width) && (1..=16_384).contains(height));
    if pixels.is_none() {
        diagnostics.error(
            "bad_value",
            format!(
                "body.size must be such as \"1024x1024\", not {}",
                quote(&size)
            ),
        );
    }
    pixels
}

fn check_background(value: &str, diagnostics: &mut ItemDiagnostics) {
    let background: Option<String> = item::read("body.background", value, A_TEXT, diagnostics);
    if background.as_deref() == Some("transparent") {
        diagnostics.error(
            "unsupported_field",
            "Gemini can't make transparent images: remove body.background",
        );
    }
}
