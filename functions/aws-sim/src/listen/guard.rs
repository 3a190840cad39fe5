//! Decides which requests a loopback port answers: those of programs on this machine, and none that
//! a web page makes in a browser.
//!
//! A page can send requests to a loopback port in two ways. It can send them across origins, which
//! the browser reports in `Origin` and `Sec-Fetch-Site`. It can also send them as the same origin
//! if its own name resolves to 127.0.0.1 (DNS rebinding), and then `Host` contains that name.
//! Clients send neither `Origin` nor `Sec-Fetch-Site`, and use one of the port's own names.

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, HOST, ORIGIN},
    uri::Authority,
};
use s3s::path::check_bucket_name;
use seam::transport::{Body, full};

/// The default port of HTTP.
const HTTP_PORT: u16 = 80;

/// The rules of one port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    pub(super) port: u16,
}

impl Guard {
    /// Returns the refusal of a request that must not be answered.
    pub(super) fn refuse<B>(self, request: &Request<B>) -> Option<Response<Body>> {
        // Each check closes one of the ways in which a page can reach the port.
        let authority = request.uri().authority().map(Authority::as_str);
        let reason = if !self.is_addressed_here(request.headers(), authority) {
            format!(
                "the Host header must be 127.0.0.1:{port} or localhost:{port}",
                port = self.port
            )
        } else if !request
            .headers()
            .get_all(ORIGIN)
            .iter()
            .all(|origin| self.is_own_origin(origin))
        {
            "requests from other web pages are not answered (Origin)".to_owned()
        } else if !request
            .headers()
            .get_all("sec-fetch-site")
            .iter()
            .all(is_same_site)
        {
            "requests from other web pages are not answered (Sec-Fetch-Site)".to_owned()
        } else if matches!(
            *request.method(),
            Method::OPTIONS | Method::CONNECT | Method::TRACE
        ) {
            format!(
                "{} is not answered: no other web page may call this port",
                request.method()
            )
        } else {
            return None;
        };
        Some(forbidden(&reason))
    }

    /// Whether the request has exactly one `Host` header and it names this port. An authority in
    /// the request target must name it as well.
    fn is_addressed_here(self, headers: &HeaderMap, authority: Option<&str>) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        host.to_str().is_ok_and(|host| self.names_this_port(host))
            && authority.is_none_or(|authority| self.names_this_port(authority))
    }

    fn is_own_origin(self, origin: &HeaderValue) -> bool {
        let host = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.strip_prefix("http://"));
        host.is_some_and(|host| self.names_this_port(host))
    }

    /// Whether `host`, with its port, names this port: a loopback address, `localhost`, or
    /// `<bucket>.localhost`, which always resolves to loopback.
    fn names_this_port(self, host: &str) -> bool {
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

/// Parses a port of digits only. Rust's parser would also accept a sign.
fn parse_port(digits: &str) -> Option<u16> {
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())
        .flatten()
}

/// Whether `Sec-Fetch-Site` shows that the request comes from the user or from a page of this port.
fn is_same_site(site: &HeaderValue) -> bool {
    site.as_bytes().eq_ignore_ascii_case(b"none")
        || site.as_bytes().eq_ignore_ascii_case(b"same-origin")
}

/// Returns a refusal in plain text, after which the connection is closed.
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
    fn only_the_names_of_this_port_are_accepted() {
        let guard = Guard { port: 4580 };
        for host in [
            "127.0.0.1:4580",
            "localhost:4580",
            "LocalHost:4580",
            "[::1]:4580",
            "darkroom.localhost:4580",
            "my.bucket.localhost:4580",
        ] {
            assert!(guard.names_this_port(host), "{host}");
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
            assert!(!guard.names_this_port(host), "{host:?}");
        }
        // A browser omits the default port.
        assert!(
            Guard { port: 80 }.names_this_port("localhost")
                && Guard { port: 80 }.names_this_port("localhost:80")
        );
    }
}
