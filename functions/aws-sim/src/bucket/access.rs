//! Checks that every request is signed, and refuses those that need a feature which the stand-in
//! would silently leave out.

use http::HeaderMap;
use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    s3_error,
};

/// Prefixes of headers whose features are not implemented. A caller that sends one relies on it:
/// the object must not be stored without the encryption or protection that was requested.
const REFUSED: [(&str, &str); 4] = [
    (
        "x-amz-server-side-encryption-customer-",
        "encryption with customer-provided keys (SSE-C)",
    ),
    (
        "x-amz-copy-source-server-side-encryption-customer-",
        "encryption with customer-provided keys (SSE-C)",
    ),
    ("x-amz-object-lock-", "object lock"),
    ("x-amz-bucket-object-lock-enabled", "object lock"),
];

/// The check that runs before every operation.
pub(super) struct Access;

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result {
        if context.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        }
        refuse_unsupported(context.headers())
    }
}

/// # Errors
/// `NotImplemented` for a header of [`REFUSED`].
fn refuse_unsupported(headers: &HeaderMap) -> S3Result {
    for (name, value) in headers {
        let refused = REFUSED
            .iter()
            .find(|(start, _)| name.as_str().starts_with(start));
        if let Some((_, what)) = refused
            && !value.as_bytes().eq_ignore_ascii_case(b"false")
        {
            return Err(s3_error!(
                NotImplemented,
                "{what} is not supported: send the request without {name}."
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use s3s::S3ErrorCode;

    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )])
    }

    #[test]
    fn unsupported_features_are_refused_by_the_name_of_their_header() {
        for (name, value) in [
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            ("x-amz-server-side-encryption-customer-key", "a2V5"),
            (
                "x-amz-copy-source-server-side-encryption-customer-key-md5",
                "a2V5",
            ),
            ("x-amz-object-lock-mode", "COMPLIANCE"),
            ("x-amz-object-lock-legal-hold", "ON"),
            ("x-amz-bucket-object-lock-enabled", "true"),
        ] {
            let refusal = refuse_unsupported(&headers(name, value)).unwrap_err();
            assert_eq!(*refusal.code(), S3ErrorCode::NotImplemented, "{name}");
            assert!(
                refusal
                    .message()
                    .is_some_and(|message| message.contains(name)),
                "{refusal:?}"
            );
        }
        for (name, value) in [
            ("x-amz-server-side-encryption", "AES256"),
            ("x-amz-bucket-object-lock-enabled", "False"),
            ("x-amz-meta-object-lock-mode", "mine"),
        ] {
            assert!(refuse_unsupported(&headers(name, value)).is_ok(), "{name}");
        }
    }
}
