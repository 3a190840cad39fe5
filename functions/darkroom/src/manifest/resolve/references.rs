//! Reference pictures: objects in S3, by their full name or by their key in the bucket, and web
//! addresses if those are allowed.
//!
//! Of the deployment's own bucket, only [`REFS`] may be named. The bucket also holds the results of
//! other jobs, other users' manifests and the deployment's documents, and dropping a manifest must
//! not be a way to read them. Which objects of other buckets may be read is decided by the
//! permissions of the functions' roles.

use url::Url;

use crate::{
    manifest::{Copies, diagnostics::quote},
    names::ObjectUri,
};

/// The folder of reference pictures in the deployment's own bucket.
const REFS: &str = "refs/";

/// Percent-encoded dots and slashes, in lower case. They would be a path to a program that decodes
/// them.
const ENCODED: [&str; 3] = ["%2e", "%2f", "%5c"];

/// The longest web address that is fetched, in bytes: a limit that browsers and servers share.
const MAX_ADDRESS_BYTES: usize = 2_048;

/// The longest key in S3, in bytes
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>, read 2026-11).
const MAX_KEY_BYTES: usize = 1_024;

/// The picture types that Gemini accepts, by extension
/// (<https://ai.google.dev/gemini-api/docs/image-understanding>, read 2026-11).
const TYPES: [(&str, &str); 6] = [
    (".png", "image/png"),
    (".jpg", "image/jpeg"),
    (".jpeg", "image/jpeg"),
    (".webp", "image/webp"),
    (".heic", "image/heic"),
    (".heif", "image/heif"),
];

/// A reference picture.
pub(crate) enum Reference {
    /// An object in S3.
    Object(ObjectUri),
    /// A web address that was copied to an object.
    Copied {
        /// The address.
        url: Url,
        /// The object.
        copy: ObjectUri,
    },
    /// A web address that was not copied yet.
    Web(Url),
}

/// Parses a reference. Without `copies`, only objects are allowed.
///
/// # Errors
///
/// A code and a message, if the reference is refused.
pub(crate) fn parse(
    text: &str,
    bucket: &str,
    copies: Option<&Copies>,
) -> Result<Reference, (&'static str, String)> {
    let Some(copies) =
        copies.filter(|_| text.starts_with("https://") || text.starts_with("http://"))
    else {
        return object(text, bucket).map(Reference::Object);
    };
    let bad = |what: &str| Err(("bad_reference", format!("reference {} {what}", quote(text))));

    // Only plain https addresses are fetched, without credentials and on the standard port.
    let Ok(mut url) = text.parse::<Url>() else {
        return bad("is not a web address: write https://host/path");
    };
    if !url.username().is_empty() || url.password().is_some() {
        // The message does not quote the address, because that would show the password.
        let message =
            "a reference contains a user name or a password: nothing is fetched with credentials";
        return Err(("bad_reference", message.to_owned()));
    }
    if url.scheme() != "https" {
        return bad("uses http: only https is fetched");
    }
    if url.port().is_some() {
        return bad("names a port: only the standard port 443 is fetched");
    }
    if text.len() > MAX_ADDRESS_BYTES {
        return bad("is too long: the limit is 2048 bytes");
    }

    // Addresses that differ only in their fragment are the same picture.
    url.set_fragment(None);
    Ok(match copies.get(&url).cloned() {
        Some(copy) => Reference::Copied { url, copy },
        None => Reference::Web(url),
    })
}

/// Parses a reference to an object.
///
/// # Errors
///
/// A code and a message, if the reference is refused.
pub(crate) fn object(text: &str, bucket: &str) -> Result<ObjectUri, (&'static str, String)> {
    let bad = |what: &str| Err(("bad_reference", format!("reference {} {what}", quote(text))));
    let unsupported = |what: &str| {
        Err((
            "unsupported_reference",
            format!("reference {} {what}", quote(text)),
        ))
    };

    // The text is an object's full name, or its key in the deployment's bucket.
    let uri = match text.split_once("://") {
        Some(("s3", _)) => match text.parse::<ObjectUri>() {
            Ok(uri) => uri,
            Err(_) => return bad("does not name an object: write s3://bucket/key"),
        },
        Some(("http" | "https", _)) => {
            return unsupported(
                "is a web address, and fetching those is not enabled: put the picture into the \
                 bucket and write its \
                 key, or allow web addresses (AllowHttpsReferences, or --allow-https-references)",
            );
        }
        Some(_) => {
            return bad("has an unknown scheme: write s3://bucket/key, or a key in the bucket");
        }
        None if text.starts_with("s3:") => {
            return bad("does not name an object: write s3://bucket/key");
        }
        None if text.starts_with('@') => {
            return unsupported(
                "is a name, and names are not supported yet: write the picture's key in the bucket",
            );
        }
        None if text.starts_with("data:") => {
            return bad("is data: put the picture into the bucket and write its key");
        }
        None => ObjectUri {
            bucket: bucket.to_owned(),
            key: text.to_owned(),
        },
    };

    // A key that looks like a path is refused, whatever the bucket.
    let key = &uri.key;
    if key.is_empty() {
        return bad("is empty: remove it");
    }
    if key.starts_with('/')
        || key
            .split(['/', '\\'])
            .any(|segment| matches!(segment, "." | ".."))
    {
        return bad("is a file system path: write the key as S3 shows it, such as refs/a.jpg");
    }
    if key.len() > MAX_KEY_BYTES || key.chars().any(char::is_control) {
        return bad("can't be a key in S3: it is too long or contains control characters");
    }
    // Bucket names have no upper case, but a server that gets one may ignore case.
    if uri
        .bucket
        .trim_end_matches('.')
        .eq_ignore_ascii_case(bucket)
    {
        let lower = key.to_ascii_lowercase();
        if key.split(['/', '\\']).any(str::is_empty)
            || ENCODED.iter().any(|encoded| lower.contains(encoded))
        {
            return bad(
                "contains an empty or an encoded folder: write the key as S3 shows it, such as \
                 refs/a.jpg",
            );
        }
        if uri.bucket != bucket || !key.starts_with(REFS) {
            return bad(
                "is not below refs/, the only folder of this bucket that references may name: \
                 copy it there first",
            );
        }
    }
    Ok(uri)
}

/// Returns the type of a picture by its extension.
///
/// # Errors
///
/// A code and a message, if the extension is unknown.
pub(crate) fn mime_type(uri: &ObjectUri) -> Result<&'static str, (&'static str, String)> {
    let name = uri.key.to_ascii_lowercase();
    TYPES
        .iter()
        .find(|(extension, _)| name.ends_with(extension))
        .map(|(_, mime_type)| *mime_type)
        .ok_or_else(|| {
            let known = TYPES.map(|(extension, _)| extension).join(", ");
            (
                "bad_reference",
                format!(
                    "reference {} does not have the extension of a picture: use one of {known}",
                    quote(&uri.key)
                ),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_the_bucket_and_a_full_name_in_the_bucket_that_it_names() {
        for (text, uri) in [
            ("refs/a b.jpg", "s3://studio/refs/a b.jpg"),
            (
                "s3://acme-refs/1001/front.jpg",
                "s3://acme-refs/1001/front.jpg",
            ),
            ("refs/a..b/c.png", "s3://studio/refs/a..b/c.png"),
            (
                "refs/100% wool, 50%25.png",
                "s3://studio/refs/100% wool, 50%25.png",
            ),
            ("s3://studio/refs/x/y.png", "s3://studio/refs/x/y.png"),
            (
                "s3://other/jobs/x//images/a%2fb.png",
                "s3://other/jobs/x//images/a%2fb.png",
            ),
        ] {
            assert_eq!(object(text, "studio").unwrap().to_string(), uri);
        }
    }

    #[test]
    fn a_text_that_does_not_name_an_object_is_refused() {
        for (text, code) in [
            ("", "bad_reference"),
            ("/etc/passwd", "bad_reference"),
            ("../secret.png", "bad_reference"),
            ("refs/../../x.png", "bad_reference"),
            ("refs\\..\\x.png", "bad_reference"),
            ("s3://studio/../x.png", "bad_reference"),
            ("s3://studio", "bad_reference"),
            ("s3:/studio/x.png", "bad_reference"),
            ("gs://bucket/x.png", "bad_reference"),
            ("file:///x.png", "bad_reference"),
            ("data:image/png;base64,AAAA", "bad_reference"),
            ("refs/\n.png", "bad_reference"),
            ("https://example.com/x.png", "unsupported_reference"),
            ("@milo", "unsupported_reference"),
        ] {
            assert_eq!(object(text, "studio").unwrap_err().0, code, "{text}");
        }
    }

    #[test]
    fn only_refs_of_the_deployments_bucket_may_be_named() {
        for text in [
            "a.png",
            "jobs/catalog-1/images/a.png",
            "jobs/catalog-1/refs/0.png",
            "stack/models.png",
            "inbox/a.png",
            "templates/a.png",
            "control/a.png",
            "refsx/a.png",
            "Refs/a.png",
            "ref/s/a.png",
            " refs/a.png",
            "refs\\a.png",
            "s3://studio/jobs/x/images/a.png",
            "s3://Studio/jobs/x/images/a.png",
            "s3://STUDIO/refs/a.png",
            "s3://studio./jobs/x/images/a.png",
            "refs/../jobs/x/images/a.png",
            "refs/./../jobs/x.png",
            "refs/..\\jobs/x.png",
            "refs//a.png",
            "refs/a//b.png",
            "refs/\\a.png",
            "refs/%2e%2e/jobs/x.png",
            "refs/%2E%2e%2Fjobs%2fx.png",
            "refs/..%5cjobs/x.png",
            "refs%2fa.png",
            "s3://studio//refs/a.png",
        ] {
            let Err((code, message)) = object(text, "studio") else {
                panic!("{text} is allowed")
            };
            assert_eq!(code, "bad_reference", "{text}");
            assert!(message.contains("refs/"), "{message}");
        }
    }

    #[test]
    fn the_extension_determines_the_type() {
        let of = |key: &str| {
            mime_type(&ObjectUri {
                bucket: "b".to_owned(),
                key: key.to_owned(),
            })
        };
        assert_eq!(of("a.JPG"), Ok("image/jpeg"));
        assert_eq!(of("a.webp"), Ok("image/webp"));
        assert!(of("a.tiff").is_err() && of("png").is_err());
    }

    #[test]
    fn a_web_address_is_refused_unless_those_are_allowed() {
        let Err((code, message)) = parse("https://example.com/x.png", "studio", None) else {
            panic!("allowed")
        };
        assert_eq!(code, "unsupported_reference");
        assert!(message.contains("not enabled"), "{message}");
        let allowed = parse("https://example.com/x.png", "studio", Some(&Copies::new()));
        assert!(
            matches!(allowed, Ok(Reference::Web(url)) if url.as_str() == "https://example.com/x.png")
        );
    }

    #[test]
    fn a_copied_address_is_its_object_whatever_its_fragment() {
        let copy = ObjectUri {
            bucket: "studio".to_owned(),
            key: "jobs/j/refs/0.png".to_owned(),
        };
        let copies = Copies::from([("https://example.com/x.png".parse().unwrap(), copy.clone())]);
        for text in [
            "https://example.com/x.png",
            "https://EXAMPLE.com:443/x.png#middle",
        ] {
            let parsed = parse(text, "studio", Some(&copies));
            assert!(
                matches!(parsed, Ok(Reference::Copied { copy: object, .. }) if object == copy),
                "{text}"
            );
        }
    }

    #[test]
    fn only_plain_https_addresses_are_fetched() {
        for text in [
            "http://example.com/x.png",
            "http://user:pw@example.com/x.png",
            "https://example.com:8443/x.png",
            "https://user:pw@example.com/x.png",
            "https://user@example.com/x.png",
            "https://",
            "https://exa mple.com/x.png",
            &format!("https://example.com/{}", "x".repeat(2_048)),
        ] {
            let Err((code, message)) = parse(text, "studio", Some(&Copies::new())) else {
                panic!("{text}")
            };
            assert_eq!(code, "bad_reference", "{text}");
            assert!(!message.contains("pw"), "{message}");
        }
    }
}
