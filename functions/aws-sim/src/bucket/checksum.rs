//! The checksums that callers send, in headers before the body or in trailers after it.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::{
    S3Result,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256},
    dto::Checksum,
    s3_error,
};
use serde::{Deserialize, Serialize};

/// The checksum algorithms of S3, apart from MD5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// Checksums by algorithm, in base64 as on the wire.
pub(super) type Checksums = BTreeMap<Algorithm, String>;

/// The checksums that a sender announced for its body.
#[derive(Clone, Debug, Default)]
pub(super) struct ExpectedChecksums {
    checksums: Checksums,
    md5: Option<String>,
    /// The algorithms whose values follow the body.
    trailing: Vec<Algorithm>,
}

impl Algorithm {
    const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// Returns the algorithm with this name in the API.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    /// Returns the name in the API.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    fn header(self) -> HeaderName {
        HeaderName::from_static(match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        })
    }
}

impl ExpectedChecksums {
    /// Reads the announced checksums from a request's headers.
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        let md5 = headers
            .get("content-md5")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let trailers: Vec<_> = headers
            .get_all("x-amz-trailer")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let announced = |algorithm: &Algorithm| {
            let named = trailers.iter().flat_map(|names| names.split(','));
            named.into_iter().any(|name| {
                name.trim()
                    .eq_ignore_ascii_case(algorithm.header().as_str())
            })
        };
        Self {
            checksums: from_headers(headers),
            md5,
            trailing: Algorithm::ALL.into_iter().filter(announced).collect(),
        }
    }

    /// Returns a hasher for every checksum that must be compared.
    pub(super) fn hasher(&self) -> ChecksumHasher {
        hasher(self.checksums.keys().chain(&self.trailing).copied())
    }

    /// Checks a received body against its announced checksums.
    ///
    /// # Errors
    /// `BadDigest`, `InvalidDigest`; `InvalidRequest` if an announced trailer is missing.
    pub(super) fn verify(
        mut self,
        trailers: Option<&HeaderMap>,
        found: &Checksums,
        md5: &[u8],
    ) -> S3Result {
        // `Content-MD5` may accompany any other checksum.
        if let Some(expected) = self.md5 {
            let expected = base64_simd::STANDARD
                .decode_to_vec(expected)
                .map_err(|_| s3_error!(InvalidDigest))?;
            if expected != md5 {
                return Err(s3_error!(
                    BadDigest,
                    "The Content-MD5 you specified did not match what we received."
                ));
            }
        }
        self.checksums
            .extend(trailers.map(from_headers).unwrap_or_default());
        // An announced trailer that is missing leaves the body unverified, so it is an error.
        if let Some(missing) = self
            .trailing
            .iter()
            .find(|algorithm| !self.checksums.contains_key(algorithm))
        {
            return Err(s3_error!(
                InvalidRequest,
                "The trailer {} is missing.",
                missing.header()
            ));
        }
        compare(&self.checksums, found)
    }
}

/// Returns the checksums in headers or trailers.
pub(super) fn from_headers(headers: &HeaderMap) -> Checksums {
    let value = |algorithm: Algorithm| {
        headers
            .get(algorithm.header())?
            .to_str()
            .ok()
            .map(str::to_owned)
    };
    Algorithm::ALL
        .into_iter()
        .filter_map(|algorithm| Some((algorithm, value(algorithm)?)))
        .collect()
}

/// # Errors
/// `BadDigest` unless every expected checksum equals the computed one.
pub(super) fn compare(expected: &Checksums, found: &Checksums) -> S3Result {
    match expected
        .iter()
        .find(|(algorithm, value)| found.get(algorithm) != Some(value))
    {
        Some((algorithm, _)) => Err(s3_error!(
            BadDigest,
            "The {} you specified did not match what we received.",
            algorithm.name()
        )),
        None => Ok(()),
    }
}

/// Returns a hasher that computes the checksums of `algorithms` in one pass.
pub(super) fn hasher(algorithms: impl IntoIterator<Item = Algorithm>) -> ChecksumHasher {
    let mut hasher = ChecksumHasher::default();
    for algorithm in algorithms {
        match algorithm {
            Algorithm::Crc32 => hasher.crc32 = Some(Crc32::new()),
            Algorithm::Crc32c => hasher.crc32c = Some(Crc32c::new()),
            Algorithm::Crc64Nvme => hasher.crc64nvme = Some(Crc64Nvme::new()),
            Algorithm::Sha1 => hasher.sha1 = Some(Sha1::new()),
            Algorithm::Sha256 => hasher.sha256 = Some(Sha256::new()),
        }
    }
    hasher
}

/// Returns the checksums that a hasher computed.
pub(super) fn finalize(hasher: ChecksumHasher) -> Checksums {
    let sums = hasher.finalize();
    let all = [
        (Algorithm::Crc32, sums.checksum_crc32),
        (Algorithm::Crc32c, sums.checksum_crc32c),
        (Algorithm::Crc64Nvme, sums.checksum_crc64nvme),
        (Algorithm::Sha1, sums.checksum_sha1),
        (Algorithm::Sha256, sums.checksum_sha256),
    ];
    all.into_iter()
        .filter_map(|(algorithm, value)| Some((algorithm, value?)))
        .collect()
}

/// Returns the checksums as response headers.
pub(super) fn to_headers(checksums: &Checksums) -> HeaderMap {
    let header = |(algorithm, value): (&Algorithm, &String)| {
        Some((algorithm.header(), HeaderValue::try_from(value).ok()?))
    };
    checksums.iter().filter_map(header).collect()
}

/// Returns the checksums in the form that a response body holds.
pub(super) fn to_dto(checksums: &Checksums) -> Checksum {
    let value = |algorithm| checksums.get(&algorithm).cloned();
    Checksum {
        checksum_crc32: value(Algorithm::Crc32),
        checksum_crc32c: value(Algorithm::Crc32c),
        checksum_crc64nvme: value(Algorithm::Crc64Nvme),
        checksum_sha1: value(Algorithm::Sha1),
        checksum_sha256: value(Algorithm::Sha256),
        checksum_type: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the CRC catalog.
    const CHECK: &[u8] = b"123456789";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    fn found(expected: &ExpectedChecksums) -> Checksums {
        let mut hasher = expected.hasher();
        hasher.update(CHECK);
        finalize(hasher)
    }

    #[test]
    fn checksums_equal_the_catalog_check_values() {
        let mut hasher = hasher(Algorithm::ALL);
        hasher.update(CHECK);
        let sums = finalize(hasher);
        assert_eq!(sums[&Algorithm::Crc32], "y/Q5Jg==");
        assert_eq!(sums[&Algorithm::Crc32c], "4waSgw==");
        assert_eq!(sums[&Algorithm::Crc64Nvme], "rosUhgp5mIg=");
        assert_eq!(from_headers(&to_headers(&sums)), sums);
    }

    #[test]
    fn headers_and_trailers_are_both_compared() {
        let before =
            ExpectedChecksums::from_headers(&headers(&[("x-amz-checksum-crc32", "y/Q5Jg==")]));
        assert!(before.clone().verify(None, &found(&before), b"").is_ok());

        let after = ExpectedChecksums::from_headers(&headers(&[(
            "x-amz-trailer",
            "x-amz-checksum-crc32c",
        )]));
        let sums = found(&after);
        assert!(
            after
                .clone()
                .verify(
                    Some(&headers(&[("x-amz-checksum-crc32c", "4waSgw==")])),
                    &sums,
                    b""
                )
                .is_ok()
        );
        let wrong = after.clone().verify(
            Some(&headers(&[("x-amz-checksum-crc32c", "AAAAAA==")])),
            &sums,
            b"",
        );
        assert_eq!(*wrong.unwrap_err().code(), s3s::S3ErrorCode::BadDigest);
        assert!(
            after.verify(Some(&HeaderMap::new()), &sums, b"").is_err(),
            "an announced trailer must be present"
        );
    }

    #[test]
    fn wrong_md5_is_a_bad_digest() {
        let expected = ExpectedChecksums::from_headers(&headers(&[(
            "content-md5",
            "AAAAAAAAAAAAAAAAAAAAAA==",
        )]));
        let wrong = expected
            .clone()
            .verify(None, &Checksums::new(), &[1; 16])
            .unwrap_err();
        assert_eq!(*wrong.code(), s3s::S3ErrorCode::BadDigest);
        assert!(expected.verify(None, &Checksums::new(), &[0; 16]).is_ok());
    }
}
