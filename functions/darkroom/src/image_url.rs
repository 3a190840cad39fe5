//! The web addresses of images: where a deployment serves the objects of its bucket.

use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

/// The characters of a key that are encoded in an address.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// The address below which the objects of the bucket are served, such as
/// `https://cdn.example.com`. It has no slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageBaseUrl(String);

/// A text that is not the base address of images.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an https address without user name, query and fragment, such as \
     https://cdn.example.com"
)]
pub struct ImageBaseUrlError;

impl FromStr for ImageBaseUrl {
    type Err = ImageBaseUrlError;

    fn from_str(text: &str) -> Result<Self, ImageBaseUrlError> {
        let url = Url::parse(text).map_err(|_| ImageBaseUrlError)?;
        // Shops fetch images over https only. A query or a fragment would swallow the path that is
        // added, and a user name would be published in every table.
        let is_plain = url.scheme() == "https"
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !is_plain {
            return Err(ImageBaseUrlError);
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

impl ImageBaseUrl {
    /// Returns the address of an object. Each segment of its key is percent-encoded, apart from
    /// letters and digits of ASCII, `-`, `.`, `_` and `~`.
    pub fn of_object(&self, key: &str) -> String {
        format!("{}/{}", self.0, utf8_percent_encode(key, ENCODED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_an_https_address_without_what_a_path_can_not_follow() {
        for (text, object) in [
            ("https://cdn.example.com", "https://cdn.example.com/a"),
            ("https://cdn.example.com/", "https://cdn.example.com/a"),
            (
                "https://cdn.example.com:8443/shop//",
                "https://cdn.example.com:8443/shop/a",
            ),
        ] {
            let base: ImageBaseUrl = text.parse().unwrap();
            assert_eq!(base.of_object("a"), object, "{text}");
        }
        for refused in [
            "",
            "cdn.example.com",
            "http://cdn.example.com",
            "s3://studio",
            "https://",
            "https://user@cdn.example.com",
            "https://user:word@cdn.example.com",
            "https://cdn.example.com/?size=1",
            "https://cdn.example.com/#top",
        ] {
            assert_eq!(
                refused.parse::<ImageBaseUrl>(),
                Err(ImageBaseUrlError),
                "{refused}"
            );
        }
    }

    #[test]
    fn each_segment_of_a_key_is_encoded() {
        let base: ImageBaseUrl = "https://cdn.example.com".parse().unwrap();
        for (key, path) in [
            ("jobs/shop-1/images/a/b.png", "jobs/shop-1/images/a/b.png"),
            ("a b/c?d#e%f.png", "a%20b/c%3Fd%23e%25f.png"),
            ("grün/été.png", "gr%C3%BCn/%C3%A9t%C3%A9.png"),
            (
                "a&b=c+d;e,f'g\"h<i>",
                "a%26b%3Dc%2Bd%3Be%2Cf%27g%22h%3Ci%3E",
            ),
        ] {
            assert_eq!(
                base.of_object(key),
                format!("https://cdn.example.com/{path}"),
                "{key}"
            );
        }
    }
}
