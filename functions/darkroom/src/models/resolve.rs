//! From the name that a person wrote to the model that will be asked.

use jiff::{Span, civil::Date};

use super::{Catalog, Model, ShutdownSource, nearest};

/// How long before its last day a model is warned about.
const NOTICE_DAYS: i64 = 60;

/// What a name leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution<'a> {
    /// The model that will be asked.
    pub model: &'a Model,
    /// The family's name, if that is what was written: say `nano-banana-2 → gemini-nano-banana-2.1`
    /// to people.
    pub alias: Option<String>,
    /// What the person should know before paying.
    pub warnings: Vec<String>,
}

/// Why a name leads to no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The model is past its last day: use the successor, or allow it.
    #[error(
        "model {id} was shut down on {shutdown}{}: use {}, or set allow_retired_models to ask for it all the same",
        if *reported { " (as reported by others than Google)" } else { "" },
        successor.as_deref().unwrap_or("another model")
    )]
    Retired {
        /// Its full id.
        id: String,
        /// Its first day without service.
        shutdown: Date,
        /// Whether the day is hearsay.
        reported: bool,
        /// What to use instead.
        successor: Option<String>,
    },
    /// The id is gone for good, and nothing allows it: use the successor.
    #[error("model {id} is no longer served (since {since}): use {successor}")]
    Withdrawn {
        /// The id that was written.
        id: String,
        /// Its first day without service.
        since: Date,
        /// What to use instead.
        successor: String,
    },
    /// No model has this name: write one of those given.
    #[error("there is no image model {name:?}: {} {}", if *near { "did you mean" } else { "use" }, names.join(", "))]
    Unknown {
        /// The name that was written.
        name: String,
        /// Whether the names are near to it, or simply all families.
        near: bool,
        /// Names that exist.
        names: Vec<String>,
    },
}

impl Catalog {
    /// Finds the model of a family's name or a full id, with or without `models/` before it.
    ///
    /// A family's name leads to its newest model that is live on that day. A full id is never
    /// rewritten.
    ///
    /// # Errors
    /// [`ModelError::Retired`] past the last day unless `allow_retired`, [`ModelError::Withdrawn`]
    /// for previews and other ids that are gone, [`ModelError::Unknown`] for any other name.
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

    /// What a full id that nothing is known of is taken for, where that is allowed: the dearest
    /// model under that id, so that no bill is higher than the estimate for want of a price. With a
    /// warning for the person. None for what can't be the id of a Gemini model.
    pub fn stand_in(&self, name: &str) -> Option<(Model, String)> {
        let asked = name.strip_prefix("models/").unwrap_or(name);
        let is_id = asked.starts_with("gemini-")
            && asked.len() <= 100
            && asked.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
            });
        let dearest = self.dearest().filter(|_| is_id)?;
        let warning = format!(
            "model {asked} is not in the catalog: it is taken to be like {}, the dearest there is, in sizes, ratios and prices",
            dearest.id
        );
        let (id, name) = (asked.to_owned(), asked.to_owned());
        let unset = (None, None, None, None);
        let (deprecated, shutdown, shutdown_source, successor) = unset;
        // What it is told to think is Google's to judge.
        let thinking_levels = None;
        let known = Model {
            id,
            name,
            deprecated,
            shutdown,
            shutdown_source,
            successor,
            thinking_levels,
            ..dearest.clone()
        };
        Some((known, warning))
    }

    /// What a model of a plan costs: one that was allowed although nothing is known of it, as the
    /// dearest.
    pub fn priced(&self, id: &str) -> Option<&Model> {
        self.model(id).or_else(|| self.dearest())
    }

    fn dearest(&self) -> Option<&Model> {
        self.models
            .iter()
            .max_by_key(|model| model.size(None).map(|size| size.standard))
    }

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

fn warnings(model: &Model, on: Date) -> Vec<String> {
    let id = &model.id;
    let instead = model
        .successor
        .as_deref()
        .map_or(String::new(), |successor| format!(": use {successor}"));
    let soon = on.saturating_add(Span::new().days(NOTICE_DAYS));
    let warning = match (model.shutdown, model.deprecated) {
        (Some(shutdown), _) if shutdown <= on => {
            format!(
                "model {id} was shut down on {shutdown}, and its images may never come{instead}"
            )
        }
        (Some(shutdown), _) if shutdown <= soon => {
            format!("model {id} will be shut down on {shutdown}{instead}")
        }
        (_, Some(deprecated)) if deprecated <= on => {
            format!("model {id} is deprecated since {deprecated}{instead}")
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
    fn a_family_leads_to_its_newest_live_model_and_says_so() {
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
    fn a_full_id_is_never_rewritten() {
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
        insta::assert_snapshot!(error, @"model gemini-3.1-flash-image was shut down on 2026-10-29 (as reported by others than Google): use gemini-nano-banana-2.1, or set allow_retired_models to ask for it all the same");
        let allowed = catalog
            .resolve("gemini-3.1-flash-image", today(), true)
            .unwrap();
        assert_eq!(allowed.model.id, "gemini-3.1-flash-image");
        assert!(
            allowed.warnings[0].contains("may never come"),
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
            "the switch holds for families that have no live model"
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
    fn a_model_soon_gone_or_deprecated_is_warned_about() {
        let catalog = Catalog::built_in();
        let said = |name, on| catalog.resolve(name, on, false).unwrap().warnings;
        assert_eq!(said("gemini-3.1-flash-image", date(2026, 8, 29)), [""; 0]);
        insta::assert_snapshot!(said("gemini-3.1-flash-image", date(2026, 8, 30))[0], @"model gemini-3.1-flash-image will be shut down on 2026-10-29: use gemini-nano-banana-2.1");

        let no_date = Catalog::BUILT_IN.replacen(
            "shutdown = \"2026-10-29\"\nshutdown_source = \"reported\"",
            "",
            1,
        );
        let catalog = Catalog::parse(&no_date).unwrap();
        let found = catalog
            .resolve("gemini-3.1-flash-image", today(), false)
            .unwrap();
        insta::assert_snapshot!(found.warnings[0], @"model gemini-3.1-flash-image is deprecated since 2026-10-06: use gemini-nano-banana-2.1");
    }

    #[test]
    fn a_preview_names_its_successor_and_no_switch_allows_it() {
        let catalog = Catalog::built_in();
        let error = catalog
            .resolve("models/gemini-3-pro-image-preview", today(), true)
            .unwrap_err();
        insta::assert_snapshot!(error, @"model gemini-3-pro-image-preview is no longer served (since 2026-06-25): use gemini-3-pro-image");
    }

    /// What the guides of 2026 write, on the days that matter to each.
    #[test]
    fn every_id_of_the_guides_gets_the_right_answer_for_the_day() {
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
    fn an_id_that_nothing_is_known_of_is_taken_for_the_dearest_model() {
        let catalog = Catalog::built_in();
        let (model, warning) = catalog.stand_in("models/gemini-4-image").unwrap();
        let pro = catalog.model("gemini-3-pro-image").unwrap();
        assert_eq!(
            (model.id.as_str(), &model.batch, &model.sizes),
            ("gemini-4-image", &pro.batch, &pro.sizes)
        );
        insta::assert_snapshot!(warning, @"model gemini-4-image is not in the catalog: it is taken to be like gemini-3-pro-image, the dearest there is, in sizes, ratios and prices");
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
    fn an_unknown_name_gets_the_nearest_known_ones() {
        let catalog = Catalog::built_in();
        let said = |name| {
            catalog
                .resolve(name, today(), false)
                .unwrap_err()
                .to_string()
        };
        insta::assert_snapshot!(said("nano-bananna-pro"), @r#"there is no image model "nano-bananna-pro": did you mean nano-banana-pro, nano-banana-2, nano-banana"#);
        insta::assert_snapshot!(said("dall-e-3"), @r#"there is no image model "dall-e-3": use nano-banana-2, nano-banana-2-lite, nano-banana-pro, nano-banana"#);
    }
}
