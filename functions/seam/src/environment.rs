//! Environment variables, which a function reads once, when it starts.

use std::{collections::HashMap, fmt::Display, str::FromStr};

/// A set of environment variables.
#[derive(Clone, Default)]
pub struct Variables(HashMap<String, String>);

/// A variable is missing or invalid. The message contains its name and never its value.
#[derive(Debug, thiserror::Error)]
pub enum VariableError {
    /// The variable is required and not set.
    #[error("environment variable {0} is not set")]
    Missing(&'static str),
    /// The value is invalid.
    #[error("invalid environment variable {name}: {problem}")]
    Malformed {
        /// The name of the variable.
        name: &'static str,
        /// What is wrong with the value.
        problem: String,
    },
}

impl Variables {
    /// The environment of this process.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the environment is read"
    )]
    pub fn from_env() -> Self {
        std::env::vars().collect()
    }

    /// Returns a variable that must be set and not empty.
    ///
    /// # Errors
    /// [`VariableError::Missing`].
    pub fn required(&self, name: &'static str) -> Result<String, VariableError> {
        self.optional(name).ok_or(VariableError::Missing(name))
    }

    /// Returns an optional variable. An empty one counts as missing.
    pub fn optional(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// Returns `POWERTOOLS_SERVICE_NAME`, the service in the deployment's log lines and metrics;
    /// default `darkroom`.
    pub fn service(&self) -> String {
        self.optional("POWERTOOLS_SERVICE_NAME")
            .unwrap_or_else(|| "darkroom".to_owned())
    }

    /// Parses a variable, or returns `default` if it is missing.
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

    /// Parses an optional variable.
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
    fn an_empty_variable_counts_as_missing() {
        let variables: Variables = [("BUCKET", ""), ("COUNT", "x3")].into_iter().collect();
        assert_eq!(
            variables.required("BUCKET").unwrap_err().to_string(),
            "environment variable BUCKET is not set"
        );
        assert_eq!(variables.parsed("OTHER", 7).unwrap(), 7);
    }

    #[test]
    fn the_error_of_an_invalid_variable_does_not_contain_its_value() {
        let variables: Variables = [("COUNT", "x3")].into_iter().collect();
        let problem = variables.parsed::<u32>("COUNT", 7).unwrap_err().to_string();
        assert!(
            problem.contains("COUNT") && !problem.contains("x3"),
            "{problem}"
        );
    }
}
