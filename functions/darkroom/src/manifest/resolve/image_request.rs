//! What an item asks for, independent of its dialect.

use serde_json::value::RawValue;
use url::Url;

use super::{
    references::{self, Reference},
    variables::Variables,
};
use crate::{
    lane::RequestedLane,
    manifest::{Context, RequestCheck, diagnostics::ItemDiagnostics, dialect::item::Item},
    models::{Control, ThinkingLevel},
    names::ObjectUri,
};

/// The highest temperature
/// (<https://ai.google.dev/api/generate-content#v1beta.GenerationConfig>, read 2026-11).
const MAX_TEMPERATURE: f64 = 2.0;

/// An item that was read and checked on its own, but not yet against its model.
#[derive(Debug)]
pub(crate) struct ImageRequest {
    pub(crate) key: Option<String>,
    /// The caller's name for the key, if that is not `key`.
    pub(crate) key_name: Option<&'static str>,
    pub(crate) vars: Variables,
    pub(crate) model: Option<String>,
    pub(crate) aspect_ratio: Option<String>,
    pub(crate) image_size: Option<String>,
    /// A width and a height, from which ratio and size are derived.
    pub(crate) pixels: Option<(u32, u32)>,
    pub(crate) count: u32,
    pub(crate) path: Option<String>,
    pub(crate) refs: Vec<ObjectUri>,
    /// References by web address that were not copied yet.
    pub(crate) web: Vec<Url>,
    /// The number of pictures in the request, including those that are not objects in S3.
    pub(crate) pictures: usize,
    /// The number of characters of all texts.
    pub(crate) characters: usize,
    pub(crate) prompt: Option<String>,
    /// The sampling settings that it sets.
    pub(crate) controls: Vec<Control>,
    /// The requested thinking level.
    pub(crate) thinking: Option<ThinkingLevel>,
    /// How the image is requested.
    pub(crate) lane: RequestedLane,
    pub(crate) form: Form,
}

/// Where the request comes from.
#[derive(Debug)]
pub(crate) enum Form {
    /// It is built here. `types` are the types of the references, and `sources` are all references
    /// as another manifest can name them.
    Friendly {
        system: Option<String>,
        /// The seed of the first image. Each further image has the next.
        seed: Option<i32>,
        temperature: Option<f64>,
        types: Vec<&'static str>,
        sources: Vec<String>,
    },
    /// It is a Gemini request that is passed through.
    Native {
        request: Box<RawValue>,
        /// The name of the request in messages.
        root: &'static str,
        /// How the request is handled if Gemini may refuse it.
        strictness: RequestCheck,
    },
}

impl ImageRequest {
    /// Checks an item whose defaults have been applied.
    pub(crate) fn from_item(
        item: Item,
        context: &Context<'_>,
        diagnostics: &mut ItemDiagnostics,
    ) -> Self {
        // The values are checked one by one, so that all mistakes are reported together.
        let limits = &context.limits;
        let count = item.count.unwrap_or(1);
        if !(1..=limits.variants).contains(&count) {
            diagnostics.error(
                "bad_value",
                format!("n must be from 1 to {}, not {count}", limits.variants),
            );
        }
        let prompt = item.prompt.unwrap_or_default();
        let characters = prompt.chars().count();
        if prompt.trim().is_empty() {
            diagnostics.error(
                "missing_prompt",
                "there is no prompt: describe what the image should show",
            );
        } else if characters > limits.prompt_characters {
            let most = limits.prompt_characters;
            diagnostics.error(
                "prompt_too_long",
                format!(
                    "the prompt has {characters} characters, and {most} are allowed: shorten it"
                ),
            );
        }
        let in_range = |temperature: &f64| (0.0..=MAX_TEMPERATURE).contains(temperature);
        if let Some(temperature) = item
            .temperature
            .filter(|temperature| !in_range(temperature))
        {
            diagnostics.error(
                "bad_value",
                format!("temperature must be from 0 to 2, not {temperature}"),
            );
        }

        // References are objects, or web addresses that were copied or will be.
        let (mut refs, mut types, mut web, mut sources) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for text in item.refs.iter().flatten() {
            match references::parse(text, context.bucket, context.copies) {
                Ok(Reference::Object(uri)) => match references::mime_type(&uri) {
                    Ok(mime_type) => {
                        types.push(mime_type);
                        sources.push(uri.to_string());
                        refs.push(uri);
                    }
                    Err((code, message)) => diagnostics.error(code, message),
                },
                Ok(Reference::Copied { url, copy }) => match references::mime_type(&copy) {
                    Ok(mime_type) => {
                        types.push(mime_type);
                        // The copy belongs to this job. Another job has to fetch the picture again.
                        sources.push(url.into());
                        refs.push(copy);
                    }
                    Err((code, message)) => diagnostics.error(code, message),
                },
                Ok(Reference::Web(url)) => {
                    sources.push(url.to_string());
                    web.push(url);
                }
                Err((code, message)) => diagnostics.error(code, message),
            }
        }

        // What depends on the model is checked later.
        check_seeds(item.seed, count.min(limits.variants), diagnostics);
        let seed = item.seed.map(|_| Control::Seed);
        let temperature = item
            .temperature
            .filter(in_range)
            .map(|_| Control::Temperature);
        let system = item.system.filter(|system| !system.is_empty());
        Self {
            key: item.key,
            key_name: item.key_name,
            vars: item.vars,
            model: item.model,
            aspect_ratio: item.aspect_ratio,
            image_size: item.image_size,
            pixels: item.pixels,
            count,
            path: item.path,
            pictures: refs.len() + web.len(),
            refs,
            web,
            characters: characters + system.as_ref().map_or(0, |system| system.chars().count()),
            prompt: Some(prompt),
            thinking: item.thinking,
            lane: item.lane,
            controls: seed.into_iter().chain(temperature).collect(),
            form: Form::Friendly {
                system,
                seed: item.seed,
                temperature: item.temperature,
                types,
                sources,
            },
        }
    }
}

/// Returns the seed of one image of an item. Each image has a different one, because equal requests
/// may make equal images.
pub(crate) fn seed_of(seed: i32, variant: u32) -> i32 {
    seed.saturating_add_unsigned(variant.saturating_sub(1))
}

/// Checks that the seed of the last image is in the range of Gemini.
fn check_seeds(seed: Option<i32>, count: u32, diagnostics: &mut ItemDiagnostics) {
    if let Some(seed) = seed
        && seed.checked_add_unsigned(count.saturating_sub(1)).is_none()
    {
        let most = i32::MAX.saturating_sub_unsigned(count.saturating_sub(1));
        let message = format!(
            "each of the {count} images has the next seed, and counting up from {seed} exceeds \
             {}: use \
             {most} or less",
            i32::MAX
        );
        diagnostics.error("bad_value", message);
    }
}
