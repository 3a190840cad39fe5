//! The quote for a manifest: its images and their cost by model, size and lane, as a table or as
//! JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use darkroom::{
    cost::{self, Share, ShareKey, Thinking},
    lane::Lane,
    manifest::{Diagnostic, LaneChoice, Reading},
    models::Catalog,
    money::Usd,
    names::JobId,
    plan::Forecast,
};
use serde::Serialize;

use super::{check::count, manifest_file::CheckedManifest};

/// The quote for a manifest, in the form in which `darkroom check --json` prints it. Programs rely
/// on the names of its fields.
///
/// ```json
/// {"job":"catalog-…","accepted":true,"items":23,"images":27,
///  "aliases":{"nano-banana-2":"gemini-…"},
///  "rows":[{"model":"gemini-…","size":"1K","lane":"batch","images":24,"each_usd":0.0168,
///           "total_usd":0.419614,…}],
///  "total":{"images":27,"total_usd":0.627404,…},
///  "thinking":{"min_tokens":8220,"max_tokens":16740,"min":{"batch_usd":…},…},
///  "errors":0,"warnings":0,"problems":[]}
/// ```
#[derive(Debug, Serialize)]
pub(super) struct Quote {
    /// The job that the manifest becomes.
    job: JobId,
    /// Whether the manifest has no errors. If it has errors, only its items and problems are
    /// counted.
    accepted: bool,
    /// The items of the manifest.
    items: u64,
    /// The images that the items request.
    images: u64,
    /// The model families that the manifest names, each with the model that it currently means.
    aliases: BTreeMap<String, String>,
    /// The images and their cost by model, size and lane.
    rows: Vec<Row>,
    /// The sum of all rows.
    total: Total,
    /// The lanes that were chosen for images with the lane `auto`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lanes: Vec<LaneChoice>,
    /// The images that are made first, if the manifest asks for a proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<QuotedProof>,
    /// What thinking may cost in addition to the total.
    thinking: Thinking,
    /// How long the job takes, if that is longer than a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    forecast: Option<Forecast>,
    /// The number of errors, including those that are not listed.
    errors: u64,
    /// The number of warnings, including those that are not listed.
    warnings: u64,
    /// Errors and warnings, in the order of their lines.
    problems: Vec<Diagnostic>,
}

/// The images that are made before the others. Both parts are counted in the total.
#[derive(Debug, Serialize)]
struct QuotedProof {
    /// The lane of the proof.
    lane: Lane,
    /// Whether the other images wait until the proof is approved.
    hold: bool,
    #[serde(flatten)]
    total: Total,
    /// The other images.
    rest: Rest,
}

/// The images that are not in the proof.
#[derive(Debug, Serialize)]
struct Rest {
    /// Their lanes.
    lanes: BTreeSet<Lane>,
    #[serde(flatten)]
    total: Total,
}

/// The images of one model, size and lane.
#[derive(Debug, Serialize)]
struct Row {
    model: String,
    size: String,
    lane: Lane,
    /// The list price of one image, without input tokens.
    each_usd: Usd,
    /// Warnings about the items that request these images.
    warnings: u64,
    #[serde(flatten)]
    total: Total,
    /// What thinking may cost in addition to the total.
    thinking: Thinking,
}

/// The cost of images, including input tokens.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Total {
    images: u64,
    total_usd: Usd,
    interactive_total_usd: Usd,
    saved_usd: Usd,
}

impl Quote {
    /// Creates the quote for the manifest of `job`.
    pub(super) fn new(job: &JobId, manifest: &CheckedManifest, catalog: &Catalog) -> Self {
        // A manifest with errors buys nothing, so it has no price.
        let reading = &manifest.reading;
        let accepted = reading.errors == 0;
        let (images, estimate) = if accepted {
            (reading.images, reading.estimate)
        } else {
            Default::default()
        };

        Self {
            job: job.clone(),
            accepted,
            items: reading.items,
            images,
            aliases: reading.aliases.clone(),
            rows: if accepted {
                rows(reading, catalog)
            } else {
                Vec::new()
            },
            total: Total::new(images, estimate),
            lanes: if accepted {
                reading.lanes.choices().to_vec()
            } else {
                Vec::new()
            },
            proof: QuotedProof::of(reading).filter(|_| accepted),
            thinking: if accepted {
                reading.breakdown.thinking()
            } else {
                Thinking::default()
            },
            forecast: manifest.forecast.clone().filter(|_| accepted),
            errors: reading.errors,
            warnings: reading.warnings,
            problems: reading.problems.clone(),
        }
    }

    /// Returns the lines of the table. The last one is the total, unless there is only one row.
    pub(super) fn table(&self) -> Vec<String> {
        let heads = [
            "images",
            "model",
            "size",
            "lane",
            "each",
            "total",
            "interactive",
            "saved",
            "warnings",
        ];
        let mut cells = vec![heads.map(str::to_owned)];
        cells.extend(self.rows.iter().map(Row::cells));

        // A total below a single row would repeat it.
        if self.rows.len() > 1 {
            let [images, total, interactive, saved] = self.total.cells();
            let none = String::new;
            let warnings = self
                .rows
                .iter()
                .map(|row| row.warnings)
                .sum::<u64>()
                .to_string();
            cells.push([
                images,
                "total".to_owned(),
                none(),
                none(),
                none(),
                total,
                interactive,
                saved,
                warnings,
            ]);
        }
        aligned(&cells)
    }

    /// Returns a line for each model that thinks, with what thinking may cost in addition.
    pub(super) fn thinking(&self) -> Vec<String> {
        // Thinking does not depend on the size, so the sizes of a model are summed.
        let mut models: BTreeMap<&str, (u64, Thinking)> = BTreeMap::new();
        for row in &self.rows {
            let (images, thinking) = models.entry(&row.model).or_default();
            *images += row.total.images;
            *thinking = *thinking + row.thinking;
        }

        // The model is named only if there is more than one.
        let several = models.len() > 1;
        let line = |(model, (images, thinking)): (&str, (u64, Thinking))| {
            let by_model = if several {
                format!(" by {model}")
            } else {
                String::new()
            };
            let [fewest, most] =
                [thinking.min_tokens, thinking.max_tokens].map(|tokens| tokens.checked_div(images));
            let tokens = range(fewest?, most?);
            let usd = range(thinking.min.usd(), thinking.max.usd());
            (thinking.max_tokens > 0)
                .then(|| format!("thinking{by_model}, about {tokens} tokens per image: + {usd}"))
        };
        models.into_iter().filter_map(line).collect()
    }

    /// Returns the total cost as text: `about $0.63, plus $0.03 to $0.06 for thinking`.
    pub(super) fn price(&self) -> String {
        let Thinking {
            max_tokens,
            min,
            max,
            ..
        } = self.thinking;
        let total = self.total.total_usd;
        match max_tokens {
            0 => format!("about {total}"),
            _ => format!(
                "about {total}, plus {} for thinking",
                range(min.usd(), max.usd())
            ),
        }
    }

    /// Returns a line for each decision about the lane `auto`.
    pub(super) fn lanes(&self) -> Vec<String> {
        // The model is named only if there is more than one.
        let several = self.lanes.len() > 1;
        let line = |choice: &LaneChoice| match several {
            true => format!("auto, {}: {}", choice.model, choice.why),
            false => format!("auto: {}", choice.why),
        };
        self.lanes.iter().map(line).collect()
    }

    /// Returns what is made before the rest, if the manifest asks for a proof: `proof: 4 images now
    /// (interactive, about $0.14), 56 held until approved (batch, about $0.94)`.
    pub(super) fn proof(&self) -> Option<String> {
        let QuotedProof {
            lane,
            hold,
            total,
            rest,
        } = self.proof.as_ref()?;
        let lanes: Vec<&str> = rest.lanes.iter().map(|lane| lane.name()).collect();
        Some(format!(
            "proof: {} now ({lane}, about {}), {} {} ({}, about {})",
            count(total.images, "image"),
            total.total_usd,
            rest.total.images,
            if *hold {
                "held until approved"
            } else {
                "at the same time"
            },
            lanes.join(" and "),
            rest.total.total_usd
        ))
    }

    /// Returns how long the job takes, if that is longer than a day.
    pub(super) fn forecast(&self) -> Option<&Forecast> {
        self.forecast.as_ref()
    }

    /// Whether the manifest has no errors.
    pub(super) fn is_accepted(&self) -> bool {
        self.accepted
    }

    /// Returns the number of images and the number of items.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.images, self.items)
    }
}

fn rows(reading: &Reading, catalog: &Catalog) -> Vec<Row> {
    // Images of the proof cost as much as other images in their lane.
    let mut shares: BTreeMap<(&str, &str, Lane), Share> = BTreeMap::new();
    for (key, share) in reading.breakdown.shares() {
        *shares.entry((&key.model, &key.size, key.lane)).or_default() += *share;
    }
    let row = |((id, size, lane), share): ((&str, &str, Lane), Share)| {
        let model = catalog.priced(id)?;
        Some(Row {
            model: id.to_owned(),
            size: size.to_owned(),
            lane,
            each_usd: cost::estimate(model, lane, Some(size), 0).usd(),
            warnings: share.warnings,
            total: Total::new(share.images, share.estimate),
            thinking: share.thinking,
        })
    };
    shares.into_iter().filter_map(row).collect()
}

impl QuotedProof {
    fn of(reading: &Reading) -> Option<Self> {
        let proof = reading.proof?;
        let mut rest = Share::default();
        let others = reading.breakdown.shares().filter(|(key, _)| !key.is_proof);
        let lanes = others.clone().map(|(key, _)| key.lane).collect();
        others.for_each(|(_, share): (&ShareKey, &Share)| rest += *share);
        Some(Self {
            lane: proof.lane,
            hold: proof.hold,
            total: Total::new(proof.images, proof.estimate),
            rest: Rest {
                lanes,
                total: Total::new(rest.images, rest.estimate),
            },
        })
    }
}

/// Returns a range as text: `330 to 620`, or one number if both are the same.
fn range<T: PartialEq + Display>(least: T, most: T) -> String {
    if least == most {
        most.to_string()
    } else {
        format!("{least} to {most}")
    }
}

impl Row {
    fn cells(&self) -> [String; 9] {
        let [images, total, interactive, saved] = self.total.cells();
        let (model, size, each) = (
            self.model.clone(),
            self.size.clone(),
            self.each_usd.to_string(),
        );
        [
            images,
            model,
            size,
            self.lane.name().to_owned(),
            each,
            total,
            interactive,
            saved,
            self.warnings.to_string(),
        ]
    }
}

impl Total {
    fn new(images: u64, estimate: cost::Estimate) -> Self {
        let (total_usd, interactive_total_usd) = (estimate.usd(), estimate.interactive_usd);
        Self {
            images,
            total_usd,
            interactive_total_usd,
            saved_usd: interactive_total_usd - total_usd,
        }
    }

    fn cells(self) -> [String; 4] {
        let Self {
            images,
            total_usd,
            interactive_total_usd,
            saved_usd,
        } = self;
        [
            images.to_string(),
            total_usd.to_string(),
            interactive_total_usd.to_string(),
            saved_usd.to_string(),
        ]
    }
}

/// Aligns the cells of a table in columns: text to the left, numbers to the right.
fn aligned(cells: &[[String; 9]]) -> Vec<String> {
    let width = |column: usize| {
        cells
            .iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..9).map(width).collect();
    let line = |row: &[String; 9]| {
        let of = |(column, cell): (usize, &String)| match (widths[column], column) {
            (width, 1..=3) => format!("  {cell:<width$}"),
            (width, _) => format!("  {cell:>width$}"),
        };
        row.iter().enumerate().map(of).collect::<String>()
    };
    cells.iter().map(line).collect()
}
