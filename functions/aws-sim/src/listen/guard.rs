//! Selector requests a loopback port answers: those that a program on this machine makes of its own
//! accord, and none that a web page makes in a browser.
//!
//! A page can send requests to a loopback port. It can do so across origins (the browser says so in
//! `Origin` and `Sec-Fetch-Site`), and as if it were of the same origin, if its own name is made to
//! lead to 127.0.0.1 (DNS rebinding: then `Host` holds that name). Clients send neither of the two
//! first headers, and call this port by a name of its own.

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, HOST, ORIGIN},
    uri::Authority,
};
use s3s::path::check_bucket_name;
use seam::transport::{Body, full};

/// The port that a URL without one means.
const HTTP_PORT: u16 = 80;

/// The rules of one port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    pub(super) port: u16,
}

impl Guard {
    /// Why a request is not answered, if it isn't.
    pub(super) fn refuse<B>(self, request: &Request<B>) -> Option<Response<Body>> {
        let authority = request.uri().authority().map(Authority::as_str);
        let reason = if !self.is_for_us(request.headers(), authority) {
            format!(
                "the Host header must be 127.0.0.1:{port} or localhost:{port}",
                port = self.port
            )
        } else if !request
            .headers()
            .get_all(ORIGIN)
            .iter()
            .all(|origin| self.is_our_origin(origin))
        {
            "requests of web pages from elsewhere are not answered (Origin)".to_owned()
        } else if !request
            .headers()
            .get_all("sec-fetch-site")
            .iter()
            .all(is_from_here)
        {
            "requests of web pages from elsewhere are not answered (Sec-Fetch-Site)".to_owned()
        } else if matches!(
            *request.method(),
            Method::OPTIONS | Method::CONNECT | Method::TRACE
        ) {
            format!(
                "{} is not answered: no web page may call this port from elsewhere",
                request.method()
            )
        } else {
            return None;
        };
        Some(forbidden(&reason))
    }

    /// Whether the request names this port, once, and by no other name. A request target with an
    /// authority of its own counts as much as the header.
    fn is_for_us(self, headers: &HeaderMap, authority: Option<&str>) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        host.to_str().is_ok_and(|host| self.is_ours(host))
            && authority.is_none_or(|authority| self.is_ours(authority))
    }

    fn is_our_origin(self, origin: &HeaderValue) -> bool {
        let host = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.strip_prefix("http://"));
        host.is_some_and(|host| self.is_ours(host))
    }

    /// Whether `host`, with its port, is a name of this port: a loopback address, `localhost`, or
    /// `<bucket>.localhost`, which leads to loopback everywhere.
    fn is_ours(self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        // The colons of an IPv6 address are within brackets.
        let after_address = host.rfind(']').map_or(0, |end| end + 1);
        let (name, port) = match host[after_address..].rfind(':') {
            Some(colon) => (
                &host[..after_address + colon],
                parse_port(&host[after_address + colon + 1..]),
            ),
            None => (host.as_str(), Some(HTTP_PORT)),
        };
        let is_bucket = || {
            name.strip_suffix(".localhost")
                .is_some_and(check_bucket_name)
        };
        port == Some(self.port)
            && (matches!(name, "127.0.0.1" | "localhost" | "[::1]") || is_bucket())
    }
}

/// Digits alone, where Rust would also take a sign.
fn parse_port(digits: &str) -> Option<u16> {
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())
        .flatten()
}

/// Whether `Sec-Fetch-Site` says that no other site asks: the person did, or a page of this port.
fn is_from_here(site: &HeaderValue) -> bool {
    site.as_bytes().eq_ignore_ascii_case(b"none")
        || site.as_bytes().eq_ignore_ascii_case(b"same-origin")
}

/// A refusal in plain words. The connection is closed after it.
pub(crate) fn forbidden(reason: &str) -> Response<Body> {
    let mut response = Response::new(full(format!("Refused: {reason}.\n")));
    *response.status_mut() = StatusCode::FORBIDDEN;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_port_are_ours() {
        let guard = Guard { port: 4580 };
        for host in [
            "127.0.0.1:4580",
            "localhost:4580",
            "LocalHost:4580",
            "[::1]:4580",
            "darkroom.localhost:4580",
            "my.bucket.localhost:4580",
        ] {
            assert!(guard.is_ours(host), "{host}");
        }
        for host in [
            "",
            "127.0.0.1",
            "localhost",
            "127.0.0.1:4581",
            "127.0.0.1:04580x",
            "127.0.0.1:+4580",
            "127.0.0.1:",
            "127.0.0.2:4580",
            "127.1:4580",
            "0.0.0.0:4580",
            "[::]:4580",
            "[::1]",
            "[::1]evil:4580",
            "::1:4580",
            "evil.example:4580",
            "localhost.evil.example:4580",
            "localhost.:4580",
            ".localhost:4580",
            "evil.example.localhost.evil:4580",
            "a@127.0.0.1:4580",
            "127.0.0.1:4580, evil.example:4580",
            "127.0.0.1:4580 ",
        ] {
            assert!(!guard.is_ours(host), "{host:?}");
        }
        // A browser leaves out the port that every URL has.
        assert!(
            Guard { port: 80 }.is_ours("localhost") && Guard { port: 80 }.is_ours("localhost:80")
        );
    }
}
