//! Odd shapes of result lines: what the contract does not say, and what clients have met all the same.
//!
//! A rule is written `SHAPE:PERCENT`, as in `no-key:20`. Shapes of one kind exclude each other and share their hundred
//! percent; shapes of different kinds meet in one line.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    behaviour::Behaviour,
    draw::Draw,
    error_form::ErrorForm,
    faults::list,
    line_form::{ImageForm, KeyForm, LineForm},
    outcome::Outcome,
    refusal::{FinishReason, Refusal},
};

/// An odd shape of a result line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The line carries no key.
    NoKey,
    /// The key is a number in JSON. Only where the key is the digits of a number below 2^64, without leading zeros.
    NumericKey,
    /// The members of the response stand in the line itself, without `response` around them.
    NoWrapper,
    /// The data of the image is a whole `data:` URL instead of base64 alone.
    DataUrl,
    /// The only image part carries `thought: true`. It is the image all the same.
    ThoughtOnly,
    /// The image is the URI of a file instead of data.
    FileData,
    /// The image is a `data:` URL in a text part.
    ImageAsText,
    /// The names of the response's members are in snake_case.
    SnakeCase,
    /// An error with an HTTP code and the name of its status.
    ErrorHttp,
    /// An error that is one text.
    ErrorText,
    /// An error whose code is a text.
    ErrorCodeText,
    /// An error with the name of its status and no code.
    ErrorStatus,
    /// An error that says nothing.
    ErrorEmpty,
    /// A candidate that ended with `NO_IMAGE`.
    NoImage,
    /// A candidate that ended with `IMAGE_OTHER`.
    ImageOther,
    /// A candidate that ended with `OTHER`.
    Other,
    /// A candidate that ended with `MALFORMED_RESPONSE`.
    Malformed,
    /// A response without any member.
    EmptyResponse,
}

/// How many of the lines have a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ShapeRule {
    /// The shape.
    pub shape: Shape,
    /// So many of a hundred lines that could have it, drawn.
    pub percent: u8,
}

/// A text that is no [`ShapeRule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeRuleError {
    /// It has not two parts.
    #[error("a shape is written SHAPE:PERCENT, as in no-key:20")]
    Form,
    /// No such shape.
    #[error("{0:?} is no shape; there are {shapes}", shapes = list(Shape::NAMES.iter().map(|(_, name)| *name)))]
    Shape(String),
    /// No share.
    #[error("{0:?} is no share: write a whole number from 0 to 100")]
    Percent(String),
}

/// What a shape is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The line's key.
    Key,
    /// The member around the response.
    Wrapper,
    /// How an image is given.
    Image,
    /// How members are called.
    Names,
    /// What the line holds instead of an image.
    Ending,
}

impl Shape {
    /// All of them, with their names in rules.
    const NAMES: [(Self, &str); 18] = [
        (Self::NoKey, "no-key"),
        (Self::NumericKey, "numeric-key"),
        (Self::NoWrapper, "no-wrapper"),
        (Self::DataUrl, "data-url"),
        (Self::ThoughtOnly, "thought-only"),
        (Self::FileData, "file-data"),
        (Self::ImageAsText, "image-as-text"),
        (Self::SnakeCase, "snake-case"),
        (Self::ErrorHttp, "error-http"),
        (Self::ErrorText, "error-text"),
        (Self::ErrorCodeText, "error-code-text"),
        (Self::ErrorStatus, "error-status"),
        (Self::ErrorEmpty, "error-empty"),
        (Self::NoImage, "no-image"),
        (Self::ImageOther, "image-other"),
        (Self::Other, "other"),
        (Self::Malformed, "malformed"),
        (Self::EmptyResponse, "empty-response"),
    ];

    fn kind(self) -> Kind {
        match self {
            Self::NoKey | Self::NumericKey => Kind::Key,
            Self::NoWrapper => Kind::Wrapper,
            Self::DataUrl | Self::ThoughtOnly | Self::FileData | Self::ImageAsText => Kind::Image,
            Self::SnakeCase => Kind::Names,
            Self::ErrorHttp
            | Self::ErrorText
            | Self::ErrorCodeText
            | Self::ErrorStatus
            | Self::ErrorEmpty
            | Self::NoImage
            | Self::ImageOther
            | Self::Other
            | Self::Malformed
            | Self::EmptyResponse => Kind::Ending,
        }
    }

    /// What a request ends as that ends in this shape; nothing for a shape that leaves the line its image.
    fn ending(self) -> Option<Outcome> {
        let finished = |reason| Some(Outcome::Refused(Refusal::Finished(reason)));
        match self {
            Self::ErrorHttp => Some(Outcome::Failed(ErrorForm::Http)),
            Self::ErrorText => Some(Outcome::Failed(ErrorForm::Text)),
            Self::ErrorCodeText => Some(Outcome::Failed(ErrorForm::CodeText)),
            Self::ErrorStatus => Some(Outcome::Failed(ErrorForm::Status)),
            Self::ErrorEmpty => Some(Outcome::Failed(ErrorForm::Empty)),
            Self::NoImage => finished(FinishReason::NoImage),
            Self::ImageOther => finished(FinishReason::ImageOther),
            Self::Other => finished(FinishReason::Other),
            Self::Malformed => finished(FinishReason::MalformedResponse),
            Self::EmptyResponse => Some(Outcome::EmptyResponse),
            Self::NoKey
            | Self::NumericKey
            | Self::NoWrapper
            | Self::DataUrl
            | Self::ThoughtOnly
            | Self::FileData
            | Self::ImageAsText
            | Self::SnakeCase => None,
        }
    }
}

impl Kind {
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

impl Behaviour {
    /// How the line of the request `key` in `batch` is written.
    pub(super) fn line_form(&self, batch: &str, key: &str) -> LineForm {
        let drawn = |kind| self.shape(kind, batch, key);
        LineForm {
            key: match drawn(Kind::Key) {
                Some(Shape::NoKey) => KeyForm::Absent,
                Some(Shape::NumericKey) => KeyForm::Number,
                _ => KeyForm::Text,
            },
            unwrapped: drawn(Kind::Wrapper).is_some(),
            snake_case: drawn(Kind::Names).is_some(),
            image: match drawn(Kind::Image) {
                Some(Shape::DataUrl) => ImageForm::DataUrl,
                Some(Shape::ThoughtOnly) => ImageForm::OnlyThought,
                Some(Shape::FileData) => ImageForm::FileData,
                Some(Shape::ImageAsText) => ImageForm::Text,
                _ => ImageForm::InlineData,
            },
        }
    }

    /// What the request `key` in `batch` ends as, which would otherwise end as `outcome`. Only images give way.
    pub(super) fn shaped_outcome(&self, batch: &str, key: &str, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Image(_) => self.shape(Kind::Ending, batch, key).and_then(Shape::ending).unwrap_or(outcome),
            Outcome::Refused(_)
            | Outcome::EmptyResponse
            | Outcome::InternalError
            | Outcome::Failed(_)
            | Outcome::NoReference
            | Outcome::Unserved
            | Outcome::Missing => outcome,
        }
    }

    fn shape(&self, kind: Kind, batch: &str, key: &str) -> Option<Shape> {
        let mut rules = self.shapes.iter().filter(|rule| rule.shape.kind() == kind).peekable();
        rules.peek()?;
        let drawn = Draw::about(self.seed, &[kind.name(), batch, key]).below(100);
        let mut share = 0;
        let meant = rules.find(|rule| {
            share += u64::from(rule.percent);
            drawn < share
        });
        meant.map(|rule| rule.shape)
    }
}

impl fmt::Display for ShapeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Shape::NAMES.iter().find(|(shape, _)| *shape == self.shape).map_or("", |(_, name)| name);
        write!(f, "{name}:{}", self.percent)
    }
}

impl FromStr for ShapeRule {
    type Err = ShapeRuleError;

    fn from_str(text: &str) -> Result<Self, ShapeRuleError> {
        let (name, percent) = text.split_once(':').ok_or(ShapeRuleError::Form)?;
        let named = Shape::NAMES.iter().find(|(_, known)| *known == name);
        let (shape, _) = named.ok_or_else(|| ShapeRuleError::Shape(name.to_owned()))?;
        // A percent sign is as usual elsewhere.
        let share = percent.strip_suffix('%').unwrap_or(percent).parse().ok().filter(|share| *share <= 100);
        let percent = share.ok_or_else(|| ShapeRuleError::Percent(percent.to_owned()))?;
        Ok(Self { shape: *shape, percent })
    }
}

impl From<ShapeRule> for String {
    fn from(rule: ShapeRule) -> Self {
        rule.to_string()
    }
}

impl TryFrom<String> for ShapeRule {
    type Error = ShapeRuleError;

    fn try_from(text: String) -> Result<Self, ShapeRuleError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::outcome::Rendering, *};

    const IMAGE: Outcome = Outcome::Image(Rendering { after_thought: false, wrong_ratio: false, mislabelled: false });

    fn shaped(rules: &[&str]) -> Behaviour {
        Behaviour { shapes: rules.iter().map(|rule| rule.parse().expect("valid")).collect(), ..Behaviour::default() }
    }

    #[test]
    fn shapes_of_one_kind_share_their_hundred_percent() {
        let behaviour = shaped(&["no-image:50", "error-text:50"]);
        let endings = (0..200).map(|n| behaviour.shaped_outcome("b", &n.to_string(), IMAGE));
        let (texts, others): (Vec<_>, Vec<_>) = endings.partition(|ending| *ending == Outcome::Failed(ErrorForm::Text));
        assert!((60..=140).contains(&texts.len()), "{} of 200", texts.len());
        assert!(others.iter().all(|ending| *ending == Outcome::Refused(Refusal::Finished(FinishReason::NoImage))));
    }

    #[test]
    fn shapes_of_different_kinds_meet() {
        let form = shaped(&["no-key:100", "data-url:100", "no-wrapper:100", "snake-case:100"]).line_form("b", "k");
        let met = LineForm { key: KeyForm::Absent, unwrapped: true, snake_case: true, image: ImageForm::DataUrl };
        assert_eq!(form, met);
        assert_eq!(Behaviour::default().line_form("b", "k"), LineForm::default());
    }

    #[test]
    fn only_images_give_way_to_an_ending() {
        let behaviour = shaped(&["empty-response:100"]);
        assert_eq!(behaviour.shaped_outcome("b", "k", IMAGE), Outcome::EmptyResponse);
        for outcome in [Outcome::Missing, Outcome::NoReference, Outcome::InternalError] {
            assert_eq!(behaviour.shaped_outcome("b", "k", outcome), outcome);
        }
    }

    #[test]
    fn every_shape_has_an_effect() {
        for (shape, name) in Shape::NAMES {
            let behaviour = shaped(&[&format!("{name}:100")]);
            let same = behaviour.line_form("b", "1") == LineForm::default()
                && behaviour.shaped_outcome("b", "1", IMAGE) == IMAGE;
            assert!(!same, "{shape:?}");
        }
    }

    #[test]
    fn another_batch_draws_anew() {
        let behaviour = shaped(&["no-key:50"]);
        let forms = |batch: &str| (0..60).map(|n| behaviour.line_form(batch, &n.to_string())).collect::<Vec<_>>();
        assert_eq!(forms("one"), forms("one"));
        assert_ne!(forms("one"), forms("two"));
    }

    #[test]
    fn wrong_rules_say_what_there_is() {
        let told = |text: &str| text.parse::<ShapeRule>().expect_err("wrong").to_string();
        assert!(told("no-key").contains("SHAPE:PERCENT"));
        assert!(told("keyless:5").starts_with("\"keyless\" is no shape; there are no-key, numeric-key, "));
        assert_eq!(told("no-key:101"), "\"101\" is no share: write a whole number from 0 to 100");
        assert!("no-key:20%".parse() == Ok(ShapeRule { shape: Shape::NoKey, percent: 20 }));
    }

    proptest! {
        #[test]
        fn rule_that_is_written_is_read_again(
            named in proptest::sample::select(Shape::NAMES.to_vec()),
            percent in 0..=100_u8,
        ) {
            let rule = ShapeRule { shape: named.0, percent };
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }
    }
}
