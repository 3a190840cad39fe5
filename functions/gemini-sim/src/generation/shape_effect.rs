//! Which result lines have an unusual shape, and the effect of the shape.
//!
//! Shapes of one kind exclude each other and share 100 percent; shapes of different kinds can
//! combine in one line.

use crate::{
    generation::{
        error_form::ErrorForm,
        line_form::{ImageForm, KeyForm, LineForm},
        outcome::RequestOutcome,
        refusal::{FinishReason, Refusal},
    },
    scenario::{Scenario, shape::Shape},
    seeded_random::SeededRandom,
};

/// The effect of a shape on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// The line carries its key in this form.
    Key(KeyForm),
    /// The line has no member around its response.
    Unwrapped,
    /// The line holds its image in this form.
    Image(ImageForm),
    /// The names of the response's members are in snake_case.
    SnakeCase,
    /// The texts of the response are hostile.
    HostileText,
    /// The line has no image: its request has this outcome.
    Ending(RequestOutcome),
}

/// The kinds of shapes. Each kind is drawn at random independently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Key,
    Wrapper,
    Image,
    Names,
    Texts,
    Ending,
}

impl Shape {
    fn effect(self) -> Effect {
        let finished = |reason| Effect::Ending(RequestOutcome::Refused(Refusal::Finished(reason)));
        let failed = |form| Effect::Ending(RequestOutcome::Failed(form));
        match self {
            Self::NoKey => Effect::Key(KeyForm::Absent),
            Self::NumericKey => Effect::Key(KeyForm::Number),
            Self::NoWrapper => Effect::Unwrapped,
            Self::DataUrl => Effect::Image(ImageForm::DataUrl),
            Self::ThoughtOnly => Effect::Image(ImageForm::OnlyThought),
            Self::FileData => Effect::Image(ImageForm::FileData),
            Self::ImageAsText => Effect::Image(ImageForm::Text),
            Self::SnakeCase => Effect::SnakeCase,
            Self::HostileText => Effect::HostileText,
            Self::ErrorHttp => failed(ErrorForm::Http),
            Self::ErrorText => failed(ErrorForm::Text),
            Self::ErrorCodeText => failed(ErrorForm::CodeText),
            Self::ErrorStatus => failed(ErrorForm::Status),
            Self::ErrorEmpty => failed(ErrorForm::Empty),
            Self::NoImage => finished(FinishReason::NoImage),
            Self::ImageOther => finished(FinishReason::ImageOther),
            Self::Other => finished(FinishReason::Other),
            Self::Malformed => finished(FinishReason::MalformedResponse),
            Self::EmptyResponse => Effect::Ending(RequestOutcome::EmptyResponse),
        }
    }
}

impl Effect {
    fn kind(self) -> Kind {
        match self {
            Self::Key(_) => Kind::Key,
            Self::Unwrapped => Kind::Wrapper,
            Self::Image(_) => Kind::Image,
            Self::SnakeCase => Kind::Names,
            Self::HostileText => Kind::Texts,
            Self::Ending(_) => Kind::Ending,
        }
    }
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Key,
        Self::Wrapper,
        Self::Image,
        Self::Names,
        Self::Texts,
        Self::Ending,
    ];

    /// Returns the name of the kind in random draws.
    fn name(self) -> &'static str {
        match self {
            Self::Key => "key shape",
            Self::Wrapper => "wrapper shape",
            Self::Image => "image shape",
            Self::Names => "names shape",
            Self::Texts => "texts shape",
            Self::Ending => "ending shape",
        }
    }
}

impl Scenario {
    /// Returns the form of the line of the request `key` in `batch`.
    pub(crate) fn line_form(&self, batch: &str, key: &str) -> LineForm {
        let mut form = LineForm::default();
        for effect in self.effects(batch, key) {
            match effect {
                Effect::Key(key) => form.key = key,
                Effect::Unwrapped => form.unwrapped = true,
                Effect::Image(image) => form.image = image,
                Effect::SnakeCase => form.snake_case = true,
                Effect::HostileText => form.hostile_text = true,
                Effect::Ending(_) => {}
            }
        }
        form
    }

    /// Returns the outcome of the request `key` in `batch` that would otherwise be `outcome`.
    /// Shapes replace images only.
    pub(crate) fn shaped_outcome(
        &self,
        batch: &str,
        key: &str,
        outcome: RequestOutcome,
    ) -> RequestOutcome {
        if !matches!(outcome, RequestOutcome::Image(_)) {
            return outcome;
        }
        let ending = self.effects(batch, key).find_map(|effect| match effect {
            Effect::Ending(ending) => Some(ending),
            Effect::Key(_)
            | Effect::Unwrapped
            | Effect::Image(_)
            | Effect::SnakeCase
            | Effect::HostileText => None,
        });
        ending.unwrap_or(outcome)
    }

    /// Returns the effects of the shapes on a line, at most one of each kind.
    fn effects<'a>(&'a self, batch: &'a str, key: &'a str) -> impl Iterator<Item = Effect> + 'a {
        let kinds = if self.shapes.is_empty() {
            &[][..]
        } else {
            &Kind::ALL
        };
        kinds.iter().filter_map(move |kind| {
            let drawn = SeededRandom::new(self.seed, &[kind.name(), batch, key]).below(100);
            let mut share = 0;
            let of_kind = self
                .shapes
                .iter()
                .map(|rule| (rule.shape.effect(), rule.percent));
            let mut of_kind = of_kind.filter(|(effect, _)| effect.kind() == *kind);
            let selected = of_kind.find(|(_, percent)| {
                share += u64::from(*percent);
                drawn < share
            });
            selected.map(|(effect, _)| effect)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{generation::outcome::Rendering, images::marks::Marks};

    const IMAGE: RequestOutcome = RequestOutcome::Image(Rendering {
        after_thought: false,
        wrong_ratio: false,
        wrong_size: false,
        mislabelled: false,
        side: None,
        min_bytes: None,
        marks: Marks {
            iptc: false,
            c2pa: false,
        },
    });

    fn shaped(rules: &[&str]) -> Scenario {
        Scenario {
            shapes: rules
                .iter()
                .map(|rule| rule.parse().expect("valid"))
                .collect(),
            ..Scenario::default()
        }
    }

    #[test]
    fn shapes_of_one_kind_share_100_percent() {
        let scenario = shaped(&["no-image:50", "error-text:50"]);
        let endings = (0..200).map(|n| scenario.shaped_outcome("b", &n.to_string(), IMAGE));
        let (texts, others): (Vec<_>, Vec<_>) =
            endings.partition(|ending| *ending == RequestOutcome::Failed(ErrorForm::Text));
        assert!((60..=140).contains(&texts.len()), "{} of 200", texts.len());
        assert!(
            others.iter().all(|ending| *ending
                == RequestOutcome::Refused(Refusal::Finished(FinishReason::NoImage)))
        );
    }

    #[test]
    fn shapes_of_different_kinds_combine() {
        let form = shaped(&[
            "no-key:100",
            "data-url:100",
            "no-wrapper:100",
            "snake-case:100",
            "hostile-text:100",
        ])
        .line_form("b", "k");
        let met = LineForm {
            key: KeyForm::Absent,
            unwrapped: true,
            snake_case: true,
            hostile_text: true,
            image: ImageForm::DataUrl,
        };
        assert_eq!(form, met);
        assert_eq!(Scenario::default().line_form("b", "k"), LineForm::default());
    }

    #[test]
    fn an_ending_replaces_images_only() {
        let scenario = shaped(&["empty-response:100"]);
        assert_eq!(
            scenario.shaped_outcome("b", "k", IMAGE),
            RequestOutcome::EmptyResponse
        );
        for outcome in [
            RequestOutcome::Missing,
            RequestOutcome::NoReference,
            RequestOutcome::InternalError,
        ] {
            assert_eq!(scenario.shaped_outcome("b", "k", outcome), outcome);
        }
    }

    #[test]
    fn every_shape_has_a_distinct_effect() {
        for (n, (shape, name)) in Shape::NAMES.into_iter().enumerate() {
            let others = &Shape::NAMES[n + 1..];
            assert!(
                others
                    .iter()
                    .all(|(other, _)| other.effect() != shape.effect()),
                "{name}"
            );
            let scenario = shaped(&[&format!("{name}:100")]);
            let same = scenario.line_form("b", "1") == LineForm::default()
                && scenario.shaped_outcome("b", "1", IMAGE) == IMAGE;
            assert!(!same, "{name}");
        }
    }

    #[test]
    fn batches_are_drawn_independently() {
        let scenario = shaped(&["no-key:50"]);
        let forms = |batch: &str| {
            (0..60)
                .map(|n| scenario.line_form(batch, &n.to_string()))
                .collect::<Vec<_>>()
        };
        assert_eq!(forms("one"), forms("one"));
        assert_ne!(forms("one"), forms("two"));
    }
}
