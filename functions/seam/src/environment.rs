//! Environment variables, read once when a function starts.

use std::{collections::HashMap, fmt::Display, str::FromStr};

/// The variables a function was started with.
#[derive(Clone, Default)]
pub struct Variables(HashMap<String, String>);

/// A variable that is missing or can't be read. It names the variable and never shows its value.
#[derive(Debug, thiserror::Error)]
pub enum VariableError {
    /// It is needed and isn't set.
    #[error("environment variable {0} is not set")]
    Missing(&'static str),
    /// It is set to something else than what it means.
    #[error("environment variable {name} can't be read: {problem}")]
    Malformed {
        /// The variable's name.
        name: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
}

impl Variables {
    /// The process's environment.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the environment is read"
    )]
    pub fn from_env() -> Self {
        std::env::vars().collect()
    }

    /// A variable that must be set, and not empty.
    ///
    /// # Errors
    /// [`VariableError::Missing`].
    pub fn required(&self, name: &'static str) -> Result<String, VariableError> {
        self.optional(name).ok_or(VariableError::Missing(name))
    }

    /// A variable that may be missing; an empty one is.
    pub fn optional(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// `POWERTOOLS_SERVICE_NAME`, by which the deployment's log lines and metrics go; default
    /// `darkroom`.
    pub fn service(&self) -> String {
        self.optional("POWERTOOLS_SERVICE_NAME")
            .unwrap_or_else(|| "darkroom".to_owned())
    }

    /// A variable of another type than text, or `default` if it is missing.
    ///
    /// # Errors
    /// [`VariableError::Malformed`].
    pub fn parsed<T: FromStr<Err: Display>>(
        &self,
        name: &'static str,
        default: T,
    ) -> Result<T, VariableError> {
        Ok(self.optional_parsed(name)?.unwrap_or(default))
    }

    /// A variable of another type than text, which may be missing.
    ///
    /// # Errors
    /// [`VariableError::Malformed`].
    pub fn optional_parsed<T: FromStr<Err: Display>>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, VariableError> {
        let Some(value) = self.optional(name) else {
            return Ok(None);
        };
        let parsed = value.parse();
        parsed
            .map(Some)
            .map_err(|problem: T::Err| VariableError::Malformed {
                name,
                problem: problem.to_string(),
            })
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_a_missing_one() {
        let variables: Variables = [("BUCKET", ""), ("COUNT", "x3")].into_iter().collect();
        assert_eq!(
            variables.required("BUCKET").unwrap_err().to_string(),
            "environment variable BUCKET is not set"
        );
        assert_eq!(variables.parsed("OTHER", 7).unwrap(), 7);
    }

    #[test]
    fn a_malformed_variable_is_named_without_its_value() {
        let variables: Variables = [("COUNT", "x3")].into_iter().collect();
        let problem = variables.parsed::<u32>("COUNT", 7).unwrap_err().to_string();
        assert!(
            problem.contains("COUNT") && !problem.contains("x3"),
            "{problem}"
        );
    }
}
