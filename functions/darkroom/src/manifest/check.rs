//! What an item asks for against what its model can do.

use super::{
    order::Order,
    problem::{Findings, quote},
};
use crate::models::{Model, nearest};

/// Finds what the model would refuse.
pub(super) fn check(order: &Order, model: &Model, findings: &mut Findings) {
    if let Some(ratio) = &order.aspect_ratio {
        let known: Vec<&str> = model.ratios.iter().map(String::as_str).collect();
        check_value("aspect_ratio", ratio, &known, model, findings);
    }
    if let Some(size) = &order.image_size {
        let known: Vec<&str> = model.sizes.iter().map(|size| size.name.as_str()).collect();
        if model.image_size_ignored && !known.contains(&size.as_str()) {
            findings.error(
                "bad_image_size",
                format!("{} makes {} images whatever image_size says: leave it out", model.id, model.default_size),
            );
        } else {
            check_value("image_size", size, &known, model, findings);
        }
    }
    for control in order.controls.iter().filter(|control| !model.controls.contains(control)) {
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

fn check_value(name: &'static str, value: &str, known: &[&str], model: &Model, findings: &mut Findings) {
    if known.contains(&value) {
        return;
    }
    let code = if name == "image_size" { "bad_image_size" } else { "bad_aspect_ratio" };
    let meant = known.iter().find(|known| known.eq_ignore_ascii_case(value.trim()));
    let meant = meant.or(if matches!(value, "0.5K" | "512P" | "512PX") {
        known.iter().find(|known| **known == "512")
    } else {
        None
    });
    let hint = match meant.copied().or_else(|| nearest(value, known.iter().copied()).first().copied()) {
        Some(near) => format!("did you mean {near}? It takes {}", known.join(", ")),
        None => format!("use {}", known.join(", ")),
    };
    findings.error(code, format!("{} doesn't take {name} {}: {hint}", model.id, quote(value)));
}
