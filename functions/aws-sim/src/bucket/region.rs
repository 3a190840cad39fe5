//! The region in a request's signature. Every well-formed region is accepted. S3 answers a wrong
//! region with the right one, and the client signs again; a malformed region gets that answer here.
//! s3cmd depends on it: it signs for the region `US` until it receives the right one.

use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use seam::transport::{Body, full};

use crate::wire::REGION;

/// Returns the refusal of a request whose region is malformed, or none if the region is well formed
/// or absent.
pub(super) fn refuse<B>(request: &Request<B>) -> Option<Response<Body>> {
    let authorization = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let region = region_of(authorization)?;
    if !region.is_empty() && region.bytes().all(is_region_byte) {
        return None;
    }
    let printable: String = region.chars().filter(char::is_ascii_alphanumeric).collect();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AuthorizationHeaderMalformed</Code><Message>The \
         authorization header is malformed; the region '{printable}' is wrong; expecting '{REGION}'</Message>\
         <Region>{REGION}</Region></Error>"
    );
    let mut response = Response::new(full(body));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
        .headers_mut()
        .insert("x-amz-bucket-region", HeaderValue::from_static(REGION));
    Some(response)
}

/// Returns the region in `AWS4-HMAC-SHA256 Credential=<id>/<day>/<region>/s3/aws4_request, …`.
fn region_of(authorization: &str) -> Option<&str> {
    let (_, credential) = authorization
        .strip_prefix("AWS4-HMAC-SHA256")?
        .split_once("Credential=")?;
    let mut scope = credential.split(',').next()?.rsplit('/');
    let (_end, _service) = (scope.next()?, scope.next()?);
    scope.next()
}

fn is_region_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(authorization: &str) -> bool {
        refuse(
            &Request::builder()
                .header(AUTHORIZATION, authorization)
                .body(())
                .unwrap(),
        )
        .is_some()
    }

    #[test]
    fn only_malformed_regions_are_refused() {
        let signed = |region| {
            format!(
                "AWS4-HMAC-SHA256 Credential=id/20261121/{region}/s3/aws4_request, SignedHeaders=host"
            )
        };
        for region in ["us-east-1", "eu-central-1", "auto", "garage", "local-1"] {
            assert!(!refused(&signed(region)), "{region}");
        }
        for region in ["US", "EU", "", "us_east_1", "<b>"] {
            assert!(refused(&signed(region)), "{region}");
        }
        assert!(!refused("AWS id:signature") && !refused("AWS4-HMAC-SHA256"));
        assert!(refuse(&Request::new(())).is_none());
    }
}
