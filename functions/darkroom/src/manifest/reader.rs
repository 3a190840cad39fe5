//! The reader of items: it accepts items in every dialect, checks them, and plans their images.

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
        generate_request,
        image_request::ImageRequest,
        model_check::{check, check_lane},
        nearest_size, paths,
        request_keys::RequestKeys,
    },
    strict_json,
    tally::{CountedImage, ImageTally, LaneCost},
};
use crate::{
    cost,
    lane::{Lane, RequestedLane},
    models::{Model, ModelError, Resolution},
    names::RequestKey,
    plan::TableRow,
};

type Members<'a> = [(Cow<'a, str>, &'a RawValue)];

/// The location of an item in the manifest.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourceLocation {
    pub(super) line: u64,
    /// The key of an item that has none, as a prefix and a number: `line` and 123 make
    /// `line-000123`.
    pub(super) fallback_key: (&'static str, u64),
    /// Whether the item is a row of a table. Rows without keys are counted and reported once for
    /// the whole table.
    pub(super) is_row: bool,
}

/// Receives the rows of a table.
pub(super) type RowSink<'a> = &'a mut dyn FnMut(&TableRow<'_>) -> io::Result<()>;

/// Reads items one by one.
pub(super) struct ItemReader<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) diagnostics: Diagnostics,
    pub(super) header: &'a Header,
    /// The variables of all items, and whether a template or a path uses them.
    pub(super) variables: BTreeMap<String, bool>,
    /// Variables with two columns in the table. Using one is an error.
    pub(super) duplicate_variables: HashSet<String>,
    /// The stored templates that items use.
    pub(super) templates: BTreeSet<String>,
    /// The variables that a table has columns for, in the order of the columns.
    pub(super) columns: Vec<String>,
    /// Receives the rows of a table, if the caller keeps them.
    pub(super) rows: Option<RowSink<'a>>,
    /// Whether the whole manifest was read.
    pub(super) is_complete: bool,
    sink: &'a mut dyn FnMut(PlannedImage) -> io::Result<()>,
    keys: RequestKeys,
    last_line: u64,
    items: u64,
    /// The items whose keys were recorded.
    named_items: u64,
    tally: ImageTally<'a>,
    aliases: BTreeMap<String, String>,
}

impl<'a> ItemReader<'a> {
    pub(super) fn new(
        header: &'a Header,
        context: &'a Context<'a>,
        sink: &'a mut dyn FnMut(PlannedImage) -> io::Result<()>,
    ) -> Self {
        // The problems of the header come first.
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
            duplicate_variables: HashSet::new(),
            templates: BTreeSet::new(),
            columns: Vec::new(),
            rows: None,
            is_complete: false,
            sink,
            keys: RequestKeys::default(),
            last_line: 1,
            items: 0,
            named_items: 0,
            tally: ImageTally::new(context.catalog, header.job()),
            aliases: BTreeMap::new(),
        }
    }

    /// Reads an item in JSON. Its members show its dialect.
    pub(super) fn read_json(&mut self, location: SourceLocation, text: &str) -> Result<(), Stop> {
        // An item that is not strict JSON can't be read at all.
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

        // The header line is not an item, and it is allowed only at the start.
        if self.header.header_line == Some(location.line) {
            if members.len() > 1 {
                let message = "the first line may contain nothing but \"manifest\": put the other \
                               members on a separate line";
                self.diagnostics
                    .push(refused("not_an_item", message.to_owned()));
            }
            return Ok(());
        }
        if let [(name, _)] = &members[..]
            && name == "manifest"
        {
            let message = "\"manifest\" is allowed only on the first line, once: move it there";
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
            self.replace_foreign_model(item, &mut diagnostics)
        } else {
            Item::from_json(&members, &mut diagnostics)
        };
        self.read_item(location, item, diagnostics)
    }

    /// Reads every combination of the matrix, if there is one.
    pub(super) fn read_matrix(&mut self) -> Result<(), Stop> {
        let header = self.header;
        let Some(matrix) = &header.matrix else {
            return Ok(());
        };
        for (number, item) in (1..).zip(matrix.items()) {
            // A key of the defaults is more specific than the generated one.
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

        // An axis without effect would make the same image several times.
        let unused: Vec<&str> = matrix.variables().filter(|name| !self.uses(name)).collect();
        if !unused.is_empty() {
            let message = format!(
                "no template or path uses the axis {}, so the same images would be bought several \
                 times: use it, or remove it",
                quote(&unused.join(", ")).trim_matches('"')
            );
            self.diagnostics
                .push(Diagnostic::error(matrix.line, "unused_axis", message));
            matrix.variables().for_each(|name| self.mark_used(name));
        }
        Ok(())
    }

    /// Reads a record in Bedrock's dialect.
    fn read_record(
        &mut self,
        location: SourceLocation,
        members: &Members<'_>,
        mut diagnostics: ItemDiagnostics,
    ) -> Result<(), Stop> {
        // The input of a record is an item or a Gemini request.
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

    /// Reads a Gemini request.
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

    /// Counts an item that can't be read further, and reports its diagnostics.
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

    /// Replaces a model of OpenAI by the model of the defaults, if there is one.
    fn replace_foreign_model(&self, item: Item, diagnostics: &mut ItemDiagnostics) -> Item {
        let Some(asked) = &item.model else {
            return item;
        };

        // Only a model that the catalog does not have is foreign.
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

        // The default replaces it, because the user chose that model for the manifest.
        match &self.header.declarations.defaults.model {
            Some(model) => {
                diagnostics.warning(
                    "foreign_model",
                    format!("{model} replaces the model {}", quote(asked)),
                );
            }
            None => diagnostics.error(
                "foreign_model",
                format!(
                    "model {} is not a Google model: name a replacement with the metadata \
                     model=nano-banana-2, or in the defaults",
                    quote(asked)
                ),
            ),
        }
        Item {
            model: None,
            ..item
        }
    }

    /// Reads an item in Darkroom's own dialect, to which the defaults have not been applied yet.
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

    /// Stops if the limit of errors is reached.
    pub(super) fn check_full(&self) -> Result<(), Stop> {
        if self.diagnostics.is_full() {
            Err(Stop::Full)
        } else {
            Ok(())
        }
    }

    /// Reports how much of the manifest was not read. Counting its lines costs little.
    pub(super) fn skip(&mut self, input: &mut Input<'_>) -> Result<(), Stop> {
        let looked_at = self.diagnostics.last_line().max(self.last_line);
        let skipped = input.count_lines()?.saturating_sub(looked_at);
        if skipped > 0 {
            self.diagnostics.skipped(looked_at + 1, skipped);
        }
        Ok(())
    }

    /// Reports what concerns the whole manifest, and returns the totals.
    pub(super) fn finish(mut self) -> Reading {
        if self.items == 0 && self.diagnostics.errors == 0 {
            self.diagnostics.push(Diagnostic::error(
                1,
                "empty",
                "the manifest has no items: add some and drop it again",
            ));
        }

        // Unused variables are reported once for the whole manifest.
        self.warn_of_unused();

        // Errors leave images out, and so may be the reason for a warning about all of them.
        let images = self.tally.images();
        let is_whole = self.is_complete && self.named_items == self.items;
        let totals = self.tally.finish(is_whole);
        let warnings = totals.warnings.into_iter();
        let warnings = warnings.filter(|_| self.diagnostics.errors == 0);
        let found: Vec<Diagnostic> = warnings.chain(totals.errors).collect();
        found
            .into_iter()
            .for_each(|diagnostic| self.diagnostics.push(diagnostic));

        // The budget must cover the worst case.
        if let Some(budget) = self.header.job().budget_usd
            && totals.ceiling_usd > budget
        {
            let (most, about) = (totals.ceiling_usd, totals.estimate.usd());
            let message = format!(
                "the images can cost up to {most} (about {about}, plus thinking), which exceeds \
                 budget_usd {budget}: \
                 raise it to {}, or request fewer",
                most.rounded_up_to_cents()
            );
            self.diagnostics
                .push(Diagnostic::error(1, "over_budget", message));
        }

        // The number of unlisted diagnostics comes last.
        self.diagnostics.close(self.last_line);
        Reading {
            errors: self.diagnostics.errors,
            warnings: self.diagnostics.warnings,
            problems: self.diagnostics.listed,
            items: self.items,
            images,
            estimate: totals.estimate,
            ceiling_usd: totals.ceiling_usd,
            breakdown: totals.breakdown,
            lanes: totals.lanes,
            proof: totals.proof,
            aliases: self.aliases,
            templates: self.templates,
            columns: self.columns,
        }
    }

    /// Applies the defaults to a Gemini request. Requests are sent unchanged, so only the key, the
    /// model, the path and the lane can come from the defaults.
    fn apply_defaults(&mut self, request: &mut ImageRequest, diagnostics: &mut ItemDiagnostics) {
        let header = self.header;
        let defaults = &header.declarations.defaults;
        let (key, model, path) = (
            defaults.key.clone(),
            defaults.model.clone(),
            defaults.path.clone(),
        );

        // Other defaults would change the request, so they are reported as unused.
        let used = Item {
            key,
            model,
            path,
            lane: defaults.lane,
            ..Item::default()
        };
        if *defaults != used {
            diagnostics.warning(
                "defaults_unused",
                "Gemini requests are sent unchanged: of the defaults, only key, model, output and \
                 lane apply to them",
            );
        }

        // The key may be a template of the line's variables.
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
        request.lane = request.lane.or(used.lane);
    }

    fn plan_images(
        &mut self,
        location: SourceLocation,
        mut request: ImageRequest,
        mut diagnostics: ItemDiagnostics,
    ) -> Result<(), Stop> {
        self.items += 1;
        self.last_line = location.line;
        let job = self.header.job();
        request.lane = request.lane.or(job.lane);

        // An item without a key is named by its position.
        let written = request.key.take();
        let item = written.clone().unwrap_or_else(|| {
            format!("{}-{:06}", location.fallback_key.0, location.fallback_key.1)
        });
        if written.is_none() && !location.is_row {
            diagnostics.warning(
                "missing_key",
                format!(
                    "the item has no key and is named {item}: give it a key, so that its \
                         image keeps its name if lines move"
                ),
            );
        }

        // Keys are recorded even if the item has errors, so that a second use is reported too.
        let count = request.count.min(self.context.limits.variants);
        let keys = self
            .keys
            .of_item(&item, count, location.line, &mut diagnostics);
        self.named_items += 1;
        self.tally.note_keys(&item, &keys);
        if let Some(template) = request.path.as_deref() {
            match paths::check(template, &request.vars) {
                Ok(()) => self.used("path", template, &mut diagnostics),
                Err(message) => diagnostics.error("bad_path", message),
            }
        }

        // Most checks depend on the model, so they are skipped if it is not known.
        let model = self.model(&request, &mut diagnostics);
        if let Some(model) = &model {
            let allowed = self.context.allowed_models;
            if let Some(message) =
                allowed.and_then(|allowed| allowed.refusal(model, self.context.catalog))
            {
                diagnostics.error("model_not_allowed", message);
            }
            apply_nearest_size(&mut request, model, &mut diagnostics);
            check(&request, model, &mut diagnostics);
            check_lane(&request, job.rescue_lane(), model, &mut diagnostics);
            warn_of_extension(&request, model, keys.first(), &mut diagnostics);
            self.check_bounds(location.line, &request, model, &mut diagnostics);
        }

        // Warnings are counted per model. Ones that were dropped as repetitions do not count.
        let good = model.filter(|_| !diagnostics.failed());
        let warned = self.diagnostics.warnings;
        diagnostics
            .into_diagnostics(location.line, written.as_deref())
            .for_each(|diagnostic| self.diagnostics.push(diagnostic));
        let Some(model) = good else { return Ok(()) };

        // The bound keeps the keys in memory.
        let most = self.context.limits.images;
        if self.tally.images() + keys.len() as u64 > most {
            let message = format!(
                "with this item the manifest asks for more than {most} images: split it into \
                 several manifests"
            );
            return Err(Stop::Diagnostic(Diagnostic::error(
                location.line,
                "too_many_images",
                message,
            )));
        }
        let warned = self.diagnostics.warnings - warned;
        let size = size_of(&request, &model);
        self.tally.warn(&model, size, request.lane, warned);

        // Each image is counted and passed on at once, so that none is held.
        for (variant, key) in (1..).zip(keys) {
            let counted = self.counted(location.line, &request, &model);
            let (lane, is_proof) = self.lane(&counted, &item, &key);
            let placed = Placed {
                lane,
                is_proof,
                cost: counted.cost(&model, lane, job.fallback()),
                image: counted,
            };
            let image = planned_image(&placed, &item, key, variant, &request, &model);
            self.tally
                .add(placed.image, &model, &item, image.key.as_str());
            (self.sink)(image).map_err(Stop::Sink)?;
        }
        Ok(())
    }

    /// Returns what the cost of the next image depends on.
    fn counted(&self, line: u64, request: &ImageRequest, model: &Model) -> CountedImage {
        CountedImage {
            line,
            position: self.tally.images(),
            model: model.id.clone(),
            size: size_of(request, model).to_owned(),
            lane: request.lane,
            thinking: request.thinking,
            input_tokens: cost::input_tokens(model, request.characters, request.pictures),
        }
    }

    /// Returns the lane of an image, and whether it is in the proof. In a first reading, neither
    /// the number of images nor the proof is known, so the lane may be provisional.
    fn lane(&self, image: &CountedImage, item: &str, key: &str) -> (Lane, bool) {
        let fixed = image.lane.fixed();
        let Some(lanes) = self.context.lanes else {
            return (fixed.unwrap_or_default(), false);
        };
        match lanes.proof() {
            Some(proof) if proof.is_proof(image.position, item, key) => (proof.lane, true),
            _ => (fixed.unwrap_or_else(|| lanes.auto(&image.model)), false),
        }
    }

    /// Reports an image that exceeds the bounds of the project, in any lane that it may get: both
    /// readings of a manifest must find the same errors.
    fn check_bounds(
        &self,
        line: u64,
        request: &ImageRequest,
        model: &Model,
        diagnostics: &mut ItemDiagnostics,
    ) {
        let image = self.counted(line, request, model);
        let ceiling = self.tally.ceiling(&image, model);
        // Interactive requests are not enqueued.
        let tokens = match request.lane {
            RequestedLane::Fixed(Lane::Interactive) => 0,
            _ => image.input_tokens,
        };
        if let Some((code, message)) = self.context.bounds.refusal(&model.id, tokens, ceiling) {
            diagnostics.error(code, message);
        }
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

        // An alias is recorded with the model that it means today.
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

/// Returns the size of an image, or that of the model if the request names none.
fn size_of<'a>(request: &'a ImageRequest, model: &'a Model) -> &'a str {
    request.image_size.as_deref().unwrap_or(&model.default_size)
}

/// An image in its lane.
struct Placed {
    image: CountedImage,
    lane: Lane,
    is_proof: bool,
    cost: LaneCost,
}

fn planned_image(
    placed: &Placed,
    item: &str,
    key: String,
    variant: u32,
    request: &ImageRequest,
    model: &Model,
) -> PlannedImage {
    let template = request.path.as_deref();
    // The template has been checked before.
    let path = template
        .and_then(|template| paths::fill(template, &values(&key, variant, request, model)).ok());
    let mut image = PlannedImage {
        line: placed.image.line,
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
        input_tokens: placed.image.input_tokens,
        lane: placed.lane,
        proof: placed.is_proof,
        estimate: placed.cost.estimate,
        ceiling_usd: placed.cost.ceiling_usd,
        retry: None,
    };
    if image.request.get().len() <= REPEATED_BYTES {
        image.retry = Some(generate_request::retry(request, &image));
    }
    image
}

/// Warns of paths with the extension of another format than the model makes, once for each model
/// and extension. Images are stored as they come, and the extension follows from their bytes.
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
    // A bad path has been reported before.
    let Ok(path) = paths::fill(template, &values) else {
        return;
    };
    if let Some(asked) = paths::other_extension(&path, values.extension) {
        let message = format!(
            "{} makes {} images, so paths that end in {asked} will end in .{} instead: end \
             output.path in .{{ext}}, or \
             convert the images afterwards",
            model.id, model.mime_type, values.extension
        );
        diagnostics.warning("other_extension", message);
    }
}

/// Replaces requested pixels by the nearest ratio and size.
fn apply_nearest_size(
    request: &mut ImageRequest,
    model: &Model,
    diagnostics: &mut ItemDiagnostics,
) {
    let Some((width, height)) = request.pixels else {
        return;
    };
    let Some(fit) = nearest_size::nearest(model, (width, height)) else {
        return;
    };
    if fit.pixels != (width, height) {
        let message = format!(
            "{width}x{height} becomes {} at {}, {}x{} pixels, which is the nearest size that {} \
             makes",
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
