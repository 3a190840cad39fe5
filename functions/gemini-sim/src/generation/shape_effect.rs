//! Selector result lines have which odd shape, and what that makes of them.
//!
//! Shapes of one kind exclude each other and share their hundred percent; shapes of different kinds
//! meet in one line.

use crate::{
    generation::{
        error_form::ErrorForm,
        line_form::{ImageForm, KeyForm, LineForm},
        outcome::Outcome,
        refusal::{FinishReason, Refusal},
    },
    scenario::{Scenario, shape::Shape},
    seeded_random::Draw,
};

/// What a shape makes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// It carries its key so.
    Key(KeyForm),
    /// It has no member around its response.
    Unwrapped,
    /// It gives its image so.
    Image(ImageForm),
    /// Its members have their names in snake_case.
    SnakeCase,
    /// It has no image: its request ends so.
    Ending(Outcome),
}

/// The kinds of shapes. Each kind draws on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Key,
    Wrapper,
    Image,
    Names,
    Ending,
}

impl Shape {
    fn effect(self) -> Effect {
        let finished = |reason| Effect::Ending(Outcome::Refused(Refusal::Finished(reason)));
        let failed = |form| Effect::Ending(Outcome::Failed(form));
        match self {
            Self::NoKey => Effect::Key(KeyForm::Absent),
            Self::NumericKey => Effect::Key(KeyForm::Number),
            Self::NoWrapper => Effect::Unwrapped,
            Self::DataUrl => Effect::Image(ImageForm::DataUrl),
            Self::ThoughtOnly => Effect::Image(ImageForm::OnlyThought),
            Self::FileData => Effect::Image(ImageForm::FileData),
            Self::ImageAsText => Effect::Image(ImageForm::Text),
            Self::SnakeCase => Effect::SnakeCase,
            Self::ErrorHttp => failed(ErrorForm::Http),
            Self::ErrorText => failed(ErrorForm::Text),
            Self::ErrorCodeText => failed(ErrorForm::CodeText),
            Self::ErrorStatus => failed(ErrorForm::Status),
            Self::ErrorEmpty => failed(ErrorForm::Empty),
            Self::NoImage => finished(FinishReason::NoImage),
            Self::ImageOther => finished(FinishReason::ImageOther),
            Self::Other => finished(FinishReason::Other),
            Self::Malformed => finished(FinishReason::MalformedResponse),
            Self::EmptyResponse => Effect::Ending(Outcome::EmptyResponse),
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
            Self::Ending(_) => Kind::Ending,
        }
    }
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Key,
        Self::Wrapper,
        Self::Image,
        Self::Names,
        Self::Ending,
    ];

    /// Its name in a draw.
    fn name(self) -> &'static str {
        match self {
            Self::Key => "key shape",
            Self::Wrapper => "wrapper shape",
            Self::Image => "image shape",
            Self::Names => "names shape",
            Self::Ending => "ending shape",
        }
    }
}

impl Scenario {
    /// How the line of the request `key` in `batch` is written.
    pub(crate) fn line_form(&self, batch: &str, key: &str) -> LineForm {
        let mut form = LineForm::default();
        for effect in self.effects(batch, key) {
            match effect {
                Effect::Key(key) => form.key = key,
                Effect::Unwrapped => form.unwrapped = true,
                Effect::Image(image) => form.image = image,
                Effect::SnakeCase => form.snake_case = true,
                Effect::Ending(_) => {}
            }
        }
        form
    }

    /// What the request `key` in `batch` ends as, which would otherwise end as `outcome`. Only
    /// images give way.
    pub(crate) fn shaped_outcome(&self, batch: &str, key: &str, outcome: Outcome) -> Outcome {
        if !matches!(outcome, Outcome::Image(_)) {
            return outcome;
        }
        let ending = self.effects(batch, key).find_map(|effect| match effect {
            Effect::Ending(ending) => Some(ending),
            Effect::Key(_) | Effect::Unwrapped | Effect::Image(_) | Effect::SnakeCase => None,
        });
        ending.unwrap_or(outcome)
    }

    /// What the shapes make of a line: of each kind at most one.
    fn effects<'a>(&'a self, batch: &'a str, key: &'a str) -> impl Iterator<Item = Effect> + 'a {
        let kinds = if self.shapes.is_empty() {
            &[][..]
        } else {
            &Kind::ALL
        };
        kinds.iter().filter_map(move |kind| {
            let drawn = Draw::about(self.seed, &[kind.name(), batch, key]).below(100);
            let mut share = 0;
            let of_kind = self
                .shapes
                .iter()
                .map(|rule| (rule.shape.effect(), rule.percent));
            let mut of_kind = of_kind.filter(|(effect, _)| effect.kind() == *kind);
            let meant = of_kind.find(|(_, percent)| {
                share += u64::from(*percent);
                drawn < share
            });
            meant.map(|(effect, _)| effect)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::outcome::Rendering;

    const IMAGE: Outcome = Outcome::Image(Rendering {
        after_thought: false,
        wrong_ratio: false,
        mislabelled: false,
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
    fn shapes_of_one_kind_share_their_hundred_percent() {
        let scenario = shaped(&["no-image:50", "error-text:50"]);
        let endings = (0..200).map(|n| scenario.shaped_outcome("b", &n.to_string(), IMAGE));
        let (texts, others): (Vec<_>, Vec<_>) =
            endings.partition(|ending| *ending == Outcome::Failed(ErrorForm::Text));
        assert!((60..=140).contains(&texts.len()), "{} of 200", texts.len());
        assert!(others.iter().all(|ending| *ending == Outcome::Refused(Refusal::Finished(FinishReason::NoImage))));
    }

    #[test]
    fn shapes_of_different_kinds_meet() {
        let form = shaped(&[
            "no-key:100",
            "data-url:100",
            "no-wrapper:100",
            "snake-case:100",
        ])
        .line_form("b", "k");
        let met = LineForm {
            key: KeyForm::Absent,
            unwrapped: true,
            snake_case: true,
            image: ImageForm::DataUrl,
        };
        assert_eq!(form, met);
        assert_eq!(Scenario::default().line_form("b", "k"), LineForm::default());
    }

    #[test]
    fn only_images_give_way_to_an_ending() {
        let scenario = shaped(&["empty-response:100"]);
        assert_eq!(
            scenario.shaped_outcome("b", "k", IMAGE),
            Outcome::EmptyResponse
        );
        for outcome in [
            Outcome::Missing,
            Outcome::NoReference,
            Outcome::InternalError,
        ] {
            assert_eq!(scenario.shaped_outcome("b", "k", outcome), outcome);
        }
    }

    #[test]
    fn every_shape_has_an_effect_of_its_own() {
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
    fn another_batch_draws_anew() {
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
