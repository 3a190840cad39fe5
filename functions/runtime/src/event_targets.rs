//! Where a deployment sends events to.

use std::{fmt, str::FromStr};

use http::Uri;

/// The targets of events. Without one, no function does any work for events.
#[derive(Clone, Debug, Default)]
pub struct EventTargets {
    /// The name or the ARN of a bus of EventBridge.
    pub bus: Option<String>,
    /// The ARN of a topic of SNS.
    pub topic: Option<String>,
    /// A webhook.
    pub webhook: Option<WebhookTarget>,
}

/// A webhook: its address, and the secret that signs its requests.
#[derive(Clone, Debug)]
pub struct WebhookTarget {
    /// The address.
    pub url: WebhookUrl,
    /// The secret.
    pub secret: SecretSource,
}

/// Where the secret of the webhook is.
#[derive(Clone)]
pub enum SecretSource {
    /// It is given, for use on one machine.
    Given(String),
    /// It is in the SSM parameter of this name or ARN.
    Parameter(String),
}

impl fmt::Debug for SecretSource {
    /// Shows the name of a parameter, and nothing of a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(…)"),
            Self::Parameter(name) => f.debug_tuple("Parameter").field(name).finish(),
        }
    }
}

/// The address of a webhook: `https` on port 443, or `http` on 127.0.0.1 for tests. `Debug` shows
/// the host only, because the rest may contain a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Uri);

/// The text is not the address of a webhook. The message does not contain the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an https address without user name, port and fragment, such as \
     https://example.com/hooks, or an http address on 127.0.0.1 for tests"
)]
pub struct WebhookUrlError;

impl WebhookUrl {
    /// Returns the address.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether the address is on this machine. Only a test has such an address.
    pub fn is_loopback(&self) -> bool {
        self.0.scheme_str() == Some("http")
    }
}

impl FromStr for WebhookUrl {
    type Err = WebhookUrlError;

    fn from_str(text: &str) -> Result<Self, WebhookUrlError> {
        let uri: Uri = text.parse().map_err(|_| WebhookUrlError)?;
        let authority = uri.authority().ok_or(WebhookUrlError)?;
        let is_allowed = match uri.scheme_str() {
            Some("https") => authority.port().is_none(),
            Some("http") => authority.host() == "127.0.0.1",
            _ => false,
        };
        let is_plain = !authority.as_str().contains('@') && !text.contains('#');
        (is_allowed && is_plain && !authority.host().is_empty())
            .then_some(Self(uri))
            .ok_or(WebhookUrlError)
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({})", self.0.host().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_an_https_address_or_on_this_machine() {
        for accepted in [
            "https://example.com",
            "https://example.com/hooks/a?token=b",
            "http://127.0.0.1:8080/hooks",
        ] {
            let url: WebhookUrl = accepted.parse().unwrap();
            assert_eq!(url.is_loopback(), accepted.starts_with("http:"));
        }
        for refused in [
            "",
            "example.com/hooks",
            "http://example.com/hooks",
            "http://localhost:8080/hooks",
            "http://127.0.0.1.example.com/",
            "http://user@127.0.0.1/",
            "https://user:canary@example.com/",
            "https://example.com:8443/",
            "https://example.com/#a",
            "ftp://example.com/",
        ] {
            let error = refused.parse::<WebhookUrl>().unwrap_err();
            assert!(!error.to_string().contains("canary"), "{refused}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let target = WebhookTarget {
            url: "https://example.com/hooks?token=canary".parse().unwrap(),
            secret: SecretSource::Given("whsec_canary".to_owned()),
        };
        let shown = format!("{target:?}");
        assert!(
            shown.contains("example.com") && !shown.contains("canary"),
            "{shown}"
        );
    }
}
