//! The body of a multipart upload: a JSON description, followed by the file.
//!
//! The protocol specifies `multipart/related`; clients that post a form send the same two parts as
//! `multipart/form-data`. Source: developers.google.com/workspace/drive/api/guides/manage-uploads
//! (the protocol is the same in all of Google's upload APIs), read 2026-11-26.

use bytes::Bytes;
use memchr::memmem;

use crate::wire::reply::ApiError;

/// The two parts of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Multipart {
    /// The description.
    pub(crate) description: Bytes,
    /// The type in the headers of the file's part.
    pub(crate) mime_type: Option<String>,
    /// The file.
    pub(crate) content: Bytes,
}

/// Splits a body of this content type into its parts.
///
/// # Errors
/// 400 when the type names no boundary, or the body does not have exactly two parts.
pub(crate) fn split(content_type: &str, body: &Bytes) -> Result<Multipart, ApiError> {
    let boundary = boundary(content_type).ok_or_else(|| {
        ApiError::invalid(
            "Multipart upload needs the content type multipart/related with a boundary",
        )
    })?;
    let sections = sections(body, boundary).ok_or_else(|| {
        ApiError::invalid("Multipart upload must end with its boundary and two dashes")
    })?;
    let [description, file] = sections.as_slice() else {
        return Err(ApiError::invalid(
            "Multipart upload must have two parts: the metadata in JSON, then the file",
        ));
    };
    let (description, file) = (Part::read(description), Part::read(file));
    Ok(Multipart {
        mime_type: file.header("content-type").map(str::to_owned),
        description: description.content()?,
        content: file.content()?,
    })
}

/// Returns the boundary that a content type names.
fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind
        .trim_ascii()
        .to_ascii_lowercase()
        .starts_with("multipart/")
    {
        return None;
    }
    let mut parameters = parameters
        .split(';')
        .filter_map(|parameter| parameter.split_once('='));
    let (_, boundary) =
        parameters.find(|(name, _)| name.trim_ascii().eq_ignore_ascii_case("boundary"))?;
    let boundary = boundary.trim_ascii();
    let unquoted = boundary
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(boundary);
    (!unquoted.is_empty()).then_some(unquoted)
}

/// Returns the sections between the boundaries; `None` when the final boundary is missing.
fn sections(body: &Bytes, boundary: &str) -> Option<Vec<Bytes>> {
    let delimiter = format!("--{boundary}");
    let mut sections = Vec::new();
    let mut start: Option<usize> = None;
    for at in memmem::find_iter(body, &delimiter) {
        let (before, after) = (body.get(..at)?, body.get(at + delimiter.len()..)?);
        let (is_last, is_whole) = (
            after.starts_with(b"--"),
            after.trim_ascii_start().len() < after.len(),
        );

        // This occurrence is part of the file's content, or the start of a longer word.
        if !(before.is_empty() || before.ends_with(b"\n")) || !(is_last || is_whole) {
            continue;
        }
        if let Some(start) = start {
            sections.push(body.slice(start..start.max(before.len() - line_break(before))));
        }
        if is_last {
            return Some(sections);
        }
        start = Some(at + delimiter.len() + memchr::memchr(b'\n', after)? + 1);
    }
    None
}

/// Returns the length of the line break at the end of the text.
fn line_break(text: &[u8]) -> usize {
    if text.ends_with(b"\r\n") {
        2
    } else {
        usize::from(text.ends_with(b"\n"))
    }
}

/// A part: its headers and its content.
struct Part {
    headers: String,
    content: Bytes,
}

impl Part {
    fn read(section: &Bytes) -> Self {
        // An empty line ends the headers. It is the first line if there are no headers.
        let mut at = 0;
        while let Some(length) = section
            .get(at..)
            .and_then(|rest| memchr::memchr(b'\n', rest))
        {
            let line = section.slice(at..at + length + 1);
            at += line.len();
            if line.trim_ascii().is_empty() {
                let headers =
                    String::from_utf8_lossy(section.get(..at).unwrap_or_default()).into_owned();
                return Self {
                    headers,
                    content: section.slice(at..),
                };
            }
        }
        Self {
            headers: String::from_utf8_lossy(section).into_owned(),
            content: Bytes::new(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.lines().filter_map(|line| line.split_once(':'));
        headers
            .find(|(found, _)| found.trim_ascii().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim_ascii())
    }

    fn content(&self) -> Result<Bytes, ApiError> {
        let encoding = self
            .header("content-transfer-encoding")
            .unwrap_or("binary")
            .to_ascii_lowercase();
        match encoding.as_str() {
            "binary" | "7bit" | "8bit" => Ok(self.content.clone()),
            "base64" => base64_simd::forgiving_decode_to_vec(&self.content)
                .map(Bytes::from)
                .map_err(|_| ApiError::invalid("A part of the multipart upload is not base64")),
            _ => Err(ApiError::invalid(
                "Content-Transfer-Encoding must be binary or base64",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str, body: &[u8]) -> Result<(String, Option<String>, Vec<u8>), String> {
        let parts = split(content_type, &Bytes::copy_from_slice(body))
            .map_err(|refused| refused.to_string())?;
        let description = String::from_utf8(parts.description.to_vec()).expect("text");
        Ok((description, parts.mime_type, parts.content.to_vec()))
    }

    fn expected(content: &[u8]) -> Result<(String, Option<String>, Vec<u8>), String> {
        Ok((
            "{}".to_owned(),
            Some("image/png".to_owned()),
            content.to_vec(),
        ))
    }

    #[test]
    fn the_format_of_googles_old_sdk_is_accepted() {
        let body = b"--b1\r\nContent-Type: application/json; charset=utf-8\r\n\r\n{}\r\n--b1\r\n\
                     Content-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n\r\n--b1--";
        assert_eq!(
            read("multipart/related; boundary=b1", body),
            expected(b"\x89PNG\r\n\x1a\n")
        );
    }

    #[test]
    fn forms_preambles_line_feeds_and_epilogues_are_accepted() {
        let form = b"--b1\r\ncontent-disposition: form-data; name=\"metadata\"\r\n\r\n{}\r\n--b1\r\n\
                     Content-Disposition: form-data; name=\"file\"\r\ncontent-type:image/png\r\n\r\nx\r\n--b1--\r\n";
        assert_eq!(
            read("Multipart/Form-Data; charset=utf-8; Boundary=\"b1\"", form),
            expected(b"x")
        );
        let feeds = b"to be ignored\n--b1 \n\n{}\n--b1\nContent-Type: image/png\n\nx\n--b1--\nto be ignored";
        assert_eq!(read("multipart/related;boundary=b1", feeds), expected(b"x"));
        let empty = b"--b1\n\n{}\n--b1\nContent-Type: image/png\n\n--b1--";
        assert_eq!(read("multipart/related;boundary=b1", empty), expected(b""));
    }

    #[test]
    fn the_file_may_contain_text_like_a_boundary() {
        let body = b"--b\r\n\r\n{}\r\n--b\r\nContent-Type: image/png\r\n\r\nx--b--\r\n--bb\r\n--b\xff\r\n--b--";
        assert_eq!(
            read("multipart/related; boundary=b", body),
            expected(b"x--b--\r\n--bb\r\n--b\xff")
        );
    }

    #[test]
    fn base64_is_decoded() {
        let body = b"--b\n\n{}\n--b\nContent-Type: image/png\nContent-Transfer-Encoding: BASE64\n\naGVs\r\nbG8=\n--b--";
        assert_eq!(
            read("multipart/related; boundary=b", body),
            expected(b"hello")
        );
        let wrong = b"--b\n\n{}\n--b\nContent-Transfer-Encoding: quoted-printable\n\na=20b\n--b--";
        assert!(read("multipart/related; boundary=b", wrong).is_err());
    }

    #[test]
    fn invalid_bodies_are_rejected() {
        let whole = b"--b\n\n{}\n--b\n\nx\n--b--";
        for content_type in [
            "multipart/related",
            "multipart/related; boundary=",
            "text/plain; boundary=b",
            "",
        ] {
            assert!(
                read(content_type, whole)
                    .expect_err("no boundary")
                    .contains("boundary"),
                "{content_type}"
            );
        }
        let kind = "multipart/related; boundary=b";
        for cut in [
            &b""[..],
            b"--b",
            b"--b\n",
            b"--b\n\n{}\n--b\n\nx\n",
            b"--b\n\n{}\n--b\n\nx\n--b\n",
        ] {
            assert!(
                read(kind, cut)
                    .expect_err("cut")
                    .contains("end with its boundary"),
                "{cut:?}"
            );
        }
        for parts in [
            &b"--b--"[..],
            b"--b\n\n{}\n--b--",
            b"--b\n\n{}\n--b\n\nx\n--b\n\ny\n--b--",
        ] {
            assert!(
                read(kind, parts)
                    .expect_err("not two")
                    .contains("two parts"),
                "{parts:?}"
            );
        }
    }
}
