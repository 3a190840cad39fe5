//! Random scenes: outages, unusual outputs, unusual lines.
//!
//! Everything here is transient and needs no operator: what was paid for must arrive as long as
//! Gemini keeps it.

use std::time::Duration;

use fastrand::Rng;
use gemini_sim::{
    ArrayRule, ArrayStyle, DoneFlag, LateOutputRule, Outage, Scenario, Selector, Shape, ShapeRule,
};
use http::StatusCode;
use jiff::SignedDuration;

use super::{outage::AwsOutage, request::Service, world::Kind};

/// The calls that an outage affects, with the possible responses. Responses that need an operator,
/// such as a permanent refusal of a create call, are not among them.
const GEMINI_OUTAGES: [(&str, &[&str]); 8] = [
    (
        "any",
        &[
            "503",
            "429",
            "429-prepaid",
            "401",
            "key-invalid",
            "html",
            "429-forever",
        ],
    ),
    (
        "downloads",
        &[
            "503",
            "429",
            "429-day",
            "429-prepaid",
            "403",
            "404",
            "html",
            "empty",
            "cut",
            "500",
        ],
    ),
    (
        "get-batch",
        &[
            "503",
            "429",
            "429-prepaid",
            "401",
            "404",
            "html",
            "empty",
            "429-forever",
        ],
    ),
    (
        "list-batches",
        &["503", "429", "429-prepaid", "401", "html", "empty", "504"],
    ),
    (
        "uploads",
        &["503", "429", "403", "html", "500", "lost-reply"],
    ),
    (
        "create-batch",
        &["503", "429", "403", "html", "lost-reply", "empty"],
    ),
    ("cancel-batch", &["503", "429", "401"]),
    ("delete-file", &["503", "429", "404", "401"]),
];

/// The durations of outages in minutes, up to more than a week.
const MINUTES: [u64; 8] = [5, 30, 90, 240, 12 * 60, 30 * 60, 80 * 60, 200 * 60];

/// Returns a random outage of Gemini.
pub(crate) fn gemini_outage(rng: &mut Rng) -> Outage {
    let (call, answers) = GEMINI_OUTAGES[rng.usize(..GEMINI_OUTAGES.len())];
    let answer = answers[rng.usize(..answers.len())];
    // An upload or a create call that is refused for a week fails at its deadline. The longest
    // outages are therefore left out for these calls.
    let minutes = MINUTES[rng
        .usize(..MINUTES.len() - usize::from(matches!(call, "uploads" | "create-batch" | "any")))];
    let from = rng.u64(0..180);
    let rule = format!("{call}:{answer}:{from}m..{}m", from + minutes);
    rule.parse()
        .unwrap_or_else(|error| unreachable!("{rule}: {error}"))
}

/// Returns a random outage of S3 or SQS.
pub(crate) fn aws_outage(rng: &mut Rng) -> AwsOutage {
    let service = if rng.u8(..3) == 0 {
        Service::Sqs
    } else {
        Service::S3
    };
    let from = SignedDuration::from_mins(rng.i64(0..180));
    let minutes = [5, 30, 90, 240, 12 * 60][rng.usize(..5)];
    let is_s3 = service == Service::S3;
    AwsOutage {
        service,
        writes_only: is_s3 && rng.bool(),
        images_only: is_s3 && rng.u8(..3) == 0,
        status: if rng.bool() {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::FORBIDDEN
        },
        from,
        until: from + SignedDuration::from_mins(minutes),
    }
}

/// Returns one or two unusual shapes for some or all result lines.
pub(crate) fn shapes(rng: &mut Rng) -> Vec<ShapeRule> {
    let all = [
        Shape::NoKey,
        Shape::NoWrapper,
        Shape::DataUrl,
        Shape::ThoughtOnly,
        Shape::FileData,
        Shape::ImageAsText,
        Shape::SnakeCase,
        Shape::ErrorHttp,
        Shape::ErrorText,
        Shape::ErrorCodeText,
        Shape::ErrorStatus,
        Shape::ErrorEmpty,
        Shape::NoImage,
        Shape::ImageOther,
        Shape::Other,
        Shape::Malformed,
        Shape::EmptyResponse,
    ];
    let mut drawn = Vec::new();
    for _ in 0..rng.usize(1..=2) {
        let (shape, percent) = (all[rng.usize(..all.len())], [10, 40, 100][rng.usize(..3)]);
        // The percentages must not exceed 100 in total.
        let total: u8 = drawn.iter().map(|rule: &ShapeRule| rule.percent).sum();
        if total + percent <= 100 {
            drawn.push(ShapeRule { shape, percent });
        }
    }
    drawn
}

/// Returns `scenario` with outputs that may be late, an array, or inline in the batch.
pub(crate) fn outputs(rng: &mut Rng, scenario: Scenario) -> Scenario {
    let late = [2, 50, 90, 20 * 60].map(|minutes| LateOutputRule {
        delay: Duration::from_secs(minutes * 60),
        which: Selector::Percent(50),
    });
    let is_array = rng.u8(..5) == 0;
    let style = if rng.bool() {
        ArrayStyle::Compact
    } else {
        ArrayStyle::Lines
    };
    Scenario {
        late_outputs: if rng.u8(..3) == 0 {
            vec![late[rng.usize(..late.len())]]
        } else {
            Vec::new()
        },
        done: [DoneFlag::Early, DoneFlag::Late, DoneFlag::Absent][rng.usize(..3)],
        without_counts: rng.u8(..4) == 0,
        inline_outputs: if rng.u8(..6) == 0 {
            vec![Selector::Percent(100)]
        } else {
            Vec::new()
        },
        arrays: if is_array {
            vec![ArrayRule {
                which: Selector::Percent(100),
                style: Some(style),
            }]
        } else {
            Vec::new()
        },
        ..scenario
    }
}

/// The responses of an outage of synchronous calls. Refusals that end a request are not among them.
const CALL_OUTAGES: [&str; 10] = [
    "503",
    "429",
    "429-day",
    "429-prepaid",
    "401",
    "html",
    "500",
    "lost-reply",
    "empty",
    "cut",
];

/// Returns `scenario` with what concerns single requests, if a manifest has some: little capacity
/// for the flex tier, an outage of calls, and batches that are too late.
pub(crate) fn lanes(rng: &mut Rng, manifests: &[Kind], scenario: Scenario) -> Scenario {
    let has_calls = |kind: &Kind| !matches!(kind, Kind::Batch(_));
    if !manifests.iter().any(has_calls) {
        return scenario;
    }
    let mut outages = scenario.outages.clone();
    if rng.u8(..3) == 0 {
        let (answer, from) = (
            CALL_OUTAGES[rng.usize(..CALL_OUTAGES.len())],
            rng.u64(0..60),
        );
        let until = from + [5, 30, 90, 240][rng.usize(..4)];
        let rule = format!("generate-content:{answer}:{from}m..{until}m");
        outages.push(
            rule.parse()
                .unwrap_or_else(|error| unreachable!("{rule}: {error}")),
        );
    }
    let has_rescue = manifests.iter().any(|kind| matches!(kind, Kind::Rescue(_)));
    let (shortest, longest) = if has_rescue && rng.bool() {
        (90_000, 100_000)
    } else {
        (
            scenario.shortest_batch_seconds,
            scenario.longest_batch_seconds,
        )
    };
    Scenario {
        outages,
        flex_capacity_percent: [100, 100, 40, 0][rng.usize(..4)],
        shortest_batch_seconds: shortest,
        longest_batch_seconds: longest,
        ..scenario
    }
}
