//! The Gemini API key in SSM's Parameter Store.

use std::{sync::Arc, time::Duration};

use gemini::key::{ApiKey, KeyError, KeyStore};
use seam::{
    environment::{VariableError, Variables},
    transport::BoxFuture,
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::aws_call::{AwsCall, AwsCallError, AwsCaller, Service};

/// How many times a read is attempted before SSM counts as unavailable.
const MAX_ATTEMPTS: u32 = 3;
/// The pause before the second attempt; it doubles for the third.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The value of `x-amz-target`.
const OPERATION: &str = "AmazonSSM.GetParameter";

/// An SSM parameter that holds the key.
///
/// Source: docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter, read 2026-11:
/// the name may be an ARN, and `/aws/reference/secretsmanager/<secret>` is a secret of Secrets
/// Manager.
#[derive(Debug)]
pub struct Parameter {
    name: String,
    /// Made for the first read, because most starts of a function make no call to Gemini.
    aws: OnceCell<AwsCaller>,
}

/// Reads the settings of the Gemini client; see [`gemini::Settings::from_variables`].
///
/// # Errors
/// [`VariableError`] when the key is missing, or when the key or a proxy is invalid.
pub fn gemini_settings(variables: &Variables) -> Result<gemini::Settings, VariableError> {
    gemini::Settings::from_variables(variables, |name| Arc::new(Parameter::new(name)))
}

/// The members of a `GetParameter` response that are used.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    parameter: Value,
}

/// The parameter in a response.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Value {
    value: String,
}

impl Parameter {
    /// The parameter of this name or ARN, read with the role, region and endpoint in the function's
    /// environment.
    pub fn new(name: String) -> Self {
        Self {
            name,
            aws: OnceCell::new(),
        }
    }

    /// The parameter of this name or ARN, read through `aws`.
    pub fn through(aws: AwsCaller, name: String) -> Self {
        Self {
            name,
            aws: OnceCell::new_with(Some(aws)),
        }
    }

    async fn read_with_retries(&self) -> Result<ApiKey, KeyError> {
        let from_env = || Box::pin(AwsCaller::from_env());
        let aws = self.aws.get_or_init(from_env).await;
        let mut delay = RETRY_DELAY;
        for _ in 1..MAX_ATTEMPTS {
            match self.read_once(aws).await {
                Err(KeyError::Unavailable { .. }) => tokio::time::sleep(delay).await,
                other => return other,
            }
            delay *= 2;
        }
        self.read_once(aws).await
    }

    /// Calls `GetParameter` once, with decryption.
    async fn read_once(&self, aws: &AwsCaller) -> Result<ApiKey, KeyError> {
        let name = || self.name.clone();
        let unavailable = |problem: String| KeyError::Unavailable {
            name: name(),
            problem,
        };
        let input = json!({"Name": self.name, "WithDecryption": true});
        let call = AwsCall::json(Service::SSM, OPERATION, &input);
        let body = aws.call(&call).await.map_err(|error| match &error {
            AwsCallError::Refused { code, .. } => match code.as_str() {
                "ParameterNotFound" => KeyError::NotFound(name()),
                "AccessDeniedException" | "AccessDenied" => KeyError::Denied(name()),
                _ => unavailable(error.to_string()),
            },
            AwsCallError::Unanswered(problem) => unavailable(problem.clone()),
        })?;
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| unavailable("the response can't be read".to_owned()))?;
        ApiKey::new(&answer.parameter.value).map_err(|problem| KeyError::Malformed {
            name: name(),
            problem,
        })
    }
}

impl KeyStore for Parameter {
    fn read(&self) -> BoxFuture<'_, Result<ApiKey, KeyError>> {
        Box::pin(self.read_with_retries())
    }

    fn name(&self) -> &str {
        &self.name
    }
}
