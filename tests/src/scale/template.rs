//! What the deployed template sets for the functions, read from the template.

use std::collections::BTreeMap;

use anyhow::Context;
use jiff::SignedDuration;

/// The template of the stack.
const TEXT: &str = include_str!("../../../infra/template.yaml");

/// What the template sets for a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionSettings {
    /// The memory in MB, by which Lambda bills and by which it grants CPU time.
    pub memory_mb: u32,
    /// How long its trigger collects messages for one event.
    pub batching_window: SignedDuration,
}

/// The parts of the template that cost something.
#[derive(Clone, Debug)]
pub struct Template {
    functions: BTreeMap<String, FunctionSettings>,
    /// The number of alarms.
    pub alarms: u32,
}

impl Template {
    /// Reads the template of this repository.
    ///
    /// # Errors
    /// If it does not have the expected form.
    pub fn read() -> anyhow::Result<Self> {
        Self::parse(TEXT)
    }

    /// Reads the few settings by their indentation, which `tests/template.py` and the linters keep
    /// uniform. A parser of YAML would need every tag of CloudFormation.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let (mut section, mut resource) = ("", "");
        let mut default_memory = None;
        let mut template = Self {
            functions: BTreeMap::new(),
            alarms: 0,
        };
        for line in text.lines() {
            let content = line.trim_start();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            match line.len() - content.len() {
                0 => (section, resource) = (content, ""),
                2 if section == "Resources:" => resource = content.trim_end_matches(':'),
                _ => {}
            }
            let (name, value) = content.split_once(": ").unwrap_or((content, ""));
            match (section, name, value) {
                ("Globals:", "MemorySize", _) => default_memory = Some(value.parse()?),
                ("Resources:", "Type", "AWS::Serverless::Function") => {
                    let settings = FunctionSettings {
                        memory_mb: default_memory.context("the template has no MemorySize")?,
                        batching_window: SignedDuration::ZERO,
                    };
                    template.functions.insert(name_of(resource), settings);
                }
                ("Resources:", "Type", "AWS::CloudWatch::Alarm") => template.alarms += 1,
                ("Resources:", "MemorySize", _) => {
                    template.entry(resource)?.memory_mb = value.parse()?;
                }
                ("Resources:", "MaximumBatchingWindowInSeconds", _) => {
                    template.entry(resource)?.batching_window =
                        SignedDuration::from_secs(value.parse()?);
                }
                _ => {}
            }
        }
        Ok(template)
    }

    /// Returns what the template sets for a function.
    ///
    /// # Errors
    /// If the template has no such function.
    pub fn function(&self, name: &str) -> anyhow::Result<FunctionSettings> {
        let settings = self.functions.get(name).copied();
        settings.with_context(|| format!("the template has no function {name}"))
    }

    fn entry(&mut self, resource: &str) -> anyhow::Result<&mut FunctionSettings> {
        let settings = self.functions.get_mut(&name_of(resource));
        settings.with_context(|| format!("{resource} is not a function"))
    }
}

/// Returns the name of a function: `plan` for the resource `PlanFunction`.
fn name_of(resource: &str) -> String {
    resource.trim_end_matches("Function").to_lowercase()
}

#[cfg(test)]
mod tests {
    use darkroom::chain::{CHAIN, SWEEP};

    use super::*;

    #[test]
    fn the_template_has_every_function_of_the_chain() {
        let template = Template::read().unwrap();
        for name in CHAIN
            .map(|source| source.function.name())
            .iter()
            .chain(&[SWEEP])
        {
            let settings = template.function(name).unwrap();
            assert!((128..=10_240).contains(&settings.memory_mb), "{name}");
        }
        assert_eq!(template.functions.len(), CHAIN.len() + 1);
        assert!(template.alarms > 0);
        assert!(template.function("develop").is_err());
    }

    #[test]
    fn a_function_overrides_the_memory_of_all() {
        let text = "Globals:\n  Function:\n    MemorySize: 512\nResources:\n  PlanFunction:\n    \
                    Type: AWS::Serverless::Function\n  # A comment\n  PollFunction:\n    \
                    Type: AWS::Serverless::Function\n    Properties:\n      MemorySize: 256\n      \
                    MaximumBatchingWindowInSeconds: 5\n  Late:\n    Type: AWS::CloudWatch::Alarm\n";
        let template = Template::parse(text).unwrap();
        let settings = |memory_mb, seconds| FunctionSettings {
            memory_mb,
            batching_window: SignedDuration::from_secs(seconds),
        };
        assert_eq!(template.function("plan").unwrap(), settings(512, 0));
        assert_eq!(template.function("poll").unwrap(), settings(256, 5));
        assert_eq!(template.alarms, 1);
    }
}
