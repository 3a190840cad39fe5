//! Secrets in SSM's Parameter Store: the Gemini API key, and the secret that signs webhooks. Each is
//! read by one signed request.

use std::{sync::Arc, time::Duration};

use gemini::key::{ApiKey, KeyError, KeyStore};
use seam::{
    environment::{VariableError, Variables},
    transport::BoxFuture,
};
use serde::Deserialize;
use serde_json::json;

use crate::aws_call::{AwsCall, AwsCallError, AwsCaller, Service};

/// How many times a read is attempted before SSM counts as unavailable.
const MAX_ATTEMPTS: u32 = 3;
/// The pause before the second attempt; it doubles for the third.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The value of `x-amz-target`.
const OPERATION: &str = "AmazonSSM.GetParameter";

/// An SSM parameter that holds a secret.
///
/// Source: docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter, read 2026-11:
/// the name may be an ARN, and `/aws/reference/secretsmanager/<secret>` is a secret of Secrets
/// Manager.
#[derive(Debug)]
pub struct Parameter {
    name: String,
    aws: Arc<AwsCaller>,
}

/// Why a parameter can't be read. The message contains its name and never its value.
#[derive(Debug, thiserror::Error)]
pub enum ParameterError {
    /// SSM has no such parameter.
    #[error("there is no SSM parameter {0}: create it with the secret as its value")]
    NotFound(String),
    /// This function's role may not read or decrypt the parameter.
    #[error("this function's role may not read the SSM parameter {0}, or may not decrypt it")]
    Denied(String),
    /// SSM does not return the parameter.
    #[error("SSM doesn't answer about the parameter {name} ({problem})")]
    Unavailable {
        /// The parameter.
        name: String,
        /// SSM's error code, or what happened to the connection.
        problem: String,
    },
}

/// Reads the settings of the Gemini client; see [`gemini::Settings::from_variables`].
///
/// # Errors
/// [`VariableError`] when the key is missing, or when the key or a proxy is invalid.
pub fn gemini_settings(variables: &Variables) -> Result<gemini::Settings, VariableError> {
    gemini::Settings::from_variables(variables, |name| {
        Arc::new(Parameter::new(Arc::new(AwsCaller::from_env()), name))
    })
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
    /// The parameter of this name or ARN, read through `aws`.
    pub fn new(aws: Arc<AwsCaller>, name: String) -> Self {
        Self { name, aws }
    }

    /// Reads the parameter with decryption, in up to three attempts.
    ///
    /// # Errors
    /// [`ParameterError`].
    pub async fn value(&self) -> Result<String, ParameterError> {
        let mut delay = RETRY_DELAY;
        for _ in 1..MAX_ATTEMPTS {
            match self.read_once().await {
                Err(ParameterError::Unavailable { .. }) => tokio::time::sleep(delay).await,
                other => return other,
            }
            delay *= 2;
        }
        self.read_once().await
    }

    async fn read_once(&self) -> Result<String, ParameterError> {
        let name = || self.name.clone();
        let unavailable = |problem: String| ParameterError::Unavailable {
            name: name(),
            problem,
        };
        let input = json!({"Name": self.name, "WithDecryption": true});
        let call = AwsCall::json(Service::SSM, OPERATION, &input);
        let answer = self.aws.call(&call).await.map_err(|error| match &error {
            AwsCallError::Refused { code, .. } => match code.as_str() {
                "ParameterNotFound" => ParameterError::NotFound(name()),
                "AccessDeniedException" | "AccessDenied" => ParameterError::Denied(name()),
                _ => unavailable(error.to_string()),
            },
            AwsCallError::Unanswered(problem) => unavailable(problem.clone()),
        })?;
        let answer: Answer = serde_json::from_slice(&answer)
            .map_err(|_| unavailable("the response can't be read".to_owned()))?;
        Ok(answer.parameter.value)
    }

    async fn read_key(&self) -> Result<ApiKey, KeyError> {
        let value = self.value().await.map_err(|error| match error {
            ParameterError::NotFound(name) => KeyError::NotFound(name),
            ParameterError::Denied(name) => KeyError::Denied(name),
            ParameterError::Unavailable { name, problem } => {
                KeyError::Unavailable { name, problem }
            }
        })?;
        ApiKey::new(&value).map_err(|problem| KeyError::Malformed {
            name: self.name.clone(),
            problem,
        })
    }
}

impl KeyStore for Parameter {
    fn read(&self) -> BoxFuture<'_, Result<ApiKey, KeyError>> {
        Box::pin(self.read_key())
    }

    fn name(&self) -> &str {
        &self.name
    }
}
