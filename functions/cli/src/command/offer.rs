//! What a manifest asks for and what it would cost, by model and size: for people as a table, for
//! programs as JSON.

use std::{collections::BTreeMap, fmt::Display};

use darkroom::{
    cost::{self, Thinking, Usd},
    manifest::{Diagnostic, Reading},
    models::Catalog,
    names::JobId,
    plan::Forecast,
    results::Lane,
};
use serde::Serialize;

use super::dropped::Order;

/// What a manifest would do, as `darkroom check --json` prints it. The names of its members stay as
/// they are.
///
/// ```json
/// {"job":"catalog-…","accepted":true,"items":23,"images":27,"aliases":{"nano-banana-2":"gemini-…"},
///  "rows":[{"model":"gemini-…","size":"1K","lane":"batch","images":24,"each_usd":0.0168,"total_usd":0.419614,…}],
///  "total":{"images":27,"total_usd":0.627404,…},"thinking":{"min_tokens":8220,"max_tokens":16740,"min":{"batch_usd":…},…},
///  "errors":0,"warnings":0,"problems":[]}
/// ```
#[derive(Debug, Serialize)]
pub(super) struct Offer {
    /// The job that dropping it means.
    job: JobId,
    /// Whether it can be dropped. Of a manifest that can't, nothing is counted but its items and
    /// problems.
    accepted: bool,
    /// Items of the manifest.
    items: u64,
    /// Images they ask for.
    images: u64,
    /// The families' names that were used, each with the model it leads to today.
    aliases: BTreeMap<String, String>,
    /// By model and size.
    rows: Vec<Row>,
    /// All of them.
    total: Total,
    /// What the models' thoughts may cost on top of that.
    thinking: Thinking,
    /// How long it takes, where that is longer than a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    forecast: Option<Forecast>,
    /// All errors, also those that aren't listed.
    errors: u64,
    /// All warnings, also those that aren't listed.
    warnings: u64,
    /// What is wrong, or odd, line by line.
    problems: Vec<Diagnostic>,
}

/// Images of one model and size.
#[derive(Debug, Serialize)]
struct Row {
    model: String,
    size: String,
    lane: Lane,
    /// The published price of one image, without its input.
    each_usd: Usd,
    /// Warnings about the items that ask for them.
    warnings: u64,
    #[serde(flatten)]
    total: Total,
    /// What the thoughts about them may cost on top.
    thinking: Thinking,
}

/// What images come to, input tokens included.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Total {
    images: u64,
    total_usd: Usd,
    interactive_total_usd: Usd,
    saved_usd: Usd,
}

impl Offer {
    /// What was read of the manifest of `job`.
    pub(super) fn new(job: &JobId, order: &Order, catalog: &Catalog) -> Self {
        let reading = &order.reading;
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
            thinking: if accepted {
                reading.breakdown.thinking()
            } else {
                Thinking::default()
            },
            forecast: order.forecast.clone().filter(|_| accepted),
            errors: reading.errors,
            warnings: reading.warnings,
            problems: reading.problems.clone(),
        }
    }

    /// The table, a line each; with a total, unless there is but one.
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

    /// What thinking may cost on top of the table, a line for each model that thinks.
    pub(super) fn thinking(&self) -> Vec<String> {
        let mut models: BTreeMap<&str, (u64, Thinking)> = BTreeMap::new();
        for row in &self.rows {
            let (images, thinking) = models.entry(&row.model).or_default();
            *images += row.total.images;
            *thinking = *thinking + row.thinking;
        }
        let several = models.len() > 1;
        let line = |(model, (images, thinking)): (&str, (u64, Thinking))| {
            let of_model = if several {
                format!(" of {model}")
            } else {
                String::new()
            };
            let [fewest, most] =
                [thinking.min_tokens, thinking.max_tokens].map(|tokens| tokens.checked_div(images));
            let tokens = range(fewest?, most?);
            let usd = range(thinking.min.batch_usd, thinking.max.batch_usd);
            (thinking.max_tokens > 0)
                .then(|| format!("thinking{of_model}, about {tokens} tokens an image: + {usd}"))
        };
        models.into_iter().filter_map(line).collect()
    }

    /// What all of it may cost: `about $0.63, and $0.03 to $0.06 for thinking`.
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
                "about {total}, and {} for thinking",
                range(min.batch_usd, max.batch_usd)
            ),
        }
    }

    /// How long it takes, where that is longer than a day.
    pub(super) fn forecast(&self) -> Option<&Forecast> {
        self.forecast.as_ref()
    }

    /// How many images of how many items.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.images, self.items)
    }
}

fn rows(reading: &Reading, catalog: &Catalog) -> Vec<Row> {
    let row = |(id, size, share): (&str, &str, &cost::Share)| {
        let model = catalog.priced(id)?;
        Some(Row {
            model: id.to_owned(),
            size: size.to_owned(),
            lane: Lane::Batch,
            each_usd: cost::estimate(model, Some(size), 0).batch_usd,
            warnings: share.warnings,
            total: Total::new(share.images, share.estimate),
            thinking: share.thinking,
        })
    };
    reading.breakdown.shares().filter_map(row).collect()
}

/// `330 to 620`, or one of them if they are the same.
fn range<T: PartialEq + Display>(least: T, most: T) -> String {
    if least == most {
        most.to_string()
    } else {
        format!("{least} to {most}")
    }
}

impl Row {
    fn cells(&self) -> [String; 9] {
        let lane = match self.lane {
            Lane::Batch => "batch",
            Lane::Interactive => "interactive",
        };
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
            lane.to_owned(),
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
        let (total_usd, interactive_total_usd) = (estimate.batch_usd, estimate.interactive_usd);
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

/// Lines whose cells stand below each other: words to the left, numbers to the right.
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
