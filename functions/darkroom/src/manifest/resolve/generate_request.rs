//! The request that is sent to Gemini for an image, and the manifest line that asks for the image
//! again.

use serde::Serialize;
use serde_json::{
    Map, Value, json,
    value::{RawValue, to_raw_value},
};

use super::{
    image_request::{Form, ImageRequest, seed_of},
    template,
};
use crate::{
    lane::{Lane, RequestedLane},
    manifest::PlannedImage,
    names::ObjectUri,
};

/// Returns the `GenerateContentRequest` of one image: built from an item, or passed through.
#[expect(
    clippy::expect_used,
    reason = "texts and finite numbers are always JSON"
)]
pub(crate) fn request(image: &ImageRequest, variant: u32) -> Box<RawValue> {
    match &image.form {
        Form::Native { request, .. } => request.clone(),
        Form::Friendly {
            system,
            seed,
            temperature,
            types,
            ..
        } => {
            // The pictures follow the prompt, in the order of the references.
            let pictures = image.refs.iter().zip(types);
            let pictures = pictures.map(|(file_uri, mime_type)| Part::FileData {
                mime_type,
                file_uri,
            });
            let prompt = image.prompt.as_deref().unwrap_or_default();
            let aspect_ratio = image.aspect_ratio.as_deref();
            let image_size = image.image_size.as_deref();
            let request = Request {
                contents: [Content {
                    role: Some("user"),
                    parts: [Part::Text(prompt)].into_iter().chain(pictures).collect(),
                }],
                system_instruction: system.as_deref().map(|system| Content {
                    role: None,
                    parts: vec![Part::Text(system)],
                }),
                generation_config: GenerationConfig {
                    response_modalities: ["IMAGE"],
                    image_config: (aspect_ratio.is_some() || image_size.is_some()).then_some(
                        ImageConfig {
                            aspect_ratio,
                            image_size,
                        },
                    ),
                    thinking_config: image.thinking.map(|level| ThinkingConfig {
                        thinking_level: level.wire(),
                    }),
                    seed: seed.map(|seed| seed_of(seed, variant)),
                    temperature: *temperature,
                },
            };
            to_raw_value(&request).expect("a request is JSON")
        }
    }
}

/// The part of Google's `GenerateContentRequest` that an item can set.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    contents: [Content<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'a>>,
    generation_config: GenerationConfig<'a>,
}

#[derive(Serialize)]
struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    parts: Vec<Part<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Part<'a> {
    Text(&'a str),
    FileData {
        mime_type: &'a str,
        file_uri: &'a ObjectUri,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    response_modalities: [&'a str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    image_config: Option<ImageConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<ThinkingConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    aspect_ratio: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_size: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ThinkingConfig {
    thinking_level: &'static str,
}

/// Returns the manifest line for one image, with all values spelled out.
#[expect(
    clippy::expect_used,
    reason = "the request was checked when it was read"
)]
pub(crate) fn retry(image: &ImageRequest, planned: &PlannedImage) -> Value {
    let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
    let path = (planned.path != planned.key.as_str())
        .then(|| json!({"path": template::literal(&planned.path)}));
    // The lane is spelled out if the manifest names one anywhere, so that the line means the same
    // in a manifest with another default.
    let lane = (image.lane != RequestedLane::Unset || planned.lane != Lane::Batch)
        .then(|| json!(planned.lane));
    let line = match &image.form {
        Form::Native { request, .. } => object([
            (image.key_name.unwrap_or("key"), Some(json!(planned.key))),
            ("model", Some(json!(planned.model))),
            (
                "request",
                Some(serde_json::from_str(request.get()).expect("a request is JSON")),
            ),
            (
                "vars",
                (!planned.vars.is_empty()).then(|| json!(planned.vars)),
            ),
            ("lane", lane),
            ("output", path),
        ]),
        Form::Friendly {
            system,
            seed,
            temperature,
            sources,
            ..
        } => object([
            (image.key_name.unwrap_or("key"), Some(json!(planned.key))),
            ("prompt", text(&image.prompt)),
            ("model", Some(json!(planned.model))),
            ("aspect_ratio", text(&image.aspect_ratio)),
            ("image_size", text(&image.image_size)),
            ("refs", (!sources.is_empty()).then(|| json!(sources))),
            ("system", text(system)),
            ("thinking", image.thinking.map(|level| json!(level))),
            (
                "seed",
                seed.map(|seed| json!(seed_of(seed, planned.variant))),
            ),
            (
                "temperature",
                temperature.map(|temperature| json!(temperature)),
            ),
            ("lane", lane),
            ("output", path),
        ]),
    };
    line.into()
}

/// Makes an object of the members that have a value.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Map<String, Value> {
    members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}
