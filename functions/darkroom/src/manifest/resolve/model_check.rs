//! What an item asks for against what its model can do.

use super::image_request::{Form, ImageRequest};
use crate::{
    manifest::diagnostics::{ItemDiagnostics, quote},
    models::{Model, ThinkingLevel, nearest},
};

/// Finds what the model would refuse.
pub(crate) fn check(request: &ImageRequest, model: &Model, diagnostics: &mut ItemDiagnostics) {
    if let Some(ratio) = &request.aspect_ratio {
        let known: Vec<&str> = model.ratios.iter().map(String::as_str).collect();
        if let Some(what) = unknown_value("aspect_ratio", ratio, &known, model) {
            note(
                "bad_aspect_ratio",
                "imageConfig.aspectRatio",
                &what,
                request,
                diagnostics,
            );
        }
    }
    check_size(request, model, diagnostics);
    if let Some(level) = request.thinking
        && let Some(known) = model
            .thinking_levels
            .as_ref()
            .filter(|known| !known.contains(&level))
    {
        note(
            "bad_thinking",
            "thinkingConfig.thinkingLevel",
            &unknown_level(level, known, model),
            request,
            diagnostics,
        );
    }
    for control in request
        .controls
        .iter()
        .filter(|control| !model.controls.contains(control))
    {
        // The same words for every item: they are said once, with the first line.
        diagnostics.warning(
            "unsupported_control",
            format!("{} doesn't take {control}: Gemini may ignore it or refuse the request; leave it out", model.id),
        );
    }
    if request.pictures > model.max_references {
        diagnostics.error(
            "too_many_references",
            format!(
                "{} takes {} reference images, not {}: leave some out",
                model.id, model.max_references, request.pictures
            ),
        );
    }
}

/// A size decides what an image costs, so that one without a price is an error whatever Gemini may
/// know by now.
fn check_size(request: &ImageRequest, model: &Model, diagnostics: &mut ItemDiagnostics) {
    let Some(size) = &request.image_size else {
        return;
    };
    let known: Vec<&str> = model.sizes.iter().map(|size| size.name.as_str()).collect();
    let what = if model.image_size_ignored && !known.contains(&size.as_str()) {
        Some(format!(
            "{} makes {} images whatever image_size says: leave it out",
            model.id, model.default_size
        ))
    } else {
        unknown_value("image_size", size, &known, model)
    };
    if let Some(what) = what {
        match &request.form {
            Form::Native { root, .. } => {
                diagnostics.error(
                    "bad_image_size",
                    format!("{root}.generationConfig.imageConfig.imageSize: {what}"),
                );
            }
            Form::Friendly { .. } => diagnostics.error("bad_image_size", what),
        }
    }
}

/// Notes what the model does not take, `place` being where a request in Google's form says it.
fn note(
    code: &'static str,
    place: &str,
    what: &str,
    request: &ImageRequest,
    diagnostics: &mut ItemDiagnostics,
) {
    match &request.form {
        Form::Native {
            root, strictness, ..
        } => {
            strictness.note(
                code,
                format_args!("{root}.generationConfig.{place}"),
                what,
                diagnostics,
            );
        }
        Form::Friendly { .. } => diagnostics.error(code, what),
    }
}

fn unknown_level(level: ThinkingLevel, known: &[ThinkingLevel], model: &Model) -> String {
    if known.is_empty() {
        return format!("{} takes no level of thinking: leave it out", model.id);
    }
    let known: Vec<&str> = known.iter().map(|level| level.name()).collect();
    format!(
        "{} doesn't take thinking {level}: use {}",
        model.id,
        known.join(", ")
    )
}

/// What to say about a value that is not among those known; nothing if it is.
fn unknown_value(name: &str, value: &str, known: &[&str], model: &Model) -> Option<String> {
    if known.contains(&value) {
        return None;
    }
    let meant = known
        .iter()
        .find(|known| known.eq_ignore_ascii_case(value.trim()));
    let meant = meant.or(if matches!(value, "0.5K" | "512P" | "512PX") {
        known.iter().find(|known| **known == "512")
    } else {
        None
    });
    let hint = match meant
        .copied()
        .or_else(|| nearest(value, known.iter().copied()).first().copied())
    {
        Some(near) => format!("did you mean {near}? It takes {}", known.join(", ")),
        None => format!("use {}", known.join(", ")),
    };
    Some(format!(
        "{} doesn't take {name} {}: {hint}",
        model.id,
        quote(value)
    ))
}
