//! Resolves the name of a model in a manifest.

use jiff::{Span, civil::Date};

use super::{Catalog, Model, ShutdownSource, nearest};

/// The number of days before the shutdown during which a warning is given.
const NOTICE_DAYS: i64 = 60;

/// The model that a name resolves to.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution<'a> {
    /// The model.
    pub model: &'a Model,
    /// The name of the family, if the name was one. Messages show
    /// `nano-banana-2 → gemini-nano-banana-2.1`.
    pub alias: Option<String>,
    /// Warnings for the user, before anything is bought.
    pub warnings: Vec<String>,
}

/// Why a name resolves to no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The model is shut down. The user can use the successor, or allow retired models.
    #[error(
        "model {id} was shut down on {shutdown}{}: use {}, or set allow_retired_models to use it anyway",
        if *reported { " (according to reports, not to Google)" } else { "" },
        successor.as_deref().unwrap_or("another model")
    )]
    Retired {
        /// Its full id.
        id: String,
        /// Its first day without service.
        shutdown: Date,
        /// Whether the date was reported by others than Google.
        reported: bool,
        /// The id to use instead.
        successor: Option<String>,
    },
    /// The id was withdrawn permanently, and no setting allows it. The user must use the successor.
    #[error("model {id} is no longer served (since {since}): use {successor}")]
    Withdrawn {
        /// The id in the manifest.
        id: String,
        /// Its first day without service.
        since: Date,
        /// The id to use instead.
        successor: String,
    },
    /// No model has this name. The message lists names that exist.
    #[error("there is no image model {name:?}: {} {}", if *near { "did you mean" } else { "use" }, names.join(", "))]
    Unknown {
        /// The name in the manifest.
        name: String,
        /// Whether the suggested names are similar. Otherwise they are all families.
        near: bool,
        /// The suggested names.
        names: Vec<String>,
    },
}

impl Catalog {
    /// Finds the model of a family's name or a full id, with or without the prefix `models/`.
    ///
    /// A family's name resolves to its newest model that is live on that day. A full id always
    /// resolves to itself.
    ///
    /// # Errors
    /// [`ModelError::Retired`] after the shutdown unless `allow_retired`, [`ModelError::Withdrawn`]
    /// for previews and other ids that no longer exist, [`ModelError::Unknown`] for any other name.
    pub fn resolve(
        &self,
        name: &str,
        on: Date,
        allow_retired: bool,
    ) -> Result<Resolution<'_>, ModelError> {
        let asked = name.strip_prefix("models/").unwrap_or(name);
        if let Some(model) = self.model(asked) {
            return admit(model, None, on, allow_retired);
        }
        // Without a live model, the family resolves to its newest model, which may be allowed.
        let family = || self.models.iter().filter(|model| model.family == asked);
        let live = family().filter(|model| model.available <= on && !model.retired(on));
        if let Some(model) = live
            .max_by_key(|model| model.available)
            .or(family().max_by_key(|model| model.available))
        {
            return admit(model, Some(asked), on, allow_retired);
        }
        if let Some(gone) = self.withdrawn.iter().find(|gone| gone.id == asked) {
            return Err(ModelError::Withdrawn {
                id: gone.id.clone(),
                since: gone.shutdown,
                successor: gone.successor.clone(),
            });
        }
        Err(self.unknown(asked))
    }

    /// Returns a substitute for a full id that the catalog lacks, if such ids are allowed, and a
    /// warning for the user. The substitute is the most expensive model under that id, so that no
    /// bill exceeds the estimate because a price was unknown. It is `None` for a text that can't be
    /// the id of a Gemini model.
    pub fn stand_in(&self, name: &str) -> Option<(Model, String)> {
        let asked = name.strip_prefix("models/").unwrap_or(name);
        let is_id = asked.starts_with("gemini-")
            && asked.len() <= 100
            && asked.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
            });
        let most_expensive = self.most_expensive().filter(|_| is_id)?;
        let warning = format!(
            "model {asked} is not in the catalog: it is assumed to have the sizes, ratios and prices of {}, the most \
             expensive model",
            most_expensive.id
        );
        let (id, name) = (asked.to_owned(), asked.to_owned());
        let unset = (None, None, None, None);
        let (deprecated, shutdown, shutdown_source, successor) = unset;
        // The supported levels are unknown, so Google decides about the requested one. So is the
        // flex tier, and a request for a tier that is missing costs the full price.
        let (thinking_levels, flex) = (None, None);
        let known = Model {
            id,
            name,
            deprecated,
            shutdown,
            shutdown_source,
            successor,
            thinking_levels,
            flex,
            ..most_expensive.clone()
        };
        Some((known, warning))
    }

    /// Returns the model whose prices apply to a model of a plan. A model that the catalog lacks
    /// has the prices of the most expensive one.
    pub fn priced(&self, id: &str) -> Option<&Model> {
        self.model(id).or_else(|| self.most_expensive())
    }

    fn most_expensive(&self) -> Option<&Model> {
        self.models
            .iter()
            .max_by_key(|model| model.size(None).map(|size| size.standard))
    }

    /// Returns the error for an unknown name, with suggestions.
    fn unknown(&self, asked: &str) -> ModelError {
        let mut families: Vec<&str> = self
            .models
            .iter()
            .map(|model| model.family.as_str())
            .collect();
        families.dedup();
        let known = families
            .iter()
            .copied()
            .chain(self.models.iter().map(|model| model.id.as_str()));
        let near = nearest(asked, known);
        let names = if near.is_empty() { &families } else { &near };
        ModelError::Unknown {
            name: asked.chars().take(80).collect(),
            near: !near.is_empty(),
            names: names.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Resolves to a model unless it is shut down and not allowed.
fn admit<'a>(
    model: &'a Model,
    alias: Option<&str>,
    on: Date,
    allow_retired: bool,
) -> Result<Resolution<'a>, ModelError> {
    let reported = model.shutdown_source == Some(ShutdownSource::Reported);
    match model.shutdown {
        Some(shutdown) if model.retired(on) && !allow_retired => Err(ModelError::Retired {
            id: model.id.clone(),
            shutdown,
            reported,
            successor: model.successor.clone(),
        }),
        _ => Ok(Resolution {
            model,
            alias: alias.map(str::to_owned),
            warnings: warnings(model, on),
        }),
    }
}

/// Returns the warnings about a model's dates.
fn warnings(model: &Model, on: Date) -> Vec<String> {
    let id = &model.id;
    let instead = model
        .successor
        .as_deref()
        .map_or(String::new(), |successor| format!(": use {successor}"));
    let soon = on.saturating_add(Span::new().days(NOTICE_DAYS));
    let warning = match (model.shutdown, model.deprecated) {
        (Some(shutdown), _) if shutdown <= on => {
            format!("model {id} was shut down on {shutdown}, and requests to it may fail{instead}")
        }
        (Some(shutdown), _) if shutdown <= soon => {
            format!("model {id} will be shut down on {shutdown}{instead}")
        }
        (_, Some(deprecated)) if deprecated <= on => {
            format!("model {id} has been deprecated since {deprecated}{instead}")
        }
        _ if model.available > on => {
            format!("model {id} is not available before {}", model.available)
        }
        _ => return Vec::new(),
    };
    vec![warning]
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn today() -> Date {
        date(2026, 11, 21)
    }

    #[test]
    fn a_family_resolves_to_its_newest_live_model() {
        let catalog = Catalog::built_in();
        for (on, id) in [
            (today(), "gemini-nano-banana-2.1"),
            (date(2026, 10, 6), "gemini-nano-banana-2.1"),
            (date(2026, 10, 5), "gemini-3.1-flash-image"),
        ] {
            let found = catalog.resolve("nano-banana-2", on, false).unwrap();
            assert_eq!(
                (found.model.id.as_str(), found.alias.as_deref()),
                (id, Some("nano-banana-2")),
                "{on}"
            );
        }
        let found = catalog
            .resolve("models/nano-banana-pro", today(), false)
            .unwrap();
        assert_eq!(
            (found.model.id.as_str(), found.warnings.len()),
            ("gemini-3-pro-image", 0)
        );
    }

    #[test]
    fn a_full_id_resolves_to_itself() {
        let catalog = Catalog::built_in();
        for name in ["gemini-3.1-flash-image", "models/gemini-3.1-flash-image"] {
            let found = catalog.resolve(name, date(2026, 6, 1), false).unwrap();
            assert_eq!(
                (found.model.id.as_str(), &found.alias),
                ("gemini-3.1-flash-image", &None)
            );
        }
    }

    #[test]
    fn a_retired_model_is_refused_unless_allowed() {
        let catalog = Catalog::built_in();
        let error = catalog
            .resolve("gemini-3.1-flash-image", today(), false)
            .unwrap_err();
        insta::assert_snapshot!(error, @"model gemini-3.1-flash-image was shut down on 2026-10-29 (according to reports, not to Google): use gemini-nano-banana-2.1, or set allow_retired_models to use it anyway");
        let allowed = catalog
            .resolve("gemini-3.1-flash-image", today(), true)
            .unwrap();
        assert_eq!(allowed.model.id, "gemini-3.1-flash-image");
        assert!(
            allowed.warnings[0].contains("may fail"),
            "{:?}",
            allowed.warnings
        );

        let error = catalog.resolve("nano-banana", today(), false).unwrap_err();
        assert!(
            matches!(&error, ModelError::Retired { id, .. } if id == "gemini-2.5-flash-image"),
            "{error}"
        );
        assert_eq!(
            catalog
                .resolve("nano-banana", today(), true)
                .unwrap()
                .alias
                .as_deref(),
            Some("nano-banana"),
            "the setting applies to families without a live model too"
        );
    }

    #[test]
    fn the_last_day_is_the_day_before_the_shutdown() {
        let catalog = Catalog::built_in();
        assert!(
            catalog
                .resolve("gemini-3.1-flash-image", date(2026, 10, 28), false)
                .is_ok()
        );
        assert!(
            catalog
                .resolve("gemini-3.1-flash-image", date(2026, 10, 29), false)
                .is_err()
        );
    }

    #[test]
    fn warns_about_a_deprecated_model_and_before_a_shutdown() {
        let catalog = Catalog::built_in();
        let warnings = |name, on| catalog.resolve(name, on, false).unwrap().warnings;
        assert_eq!(
            warnings("gemini-3.1-flash-image", date(2026, 8, 29)),
            [""; 0]
        );
        insta::assert_snapshot!(warnings("gemini-3.1-flash-image", date(2026, 8, 30))[0], @"model gemini-3.1-flash-image will be shut down on 2026-10-29: use gemini-nano-banana-2.1");

        let no_date = Catalog::BUILT_IN.replacen(
            "shutdown = \"2026-10-29\"\nshutdown_source = \"reported\"",
            "",
            1,
        );
        let catalog = Catalog::parse(&no_date).unwrap();
        let found = catalog
            .resolve("gemini-3.1-flash-image", today(), false)
            .unwrap();
        insta::assert_snapshot!(found.warnings[0], @"model gemini-3.1-flash-image has been deprecated since 2026-10-06: use gemini-nano-banana-2.1");
    }

    #[test]
    fn a_withdrawn_preview_names_its_successor_and_no_setting_allows_it() {
        let catalog = Catalog::built_in();
        let error = catalog
            .resolve("models/gemini-3-pro-image-preview", today(), true)
            .unwrap_err();
        insta::assert_snapshot!(error, @"model gemini-3-pro-image-preview is no longer served (since 2026-06-25): use gemini-3-pro-image");
    }

    /// Ids from the guides of 2026, on the days that matter to each.
    #[test]
    fn every_id_of_the_guides_resolves_correctly_on_each_day() {
        let catalog = Catalog::built_in();
        let answer = |id, on| match catalog.resolve(id, on, false) {
            Ok(found) if found.warnings.is_empty() => "live".to_owned(),
            Ok(found) => {
                let [warning] = &found.warnings[..] else {
                    panic!("{:?}", found.warnings)
                };
                assert!(warning.contains("use gemini-nano-banana-2.1"), "{warning}");
                if warning.contains("will be shut down") {
                    "soon gone"
                } else {
                    "deprecated"
                }
                .to_owned()
            }
            Err(ModelError::Retired { successor, .. }) => {
                format!("retired: {}", successor.unwrap())
            }
            Err(ModelError::Withdrawn { successor, .. }) => format!("withdrawn: {successor}"),
            Err(error) => panic!("{error}"),
        };
        let (flash, pro) = ("gemini-nano-banana-2.1", "gemini-3-pro-image");
        for (id, on, expected) in [
            (
                "gemini-3-pro-image-preview",
                date(2026, 6, 25),
                format!("withdrawn: {pro}"),
            ),
            (
                "gemini-3-pro-image-preview",
                today(),
                format!("withdrawn: {pro}"),
            ),
            (
                "gemini-3.1-flash-image-preview",
                date(2026, 6, 25),
                format!("withdrawn: {flash}"),
            ),
            (
                "gemini-3.1-flash-image-preview",
                today(),
                format!("withdrawn: {flash}"),
            ),
            (
                "gemini-2.5-flash-image-preview",
                date(2026, 1, 15),
                format!("withdrawn: {flash}"),
            ),
            (
                "gemini-2.5-flash-image-preview",
                today(),
                format!("withdrawn: {flash}"),
            ),
            (
                "gemini-2.5-flash-image",
                date(2026, 8, 2),
                "live".to_owned(),
            ),
            (
                "gemini-2.5-flash-image",
                date(2026, 8, 3),
                "soon gone".to_owned(),
            ),
            (
                "gemini-2.5-flash-image",
                date(2026, 10, 1),
                "soon gone".to_owned(),
            ),
            (
                "gemini-2.5-flash-image",
                date(2026, 10, 2),
                format!("retired: {flash}"),
            ),
            (
                "gemini-2.5-flash-image",
                today(),
                format!("retired: {flash}"),
            ),
            (
                "gemini-3.1-flash-image",
                date(2026, 8, 29),
                "live".to_owned(),
            ),
            (
                "gemini-3.1-flash-image",
                date(2026, 10, 28),
                "soon gone".to_owned(),
            ),
            (
                "gemini-3.1-flash-image",
                date(2026, 10, 29),
                format!("retired: {flash}"),
            ),
            ("gemini-3-pro-image", today(), "live".to_owned()),
            ("gemini-nano-banana-2.1", today(), "live".to_owned()),
            ("gemini-3.1-flash-lite-image", today(), "live".to_owned()),
        ] {
            assert_eq!(answer(id, on), expected, "{id} on {on}");
        }
    }

    #[test]
    fn an_unknown_id_has_the_prices_of_the_most_expensive_model() {
        let catalog = Catalog::built_in();
        let (model, warning) = catalog.stand_in("models/gemini-4-image").unwrap();
        let pro = catalog.model("gemini-3-pro-image").unwrap();
        assert_eq!(
            (model.id.as_str(), &model.batch, &model.sizes),
            ("gemini-4-image", &pro.batch, &pro.sizes)
        );
        insta::assert_snapshot!(warning, @"model gemini-4-image is not in the catalog: it is assumed to have the sizes, ratios and prices of gemini-3-pro-image, the most expensive model");
        assert_eq!(catalog.priced("gemini-4-image"), Some(pro));
        assert_eq!(
            catalog.priced("gemini-nano-banana-2.1").unwrap().id,
            "gemini-nano-banana-2.1"
        );
        for name in [
            "dall-e-3",
            "nano-bananna",
            "gemini-4/../x",
            "gemini-4:generate",
            "gemini-4 image",
            "gemini-É",
        ] {
            assert_eq!(catalog.stand_in(name), None, "{name}");
        }
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_known_names() {
        let catalog = Catalog::built_in();
        let message = |name| {
            catalog
                .resolve(name, today(), false)
                .unwrap_err()
                .to_string()
        };
        insta::assert_snapshot!(message("nano-bananna-pro"), @r#"there is no image model "nano-bananna-pro": did you mean nano-banana-pro, nano-banana-2, nano-banana"#);
        insta::assert_snapshot!(message("dall-e-3"), @r#"there is no image model "dall-e-3": use nano-banana-2, nano-banana-2-lite, nano-banana-pro, nano-banana"#);
    }
}
