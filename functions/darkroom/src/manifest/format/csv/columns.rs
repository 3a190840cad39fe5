//! `job.columns`: what a table's columns hold, if their names do not show it.
//!
//! ```json
//! {"key": "SKU", "refs": ["Image 1", "Image 2"], "model": null}
//! ```

use serde_json::Value;

use super::{
    cell,
    column::{column_field, fold},
};
use crate::manifest::{
    diagnostics::{ItemDiagnostics, quote},
    dialect::field::Field,
    resolve::variables::spelling,
    strict_json,
};

/// Returns a job document that makes a column a variable, for messages.
pub(crate) fn unmap_example(column: &str) -> String {
    format!("{{\"job\": {{\"columns\": {{{}: null}}}}}}", quote(column))
}

/// A manifest's declarations about the columns of its table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// The fields that are mapped to a column, by the column's name. Only `refs` may have several
    /// columns.
    mapped: Vec<(Field, String)>,
    /// Fields that no column holds: columns with their names are variables.
    freed: Vec<Field>,
    /// Columns that are variables although their names resemble fields, folded.
    variables: Vec<String>,
    /// The template of the key, if one is given here.
    pub(crate) key: Option<String>,
    /// The templates of the references, if some are given here.
    pub(crate) refs: Option<Vec<String>>,
}

impl Columns {
    /// Reads `job.columns`.
    pub(crate) fn read(text: &str, diagnostics: &mut ItemDiagnostics) -> Self {
        let mut columns = Self::default();
        for (name, value) in strict_json::members_of("job.columns", text, diagnostics) {
            // The members map fields to columns. Null declares a field or a column to be a
            // variable.
            let value = serde_json::from_str(value.get()).unwrap_or(Value::Null);
            match (column_field(&name), value) {
                (Some(field), Value::Null) => columns.freed.push(field),
                (None, Value::Null) => columns.variables.push(fold(&name)),
                (Some(field), Value::String(column)) => columns.map(field, column, diagnostics),
                (Some(Field::Refs), Value::Array(names)) if names.iter().all(Value::is_string) => {
                    for column in names {
                        if let Value::String(column) = column {
                            columns.map(Field::Refs, column, diagnostics);
                        }
                    }
                }
                (Some(_), _) => diagnostics.error(
                    "bad_value",
                    format!(
                        "job.columns.{name} must be the name of a column, or null if no \
                             column holds it"
                    ),
                ),
                (None, _) => diagnostics.error(
                    "unknown_field",
                    format!(
                        "job.columns: there is no field {}: write field: column, such as \"key\": \
                         \"SKU\", or null \
                         as the value of a column that is a variable",
                        quote(&name)
                    ),
                ),
            }
        }
        columns
    }

    fn map(&mut self, field: Field, column: String, diagnostics: &mut ItemDiagnostics) {
        match field {
            Field::Refs if column.contains('{') => {
                self.refs
                    .get_or_insert_default()
                    .extend(cell::references(&column));
            }
            Field::Key if column.contains('{') => self.key = Some(column),
            _ if column.contains('{') => diagnostics.error(
                "bad_value",
                format!(
                    "job.columns: {} is a template, which only key and refs may be: write the \
                     name of a column",
                    quote(&column)
                ),
            ),
            _ => self.mapped.push((field, column)),
        }
    }

    /// Whether nothing is declared.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the field that the column of this name is mapped to.
    pub(crate) fn field_of(&self, name: &str) -> Option<Field> {
        let folded = fold(name);
        self.mapped
            .iter()
            .find(|(_, column)| fold(column) == folded)
            .map(|(field, _)| *field)
    }

    /// Whether the column of this name is declared as a variable.
    pub(crate) fn is_variable(&self, name: &str) -> bool {
        self.variables.contains(&fold(name))
    }

    /// Whether a column with the name of this field does not hold it: another column does, or none.
    pub(crate) fn is_taken(&self, field: Field) -> bool {
        let is_template = match field {
            Field::Key => self.key.is_some(),
            Field::Refs => self.refs.is_some(),
            _ => false,
        };
        is_template
            || self.freed.contains(&field)
            || self.mapped.iter().any(|(mapped, _)| *mapped == field)
    }

    /// Whether the column of this name is mapped to the key.
    pub(crate) fn is_key(&self, name: &str) -> bool {
        self.mapped
            .iter()
            .any(|(field, column)| *field == Field::Key && spelling(column) == spelling(name))
    }

    /// Returns the mapped columns that are not among `names`.
    pub(crate) fn missing<'a>(&'a self, names: &[String]) -> impl Iterator<Item = &'a str> {
        let folded: Vec<String> = names.iter().map(|name| fold(name)).collect();
        self.mapped
            .iter()
            .map(|(_, column)| column.as_str())
            .filter(move |column| !folded.contains(&fold(column)))
    }

    /// Returns these declarations, or `other` if there are none.
    pub(crate) fn or(self, other: Self) -> Self {
        if self.is_empty() { other } else { self }
    }
}
