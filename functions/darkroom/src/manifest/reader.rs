//! Where items of every form arrive, are checked, and leave as expected images.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
};

use serde_json::value::RawValue;

use super::{
    Context, Expected, Header, REPEATED_BYTES, Reading, Stop,
    diagnostics::{Findings, Problem, Problems, quote, quote_json},
    dialect::{bedrock, item::Item, native::line::Line, openai},
    format::input::Input,
    resolve::{
        generate_request, image_request::Order, model_check::check, nearest_size, paths,
        request_keys::RequestKeys,
    },
    strict_json,
};
use crate::{
    cost::{self, Breakdown, Estimate, Usd},
    models::{Model, ModelError, Resolution},
    names::RequestKey,
};

type Members<'a> = [(Cow<'a, str>, &'a RawValue)];

/// Where an item stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) line: u64,
    /// What an item without a key is called after: `line` and 123 make `line-000123`.
    pub(super) nameless: (&'static str, u64),
    /// Whether it is the row of a table, where rows without keys are counted and said once.
    pub(super) is_row: bool,
}

/// Takes in items one by one.
pub(super) struct Intake<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) problems: Problems,
    pub(super) header: &'a Header,
    /// The variables that items have, and whether a template or a path uses them.
    pub(super) variables: BTreeMap<String, bool>,
    /// Variables whose columns stand twice in the table: to use one is an error.
    pub(super) twice: HashSet<String>,
    /// Stored templates that were used.
    pub(super) templates: BTreeSet<String>,
    /// The variables that a table has columns for, in their order.
    pub(super) columns: Vec<String>,
    sink: &'a mut dyn FnMut(Expected) -> io::Result<()>,
    keys: RequestKeys,
    last_line: u64,
    items: u64,
    images: u64,
    estimate: Estimate,
    ceiling_usd: Usd,
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
        header
            .problems
            .iter()
            .cloned()
            .for_each(|problem| problems.push(problem));
        Self {
            context,
            problems,
            header,
            variables: BTreeMap::new(),
            twice: HashSet::new(),
            templates: BTreeSet::new(),
            columns: Vec::new(),
            sink,
            keys: RequestKeys::default(),
            last_line: 1,
            items: 0,
            images: 0,
            estimate: Estimate::default(),
            ceiling_usd: Usd::ZERO,
            breakdown: Breakdown::default(),
            aliases: BTreeMap::new(),
        }
    }

    /// Takes an item as JSON, in whichever form its members show.
    pub(super) fn take_json(&mut self, spot: Spot, text: &str) -> Result<(), Stop> {
        let refused = |code, message: String| Problem::error(spot.line, code, message);
        if let Err((code, message)) = strict_json::check(text) {
            self.items += 1;
            self.problems.push(refused(code, message));
            return Ok(());
        }
        let Some(members) = strict_json::members(text) else {
            self.items += 1;
            let message = format!(
                "an item is an object such as {{\"key\": …, \"prompt\": …}}, not {}",
                quote_json(text)
            );
            self.problems.push(refused("not_an_item", message));
            return Ok(());
        };
        if self.header.header_line == Some(spot.line) {
            if members.len() > 1 {
                let message =
                    "the first line's manifest must stand alone: put the rest on a line of its own";
                self.problems
                    .push(refused("not_an_item", message.to_owned()));
            }
            return Ok(());
        }
        if let [(name, _)] = &members[..]
            && name == "manifest"
        {
            let message = "what holds for all items stands on the first line, once: move it there";
            self.problems
                .push(refused("misplaced_header", message.to_owned()));
            return Ok(());
        }
        let mut findings = Findings::default();
        if Line::is_line(&members) {
            let line = Line::read(&members, &mut findings);
            return self.take_request(spot, line, findings);
        }
        if bedrock::is_line(&members) {
            return self.take_record(spot, &members, findings);
        }
        let item = if openai::is_line(&members) {
            let item = openai::item(&members, &mut findings);
            self.stand_in(item, &mut findings)
        } else {
            Item::from_json(&members, &mut findings)
        };
        self.take_item(spot, item, findings)
    }

    /// Takes every combination of the matrix, if there is one.
    pub(super) fn take_matrix(&mut self) -> Result<(), Stop> {
        let header = self.header;
        let Some(matrix) = &header.matrix else {
            return Ok(());
        };
        for (number, item) in (1..).zip(matrix.items()) {
            // A key of the defaults says better what is meant.
            let key = item.key.filter(|_| header.said.defaults.key.is_none());
            self.check_full()?;
            let spot = Spot {
                line: matrix.line,
                nameless: ("item", number),
                is_row: false,
            };
            self.take_item(spot, Item { key, ..item }, Findings::default())?;
        }
        let unused: Vec<&str> = matrix.variables().filter(|name| !self.uses(name)).collect();
        if !unused.is_empty() {
            let message = format!(
                "no template or path uses the axis {}: the same images would be paid for again and again; use it, or take it out",
                quote(&unused.join(", ")).trim_matches('"')
            );
            self.problems
                .push(Problem::error(matrix.line, "unused_axis", message));
            matrix.variables().for_each(|name| self.mark_used(name));
        }
        Ok(())
    }

    /// Takes a record of Bedrock's form.
    fn take_record(
        &mut self,
        spot: Spot,
        members: &Members<'_>,
        mut findings: Findings,
    ) -> Result<(), Stop> {
        let (key, input) = bedrock::read(members, &mut findings);
        let key_name = Some("recordId");
        match input {
            Some(bedrock::Input::Item(item)) => self.take_item(
                spot,
                Item {
                    key,
                    key_name,
                    ..*item
                },
                findings,
            ),
            Some(bedrock::Input::Request(request)) => {
                self.take_request(spot, Line::of_record(key, request), findings)
            }
            None => {
                self.refuse(spot, key.as_deref(), findings);
                Ok(())
            }
        }
    }

    /// Takes a request in Google's form.
    fn take_request(
        &mut self,
        spot: Spot,
        line: Line<'_>,
        mut findings: Findings,
    ) -> Result<(), Stop> {
        let strictness = self.header.job().request_check.unwrap_or_default();
        match line.order(self.context.bucket, strictness, &mut findings) {
            Some(mut order) => {
                self.apply_defaults(&mut order, &mut findings);
                self.take_order(spot, order, findings)
            }
            None => {
                self.refuse(spot, None, findings);
                Ok(())
            }
        }
    }

    /// Counts an item that there is nothing more to say about.
    fn refuse(&mut self, spot: Spot, key: Option<&str>, findings: Findings) {
        self.items += 1;
        findings
            .into_problems(spot.line, key)
            .for_each(|problem| self.problems.push(problem));
    }

    /// For a model of OpenAI's the model of the defaults stands in, if there is one.
    fn stand_in(&self, item: Item, findings: &mut Findings) -> Item {
        let Some(asked) = &item.model else {
            return item;
        };
        let Context {
            catalog,
            on,
            allow_retired_models,
            ..
        } = *self.context;
        if !matches!(
            catalog.resolve(asked, on, allow_retired_models),
            Err(ModelError::Unknown { .. })
        ) {
            return item;
        }
        match &self.header.said.defaults.model {
            Some(model) => {
                findings.warning("foreign_model", format!("{model} stands in for the model {}", quote(asked)));
            }
            None => findings.error(
                "foreign_model",
                format!(
                    "model {} is not Google's: say which stands in, by the metadata model=nano-banana-2 or in the defaults",
                    quote(asked)
                ),
            ),
        }
        Item {
            model: None,
            ..item
        }
    }

    /// Takes a friendly item, without the defaults yet.
    pub(super) fn take_item(
        &mut self,
        spot: Spot,
        item: Item,
        mut findings: Findings,
    ) -> Result<(), Stop> {
        let item = self.complete(item, &mut findings);
        let order = Order::from_item(item, self.context, &mut findings);
        self.take_order(spot, order, findings)
    }

    /// Stops once there are as many errors as are listed.
    pub(super) fn check_full(&self) -> Result<(), Stop> {
        if self.problems.is_full() {
            Err(Stop::Full)
        } else {
            Ok(())
        }
    }

    /// Says how much of the manifest is not looked at, which costs no more than to count its lines.
    pub(super) fn skip(&mut self, input: &mut Input<'_>) -> Result<(), Stop> {
        let looked_at = self.problems.last_line().max(self.last_line);
        let skipped = input.count_lines()?.saturating_sub(looked_at);
        if skipped > 0 {
            self.problems.skipped(looked_at + 1, skipped);
        }
        Ok(())
    }

    /// Totals and problems.
    pub(super) fn finish(mut self) -> Reading {
        if self.items == 0 && self.problems.errors == 0 {
            self.problems.push(Problem::error(
                1,
                "empty",
                "the manifest holds no items: add some and drop it again",
            ));
        }
        self.warn_of_unused();
        if let Some(budget) = self.header.job().budget_usd
            && self.ceiling_usd > budget
        {
            let (most, about) = (self.ceiling_usd, self.estimate.batch_usd);
            let message = format!(
                "the images may cost up to {most} (about {about}, and thinking on top), more than budget_usd {budget}: \
                 raise it to {}, or order fewer",
                most.rounded_up_to_cents()
            );
            self.problems
                .push(Problem::error(1, "over_budget", message));
        }
        self.problems.close(self.last_line);
        Reading {
            errors: self.problems.errors,
            warnings: self.problems.warnings,
            problems: self.problems.listed,
            items: self.items,
            images: self.images,
            estimate: self.estimate,
            ceiling_usd: self.ceiling_usd,
            breakdown: self.breakdown,
            aliases: self.aliases,
            templates: self.templates,
            columns: self.columns,
        }
    }

    /// A request of Google's form is not touched: only the model and the path can come from the
    /// defaults.
    fn apply_defaults(&mut self, order: &mut Order, findings: &mut Findings) {
        let header = self.header;
        let defaults = &header.said.defaults;
        let (key, model, path) = (
            defaults.key.clone(),
            defaults.model.clone(),
            defaults.path.clone(),
        );
        let used = Item {
            key,
            model,
            path,
            ..Item::default()
        };
        if *defaults != used {
            findings.warning(
                "defaults_unused",
                "requests of Google's form are sent as they are: of the defaults only key, model and output count for them",
            );
        }
        if order.key.is_none()
            && let Some(key) = &used.key
        {
            let item = Item {
                vars: order.vars.clone(),
                ..Item::default()
            };
            order.key = self.fill("key", key, &item, findings);
        }
        order.model = order.model.take().or(used.model);
        order.path = order.path.take().or(used.path);
    }

    fn take_order(
        &mut self,
        spot: Spot,
        mut order: Order,
        mut findings: Findings,
    ) -> Result<(), Stop> {
        self.items += 1;
        self.last_line = spot.line;
        let written = order.key.take();
        let item = written
            .clone()
            .unwrap_or_else(|| format!("{}-{:06}", spot.nameless.0, spot.nameless.1));
        if written.is_none() && !spot.is_row {
            findings.warning(
                "missing_key",
                format!("the item has no key and is called {item}: give it one, so that its image keeps its name when lines move"),
            );
        }
        let count = order.count.min(self.context.limits.variants);
        let keys = self.keys.of_item(&item, count, spot.line, &mut findings);
        if let Some(template) = order.path.as_deref() {
            match paths::check(template, &order.vars) {
                Ok(()) => self.used("path", template, &mut findings),
                Err(message) => findings.error("bad_path", message),
            }
        }
        let model = self.model(&order, &mut findings);
        if let Some(model) = &model {
            fit_pixels(&mut order, model, &mut findings);
            check(&order, model, &mut findings);
            warn_of_extension(&order, model, keys.first(), &mut findings);
            let (tokens, _, ceiling) = costs(&order, model);
            if let Some((code, message)) = self.context.bounds.refusal(&model.id, tokens, ceiling) {
                findings.error(code, message);
            }
        }
        let good = model.filter(|_| !findings.failed());
        let warned = self.problems.warnings;
        findings
            .into_problems(spot.line, written.as_deref())
            .for_each(|problem| self.problems.push(problem));
        let Some(model) = good else { return Ok(()) };
        let most = self.context.limits.images;
        if self.images + keys.len() as u64 > most {
            let message = format!(
                "with this item the manifest asks for more than {most} images: drop several manifests"
            );
            return Err(Stop::Problem(Problem::error(
                spot.line,
                "too_many_images",
                message,
            )));
        }
        self.breakdown.warn(
            &model,
            order.image_size.as_deref(),
            self.problems.warnings - warned,
        );
        for (variant, key) in (1..).zip(keys) {
            let image = expected(spot.line, &item, key, variant, &order, &model);
            self.images += 1;
            self.estimate = self.estimate + image.estimate;
            self.ceiling_usd += image.ceiling_usd;
            self.breakdown.add(
                &model,
                image.image_size.as_deref(),
                order.thinking,
                image.estimate,
            );
            (self.sink)(image).map_err(Stop::Sink)?;
        }
        Ok(())
    }

    fn model(&mut self, order: &Order, findings: &mut Findings) -> Option<Cow<'a, Model>> {
        let Context {
            catalog,
            default_model,
            on,
            allow_retired_models,
            allow_unknown_models,
            ..
        } = *self.context;
        let asked = order.model.as_deref().unwrap_or(default_model);
        match catalog.resolve(asked, on, allow_retired_models) {
            Ok(Resolution {
                model,
                alias,
                warnings,
            }) => {
                if let Some(alias) = alias {
                    self.aliases.insert(alias, model.id.clone());
                }
                warnings
                    .into_iter()
                    .for_each(|warning| findings.warning("model", warning));
                Some(Cow::Borrowed(model))
            }
            Err(error) => {
                if let ModelError::Unknown { .. } = error
                    && let Some((model, warning)) =
                        catalog.stand_in(asked).filter(|_| allow_unknown_models)
                {
                    findings.warning("unknown_model", warning);
                    return Some(Cow::Owned(model));
                }
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

/// The input tokens of one image of an order, what it will cost, and what it may cost at the most.
fn costs(order: &Order, model: &Model) -> (u64, Estimate, Usd) {
    let input_tokens = cost::input_tokens(model, order.characters, order.pictures);
    let estimate = cost::estimate(model, order.image_size.as_deref(), input_tokens);
    (
        input_tokens,
        estimate,
        cost::ceiling(model, order.thinking, estimate),
    )
}

fn expected(
    line: u64,
    item: &str,
    key: String,
    variant: u32,
    order: &Order,
    model: &Model,
) -> Expected {
    let template = order.path.as_deref();
    // The template was checked before.
    let path = template
        .and_then(|template| paths::fill(template, &values(&key, variant, order, model)).ok());
    let (input_tokens, estimate, ceiling_usd) = costs(order, model);
    let mut expected = Expected {
        line,
        path: path.unwrap_or_else(|| key.clone()),
        key: RequestKey::new(key),
        item: item.to_owned(),
        key_name: order.key_name,
        vars: order.vars.clone().into_map(),
        variant,
        model: model.id.clone(),
        model_asked: order.model.clone(),
        aspect_ratio: order.aspect_ratio.clone(),
        image_size: order.image_size.clone(),
        thinking: order.thinking,
        refs: order.refs.clone(),
        web: order.web.clone(),
        prompt: order.prompt.clone(),
        request: generate_request::request(order, variant),
        input_tokens,
        estimate,
        ceiling_usd,
        retry: None,
    };
    if expected.request.get().len() <= REPEATED_BYTES {
        expected.retry = Some(generate_request::retry(order, &expected));
    }
    expected
}

/// Warns, once for each model and ending, of paths that ask for another format than the model
/// makes: images are kept as they come, and their names end as their bytes say.
fn warn_of_extension(order: &Order, model: &Model, key: Option<&String>, findings: &mut Findings) {
    let (Some(template), Some(key)) = (&order.path, key) else {
        return;
    };
    let values = values(key, 1, order, model);
    // What is wrong with the path was said before.
    let Ok(path) = paths::fill(template, &values) else {
        return;
    };
    if let Some(asked) = paths::other_extension(&path, values.extension) {
        let message = format!(
            "{} makes {} images, so that paths which end in {asked} end in .{} instead: end output.path in .{{ext}}, or \
             convert the images afterwards",
            model.id, model.mime_type, values.extension
        );
        findings.warning("other_extension", message);
    }
}

/// Pixels that were asked for become a ratio and a size.
fn fit_pixels(order: &mut Order, model: &Model, findings: &mut Findings) {
    let Some((width, height)) = order.pixels else {
        return;
    };
    let Some(fit) = nearest_size::nearest(model, (width, height)) else {
        return;
    };
    if fit.pixels != (width, height) {
        let message = format!(
            "{width}x{height} becomes {} at {}, {}x{} pixels: the nearest that {} makes",
            fit.aspect_ratio, fit.image_size, fit.pixels.0, fit.pixels.1, model.id
        );
        findings.warning("inexact_size", message);
    }
    (order.aspect_ratio, order.image_size) = (Some(fit.aspect_ratio), Some(fit.image_size));
}

fn values<'a>(key: &'a str, variant: u32, order: &'a Order, model: &'a Model) -> paths::Values<'a> {
    paths::Values {
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
        vars: &order.vars,
    }
}
