//! Resolution: the defaults are applied to an item, its template is filled in, and its named
//! references are looked up.

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

/// How many unused variables a warning names.
const MAX_LISTED_VARIABLES: usize = 5;

/// Formats a name for a list in a message: on one line, shortened, and without quotes.
fn unquoted(name: &str) -> String {
    quote(name).replace('"', "")
}

impl ItemReader<'_> {
    /// Completes an item with everything that it leaves out. Its prompt is then as it will be sent.
    pub(crate) fn complete(&mut self, item: Item, diagnostics: &mut ItemDiagnostics) -> Item {
        let header = self.header;
        let defaults = &header.declarations.defaults;
        if item.prompt.is_some() && item.template.is_some() {
            diagnostics.error(
                "bad_value",
                "the item has a prompt and a template: keep one",
            );
        }

        // The item's prompt or template takes precedence over those of the defaults.
        let named = item
            .prompt
            .is_none()
            .then(|| item.template.as_ref().or(defaults.template.as_ref()))
            .flatten();
        let named = named.filter(|_| item.template.is_some() || defaults.prompt.is_none());
        let template = named.and_then(|name| self.template(name, diagnostics));
        // The item's own references are keys or addresses. Those of the defaults may be templates.
        let has_own_refs = item.refs.is_some();
        let mut item = match &template {
            Some(template) => item.or(&template.fields).or(defaults),
            None => item.or(defaults),
        };

        // Variables are recorded, so that unused ones can be reported.
        for name in item.vars.names() {
            if !self.variables.contains_key(name) {
                self.variables.insert(name.to_owned(), false);
            }
        }

        // The key comes before the prompt, because a template may use it.
        if item.key.is_none()
            && let Some(key) = &defaults.key
        {
            item.key = self.fill("key", key, &item, diagnostics);
        }
        if item.template.take().is_some() {
            let filled = template
                .and_then(|template| self.fill("template", &template.text, &item, diagnostics));
            // The errors of the template have been reported. The placeholder prompt avoids a second
            // report that there is no prompt.
            item.prompt = Some(filled.unwrap_or_else(|| "?".to_owned()));
        } else if let Some(prompt) = &item.prompt {
            check_literal(prompt, &item, diagnostics);
        }
        if !has_own_refs && let Some(refs) = item.refs.take() {
            item.refs = Some(self.filled_references(&refs, &item, diagnostics));
        }

        // Named references are replaced by their pictures.
        item.refs = item
            .refs
            .map(|refs| header.declarations.definitions.resolve(refs, diagnostics));
        self.add_further_references(&mut item, diagnostics);
        item
    }

    /// Fills in the templates of references. Each may become several references, as in a cell.
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

    /// Returns the references of a row that continues another.
    pub(crate) fn references_of(&mut self, item: Item) -> Vec<String> {
        let header = self.header;
        match (&item.refs, &header.declarations.defaults.refs) {
            (Some(refs), _) => refs.clone(),
            // An empty picture cell in such a row is not an error.
            (None, Some(refs)) => {
                self.filled_references(refs, &item, &mut ItemDiagnostics::default())
            }
            (None, None) => Vec::new(),
        }
    }

    /// Adds the references of continuation rows, as many as the model accepts.
    fn add_further_references(&self, item: &mut Item, diagnostics: &mut ItemDiagnostics) {
        // Nearly all items end here, without a lookup of their model.
        if item.more_refs.is_empty() {
            return;
        }
        let more = std::mem::take(&mut item.more_refs);

        // Pictures that the item has already are not sent twice.
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

        // The model limits the number of pictures. A model that is not known is reported elsewhere.
        let asked = item.model.as_deref().unwrap_or(default_model);
        if let Ok(resolution) = catalog.resolve(asked, on, true) {
            let room = resolution.model.max_references.saturating_sub(refs.len());
            if more.len() > room {
                let message = format!(
                    "{} accepts {} reference images: of products with more pictures, only the \
                     first are sent",
                    resolution.model.id, resolution.model.max_references
                );
                diagnostics.warning("spare_references", message);
                more.truncate(room);
            }
        }
        refs.append(&mut more);
    }

    /// Records the variables that a text uses.
    pub(crate) fn used(&mut self, what: &str, text: &str, diagnostics: &mut ItemDiagnostics) {
        for name in template::variables(text) {
            self.mark_used(name);
            if self.duplicate_variables.contains(&spelling(name)) {
                let message = format!(
                    "the {what} uses {{{name}}}, but the table has two columns of that name: \
                     rename one"
                );
                diagnostics.error("duplicate_column", message);
            }
        }
    }

    /// Records that a variable is used, or that it has been reported as unused.
    pub(crate) fn mark_used(&mut self, name: &str) {
        if let Some(used) = self.variables.get_mut(&spelling(name)) {
            *used = true;
        }
    }

    /// Returns the variables that the defaults and the templates use, normalized. `None` if the
    /// texts of the stored templates are not known yet.
    pub(crate) fn used_names(&self) -> Option<HashSet<String>> {
        let (declarations, stored) = (&self.header.declarations, &self.context.sidecar.templates);
        if stored.values().any(|template| template.text.is_none()) {
            return None;
        }

        // Texts with placeholders are in the defaults, in the manifest's templates and in stored
        // ones.
        let defaults = [
            &declarations.defaults.template,
            &declarations.defaults.key,
            &declarations.defaults.path,
        ];
        let refs = declarations.defaults.refs.iter().flatten();
        let own = declarations
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

    /// Returns the text of the template for all items, if there is one.
    pub(crate) fn prompt_template(&self) -> Option<String> {
        let (declarations, sidecar) = (&self.header.declarations, self.context.sidecar);
        let name = declarations.defaults.template.as_ref()?;
        if name.contains('{') {
            return Some(name.clone());
        }
        let named = declarations
            .definitions
            .templates
            .get(name)
            .map(|template| template.text.clone());
        named.or_else(|| sidecar.template(name)?.text.clone())
    }

    /// Whether the template or the path of any item has used a variable.
    pub(crate) fn uses(&self, name: &str) -> bool {
        self.variables
            .get(&spelling(name))
            .copied()
            .unwrap_or(false)
    }

    /// Warns once of variables that no template and no path uses.
    pub(crate) fn warn_of_unused(&mut self) {
        let unused: Vec<&str> = self
            .variables
            .iter()
            .filter(|(_, used)| !**used)
            .map(|(name, _)| name.as_str())
            .collect();
        // An error may be the reason: a misspelled name that would use it.
        if unused.is_empty() || self.diagnostics.errors > 0 {
            return;
        }
        // A shop's export has dozens of columns, and the first ones are enough to recognize the
        // problem.
        let mut names: Vec<String> = unused
            .iter()
            .take(MAX_LISTED_VARIABLES)
            .map(|name| unquoted(name))
            .collect();
        if unused.len() > MAX_LISTED_VARIABLES {
            names.push(format!("{} more", unused.len() - MAX_LISTED_VARIABLES));
        }
        let message = format!(
            "no template or path uses {}: it is only repeated in the results",
            names.join(", ")
        );
        self.diagnostics
            .push(super::Diagnostic::warning(1, "unused_variable", message));
    }

    /// Returns the template of a name: one of the manifest, a stored one, or the text itself if it
    /// contains a placeholder.
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

    /// Fills in a text with the fields of an item. A missing value is reported.
    pub(crate) fn fill(
        &mut self,
        what: &str,
        text: &str,
        item: &Item,
        diagnostics: &mut ItemDiagnostics,
    ) -> Option<String> {
        // Fields of the item may be used like variables, under the caller's name for the key too.
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

        // Variables are recorded even if filling fails, so that they are not reported as unused.
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
        Some(near) => format!("did you mean {{{near}}}? Otherwise"),
        None => "give it a value, or".to_owned(),
    };
    format!(
        "the {what} needs {}, which this item doesn't have: {hint} write {{name|default}}",
        braced.join(", ")
    )
}

/// Reports a variable in a prompt. Prompts are sent as they are written, so a variable in one means
/// that it should be a template.
fn check_literal(prompt: &str, item: &Item, diagnostics: &mut ItemDiagnostics) {
    if let Some(name) = template::variables(prompt).find(|name| item.vars.get(name).is_some()) {
        let message = format!(
            "the prompt contains {{{}}}, but prompts are sent as they are written: name the field \
             template to fill it in",
            quote(name).trim_matches('"')
        );
        diagnostics.error("unfilled_prompt", message);
    }
}
