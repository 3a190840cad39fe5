//! Compares what an item asks for with what its model can make.

use super::image_request::{Form, ImageRequest};
use crate::{
    lane::Lane,
    manifest::{
        diagnostics::{ItemDiagnostics, quote},
        tally::lanes_of,
    },
    models::{Model, ThinkingLevel, nearest},
};

/// Reports what the model would refuse.
pub(crate) fn check(request: &ImageRequest, model: &Model, diagnostics: &mut ItemDiagnostics) {
    // A wrong ratio, size or thinking level makes Gemini refuse the request.
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

    // An unsupported control is only a warning, because Gemini may ignore it.
    for control in request
        .controls
        .iter()
        .filter(|control| !model.controls.contains(control))
    {
        // The message is the same for every item, so only the first is listed.
        diagnostics.warning(
            "unsupported_control",
            format!(
                "{} doesn't accept {control}: Gemini may ignore it or refuse the request; \
                     remove it",
                model.id
            ),
        );
    }
    if request.pictures > model.max_references {
        diagnostics.error(
            "too_many_references",
            format!(
                "{} accepts {} reference images, not {}: remove some",
                model.id, model.max_references, request.pictures
            ),
        );
    }
}

/// Reports a lane that the model does not have: that of the item, or that of a rescue of its batch.
pub(crate) fn check_lane(
    request: &ImageRequest,
    rescue: Option<Lane>,
    model: &Model,
    diagnostics: &mut ItemDiagnostics,
) {
    let fixed = request.lane.fixed();
    if let Some(lane) = fixed.filter(|lane| model.rates(*lane).is_none()) {
        let message = format!(
            "{} doesn't have the lane {lane}: use {}",
            model.id,
            lanes_of(model)
        );
        diagnostics.error("bad_lane", message);
    }
    let may_be_batch = fixed.is_none_or(|lane| lane == Lane::Batch);
    if let Some(lane) = rescue.filter(|lane| may_be_batch && model.rates(*lane).is_none()) {
        let message = format!(
            "{} doesn't have the lane {lane} of job.rescue: set it to interactive or off",
            model.id
        );
        diagnostics.error("bad_lane", message);
    }
}

/// Checks the size. It decides the cost of an image, so a size without a price is always an error.
fn check_size(request: &ImageRequest, model: &Model, diagnostics: &mut ItemDiagnostics) {
    let Some(size) = &request.image_size else {
        return;
    };
    let known: Vec<&str> = model.sizes.iter().map(|size| size.name.as_str()).collect();
    let what = if model.image_size_ignored && !known.contains(&size.as_str()) {
        Some(format!(
            "{} always makes {} images: remove image_size",
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

/// Reports what the model does not accept. `place` is the member of a Gemini request with that
/// value.
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
        return format!("{} accepts no thinking level: remove it", model.id);
    }
    let known: Vec<&str> = known.iter().map(|level| level.name()).collect();
    format!(
        "{} doesn't accept thinking {level}: use {}",
        model.id,
        known.join(", ")
    )
}

/// Returns the message for a value that is not among `known`.
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
        Some(near) => format!("did you mean {near}? It accepts {}", known.join(", ")),
        None => format!("use {}", known.join(", ")),
    };
    Some(format!(
        "{} doesn't accept {name} {}: {hint}",
        model.id,
        quote(value)
    ))
}
