//! The number and the cost of a manifest's images, by model, size and lane.
//!
//! The lane of some images depends on all of them: that of `auto` images on their number, and that
//! of the proof on which images are in it. So the images are summed by what the manifest asks for,
//! and the lanes are decided at the end.

mod candidates;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::AddAssign,
};

use self::candidates::Candidates;
use super::{Diagnostic, Job, LaneChoice, Lanes, Proof, ProofReading, proof::ProofSelection};
use crate::{
    cost::{self, Breakdown, Estimate, Share, ShareKey, Thinking},
    lane::{Decision, Lane, RequestedLane, Rule, decide, duration, span},
    models::{Catalog, Model, ThinkingLevel},
    money::Usd,
};

/// Everything that the cost of an image depends on.
#[derive(Clone, Debug)]
pub(super) struct CountedImage {
    /// The line of its item.
    pub(super) line: u64,
    /// Its position among all images of the manifest, from 0.
    pub(super) position: u64,
    /// The full id of its model.
    pub(super) model: String,
    /// Its size, or that of the model if it names none.
    pub(super) size: String,
    /// The lane that the manifest asks for.
    pub(super) lane: RequestedLane,
    pub(super) thinking: Option<ThinkingLevel>,
    pub(super) input_tokens: u64,
}

/// What images cost in one lane.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LaneCost {
    pub(super) estimate: Estimate,
    /// The most that they can cost.
    pub(super) ceiling_usd: Usd,
    thinking: Thinking,
}

impl AddAssign for LaneCost {
    fn add_assign(&mut self, other: Self) {
        self.estimate = self.estimate + other.estimate;
        self.ceiling_usd += other.ceiling_usd;
        self.thinking = self.thinking + other.thinking;
    }
}

impl CountedImage {
    /// Returns the cost of the image in a lane. `fallback` is the lane of flex images for which
    /// Gemini has no capacity.
    pub(super) fn cost(&self, model: &Model, lane: Lane, fallback: Lane) -> LaneCost {
        let of = |lane| {
            let estimate = cost::estimate(model, lane, Some(&self.size), self.input_tokens);
            (
                estimate,
                cost::ceiling(model, lane, self.thinking, estimate),
            )
        };
        let (estimate, mut ceiling_usd) = of(lane);
        if lane == Lane::Flex {
            ceiling_usd = ceiling_usd.max(of(fallback).1);
        }
        LaneCost {
            estimate,
            ceiling_usd,
            thinking: Thinking::of_image(model, lane, self.thinking),
        }
    }
}

/// Images of the same model, the same size and the same requested lane.
#[derive(Debug, Default)]
struct ImageGroup {
    images: u64,
    warnings: u64,
    /// The cost of all of them, in each lane that they may get.
    costs: BTreeMap<Lane, LaneCost>,
}

/// A model, a size, and a lane, or `None` for `auto`.
type GroupKey = (String, String, Option<Lane>);

/// The images so far.
#[derive(Debug)]
pub(super) struct ImageTally<'a> {
    catalog: &'a Catalog,
    job: &'a Job,
    groups: BTreeMap<GroupKey, ImageGroup>,
    /// The images that may be in the proof, if the manifest asks for one.
    candidates: Option<Candidates>,
    images: u64,
}

/// The totals of a manifest.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) estimate: Estimate,
    pub(super) ceiling_usd: Usd,
    pub(super) breakdown: Breakdown,
    pub(super) lanes: Lanes,
    pub(super) proof: Option<ProofReading>,
    /// Errors about the proof.
    pub(super) errors: Vec<Diagnostic>,
    /// Warnings about lanes and times.
    pub(super) warnings: Vec<Diagnostic>,
}

impl<'a> ImageTally<'a> {
    pub(super) fn new(catalog: &'a Catalog, job: &'a Job) -> Self {
        Self {
            catalog,
            job,
            groups: BTreeMap::new(),
            candidates: job.proof.as_ref().map(Candidates::new),
            images: 0,
        }
    }

    /// Returns the number of images so far, which is the position of the next one.
    pub(super) fn images(&self) -> u64 {
        self.images
    }

    /// Records the keys of an item and its images, valid or not.
    pub(super) fn note_keys(&mut self, item: &str, keys: &[String]) {
        if let Some(candidates) = &mut self.candidates {
            candidates.note_key(item);
            keys.iter().for_each(|key| candidates.note_key(key));
        }
    }

    /// Counts warnings about an item.
    pub(super) fn warn(&mut self, model: &Model, size: &str, lane: RequestedLane, warnings: u64) {
        if warnings > 0 {
            let key = (model.id.clone(), size.to_owned(), lane.fixed());
            self.groups.entry(key).or_default().warnings += warnings;
        }
    }

    /// Counts an image. `item` is the key of its item, and `key` its request key.
    pub(super) fn add(&mut self, image: CountedImage, model: &Model, item: &str, key: &str) {
        self.images += 1;
        match &mut self.candidates {
            None => self.add_to_group(&image, model),
            Some(candidates) => {
                for image in candidates.offer(image, item, key) {
                    let Some(model) = self.model(&image.model) else {
                        continue;
                    };
                    self.add_to_group(&image, &model);
                }
            }
        }
    }

    /// Returns the most that an image can cost, whatever its lane will be.
    pub(super) fn ceiling(&self, image: &CountedImage, model: &Model) -> Usd {
        let of_proof = self.job.proof.as_ref().map(|proof| proof.lane);
        possible(image.lane, model)
            .chain(of_proof)
            .map(|lane| image.cost(model, lane, self.job.fallback()).ceiling_usd)
            .max()
            .unwrap_or_default()
    }

    fn add_to_group(&mut self, image: &CountedImage, model: &Model) {
        let key = (image.model.clone(), image.size.clone(), image.lane.fixed());
        let group = self.groups.entry(key).or_default();
        group.images += 1;
        for lane in possible(image.lane, model) {
            *group.costs.entry(lane).or_default() += image.cost(model, lane, self.job.fallback());
        }
    }

    /// Returns a model that an image had when it was counted.
    fn model(&self, id: &str) -> Option<Cow<'a, Model>> {
        let known = self.catalog.model(id).map(Cow::Borrowed);
        known.or_else(|| Some(Cow::Owned(self.catalog.stand_in(id)?.0)))
    }

    /// Decides the lanes, and returns the totals. `is_whole` is whether the keys of all items were
    /// recorded.
    pub(super) fn finish(mut self, is_whole: bool) -> Totals {
        let mut totals = Totals::default();
        self.finish_proof(is_whole, &mut totals);
        self.choose(&mut totals);
        self.warn_of_unused(&mut totals);

        // Each group now has one lane.
        for ((model, size, lane), group) in self.groups {
            let lane = lane.unwrap_or_else(|| totals.lanes.auto(&model));
            let cost = group.costs.get(&lane).copied().unwrap_or_default();
            // If all images of a group are in the proof, the warnings are about the proof.
            let of_proof = totals.proof.filter(|_| group.images == 0);
            let key = ShareKey {
                model,
                size,
                lane: of_proof.map_or(lane, |proof| proof.lane),
                is_proof: of_proof.is_some(),
            };
            totals.add(key, group.images, cost, group.warnings);
        }
        totals
    }

    /// Moves the images of the proof to the totals, and the other candidates to their groups.
    fn finish_proof(&mut self, is_whole: bool, totals: &mut Totals) {
        let (Some(candidates), Some(proof)) = (self.candidates.take(), &self.job.proof) else {
            return;
        };
        let selection = ProofSelection::new(proof, self.images);
        if is_whole {
            totals.errors.extend(candidates.unknown_keys(&selection));
        }

        // If nothing is left to hold, a proof would only cost more.
        let (mut selected, mut others) = candidates.finish(&selection);
        if selected.len() as u64 == self.images {
            others.append(&mut selected);
            totals.warnings.extend(everything(self.images));
        }

        // The lane of the other candidates is decided with that of all other images.
        for image in others {
            if let Some(model) = self.model(&image.model) {
                self.add_to_group(&image, &model);
            }
        }
        if !selected.is_empty() {
            totals.proof = Some(self.add_proof(selected, proof, totals));
            totals.lanes.proof = Some(selection);
        }
    }

    /// Adds the images of the proof to the totals, and returns their sum.
    fn add_proof(
        &self,
        selected: Vec<CountedImage>,
        proof: &Proof,
        totals: &mut Totals,
    ) -> ProofReading {
        let mut sum = ProofReading {
            images: selected.len() as u64,
            lane: proof.lane,
            hold: proof.hold,
            ..ProofReading::default()
        };
        let mut refused = BTreeSet::new();
        for image in selected {
            let Some(model) = self.model(&image.model) else {
                continue;
            };
            // One error for each model is enough, because the lane is set in one place.
            if model.rates(proof.lane).is_none() && refused.insert(model.id.clone()) {
                let message = format!(
                    "{} doesn't have the lane {} of job.proof: use {}",
                    model.id,
                    proof.lane,
                    lanes_of(&model)
                );
                totals
                    .errors
                    .push(Diagnostic::error(image.line, "bad_lane", message));
            }
            let cost = image.cost(&model, proof.lane, self.job.fallback());
            sum.estimate = sum.estimate + cost.estimate;
            let key = ShareKey {
                model: image.model,
                size: image.size,
                lane: proof.lane,
                is_proof: true,
            };
            totals.add(key, 1, cost, 0);
        }
        sum
    }

    /// Decides the lane of each model's `auto` images.
    fn choose(&self, totals: &mut Totals) {
        let mut images: BTreeMap<&str, u64> = BTreeMap::new();
        for ((model, ..), group) in self.groups.iter().filter(|((.., lane), _)| lane.is_none()) {
            *images.entry(model).or_default() += group.images;
        }
        for (id, images) in images.into_iter().filter(|(_, images)| *images > 0) {
            let Some(model) = self.model(id) else {
                continue;
            };
            let Decision { lane, rule } = decide(self.job.within, images, &model);

            // The price of the decision is the difference to a batch.
            let of_model = self
                .groups
                .iter()
                .filter(|((model, _, lane), _)| model == id && lane.is_none());
            let cost = |lane| -> Usd {
                let costs = of_model
                    .clone()
                    .filter_map(|(_, group)| group.costs.get(&lane));
                costs.map(|cost| cost.estimate.usd()).sum()
            };
            let more_usd = cost(lane) - cost(Lane::Batch);
            totals.lanes.choices.push(LaneChoice {
                model: id.to_owned(),
                lane,
                images,
                why: self.why(lane, rule, images, more_usd),
            });
            if rule == Rule::TooLate {
                let message = format!(
                    "{} by {id} take about {} in the lane {lane}, and job.within is {}: raise \
                     it, or request fewer images",
                    count(images),
                    span(duration(lane, images)),
                    span(self.job.within.unwrap_or_default()),
                );
                totals
                    .warnings
                    .push(Diagnostic::warning(1, "within_too_short", message));
            }
        }
    }

    /// Explains a decision in one line.
    fn why(&self, lane: Lane, rule: Rule, images: u64, more_usd: Usd) -> String {
        let what = count(images);
        let Some(within) = self.job.within else {
            return format!("{what} without job.within: {lane}, the lowest price");
        };
        let within = span(within);
        if lane == Lane::Batch {
            let takes = span(duration(lane, images));
            return format!("{what} within {within}: batch, which takes up to {takes}");
        }
        let price = if more_usd > Usd::ZERO {
            format!("+{more_usd} over batch")
        } else {
            "at the price of a batch".to_owned()
        };
        let late = if rule == Rule::TooLate {
            format!(
                ", although that takes about {}",
                span(duration(lane, images))
            )
        } else {
            String::new()
        };
        format!("{what} within {within}: {lane}, {price}{late}")
    }

    /// Warns of settings of the job that have no effect on any image.
    fn warn_of_unused(&self, totals: &mut Totals) {
        let mut lanes: BTreeSet<Option<Lane>> =
            self.groups.keys().map(|(.., lane)| *lane).collect();
        lanes.extend(totals.proof.map(|proof| Some(proof.lane)));
        let is_auto = lanes.contains(&None);
        let has = |lane| is_auto || lanes.contains(&Some(lane));
        let (job, rescues) = (self.job, self.job.rescue_lane().is_some());
        let unused = [
            (
                job.within.is_some() && !is_auto && !rescues,
                "within",
                "it decides the lane of images whose lane is auto, and when a batch is rescued: \
                 set \"lane\": \"auto\" or job.rescue, or remove it",
            ),
            (
                rescues && !has(Lane::Batch),
                "rescue",
                "no image is made in a batch: remove it",
            ),
            (
                job.flex_fallback.is_some() && !has(Lane::Flex),
                "flex_fallback",
                "no image has the lane flex: remove it",
            ),
        ];
        for (_, name, why) in unused.into_iter().filter(|(is_unused, ..)| *is_unused) {
            let message = format!("job.{name} has no effect: {why}");
            totals
                .warnings
                .push(Diagnostic::warning(1, "unused_setting", message));
        }
    }
}

impl Totals {
    fn add(&mut self, key: ShareKey, images: u64, cost: LaneCost, warnings: u64) {
        self.estimate = self.estimate + cost.estimate;
        self.ceiling_usd += cost.ceiling_usd;
        let share = Share {
            images,
            estimate: cost.estimate,
            thinking: cost.thinking,
            warnings,
        };
        self.breakdown.add(key, share);
    }
}

/// Returns the warning that a proof covers all images, unless there are none.
fn everything(images: u64) -> Option<Diagnostic> {
    let what = match images {
        0 => return None,
        1 => "the only image".to_owned(),
        images => format!("all {images} images"),
    };
    let message =
        format!("job.proof covers {what}, so no proof is made: remove it, or choose fewer images");
    Some(Diagnostic::warning(1, "proof_of_everything", message))
}

/// Returns the lanes that an image may get, without regard to the proof.
fn possible(lane: RequestedLane, model: &Model) -> impl Iterator<Item = Lane> {
    let fixed = lane.fixed();
    Lane::ALL.into_iter().filter(move |lane| match fixed {
        Some(fixed) => *lane == fixed,
        None => model.rates(*lane).is_some(),
    })
}

/// Returns the names of the lanes that a model has, for messages.
pub(super) fn lanes_of(model: &Model) -> String {
    let lanes = Lane::ALL
        .into_iter()
        .filter(|lane| model.rates(*lane).is_some());
    lanes.map(Lane::name).collect::<Vec<_>>().join(" or ")
}

fn count(images: u64) -> String {
    match images {
        1 => "1 image".to_owned(),
        images => format!("{images} images"),
    }
}
