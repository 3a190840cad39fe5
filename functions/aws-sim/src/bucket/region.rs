//! The region that a request is signed for. Any is accepted that can be one; what can't be is
//! answered as S3 answers a wrong region, with the right one, and the client signs again. s3cmd
//! begins so: its region is `US` until it is told.

use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use seam::transport::{Body, full};

use crate::wire::REGION;

/// The refusal of a request whose region no region has; none if it may be one, or is not named at
/// all.
pub(super) fn refuse<B>(request: &Request<B>) -> Option<Response<Body>> {
    let authorization = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let region = region_of(authorization)?;
    if !region.is_empty() && region.bytes().all(is_of_regions) {
        return None;
    }
    let shown: String = region.chars().filter(char::is_ascii_alphanumeric).collect();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AuthorizationHeaderMalformed</Code><Message>The \
         authorization header is malformed; the region '{shown}' is wrong; expecting '{REGION}'</Message>\
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

/// The region in `AWS4-HMAC-SHA256 Credential=<id>/<day>/<region>/s3/aws4_request, …`.
fn region_of(authorization: &str) -> Option<&str> {
    let (_, credential) = authorization
        .strip_prefix("AWS4-HMAC-SHA256")?
        .split_once("Credential=")?;
    let mut scope = credential.split(',').next()?.rsplit('/');
    let (_end, _service) = (scope.next()?, scope.next()?);
    scope.next()
}

fn is_of_regions(byte: u8) -> bool {
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
    fn only_what_can_be_no_region_is_refused() {
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
