//! Where items of every form arrive, are checked, and leave as expected images.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
};

use serde_json::value::RawValue;

use super::{
    Context, Header, PlannedImage, REPEATED_BYTES, Reading, Stop,
    diagnostics::{Diagnostic, Diagnostics, ItemDiagnostics, quote, quote_json},
    dialect::{bedrock, item::Item, native::line::NativeLine, openai},
    format::input::Input,
    resolve::{
        generate_request, image_request::ImageRequest, model_check::check, nearest_size, paths,
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
pub(super) struct SourceLocation {
    pub(super) line: u64,
    /// What an item without a key is called after: `line` and 123 make `line-000123`.
    pub(super) fallback_key: (&'static str, u64),
    /// Whether it is the row of a table, where rows without keys are counted and said once.
    pub(super) is_row: bool,
}

/// Takes in items one by one.
pub(super) struct ItemReader<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) diagnostics: Diagnostics,
    pub(super) header: &'a Header,
    /// The variables that items have, and whether a template or a path uses them.
    pub(super) variables: BTreeMap<String, bool>,
    /// Variables whose columns stand twice in the table: to use one is an error.
    pub(super) twice: HashSet<String>,
    /// Stored templates that were used.
    pub(super) templates: BTreeSet<String>,
    /// The variables that a table has columns for, in their order.
    pub(super) columns: Vec<String>,
    sink: &'a mut dyn FnMut(PlannedImage) -> io::Result<()>,
    keys: RequestKeys,
    last_line: u64,
    items: u64,
    images: u64,
    estimate: Estimate,
    ceiling_usd: Usd,
    breakdown: Breakdown,
    aliases: BTreeMap<String, String>,
}

impl<'a> ItemReader<'a> {
    pub(super) fn new(
        header: &'a Header,
        context: &'a Context<'a>,
        sink: &'a mut dyn FnMut(PlannedImage) -> io::Result<()>,
    ) -> Self {
        let mut diagnostics = Diagnostics::new(context.limits.problems);
        header
            .diagnostics
            .iter()
            .cloned()
            .for_each(|diagnostic| diagnostics.push(diagnostic));
        Self {
            context,
            diagnostics,
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
    pub(super) fn read_json(&mut self, location: SourceLocation, text: &str) -> Result<(), Stop> {
        let refused = |code, message: String| Diagnostic::error(location.line, code, message);
        if let Err((code, message)) = strict_json::check(text) {
            self.items += 1;
            self.diagnostics.push(refused(code, message));
            return Ok(());
        }
        let Some(members) = strict_json::members(text) else {
            self.items += 1;
            let message = format!(
                "an item is an object such as {{\"key\": …, \"prompt\": …}}, not {}",
                quote_json(text)
            );
            self.diagnostics.push(refused("not_an_item", message));
            return Ok(());
        };
        if self.header.header_line == Some(location.line) {
            if members.len() > 1 {
                let message =
                    "the first line's manifest must stand alone: put the rest on a line of its own";
                self.diagnostics
                    .push(refused("not_an_item", message.to_owned()));
            }
            return Ok(());
        }
        if let [(name, _)] = &members[..]
            && name == "manifest"
        {
            let message = "what holds for all items stands on the first line, once: move it there";
            self.diagnostics
                .push(refused("misplaced_header", message.to_owned()));
            return Ok(());
        }
        let mut diagnostics = ItemDiagnostics::default();
        if NativeLine::is_line(&members) {
            let line = NativeLine::read(&members, &mut diagnostics);
            return self.read_request(location, line, diagnostics);
        }
        if bedrock::is_line(&members) {
            return self.read_record(location, &members, diagnostics);
        }
        let item = if openai::is_line(&members) {
            let item = openai::item(&members, &mut diagnostics);
            self.stand_in(item, &mut diagnostics)
        } else {
            Item::from_json(&members, &mut diagnostics)
        };
        self.read_item(location, item, diagnostics)
    }

    /// Takes every combination of the matrix, if there is one.
    pub(super) fn read_matrix(&mut self) -> Result<(), Stop> {
        let header = self.header;
        let Some(matrix) = &header.matrix else {
            return Ok(());
        };
        for (number, item) in (1..).zip(matrix.items()) {
            // A key of the defaults says better what is meant.
            let key = item
                .key
                .filter(|_| header.declarations.defaults.key.is_none());
            self.check_full()?;
            let location = SourceLocation {
                line: matrix.line,
                fallback_key: ("item", number),
                is_row: false,
            };
            self.read_item(location, Item { key, ..item }, ItemDiagnostics::default())?;
        }
        let unused: Vec<&str> = matrix.variables().filter(|name| !self.uses(name)).collect();
        if !unused.is_empty() {
            let message = format!(
                "no template or path uses the axis {}: the same images would be paid for again and again; use it, or take it out",
                quote(&unused.join(", ")).trim_matches('"')
            );
            self.diagnostics
                .push(Diagnostic::error(matrix.line, "unused_axis", message));
            matrix.variables().for_each(|name| self.mark_used(name));
        }
        Ok(())
    }

    /// Takes a record of Bedrock's form.
    fn read_record(
        &mut self,
        location: SourceLocation,
        members: &Members<'_>,
        mut diagnostics: ItemDiagnostics,
    ) -> Result<(), Stop> {
        let (key, input) = bedrock::read(members, &mut diagnostics);
        let key_name = Some("recordId");
        match input {
            Some(bedrock::ModelInput::Item(item)) => self.read_item(
                location,
                Item {
                    key,
                    key_name,
                    ..*item
                },
                diagnostics,
            ),
            Some(bedrock::ModelInput::Request(request)) => {
                self.read_request(location, NativeLine::of_record(key, request), diagnostics)
            }
            None => {
                self.refuse(location, key.as_deref(), diagnostics);
                Ok(())
            }
        }
    }

    /// Takes a request in Google's form.
    fn read_request(
        &mut self,
        location: SourceLocation,
        line: NativeLine<'_>,
        mut diagnostics: ItemDiagnostics,
    ) -> Result<(), Stop> {
        let strictness = self.header.job().request_check.unwrap_or_default();
        match line.image_request(self.context.bucket, strictness, &mut diagnostics) {
            Some(mut request) => {
                self.apply_defaults(&mut request, &mut diagnostics);
                self.plan_images(location, request, diagnostics)
            }
            None => {
                self.refuse(location, None, diagnostics);
                Ok(())
            }
        }
    }

    /// Counts an item that there is nothing more to say about.
    fn refuse(
        &mut self,
        location: SourceLocation,
        key: Option<&str>,
        diagnostics: ItemDiagnostics,
    ) {
        self.items += 1;
        diagnostics
            .into_diagnostics(location.line, key)
            .for_each(|diagnostic| self.diagnostics.push(diagnostic));
    }

    /// For a model of OpenAI's the model of the defaults stands in, if there is one.
    fn stand_in(&self, item: Item, diagnostics: &mut ItemDiagnostics) -> Item {
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
        match &self.header.declarations.defaults.model {
            Some(model) => {
                diagnostics.warning("foreign_model", format!("{model} stands in for the model {}", quote(asked)));
            }
            None => diagnostics.error(
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
    pub(super) fn read_item(
        &mut self,
        location: SourceLocation,
        item: Item,
        mut diagnostics: ItemDiagnostics,
    ) -> Result<(), Stop> {
        let item = self.complete(item, &mut diagnostics);
        let request = ImageRequest::from_item(item, self.context, &mut diagnostics);
        self.plan_images(location, request, diagnostics)
    }

    /// Stops once there are as many errors as are listed.
    pub(super) fn check_full(&self) -> Result<(), Stop> {
        if self.diagnostics.is_full() {
            Err(Stop::Full)
        } else {
            Ok(())
        }
    }

    /// Says how much of the manifest is not looked at, which costs no more than to count its lines.
    pub(super) fn skip(&mut self, input: &mut Input<'_>) -> Result<(), Stop> {
        let looked_at = self.diagnostics.last_line().max(self.last_line);
        let skipped = input.count_lines()?.saturating_sub(looked_at);
        if skipped > 0 {
            self.diagnostics.skipped(looked_at + 1, skipped);
        }
        Ok(())
    }

    /// Totals and problems.
    pub(super) fn finish(mut self) -> Reading {
        if self.items == 0 && self.diagnostics.errors == 0 {
            self.diagnostics.push(Diagnostic::error(
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
                 raise it to {}, or request fewer",
                most.rounded_up_to_cents()
            );
            self.diagnostics
                .push(Diagnostic::error(1, "over_budget", message));
        }
        self.diagnostics.close(self.last_line);
        Reading {
            errors: self.diagnostics.errors,
            warnings: self.diagnostics.warnings,
            problems: self.diagnostics.listed,
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
    fn apply_defaults(&mut self, request: &mut ImageRequest, diagnostics: &mut ItemDiagnostics) {
        let header = self.header;
        let defaults = &header.declarations.defaults;
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
            diagnostics.warning(
                "defaults_unused",
                "requests of Google's form are sent as they are: of the defaults only key, model and output count for them",
            );
        }
        if request.key.is_none()
            && let Some(key) = &used.key
        {
            let item = Item {
                vars: request.vars.clone(),
                ..Item::default()
            };
            request.key = self.fill("key", key, &item, diagnostics);
        }
        request.model = request.model.take().or(used.model);
        request.path = request.path.take().or(used.path);
    }

    fn plan_images(
        &mut self,
        location: SourceLocation,
        mut request: ImageRequest,
        mut diagnostics: ItemDiagnostics,
    ) -> Result<(), Stop> {
        self.items += 1;
        self.last_line = location.line;
        let written = request.key.take();
        let item = written.clone().unwrap_or_else(|| {
            format!("{}-{:06}", location.fallback_key.0, location.fallback_key.1)
        });
        if written.is_none() && !location.is_row {
            diagnostics.warning(
                "missing_key",
                format!("the item has no key and is called {item}: give it one, so that its image keeps its name when lines move"),
            );
        }
        let count = request.count.min(self.context.limits.variants);
        let keys = self
            .keys
            .of_item(&item, count, location.line, &mut diagnostics);
        if let Some(template) = request.path.as_deref() {
            match paths::check(template, &request.vars) {
                Ok(()) => self.used("path", template, &mut diagnostics),
                Err(message) => diagnostics.error("bad_path", message),
            }
        }
        let model = self.model(&request, &mut diagnostics);
        if let Some(model) = &model {
            fit_pixels(&mut request, model, &mut diagnostics);
            check(&request, model, &mut diagnostics);
            warn_of_extension(&request, model, keys.first(), &mut diagnostics);
            let (tokens, _, ceiling) = costs(&request, model);
            if let Some((code, message)) = self.context.bounds.refusal(&model.id, tokens, ceiling) {
                diagnostics.error(code, message);
            }
        }
        let good = model.filter(|_| !diagnostics.failed());
        let warned = self.diagnostics.warnings;
        diagnostics
            .into_diagnostics(location.line, written.as_deref())
            .for_each(|diagnostic| self.diagnostics.push(diagnostic));
        let Some(model) = good else { return Ok(()) };
        let most = self.context.limits.images;
        if self.images + keys.len() as u64 > most {
            let message = format!(
                "with this item the manifest asks for more than {most} images: drop several manifests"
            );
            return Err(Stop::Diagnostic(Diagnostic::error(
                location.line,
                "too_many_images",
                message,
            )));
        }
        self.breakdown.warn(
            &model,
            request.image_size.as_deref(),
            self.diagnostics.warnings - warned,
        );
        for (variant, key) in (1..).zip(keys) {
            let image = expected(location.line, &item, key, variant, &request, &model);
            self.images += 1;
            self.estimate = self.estimate + image.estimate;
            self.ceiling_usd += image.ceiling_usd;
            self.breakdown.add(
                &model,
                image.image_size.as_deref(),
                request.thinking,
                image.estimate,
            );
            (self.sink)(image).map_err(Stop::Sink)?;
        }
        Ok(())
    }

    fn model(
        &mut self,
        request: &ImageRequest,
        diagnostics: &mut ItemDiagnostics,
    ) -> Option<Cow<'a, Model>> {
        let Context {
            catalog,
            default_model,
            on,
            allow_retired_models,
            allow_unknown_models,
            ..
        } = *self.context;
        let asked = request.model.as_deref().unwrap_or(default_model);
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
                    .for_each(|warning| diagnostics.warning("model", warning));
                Some(Cow::Borrowed(model))
            }
            Err(error) => {
                if let ModelError::Unknown { .. } = error
                    && let Some((model, warning)) =
                        catalog.stand_in(asked).filter(|_| allow_unknown_models)
                {
                    diagnostics.warning("unknown_model", warning);
                    return Some(Cow::Owned(model));
                }
                let code = match error {
                    ModelError::Retired { .. } => "retired_model",
                    ModelError::Withdrawn { .. } => "withdrawn_model",
                    ModelError::Unknown { .. } => "unknown_model",
                };
                diagnostics.error(code, error.to_string());
                None
            }
        }
    }
}

/// The input tokens of one image of an order, what it will cost, and what it may cost at the most.
fn costs(request: &ImageRequest, model: &Model) -> (u64, Estimate, Usd) {
    let input_tokens = cost::input_tokens(model, request.characters, request.pictures);
    let estimate = cost::estimate(model, request.image_size.as_deref(), input_tokens);
    (
        input_tokens,
        estimate,
        cost::ceiling(model, request.thinking, estimate),
    )
}

fn expected(
    line: u64,
    item: &str,
    key: String,
    variant: u32,
    request: &ImageRequest,
    model: &Model,
) -> PlannedImage {
    let template = request.path.as_deref();
    // The template was checked before.
    let path = template
        .and_then(|template| paths::fill(template, &values(&key, variant, request, model)).ok());
    let (input_tokens, estimate, ceiling_usd) = costs(request, model);
    let mut expected = PlannedImage {
        line,
        path: path.unwrap_or_else(|| key.clone()),
        key: RequestKey::new(key),
        item: item.to_owned(),
        key_name: request.key_name,
        vars: request.vars.clone().into_map(),
        variant,
        model: model.id.clone(),
        model_asked: request.model.clone(),
        aspect_ratio: request.aspect_ratio.clone(),
        image_size: request.image_size.clone(),
        thinking: request.thinking,
        refs: request.refs.clone(),
        web: request.web.clone(),
        prompt: request.prompt.clone(),
        request: generate_request::request(request, variant),
        input_tokens,
        estimate,
        ceiling_usd,
        retry: None,
    };
    if expected.request.get().len() <= REPEATED_BYTES {
        expected.retry = Some(generate_request::retry(request, &expected));
    }
    expected
}

/// Warns, once for each model and ending, of paths that ask for another format than the model
/// makes: images are kept as they come, and their names end as their bytes say.
fn warn_of_extension(
    request: &ImageRequest,
    model: &Model,
    key: Option<&String>,
    diagnostics: &mut ItemDiagnostics,
) {
    let (Some(template), Some(key)) = (&request.path, key) else {
        return;
    };
    let values = values(key, 1, request, model);
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
        diagnostics.warning("other_extension", message);
    }
}

/// Pixels that were asked for become a ratio and a size.
fn fit_pixels(request: &mut ImageRequest, model: &Model, diagnostics: &mut ItemDiagnostics) {
    let Some((width, height)) = request.pixels else {
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
        diagnostics.warning("inexact_size", message);
    }
    (request.aspect_ratio, request.image_size) = (Some(fit.aspect_ratio), Some(fit.image_size));
}

fn values<'a>(
    key: &'a str,
    variant: u32,
    request: &'a ImageRequest,
    model: &'a Model,
) -> paths::Values<'a> {
    paths::Values {
        key,
        variant,
        variants: request.count,
        model: &model.id,
        aspect_ratio: request.aspect_ratio.as_deref().unwrap_or("auto"),
        image_size: request.image_size.as_deref().unwrap_or(&model.default_size),
        extension: match model.mime_type.as_str() {
            "image/png" => "png",
            "image/webp" => "webp",
            _ => "jpg",
        },
        vars: &request.vars,
    }
}
