//! The errors that Google's API front end returns before a request reaches the service: invalid
//! keys, disabled APIs, unsupported countries, timeouts.
//!
//! Source: published answers, for example <https://github.com/google-gemini/gemini-cli/issues/1343>
//! for a disabled API and <https://github.com/rohitaryal/imageFX-api/issues/19> for invalid
//! credentials, read 2026-11-26. The message of the 504 is that of Google's client libraries.

use serde_json::json;

use super::{ApiError, Status};

/// The project number in the answers.
const PROJECT: &str = "123456789012";

impl ApiError {
    /// 400: the service is not offered in the caller's country.
    pub(crate) fn country_not_served() -> Self {
        Self::new(
            Status::FailedPrecondition,
            "User location is not supported for the API use.",
        )
    }

    /// 401: the credentials are not of a kind that the front end accepts.
    pub(crate) fn unauthenticated() -> Self {
        let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other \
                    valid authentication credential. See \
                    https://developers.google.com/identity/sign-in/web/devconsole-project.";
        Self::new(Status::Unauthenticated, message)
    }

    /// 403: the key is valid but may not make this call.
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
        let message = format!(
            "Generative Language API has not been used in project {PROJECT} before or it is disabled. Enable it by visiting \
             {activation} then retry. If you enabled this API recently, wait a few minutes for the action to propagate to \
             our systems and retry."
        );

        // The details repeat the message and the link, as in the published answer.
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
            "message": message,
        });
        Self {
            details: vec![reason, localized, help],
            ..Self::new(Status::PermissionDenied, message)
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
