//! Matrices: an image for every combination of some values.
//!
//! ```json
//! {"scene":["kitchen","cabin"],"aspect_ratio":["1:1","16:9"],"exclude":[{"scene":"cabin","aspect_ratio":"1:1"}]}
//! ```

use serde_json::value::RawValue;

use super::variables::scalar;
use crate::{
    manifest::{
        diagnostics::{ItemDiagnostics, quote, quote_json},
        dialect::{
            field::{Field, field},
            item::Item,
        },
        strict_json,
    },
    models::nearest,
};

/// The most combinations of one matrix, excluded ones included.
const MAX_COMBINATIONS: u64 = 100_000;

/// The separator between the values in a key.
const LABEL_SEPARATOR: &str = "_";

/// The axes, and the combinations to leave out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix {
    /// The line on which the matrix begins.
    pub(crate) line: u64,
    axes: Vec<Axis>,
    /// The rules of `exclude`: for each, the axes that it names, and the indices of their values.
    exclude: Vec<Vec<(usize, Vec<usize>)>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Axis {
    name: String,
    values: Vec<Value>,
}

/// One value of an axis.
#[derive(Clone, Debug, PartialEq)]
struct Value {
    /// The value's text in keys and in `exclude`.
    label: String,
    /// An item that has only this field.
    item: Item,
}

impl Matrix {
    /// Reads a matrix. `None` if it can't be expanded.
    pub(crate) fn read(line: u64, text: &str, diagnostics: &mut ItemDiagnostics) -> Option<Self> {
        let mut matrix = Self {
            line,
            axes: Vec::new(),
            exclude: Vec::new(),
        };

        // `exclude` refers to the axes, so it is read after them.
        let mut exclude = None;
        for (name, values) in strict_json::members_of("matrix", text, diagnostics) {
            if name == "exclude" {
                exclude = Some(values);
            } else if let Some(axis) = Axis::read(&name, values.get(), diagnostics) {
                matrix.axes.push(axis);
            }
        }

        // A matrix must have combinations, but not too many.
        if matrix.axes.is_empty() {
            diagnostics.error(
                "empty_matrix",
                "the matrix has no axis with values: add one, such as \"scene\": [\"cafe\"]",
            );
        }
        let combinations = matrix.combinations();
        if combinations > MAX_COMBINATIONS {
            let sizes: Vec<String> = matrix
                .axes
                .iter()
                .map(|axis| axis.values.len().to_string())
                .collect();
            let message = format!(
                "the matrix has {} = {combinations} combinations, and {MAX_COMBINATIONS} are allowed: \
                 split it into several manifests",
                sizes.join(" x ")
            );
            diagnostics.error("matrix_too_large", message);
        }
        if let Some(exclude) = exclude {
            matrix.read_exclude(exclude.get(), diagnostics);
        }
        (!diagnostics.failed()).then_some(matrix)
    }

    /// Returns the items, in the order of the axes. The last axis varies fastest.
    pub(crate) fn items(&self) -> impl Iterator<Item = Item> + '_ {
        (0..self.combinations()).filter_map(|number| {
            let indices = self.indices(number);
            (!self.is_excluded(&indices)).then(|| self.item(&indices))
        })
    }

    /// Returns the axes that are variables and have more than one value.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        let varying = self
            .axes
            .iter()
            .filter(|axis| axis.values.len() > 1 && field(&axis.name).is_err());
        varying.map(|axis| axis.name.as_str())
    }

    fn combinations(&self) -> u64 {
        self.axes.iter().fold(1_u64, |product, axis| {
            product.saturating_mul(axis.values.len() as u64)
        })
    }

    /// Returns the index of each axis's value in the combination of this number.
    fn indices(&self, mut number: u64) -> Vec<usize> {
        let mut indices: Vec<usize> = self
            .axes
            .iter()
            .rev()
            .map(|axis| {
                let size = axis.values.len() as u64;
                let index = number % size;
                number /= size;
                index as usize
            })
            .collect();
        indices.reverse();
        indices
    }

    fn is_excluded(&self, indices: &[usize]) -> bool {
        self.exclude.iter().any(|rule| {
            rule.iter()
                .all(|(axis, values)| values.contains(&indices[*axis]))
        })
    }

    fn item(&self, indices: &[usize]) -> Item {
        let chosen = || {
            self.axes
                .iter()
                .zip(indices)
                .map(|(axis, index)| (axis, &axis.values[*index]))
        };
        let varies = self.axes.iter().any(|axis| axis.values.len() > 1);
        let labels = chosen()
            .filter(|(axis, _)| !varies || axis.values.len() > 1)
            .map(|(_, value)| value.label.as_str());
        let key = labels.collect::<Vec<_>>().join(LABEL_SEPARATOR);
        let item = chosen().fold(Item::default(), |item, (_, value)| item.or(&value.item));
        Item {
            key: Some(key),
            ..item
        }
    }

    fn read_exclude(&mut self, text: &str, diagnostics: &mut ItemDiagnostics) {
        let Ok(rules) = serde_json::from_str::<Vec<&RawValue>>(text) else {
            let message = format!(
                "exclude must be a list such as [{{\"scene\": \"cabin\"}}], not {}",
                quote_json(text)
            );
            return diagnostics.error("bad_value", message);
        };
        for rule in rules {
            let members = strict_json::members_of("each rule of exclude", rule.get(), diagnostics);
            if members.is_empty() {
                diagnostics.error(
                    "bad_value",
                    "a rule of exclude that names no axis excludes everything: remove it",
                );
            }

            // Each member of a rule names an axis and its values.
            let mut found = Vec::new();
            for (name, value) in members {
                let Some(at) = self.axes.iter().position(|axis| axis.name == name) else {
                    let axes: Vec<&str> = self.axes.iter().map(|axis| axis.name.as_str()).collect();
                    let hint = match nearest(&name, axes.iter().copied()).first() {
                        Some(near) => format!("did you mean {near}?"),
                        None => format!("use {}", axes.join(", ")),
                    };
                    diagnostics.error(
                        "unknown_axis",
                        format!("exclude names an unknown axis {}: {hint}", quote(&name)),
                    );
                    continue;
                };
                found.push((at, self.axes[at].indices_of(value.get(), diagnostics)));
            }
            self.exclude.push(found);
        }
    }
}

impl Axis {
    fn read(name: &str, text: &str, diagnostics: &mut ItemDiagnostics) -> Option<Self> {
        // An axis is a field of the item or a variable.
        let meant = match field(name) {
            Ok(Field::Key | Field::Vars | Field::Lane | Field::Output) => {
                diagnostics.error(
                    "bad_axis",
                    format!(
                        "{} can't be an axis: move it into the defaults",
                        quote(name)
                    ),
                );
                return None;
            }
            Ok(field) => Some(field),
            Err(("unsupported_field", message)) => {
                diagnostics.error("unsupported_field", format!("in matrix: {message}"));
                return None;
            }
            Err(_) => None,
        };

        // Its values must be a list with at least one element.
        let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(text) else {
            let message = format!(
                "axis {} must be a list of values, not {}",
                quote(name),
                quote_json(text)
            );
            diagnostics.error("bad_axis", message);
            return None;
        };
        if elements.is_empty() {
            diagnostics.error(
                "bad_axis",
                format!("axis {} has no values: add some, or remove it", quote(name)),
            );
            return None;
        }
        let mut values: Vec<Value> = Vec::with_capacity(elements.len());
        for element in elements {
            let value = Value::read(name, meant, element.get(), diagnostics)?;
            values.push(value);
        }

        // Two equal labels would make two equal keys.
        let mut labels: Vec<&str> = values.iter().map(|value| value.label.as_str()).collect();
        labels.sort_unstable();
        if let Some(pair) = labels.windows(2).find(|pair| pair[0] == pair[1]) {
            let message = format!(
                "axis {} has the value {} twice: keep one",
                quote(name),
                quote(pair[0])
            );
            diagnostics.error("bad_axis", message);
        }
        Some(Self {
            name: name.to_owned(),
            values,
        })
    }

    /// Returns the indices of the values that a rule of `exclude` names, by one value or a list.
    fn indices_of(&self, text: &str, diagnostics: &mut ItemDiagnostics) -> Vec<usize> {
        let one = label(text).map(|label| vec![label]);
        let many = || {
            serde_json::from_str::<Vec<&RawValue>>(text)
                .ok()?
                .into_iter()
                .map(|one| label(one.get()))
                .collect()
        };
        let wanted: Vec<String> = one.or_else(many).unwrap_or_else(|| vec![text.to_owned()]);

        // An unknown value is reported with the nearest one.
        let mut indices = Vec::new();
        for wanted in wanted {
            match self.values.iter().position(|value| value.label == wanted) {
                Some(index) => indices.push(index),
                None => {
                    let labels = || self.values.iter().map(|value| value.label.as_str());
                    let near = nearest(&wanted, labels());
                    let near = if near.is_empty() {
                        labels().take(20).collect()
                    } else {
                        near
                    };
                    let message = format!(
                        "exclude names a value {} that axis {} doesn't have: use {}",
                        quote(&wanted),
                        self.name,
                        near.join(", ")
                    );
                    diagnostics.error("unknown_value", message);
                }
            }
        }
        indices
    }
}

impl Value {
    fn read(
        name: &str,
        meant: Option<Field>,
        text: &str,
        diagnostics: &mut ItemDiagnostics,
    ) -> Option<Self> {
        let mut item = Item::default();
        match meant {
            Some(field) => item.set_json(field, name, text, diagnostics),
            None => match scalar(text) {
                Some(value) => item.vars.set(name, value, diagnostics),
                None => {
                    let message = format!(
                        "axis {} has a value that is not a text or a number: {}",
                        quote(name),
                        quote_json(text)
                    );
                    diagnostics.error("bad_axis", message);
                    return None;
                }
            },
        }

        // Null would be a value without a label.
        if text == "null" {
            diagnostics.error(
                "bad_axis",
                format!("axis {} has the value null: remove it", quote(name)),
            );
            return None;
        }
        Some(Self {
            label: label(text).unwrap_or_else(|| list_label(text)),
            item,
        })
    }
}

/// Returns the text of a value in a key. The name of a reference loses its `@`.
fn label(text: &str) -> Option<String> {
    scalar(text).map(|label| label.trim_start_matches('@').to_owned())
}

/// Returns the text of a list of references in a key.
fn list_label(text: &str) -> String {
    let list: Vec<String> = serde_json::from_str(text).unwrap_or_default();
    list.iter()
        .map(|one| one.trim_start_matches('@'))
        .collect::<Vec<_>>()
        .join("+")
}
