//! The key in SSM's Parameter Store, kept in memory for a while.

use aws_sdk_ssm::{error::ProvideErrorMetadata, operation::get_parameter::GetParameterError};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Mutex, OnceCell};
use tracing::warn;

use super::{ApiKey, KeyError};
use crate::{aws, clock::Clock};

/// How long a key is used before it is read again.
const KEPT_FOR: SignedDuration = SignedDuration::from_mins(5);
/// How long a key is used on when SSM doesn't answer, and how often it is asked at the most because Gemini refuses
/// the key.
const ASKED_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// An SSM parameter that holds the key. Source: docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter,
/// read 2026-11: the name may be an ARN, and `/aws/reference/secretsmanager/<secret>` is a secret of Secrets Manager.
#[derive(Debug)]
pub(super) struct Parameter {
    /// Made when it is first needed: most starts of a function find nothing to ask Gemini.
    ssm: OnceCell<aws_sdk_ssm::Client>,
    name: String,
    clock: Clock,
    /// Locked while SSM is asked, so that it is asked once, whoever waits.
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    key: ApiKey,
    asked_at: Timestamp,
    until: Timestamp,
}

impl Parameter {
    pub(super) fn new(ssm: Option<aws_sdk_ssm::Client>, name: String, clock: Clock) -> Self {
        Self { ssm: OnceCell::new_with(ssm), name, clock, kept: Mutex::new(None) }
    }

    pub(super) async fn key(&self) -> Result<ApiKey, KeyError> {
        let mut kept = self.kept.lock().await;
        match &*kept {
            Some(kept) if self.clock.now() < kept.until => Ok(kept.key.clone()),
            _ => self.read(&mut kept).await,
        }
    }

    pub(super) async fn other_than(&self, refused: &ApiKey) -> Option<ApiKey> {
        let mut kept = self.kept.lock().await;
        let due = |kept: &Kept| self.clock.now() >= kept.asked_at + ASKED_AGAIN_AFTER;
        let key = match &*kept {
            Some(kept) if kept.key == *refused && !due(kept) => return None,
            Some(kept) if kept.key != *refused => kept.key.clone(),
            _ => self.read(&mut kept).await.ok()?,
        };
        (key != *refused).then_some(key)
    }

    /// Asks SSM. Where it doesn't answer, the key that is there is used on for a while.
    async fn read(&self, kept: &mut Option<Kept>) -> Result<ApiKey, KeyError> {
        let asked_at = self.clock.now();
        match (self.ask().await, &mut *kept) {
            (Ok(key), _) => {
                *kept = Some(Kept { key: key.clone(), asked_at, until: asked_at + KEPT_FOR });
                Ok(key)
            }
            (Err(problem @ KeyError::Unavailable { .. }), Some(kept)) => {
                warn!("{problem}; the one that was read before is used on");
                (kept.asked_at, kept.until) = (asked_at, asked_at + ASKED_AGAIN_AFTER);
                Ok(kept.key.clone())
            }
            (Err(problem), _) => {
                *kept = None;
                Err(problem)
            }
        }
    }

    async fn ask(&self) -> Result<ApiKey, KeyError> {
        let name = || self.name.clone();
        let ssm = self.ssm.get_or_init(aws::ssm_from_env).await;
        let answer = ssm.get_parameter().name(&self.name).with_decryption(true).send().await.map_err(|error| {
            let code = error.code().map(str::to_owned);
            match (error.as_service_error(), code.as_deref()) {
                (Some(GetParameterError::ParameterNotFound(_)), _) => KeyError::NotFound(name()),
                (_, Some("AccessDeniedException" | "AccessDenied")) => KeyError::Denied(name()),
                _ => KeyError::Unavailable { name: name(), problem: aws::said(&error) },
            }
        })?;
        let text = answer.parameter().and_then(|parameter| parameter.value()).unwrap_or_default();
        ApiKey::new(text).map_err(|problem| KeyError::Malformed { name: name(), problem })
    }
}
