//! Parses and checks a catalog such as `models.toml`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Catalog, Model, Rates, Withdrawn};
use crate::money::Usd;

/// Why a text is not a valid catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The text is not TOML of the expected shape. The message names the position to fix.
    #[error("the model catalog can't be read: {0}")]
    Syntax(toml::de::Error),
    /// The entry of a model is inconsistent, and must be fixed.
    #[error("the model catalog is wrong at {id}: {what}")]
    Wrong {
        /// The id of the model.
        id: String,
        /// The inconsistency.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    model: Vec<Model>,
    #[serde(default)]
    withdrawn: Vec<Withdrawn>,
    /// Width and height, by table, size and ratio.
    pixels: BTreeMap<String, BTreeMap<String, BTreeMap<String, [u32; 2]>>>,
}

impl Catalog {
    /// Parses and checks a catalog.
    ///
    /// # Errors
    /// [`CatalogError::Syntax`] for text of another shape, [`CatalogError::Wrong`] for repeated ids,
    /// unknown successors, impossible prices and missing pixels.
    pub fn parse(text: &str) -> Result<Self, CatalogError> {
        let File {
            model: mut models,
            withdrawn,
            pixels,
        } = toml::from_str(text).map_err(CatalogError::Syntax)?;
        for model in &mut models {
            let table = pixels.get(&model.pixel_table);
            for size in &mut model.sizes {
                size.pixels = table
                    .and_then(|table| table.get(&size.name))
                    .cloned()
                    .unwrap_or_default();
            }
        }
        check(&models, &withdrawn)?;
        Ok(Self {
            models,
            withdrawn,
            text: text.to_owned(),
        })
    }
}

/// Checks the names of all models, and each model.
fn check(models: &[Model], withdrawn: &[Withdrawn]) -> Result<(), CatalogError> {
    let live: BTreeSet<&str> = models.iter().map(|model| model.id.as_str()).collect();
    let mut seen: BTreeSet<&str> = models.iter().map(|model| model.family.as_str()).collect();
    let name = |id: &str, new: bool, successor: Option<&str>| {
        if id.is_empty() || !new {
            return Err(wrong(id, "the id is empty, repeated, or a family's name"));
        }
        match successor {
            Some(successor) if successor == id || !live.contains(successor) => Err(wrong(
                id,
                format!("its successor {successor:?} is not a model of the catalog"),
            )),
            _ => Ok(()),
        }
    };
    for model in models {
        name(
            &model.id,
            seen.insert(&model.id),
            model.successor.as_deref(),
        )?;
        check_model(model).map_err(|what| wrong(&model.id, what))?;
    }
    for gone in withdrawn {
        name(&gone.id, seen.insert(&gone.id), Some(&gone.successor))?;
    }
    if models.is_empty() {
        Err(wrong("the start", "it lists no model"))
    } else {
        Ok(())
    }
}

/// Checks the entry of one model for inconsistencies.
fn check_model(model: &Model) -> Result<(), String> {
    // Sizes, ratios and pixels.
    if model.sizes.is_empty() || model.size(None).is_none() {
        return Err(format!(
            "the default size {:?} is not among its sizes",
            model.default_size
        ));
    }
    if model.ratios.is_empty() {
        return Err("it lists no aspect ratio".to_owned());
    }
    if model.sizes.iter().any(|size| size.pixels.is_empty()) {
        return Err(format!(
            "one of its sizes has no pixels in the table {:?}",
            model.pixel_table
        ));
    }

    // Dates.
    if let (Some(deprecated), Some(shutdown)) = (model.deprecated, model.shutdown)
        && shutdown < deprecated
    {
        return Err("its shutdown is before its deprecation".to_owned());
    }
    if model.shutdown.is_some() != model.shutdown_source.is_some() {
        return Err("shutdown and shutdown_source must both be present or absent".to_owned());
    }

    // Thinking.
    let thoughts = model.thoughts.iter().chain(model.thoughts_at.values());
    if thoughts
        .into_iter()
        .any(|thoughts| thoughts.max_tokens < thoughts.min_tokens)
    {
        return Err("the min_tokens of its thoughts exceed their max_tokens".to_owned());
    }
    if let Some(levels) = &model.thinking_levels
        && let Some(level) = model
            .thoughts_at
            .keys()
            .find(|level| !levels.contains(level))
    {
        return Err(format!(
            "it has thoughts at the level {level}, which is not among its thinking_levels"
        ));
    }

    // Prices.
    let mut of_sizes = model.sizes.iter().map(|size| (size.standard, size.batch));
    if !are_lower(&model.batch, &model.standard) || !of_sizes.all(is_lower) {
        return Err(
            "a price is zero, or higher in a batch than in a synchronous request".to_owned(),
        );
    }
    if let Some(flex) = &model.flex
        && !are_lower(&flex.rates, &model.standard)
    {
        return Err("a price of its flex tier is zero, or higher than without the tier".to_owned());
    }
    Ok(())
}

/// Whether no rate is zero, or higher than the standard one.
fn are_lower(rates: &Rates, standard: &Rates) -> bool {
    let pairs = [
        (standard.input, rates.input),
        (standard.text, rates.text),
        (standard.image, rates.image),
    ];
    pairs.into_iter().all(is_lower)
}

fn is_lower((standard, price): (Usd, Usd)) -> bool {
    Usd::ZERO < price && price <= standard
}

fn wrong(id: &str, what: impl Into<String>) -> CatalogError {
    CatalogError::Wrong {
        id: id.to_owned(),
        what: what.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_an_inconsistent_catalog() {
        for (from, to, expected) in [
            (
                "successor = \"gemini-3-pro-image\"",
                "successor = \"gemini-4\"",
                "gemini-4",
            ),
            (
                "id = \"gemini-3-pro-image\"",
                "id = \"gemini-3.1-flash-image\"",
                "repeated",
            ),
            (
                "id = \"gemini-3-pro-image\"",
                "id = \"nano-banana-2\"",
                "family",
            ),
            ("default_size = \"1K\"", "default_size = \"8K\"", "8K"),
            ("batch = 0.0168", "batch = 0.0468", "higher in a batch"),
            ("batch = 0.0168", "batch = 0.0", "zero"),
            (
                "rates = { input = 1.00",
                "rates = { input = 3.00",
                "flex tier",
            ),
            ("rates = { input = 1.00", "rates = { input = 0", "flex tier"),
            (
                "shutdown = \"2026-10-29\"",
                "shutdown = \"2026-09-29\"",
                "before",
            ),
            (
                "pixels = \"gemini-2.5\"",
                "pixels = \"gemini-2\"",
                "no pixels",
            ),
            ("max_tokens = 620", "max_tokens = 62", "exceed"),
            ("max_tokens = 2_000", "max_tokens = 2", "exceed"),
            (
                "thinking_levels = [\"minimal\", \"medium\"",
                "thinking_levels = [\"medium\"",
                "not among its thinking_levels",
            ),
            (
                "thinking_levels = [\"minimal\"",
                "thinking_levels = [\"utmost\"",
                "utmost",
            ),
            ("controls = []", "controls = [\"tone\"]", "tone"),
            ("max_references = 3", "max_reference = 3", "max_reference"),
            ("available = \"2026-10-06\"", "available = \"soon\"", "soon"),
        ] {
            let text = Catalog::BUILT_IN.replacen(from, to, 1);
            assert_ne!(text, Catalog::BUILT_IN, "{from}");
            let error = Catalog::parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn batch_rates_are_half_the_standard_ones() {
        for model in Catalog::built_in().models() {
            for (standard, batch) in [
                (model.standard.input, model.batch.input),
                (model.standard.text, model.batch.text),
                (model.standard.image, model.batch.image),
            ] {
                assert_eq!(standard, batch * 2, "{}", model.id);
            }
        }
    }
}
