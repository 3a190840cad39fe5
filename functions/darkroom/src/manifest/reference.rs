//! Reference pictures: objects in S3, named in full or by their key in the bucket.

use crate::names::ObjectUri;

use super::problem::quote;

/// The longest key that S3 takes, in bytes
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>, read 2026-11).
const KEY_BYTES: usize = 1_024;

/// Picture types that Gemini takes, by extension
/// (<https://ai.google.dev/gemini-api/docs/image-understanding>, read 2026-11).
const TYPES: [(&str, &str); 6] = [
    (".png", "image/png"),
    (".jpg", "image/jpeg"),
    (".jpeg", "image/jpeg"),
    (".webp", "image/webp"),
    (".heic", "image/heic"),
    (".heif", "image/heif"),
];

/// The object that a text names, or a code and what to do.
pub(super) fn object(text: &str, bucket: &str) -> Result<ObjectUri, (&'static str, String)> {
    let bad = |what: &str| Err(("bad_reference", format!("reference {} {what}", quote(text))));
    let unsupported = |what: &str| Err(("unsupported_reference", format!("reference {} {what}", quote(text))));
    let uri = match text.split_once("://") {
        Some(("s3", _)) => match text.parse::<ObjectUri>() {
            Ok(uri) => uri,
            Err(_) => return bad("names no object: write s3://bucket/key"),
        },
        Some(("http" | "https", _)) => {
            return unsupported(
                "is a web address, and fetching those is not switched on: put the picture into the bucket and write its key",
            );
        }
        Some(_) => return bad("is of an unknown kind: write s3://bucket/key, or a key in the bucket"),
        None if text.starts_with("s3:") => return bad("names no object: write s3://bucket/key"),
        None if text.starts_with('@') => {
            return unsupported("is a name, and names are not supported yet: write the picture's key in the bucket");
        }
        None if text.starts_with("data:") => return bad("is data: put the picture into the bucket and write its key"),
        None => ObjectUri { bucket: bucket.to_owned(), key: text.to_owned() },
    };
    let key = &uri.key;
    if key.is_empty() {
        return bad("is empty: take it out");
    }
    if key.starts_with('/') || key.split(['/', '\\']).any(|segment| matches!(segment, "." | "..")) {
        return bad("is a path of a file system: write the key as S3 shows it, such as refs/a.jpg");
    }
    if key.len() > KEY_BYTES || key.chars().any(char::is_control) {
        return bad("can't be a key in S3: it is too long or holds control characters");
    }
    Ok(uri)
}

/// The type of a picture by its name, or a code and what to do.
pub(super) fn mime_type(uri: &ObjectUri) -> Result<&'static str, (&'static str, String)> {
    let name = uri.key.to_ascii_lowercase();
    TYPES.iter().find(|(extension, _)| name.ends_with(extension)).map(|(_, mime_type)| *mime_type).ok_or_else(|| {
        let known = TYPES.map(|(extension, _)| extension).join(", ");
        ("bad_reference", format!("reference {} has no picture's extension: name it {known}", quote(&uri.key)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_the_bucket_and_a_full_name_where_it_says() {
        for (text, uri) in [
            ("refs/a b.jpg", "s3://studio/refs/a b.jpg"),
            ("s3://acme-refs/1001/front.jpg", "s3://acme-refs/1001/front.jpg"),
            ("a..b/c.png", "s3://studio/a..b/c.png"),
        ] {
            assert_eq!(object(text, "studio").unwrap().to_string(), uri);
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
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
    fn the_extension_tells_the_type() {
        let of = |key: &str| mime_type(&ObjectUri { bucket: "b".to_owned(), key: key.to_owned() });
        assert_eq!(of("a.JPG"), Ok("image/jpeg"));
        assert_eq!(of("a.webp"), Ok("image/webp"));
        assert!(of("a.tiff").is_err() && of("png").is_err());
    }
}
