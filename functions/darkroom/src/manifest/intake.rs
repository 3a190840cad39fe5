//! Where items of every form arrive, are checked, and leave as expected images.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use super::{
    Context, Expected, Header, REPEATED_BYTES, Reading, Stop,
    check::check,
    item::Item,
    native,
    order::Order,
    path,
    problem::{Findings, Problem, Problems, quote_json},
    request,
    request_keys::RequestKeys,
    strict,
};
use crate::{
    cost::{self, Breakdown, Estimate},
    models::{Model, ModelError, Resolution},
    names::RequestKey,
};

/// Where an item stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) line: u64,
    /// What an item without a key is called after: `line` and 123 make `line-000123`.
    pub(super) nameless: (&'static str, u64),
}

/// Takes in items one by one.
pub(super) struct Intake<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) problems: Problems,
    header: &'a Header,
    sink: &'a mut dyn FnMut(Expected) -> io::Result<()>,
    keys: RequestKeys,
    /// Models that have been warned about.
    warned: BTreeSet<String>,
    defaults_unused: bool,
    last_line: u64,
    items: u64,
    images: u64,
    estimate: Estimate,
    breakdown: Breakdown,
    aliases: BTreeMap<String, String>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        header: &'a Header,
        context: &'a Context<'a>,
        sink: &'a mut dyn FnMut(Expected) -> io::Result<()>,
    ) -> Self {
        let mut problems = Problems::new(context.limits.problems);
        header.problems.iter().cloned().for_each(|problem| problems.push(problem));
        Self {
            context,
            problems,
            header,
            sink,
            keys: RequestKeys::default(),
            warned: BTreeSet::new(),
            defaults_unused: false,
            last_line: 1,
            items: 0,
            images: 0,
            estimate: Estimate::default(),
            breakdown: Breakdown::default(),
            aliases: BTreeMap::new(),
        }
    }

    /// Takes an item as JSON: friendly, or of Google's form.
    pub(super) fn take_json(&mut self, spot: Spot, text: &str) -> Result<(), Stop> {
        let refused = |code, message: String| Problem::error(spot.line, code, message);
        if let Err((code, message)) = strict::check(text) {
            self.items += 1;
            self.problems.push(refused(code, message));
            return Ok(());
        }
        let Some(members) = strict::members(text) else {
            self.items += 1;
            let message =
                format!("an item is an object such as {{\"key\": …, \"prompt\": …}}, not {}", quote_json(text));
            self.problems.push(refused("not_an_item", message));
            return Ok(());
        };
        if self.header.header_line == Some(spot.line) {
            if members.len() > 1 {
                let message = "the first line's manifest must stand alone: put the rest on a line of its own";
                self.problems.push(refused("not_an_item", message.to_owned()));
            }
            return Ok(());
        }
        if let [(name, _)] = &members[..]
            && name == "manifest"
        {
            let message = "what holds for all items stands on the first line, once: move it there";
            self.problems.push(refused("misplaced_header", message.to_owned()));
            return Ok(());
        }
        let mut findings = Findings::default();
        if !members.iter().any(|(name, _)| name == "request") {
            let item = Item::from_json(&members, &mut findings);
            return self.take_item(spot, item, findings);
        }
        let order = native::order(&members, self.context.bucket, &mut findings);
        match order {
            Some(mut order) => {
                self.apply_defaults(&mut order, &mut findings);
                self.take_order(spot, order, findings)
            }
            None => {
                self.items += 1;
                findings.into_problems(spot.line, None).for_each(|problem| self.problems.push(problem));
                Ok(())
            }
        }
    }

    /// Takes a friendly item, without the defaults yet.
    pub(super) fn take_item(&mut self, spot: Spot, item: Item, mut findings: Findings) -> Result<(), Stop> {
        let item = item.or(&self.header.defaults);
        let order = Order::from_item(item, self.context.bucket, &self.context.limits, &mut findings);
        self.take_order(spot, order, findings)
    }

    /// Totals and problems.
    pub(super) fn finish(mut self) -> Reading {
        if self.items == 0 && self.problems.errors == 0 {
            self.problems.push(Problem::error(1, "empty", "the manifest holds no items: add some and drop it again"));
        }
        if let Some(budget) = self.header.job.budget_usd
            && self.estimate.batch_usd > budget
        {
            let cost = self.estimate.batch_usd;
            let message =
                format!("the images will cost about {cost}, more than budget_usd {budget}: order fewer, or raise it");
            self.problems.push(Problem::error(1, "over_budget", message));
        }
        self.problems.close(self.last_line);
        Reading {
            errors: self.problems.errors,
            warnings: self.problems.warnings,
            problems: self.problems.listed,
            items: self.items,
            images: self.images,
            estimate: self.estimate,
            breakdown: self.breakdown,
            aliases: self.aliases,
        }
    }

    /// A request of Google's form is not touched: only the model and the path can come from the defaults.
    fn apply_defaults(&mut self, order: &mut Order, findings: &mut Findings) {
        let defaults = &self.header.defaults;
        let used = Item { model: defaults.model.clone(), path: defaults.path.clone(), ..Item::default() };
        if *defaults != used && !self.defaults_unused {
            self.defaults_unused = true;
            findings.warning(
                "defaults_unused",
                "requests of Google's form are sent as they are: of the defaults only model and output count for them",
            );
        }
        order.model = order.model.take().or(used.model);
        order.path = order.path.take().or(used.path);
    }

    fn take_order(&mut self, spot: Spot, mut order: Order, mut findings: Findings) -> Result<(), Stop> {
        self.items += 1;
        self.last_line = spot.line;
        let written = order.key.take();
        let item = written.clone().unwrap_or_else(|| format!("{}-{:06}", spot.nameless.0, spot.nameless.1));
        if written.is_none() {
            findings.warning(
                "missing_key",
                format!("the item has no key and is called {item}: give it one, so that its image keeps its name when lines move"),
            );
        }
        let count = order.count.min(self.context.limits.variants);
        let keys = self.keys.of_item(&item, count, spot.line, &mut findings);
        if let Some(Err(message)) = order.path.as_deref().map(path::check) {
            findings.error("bad_path", message);
        }
        let model = self.model(&order, &mut findings);
        if let Some(model) = model {
            check(&order, model, &mut findings);
        }
        let good = model.filter(|_| !findings.failed());
        let warned = self.problems.warnings;
        findings.into_problems(spot.line, written.as_deref()).for_each(|problem| self.problems.push(problem));
        let Some(model) = good else { return Ok(()) };
        self.breakdown.warn(model, order.image_size.as_deref(), self.problems.warnings - warned);
        for (variant, key) in (1..).zip(keys) {
            let image = expected(spot.line, &item, key, variant, &order, model);
            self.images += 1;
            self.estimate = self.estimate + image.estimate;
            self.breakdown.add(model, image.image_size.as_deref(), image.estimate);
            (self.sink)(image).map_err(Stop::Sink)?;
        }
        Ok(())
    }

    fn model(&mut self, order: &Order, findings: &mut Findings) -> Option<&'a Model> {
        let Context { catalogue, default_model, on, allow_retired_models, .. } = *self.context;
        let asked = order.model.as_deref().unwrap_or(default_model);
        match catalogue.resolve(asked, on, allow_retired_models) {
            Ok(Resolution { model, alias, warnings }) => {
                if let Some(alias) = alias {
                    self.aliases.insert(alias, model.id.clone());
                }
                if !warnings.is_empty() && self.warned.insert(model.id.clone()) {
                    warnings.into_iter().for_each(|warning| findings.warning("model", warning));
                }
                Some(model)
            }
            Err(error) => {
                let code = match error {
                    ModelError::Retired { .. } => "retired_model",
                    ModelError::Withdrawn { .. } => "withdrawn_model",
                    ModelError::Unknown { .. } => "unknown_model",
                };
                findings.error(code, error.to_string());
                None
            }
        }
    }
}

fn expected(line: u64, item: &str, key: String, variant: u32, order: &Order, model: &Model) -> Expected {
    let template = order.path.as_deref();
    // The template was checked before.
    let path = template.and_then(|template| path::fill(template, &values(&key, variant, order, model)).ok());
    let input_tokens = cost::input_tokens(model, order.characters, order.pictures);
    let mut expected = Expected {
        line,
        path: path.unwrap_or_else(|| key.clone()),
        key: RequestKey::new(key),
        item: item.to_owned(),
        variant,
        model: model.id.clone(),
        model_asked: order.model.clone(),
        aspect_ratio: order.aspect_ratio.clone(),
        image_size: order.image_size.clone(),
        refs: order.refs.clone(),
        prompt: order.prompt.clone(),
        request: request::request(order),
        input_tokens,
        estimate: cost::estimate(model, order.image_size.as_deref(), input_tokens),
        retry: None,
    };
    if expected.request.get().len() <= REPEATED_BYTES {
        expected.retry = Some(request::retry(order, &expected));
    }
    expected
}

fn values<'a>(key: &'a str, variant: u32, order: &'a Order, model: &'a Model) -> path::Values<'a> {
    path::Values {
        key,
        variant,
        variants: order.count,
        model: &model.id,
        aspect_ratio: order.aspect_ratio.as_deref().unwrap_or("auto"),
        image_size: order.image_size.as_deref().unwrap_or(&model.default_size),
        extension: match model.mime_type.as_str() {
            "image/png" => "png",
            "image/webp" => "webp",
            _ => "jpg",
        },
    }
}
