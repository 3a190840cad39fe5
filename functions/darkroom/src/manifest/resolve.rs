//! From what an item says to what it means: with the defaults, its template filled in, and named
//! references looked up.

pub(crate) mod generate_request;
pub(crate) mod image_request;
pub(crate) mod matrix;
pub(crate) mod model_check;
pub(crate) mod named;
pub(crate) mod nearest_size;
pub(crate) mod paths;
pub(crate) mod references;
pub(crate) mod request_keys;
pub(crate) mod sidecar;
pub(crate) mod template;
pub(crate) mod variables;

use std::{borrow::Cow, collections::HashSet};

use self::{
    named::{Template, unknown},
    template::Unfilled,
    variables::spelling,
};
use super::{
    Context,
    diagnostics::{ItemDiagnostics, quote},
    dialect::item::Item,
    format::csv::cell,
    reader::ItemReader,
    strict_json,
};
use crate::models::nearest;

/// How many of the variables that nothing uses are named.
const UNUSED_NAMED: usize = 5;

/// A name as a message has it among others: on one line, not too long, and without quotes.
fn bare(name: &str) -> String {
    quote(name).replace('"', "")
}

impl ItemReader<'_> {
    /// The item with all that it leaves out, and its prompt as it will be sent.
    pub(crate) fn complete(&mut self, item: Item, diagnostics: &mut ItemDiagnostics) -> Item {
        let header = self.header;
        let defaults = &header.declarations.defaults;
        if item.prompt.is_some() && item.template.is_some() {
            diagnostics.error(
                "bad_value",
                "the item has a prompt and a template: keep one",
            );
        }
        let named = item
            .prompt
            .is_none()
            .then(|| item.template.as_ref().or(defaults.template.as_ref()))
            .flatten();
        let named = named.filter(|_| item.template.is_some() || defaults.prompt.is_none());
        let template = named.and_then(|name| self.template(name, diagnostics));
        // References of the item's own are keys or addresses; those of the defaults may be
        // templates.
        let has_own_refs = item.refs.is_some();
        let mut item = match &template {
            Some(template) => item.or(&template.fields).or(defaults),
            None => item.or(defaults),
        };
        for name in item.vars.names() {
            if !self.variables.contains_key(name) {
                self.variables.insert(name.to_owned(), false);
            }
        }
        if item.key.is_none()
            && let Some(key) = &defaults.key
        {
            item.key = self.fill("key", key, &item, diagnostics);
        }
        if item.template.take().is_some() {
            let filled = template
                .and_then(|template| self.fill("template", &template.text, &item, diagnostics));
            // What is wrong with the template has been said: that there is no prompt would say it
            // twice.
            item.prompt = Some(filled.unwrap_or_else(|| "?".to_owned()));
        } else if let Some(prompt) = &item.prompt {
            check_literal(prompt, &item, diagnostics);
        }
        if !has_own_refs && let Some(refs) = item.refs.take() {
            item.refs = Some(self.filled_references(&refs, &item, diagnostics));
        }
        item.refs = item
            .refs
            .map(|refs| header.declarations.definitions.resolve(refs, diagnostics));
        self.add_further_references(&mut item, diagnostics);
        item
    }

    /// References whose templates are filled in: each may become several, as a cell holds them.
    fn filled_references(
        &mut self,
        refs: &[String],
        item: &Item,
        diagnostics: &mut ItemDiagnostics,
    ) -> Vec<String> {
        let mut filled = Vec::with_capacity(refs.len());
        for reference in refs {
            if template::variables(reference).next().is_none() {
                filled.push(reference.clone());
            } else if let Some(text) = self.fill("reference", reference, item, diagnostics) {
                filled.extend(cell::references(&text));
            }
        }
        filled
    }

    /// The references of a row that continues another.
    pub(crate) fn references_of(&mut self, item: Item) -> Vec<String> {
        let header = self.header;
        match (&item.refs, &header.declarations.defaults.refs) {
            (Some(refs), _) => refs.clone(),
            // A row without a picture has a cell less, and that is no fault.
            (None, Some(refs)) => {
                self.filled_references(refs, &item, &mut ItemDiagnostics::default())
            }
            (None, None) => Vec::new(),
        }
    }

    /// Adds the references of the rows that continue the item's, as many as its model takes.
    fn add_further_references(&self, item: &mut Item, diagnostics: &mut ItemDiagnostics) {
        // Nearly all items: neither their model nor their references have to be looked at here.
        if item.more_refs.is_empty() {
            return;
        }
        let more = std::mem::take(&mut item.more_refs);
        let refs = item.refs.get_or_insert_default();
        let mut more: Vec<String> = more
            .into_iter()
            .filter(|reference| !refs.contains(reference))
            .collect();
        let Context {
            catalog,
            default_model,
            on,
            ..
        } = *self.context;
        let asked = item.model.as_deref().unwrap_or(default_model);
        if let Ok(resolution) = catalog.resolve(asked, on, true) {
            let room = resolution.model.max_references.saturating_sub(refs.len());
            if more.len() > room {
                let message = format!(
                    "{} takes {} reference images: of products with more pictures the first are sent",
                    resolution.model.id, resolution.model.max_references
                );
                diagnostics.warning("spare_references", message);
                more.truncate(room);
            }
        }
        refs.append(&mut more);
    }

    /// Remembers the variables that a filled text uses.
    pub(crate) fn used(&mut self, what: &str, text: &str, diagnostics: &mut ItemDiagnostics) {
        for name in template::variables(text) {
            self.mark_used(name);
            if self.twice.contains(&spelling(name)) {
                let message = format!(
                    "the {what} uses {{{name}}}, and the table has two columns of that name: rename one"
                );
                diagnostics.error("duplicate_column", message);
            }
        }
    }

    /// Remembers that a variable is used, or that its being unused has been said.
    pub(crate) fn mark_used(&mut self, name: &str) {
        if let Some(used) = self.variables.get_mut(&spelling(name)) {
            *used = true;
        }
    }

    /// The variables that what counts for all items uses, in one spelling; none as long as that
    /// isn't known.
    pub(crate) fn used_names(&self) -> Option<HashSet<String>> {
        let (said, stored) = (&self.header.declarations, &self.context.sidecar.templates);
        if stored.values().any(|template| template.text.is_none()) {
            return None;
        }
        let defaults = [
            &said.defaults.template,
            &said.defaults.key,
            &said.defaults.path,
        ];
        let refs = said.defaults.refs.iter().flatten();
        let own = said
            .definitions
            .templates
            .values()
            .map(|template| &template.text);
        let stored = stored
            .values()
            .filter_map(|template| template.text.as_ref());
        let texts = defaults
            .into_iter()
            .flatten()
            .chain(refs)
            .chain(own)
            .chain(stored);
        Some(
            texts
                .flat_map(|text| template::variables(text))
                .map(spelling)
                .collect(),
        )
    }

    /// The text of the template that is for all items, where there is one.
    pub(crate) fn prompt_template(&self) -> Option<String> {
        let (said, sidecar) = (&self.header.declarations, self.context.sidecar);
        let name = said.defaults.template.as_ref()?;
        if name.contains('{') {
            return Some(name.clone());
        }
        let named = said
            .definitions
            .templates
            .get(name)
            .map(|template| template.text.clone());
        named.or_else(|| sidecar.template(name)?.text.clone())
    }

    /// Whether any item's template or path has used a variable.
    pub(crate) fn uses(&self, name: &str) -> bool {
        self.variables
            .get(&spelling(name))
            .copied()
            .unwrap_or(false)
    }

    /// Warns, once, of variables that no template and no path uses.
    pub(crate) fn warn_of_unused(&mut self) {
        let unused: Vec<&str> = self
            .variables
            .iter()
            .filter(|(_, used)| !**used)
            .map(|(name, _)| name.as_str())
            .collect();
        // What is wrong may well be the name by which it should be used.
        if unused.is_empty() || self.diagnostics.errors > 0 {
            return;
        }
        // A shop's export has dozens of columns: the first ones say what is meant.
        let mut names: Vec<String> = unused
            .iter()
            .take(UNUSED_NAMED)
            .map(|name| bare(name))
            .collect();
        if unused.len() > UNUSED_NAMED {
            names.push(format!("{} more", unused.len() - UNUSED_NAMED));
        }
        let message = format!(
            "no template or path uses {}: it only comes back in the results",
            names.join(", ")
        );
        self.diagnostics
            .push(super::Diagnostic::warning(1, "unused_variable", message));
    }

    /// The template of a name: one of the manifest's, or a stored one; or the text itself, which
    /// has a placeholder.
    fn template(&mut self, name: &str, diagnostics: &mut ItemDiagnostics) -> Option<Template> {
        if name.contains('{') {
            return Some(Template {
                text: name.to_owned(),
                fields: Item::default(),
            });
        }
        let (definitions, sidecar) = (&self.header.declarations.definitions, self.context.sidecar);
        if let Some(template) = definitions.templates.get(name) {
            return Some(template.clone());
        }
        if let Some(stored) = sidecar.template(name) {
            self.templates.insert(name.to_owned());
            return self.stored(name, &stored.key, stored.text.as_deref()?, diagnostics);
        }
        let known = definitions.templates.keys().chain(sidecar.templates.keys());
        diagnostics.error("unknown_template", unknown("template", name, known));
        None
    }

    fn stored(
        &self,
        name: &str,
        key: &str,
        text: &str,
        diagnostics: &mut ItemDiagnostics,
    ) -> Option<Template> {
        if !key.ends_with(".json") {
            return Some(Template {
                text: text.trim().to_owned(),
                fields: Item::default(),
            });
        }
        let mut found = ItemDiagnostics::default();
        let template = match strict_json::check(text) {
            Ok(()) => Template::from_json(name, text, &mut found),
            Err((code, message)) => {
                found.error(code, message);
                None
            }
        };
        let failed = found.failed();
        diagnostics.adopt(found, key);
        template.filter(|_| !failed)
    }

    /// Fills a text in with what the item says; a finding where something is missing.
    pub(crate) fn fill(
        &mut self,
        what: &str,
        text: &str,
        item: &Item,
        diagnostics: &mut ItemDiagnostics,
    ) -> Option<String> {
        let columns = &self.header.declarations.job.columns;
        let value = |name: &str| -> Option<Cow<'_, str>> {
            let field = match name {
                _ if columns.is_key(name) => item.key.as_deref(),
                "key" => item.key.as_deref(),
                "aspect_ratio" => item.aspect_ratio.as_deref(),
                "image_size" => item.image_size.as_deref(),
                _ => item.vars.get(name),
            };
            field
                .or_else(|| item.key.as_deref().filter(|_| item.key_name == Some(name)))
                .map(Cow::Borrowed)
        };
        let filled = template::fill(text, value);
        self.used(what, text, diagnostics);
        let (code, message) = match filled {
            Ok(filled) => return Some(filled),
            Err(Unfilled::Malformed(message)) => {
                ("bad_template", format!("in the {what}: {message}"))
            }
            Err(Unfilled::Missing(names)) => ("missing_variable", missing(what, &names, item)),
        };
        diagnostics.error(code, message);
        None
    }
}

fn missing(what: &str, names: &[String], item: &Item) -> String {
    let braced: Vec<String> = names
        .iter()
        .map(|name| format!("{{{}}}", quote(name).trim_matches('"')))
        .collect();
    let near = names
        .iter()
        .find_map(|name| nearest(&spelling(name), item.vars.names()).first().copied());
    let hint = match near {
        Some(near) => format!("did you mean {{{near}}}? Else"),
        None => "give it a value, or".to_owned(),
    };
    format!(
        "the {what} needs {}, which this item doesn't have: {hint} write {{name|what stands for it}}",
        braced.join(", ")
    )
}

/// A prompt is sent as it is written: who writes a variable into it means a template, and would pay
/// for braces.
fn check_literal(prompt: &str, item: &Item, diagnostics: &mut ItemDiagnostics) {
    if let Some(name) = template::variables(prompt).find(|name| item.vars.get(name).is_some()) {
        let message = format!(
            "the prompt holds {{{}}}, and prompts are sent as they are written: call it template to have it filled in",
            quote(name).trim_matches('"')
        );
        diagnostics.error("unfilled_prompt", message);
    }
}
