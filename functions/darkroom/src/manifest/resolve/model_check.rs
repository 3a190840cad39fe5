//! What an item asks for against what its model can do.

use super::image_request::{Form, Order};
use crate::{
    manifest::diagnostics::{Findings, quote},
    models::{Model, ThinkingLevel, nearest},
};

/// Finds what the model would refuse.
pub(crate) fn check(order: &Order, model: &Model, findings: &mut Findings) {
    if let Some(ratio) = &order.aspect_ratio {
        let known: Vec<&str> = model.ratios.iter().map(String::as_str).collect();
        if let Some(what) = unknown_value("aspect_ratio", ratio, &known, model) {
            note(
                "bad_aspect_ratio",
                "imageConfig.aspectRatio",
                &what,
                order,
                findings,
            );
        }
    }
    check_size(order, model, findings);
    if let Some(level) = order.thinking
        && let Some(known) = model
            .thinking_levels
            .as_ref()
            .filter(|known| !known.contains(&level))
    {
        note(
            "bad_thinking",
            "thinkingConfig.thinkingLevel",
            &unknown_level(level, known, model),
            order,
            findings,
        );
    }
    for control in order
        .controls
        .iter()
        .filter(|control| !model.controls.contains(control))
    {
        // The same words for every item: they are said once, with the first line.
        findings.warning(
            "unsupported_control",
            format!("{} doesn't take {control}: Gemini may ignore it or refuse the request; leave it out", model.id),
        );
    }
    if order.pictures > model.max_references {
        findings.error(
            "too_many_references",
            format!(
                "{} takes {} reference images, not {}: leave some out",
                model.id, model.max_references, order.pictures
            ),
        );
    }
}

/// A size decides what an image costs, so that one without a price is an error whatever Gemini may
/// know by now.
fn check_size(order: &Order, model: &Model, findings: &mut Findings) {
    let Some(size) = &order.image_size else {
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
        match &order.form {
            Form::Native { root, .. } => {
                findings.error(
                    "bad_image_size",
                    format!("{root}.generationConfig.imageConfig.imageSize: {what}"),
                );
            }
            Form::Friendly { .. } => findings.error("bad_image_size", what),
        }
    }
}

/// Notes what the model does not take, `place` being where a request in Google's form says it.
fn note(code: &'static str, place: &str, what: &str, order: &Order, findings: &mut Findings) {
    match &order.form {
        Form::Native {
            root, strictness, ..
        } => {
            strictness.note(
                code,
                format_args!("{root}.generationConfig.{place}"),
                what,
                findings,
            );
        }
        Form::Friendly { .. } => findings.error(code, what),
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
