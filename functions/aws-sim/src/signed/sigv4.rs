//! Signature Version 4 of requests of the AWS JSON protocol
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>,
//! read 2026-11).
//!
//! These requests are posted to a path without a query, and the signature covers the whole body.
//! Other forms, such as a signature in the query or a body in chunks, occur only in S3.

use std::str::FromStr;

use darkroom::digest::hex;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION, request::Parts};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use sha2::{Digest, Sha256};

use crate::{credentials::Credentials, hexadecimal::from_hex};

/// The only supported algorithm.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The maximum difference between a signature's date and the present, as in AWS.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(15);

/// The headers that must be signed. Otherwise a request could be changed into another one.
const SIGNED_AT_LEAST: [&str; 3] = ["host", "x-amz-date", "x-amz-target"];

/// The reason why a signature is refused. It contains no secret and no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureError {
    /// The request has no signature.
    #[error("The request is not signed: sign it with the access key that `darkroom serve` prints.")]
    Missing,
    /// The signature is malformed.
    #[error(
        "The signature is malformed: it must be in the Authorization header, in the form of AWS4-HMAC-SHA256."
    )]
    Malformed,
    /// It was made with another access key.
    #[error("Unknown access key id: use the one that `darkroom serve` prints for this folder.")]
    UnknownKey,
    /// Its date is too far in the past or in the future.
    #[error(
        "The signature has expired, or the clock is wrong: its date must be within 15 minutes of now."
    )]
    Expired,
    /// It was made with another secret, or for another request.
    #[error("The signature does not match: check the secret access key.")]
    Mismatch,
}

impl SignatureError {
    /// Returns the error's name in SQS.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Malformed => "IncompleteSignatureException",
            Self::UnknownKey => "UnrecognizedClientException",
            Self::Expired | Self::Mismatch => "InvalidSignatureException",
        }
    }
}

/// Checks that the request was signed with these credentials in its present form, within 15 minutes
/// of `now`.
///
/// # Errors
/// [`SignatureError`].
pub(super) fn verify(
    head: &Parts,
    body: &[u8],
    credentials: &Credentials,
    now: Timestamp,
) -> Result<(), SignatureError> {
    let mut given = head.headers.get_all(AUTHORIZATION).iter();
    let (Some(authorization), None) = (given.next(), given.next()) else {
        let is_missing = !head.headers.contains_key(AUTHORIZATION);
        return Err(if is_missing {
            SignatureError::Missing
        } else {
            SignatureError::Malformed
        });
    };
    let authorization = authorization
        .to_str()
        .map_err(|_| SignatureError::Malformed)?;
    let authorization: Authorization<'_> =
        Authorization::parse(authorization).ok_or(SignatureError::Malformed)?;
    if authorization.access_key_id != credentials.access_key_id() {
        return Err(SignatureError::UnknownKey);
    }
    // The date must agree with the scope of the key, and must be recent.
    let date = only(&head.headers, "x-amz-date").ok_or(SignatureError::Malformed)?;
    let signed_at = parse_date(date).ok_or(SignatureError::Malformed)?;
    if !date.starts_with(authorization.day) {
        return Err(SignatureError::Malformed);
    }
    if signed_at.duration_since(now).abs() > MAX_SKEW {
        return Err(SignatureError::Expired);
    }
    // The string to sign and the signing key follow from the request alone.
    let canonical = canonical_request(head, body, authorization.signed_headers)
        .ok_or(SignatureError::Malformed)?;
    let scope = authorization.scope;
    let to_sign = format!(
        "{ALGORITHM}\n{date}\n{scope}\n{}",
        hex(&Sha256::digest(canonical))
    );
    let signature = from_hex(authorization.signature).ok_or(SignatureError::Malformed)?;
    let mut mac = keyed(&signing_key(credentials, scope));
    mac.update(to_sign.as_bytes());
    // This comparison takes the same time regardless of how many bytes match.
    mac.verify_slice(&signature)
        .map_err(|_| SignatureError::Mismatch)
}

/// `AWS4-HMAC-SHA256 Credential=<id>/<day>/<region>/sqs/aws4_request, SignedHeaders=<a;b>,
/// Signature=<hex>`.
struct Authorization<'a> {
    access_key_id: &'a str,
    day: &'a str,
    /// `<day>/<region>/sqs/aws4_request`.
    scope: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in text.strip_prefix(ALGORITHM)?.strip_prefix(' ')?.split(',') {
            let (name, value) = field.trim().split_once('=')?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return None,
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        // The scope must end in `<day>/<region>/sqs/aws4_request`. Any region is accepted.
        let (access_key_id, scope) = credential?.split_once('/')?;
        let [day, _, service, end]: [&str; 4] =
            scope.split('/').collect::<Vec<_>>().try_into().ok()?;
        let is_ours = service == "sqs" && end == "aws4_request" && day.len() == 8;
        is_ours.then_some(Self {
            access_key_id,
            day,
            scope,
            signed_headers: signed_headers?,
            signature: signature?,
        })
    }
}

/// Returns the canonical request, which the signature covers. Returns none if the request has a
/// query or leaves a required header unsigned.
fn canonical_request(head: &Parts, body: &[u8], signed_headers: &str) -> Option<String> {
    let names: Vec<&str> = signed_headers.split(';').collect();
    let covers = |name: &&str| names.contains(name);
    if !names.is_sorted_by(|one, other| one < other) || !SIGNED_AT_LEAST.iter().all(covers) {
        return None;
    }
    let path = head.uri.path();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    if head.uri.query().is_some() || !path.bytes().all(is_plain) {
        return None;
    }
    let mut canonical = format!("{}\n{path}\n\n", head.method);
    for name in names {
        canonical.push_str(&format!("{name}:{}\n", joined(&head.headers, name)?));
    }
    canonical.push_str(&format!(
        "\n{signed_headers}\n{}",
        hex(&Sha256::digest(body))
    ));
    Some(canonical)
}

/// Returns the values of a header in canonical form, with white space collapsed, or none if the
/// header is missing.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let alike = |value: &HeaderValue| {
        Some(
            value
                .to_str()
                .ok()?
                .split_ascii_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        )
    };
    let values = headers
        .get_all(name)
        .iter()
        .map(alike)
        .collect::<Option<Vec<_>>>()?;
    (!values.is_empty()).then(|| values.join(","))
}

/// Returns the value of a header that occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Parses a date of the form `20261121T090000Z`.
fn parse_date(text: &str) -> Option<Timestamp> {
    let time = DateTime::from_str(text.strip_suffix('Z')?).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn signing_key(credentials: &Credentials, scope: &str) -> Vec<u8> {
    let first = format!("AWS4{}", credentials.secret_access_key()).into_bytes();
    scope.split('/').fold(first, |key, part| {
        let mut mac = keyed(&key);
        mac.update(part.as_bytes());
        mac.finalize().into_bytes().to_vec()
    })
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"))
}

#[cfg(test)]
mod tests;
