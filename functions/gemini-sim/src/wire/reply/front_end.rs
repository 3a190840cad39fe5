//! The errors that Google's API front end writes before a request reaches the service: keys,
//! projects, countries, time.
//!
//! Source: answers that people have published, e.g.
//! <https://github.com/google-gemini/gemini-cli/issues/1343> for a disabled API and
//! <https://github.com/rohitaryal/imageFX-api/issues/19> for wrong credentials, read 2026-11-26.
//! The words of the 504 are those of Google's client libraries.

use serde_json::json;

use super::{Refused, Status};

/// The project whose key is refused.
const PROJECT: &str = "123456789012";

impl Refused {
    /// 400: the service is not offered where the caller is.
    pub(crate) fn country_not_served() -> Self {
        Self::new(
            Status::FailedPrecondition,
            "User location is not supported for the API use.",
        )
    }

    /// 401: there are no credentials that the front end understands.
    pub(crate) fn unauthenticated() -> Self {
        let told = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other \
                    valid authentication credential. See \
                    https://developers.google.com/identity/sign-in/web/devconsole-project.";
        Self::new(Status::Unauthenticated, told)
    }

    /// 403: the key is good and may not make this call.
    pub(crate) fn forbidden() -> Self {
        Self::new(
            Status::PermissionDenied,
            "The caller does not have permission",
        )
    }

    /// 403: the API is not enabled in the project that the key belongs to.
    pub(crate) fn api_disabled() -> Self {
        let service = "generativelanguage.googleapis.com";
        let activation = format!(
            "https://console.developers.google.com/apis/api/{service}/overview?project={PROJECT}"
        );
        let told = format!(
            "Generative Language API has not been used in project {PROJECT} before or it is disabled. Enable it by visiting \
             {activation} then retry. If you enabled this API recently, wait a few minutes for the action to propagate to \
             our systems and retry."
        );
        let link =
            json!({"description": "Google developers console API activation", "url": activation});
        let reason = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "SERVICE_DISABLED",
            "domain": "googleapis.com",
            "metadata": {
                "activationUrl": activation,
                "consumer": format!("projects/{PROJECT}"),
                "containerInfo": PROJECT,
                "service": service,
                "serviceTitle": "Generative Language API",
            },
        });
        let help = json!({"@type": "type.googleapis.com/google.rpc.Help", "links": [link]});
        let localized = json!({
            "@type": "type.googleapis.com/google.rpc.LocalizedMessage",
            "locale": "en-US",
            "message": told,
        });
        Self {
            details: vec![reason, localized, help],
            ..Self::new(Status::PermissionDenied, told)
        }
    }

    /// 504: the service did not answer the front end in time.
    pub(crate) fn deadline_exceeded() -> Self {
        Self::new(
            Status::DeadlineExceeded,
            "Deadline expired before operation could complete.",
        )
    }
}
