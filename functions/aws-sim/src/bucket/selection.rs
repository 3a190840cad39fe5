//! The bytes of an object that a read selects: all of them, a range, or one of the parts in which
//! the object was uploaded.

use std::ops::Range;

use http::StatusCode;
use s3s::{S3Error, S3ErrorCode, S3Result, dto, s3_error};

use super::{attributes::Attributes, multipart::check_part_number};

/// The selected bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) bytes: Range<u64>,
    /// The `Content-Range` header; none for a read of the whole object.
    pub(super) content_range: Option<String>,
    /// The object's number of parts, if one of them was requested.
    pub(super) parts_count: Option<i32>,
}

impl Selection {
    /// Returns the bytes that a read selects from `object`.
    ///
    /// # Errors
    /// `InvalidRange`; `InvalidArgument` for an invalid part number, `InvalidPartNumber` for one
    /// that the object does not have; `InvalidRequest` for a range and a part at once.
    pub(super) fn of(
        object: &Attributes,
        range: Option<dto::Range>,
        part_number: Option<i32>,
    ) -> S3Result<Self> {
        let size = object.file.size;
        match (range, part_number) {
            (None, None) => Ok(Self {
                bytes: 0..size,
                content_range: None,
                parts_count: None,
            }),
            (Some(range), None) => {
                let bytes = range.check(size)?;
                Ok(Self {
                    content_range: content_range(&bytes, size),
                    bytes,
                    parts_count: None,
                })
            }
            (None, Some(number)) => {
                let bytes = part(object, number)?;
                // An object that was uploaded in one piece counts as its own first part, but S3
                // reports no number of parts for it.
                let parts_count = i32::try_from(object.parts.len())
                    .ok()
                    .filter(|count| *count > 0);
                Ok(Self {
                    content_range: content_range(&bytes, size),
                    bytes,
                    parts_count,
                })
            }
            (Some(_), Some(_)) => Err(s3_error!(
                InvalidRequest,
                "Cannot specify both Range header and partNumber query parameter"
            )),
        }
    }

    /// Returns the number of selected bytes.
    pub(super) fn length(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }
}

/// Returns the range of the part with this number.
fn part(object: &Attributes, number: i32) -> S3Result<Range<u64>> {
    check_part_number(number)?;
    let whole = [object.file.size];
    let sizes = if object.parts.is_empty() {
        &whole[..]
    } else {
        &object.parts
    };
    let before = usize::try_from(number - 1).unwrap_or(usize::MAX);
    let size = sizes.get(before).ok_or_else(invalid_part_number)?;
    let start = sizes[..before].iter().sum::<u64>();
    Ok(start..start + size)
}

fn invalid_part_number() -> S3Error {
    let code = S3ErrorCode::Custom("InvalidPartNumber".into());
    let mut error = S3Error::with_message(code, "The requested partnumber is not satisfiable");
    error.set_status_code(StatusCode::RANGE_NOT_SATISFIABLE);
    error
}

/// Returns the `Content-Range` header, or none for an empty range, which the header can't express.
fn content_range(bytes: &Range<u64>, size: u64) -> Option<String> {
    (!bytes.is_empty()).then(|| format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(size: u64, parts: &[u64]) -> Attributes {
        serde_json::from_value(serde_json::json!({
            "key": "a",
            "of": { "inode": 1, "size": size, "changed_seconds": 1, "changed_nanoseconds": 0 },
            "etag": "one",
            "last_modified": "2026-11-21T10:00:00Z",
            "parts": parts,
        }))
        .unwrap()
    }

    fn selected(object: &Attributes, number: i32) -> Result<(Range<u64>, Option<i32>), String> {
        let selection = Selection::of(object, None, Some(number))
            .map_err(|error| error.code().as_str().to_owned())?;
        Ok((selection.bytes, selection.parts_count))
    }

    #[test]
    fn parts_are_adjacent_ranges() {
        let object = object(12, &[5, 5, 2]);
        let parts = [1, 2, 3].map(|number| selected(&object, number).unwrap());
        assert_eq!(
            parts,
            [(0..5, Some(3)), (5..10, Some(3)), (10..12, Some(3))]
        );
        let range = Selection::of(&object, None, Some(2)).unwrap().content_range;
        assert_eq!(range.as_deref(), Some("bytes 5-9/12"));
        assert_eq!(selected(&object, 4).unwrap_err(), "InvalidPartNumber");
        for number in [i32::MIN, -1, 0, 10_001] {
            assert_eq!(
                selected(&object, number).unwrap_err(),
                "InvalidArgument",
                "{number}"
            );
        }
        let both = Selection::of(
            &object,
            Some(dto::Range::Int {
                first: 0,
                last: None,
            }),
            Some(1),
        );
        assert_eq!(*both.unwrap_err().code(), S3ErrorCode::InvalidRequest);
    }

    #[test]
    fn an_object_without_parts_is_its_own_first_part() {
        assert_eq!(selected(&object(7, &[]), 1), Ok((0..7, None)));
        assert_eq!(
            selected(&object(7, &[]), 2).unwrap_err(),
            "InvalidPartNumber"
        );
        let empty = Selection::of(&object(0, &[]), None, Some(1)).unwrap();
        assert_eq!((empty.length(), empty.content_range), (0, None));
    }
}
