//! Decides which requests the page answers: those of the page itself, and of users who have its
//! address.
//!
//! The listener already refuses what other web pages in a browser can send. The rules here are
//! stricter, because these requests can spend money: the address contains a secret, each request
//! must name this port as its host, and a request that changes something must come from the page
//! and be one that no HTML form can send.

use http::{
    Method, Request, StatusCode,
    header::{CONTENT_TYPE, HOST, ORIGIN},
    uri::Authority,
};

use super::answer::Refusal;

/// The rules of one page.
#[derive(Debug)]
pub(super) struct Guard {
    /// The values of `Host` that name this port.
    hosts: [String; 2],
    /// The beginning of every path: `/<token>/`.
    prefix: String,
}

impl Guard {
    /// The rules for the port of `url`, which has the form `http://127.0.0.1:9000`.
    pub(super) fn new(url: &str, token: &str) -> Self {
        let host = url.strip_prefix("http://").unwrap_or(url).to_owned();
        let name = host.replace("127.0.0.1", "localhost");
        Self {
            hosts: [host, name],
            prefix: format!("/{token}/"),
        }
    }

    /// Returns the path of a request after the token, or the refusal of a request that must not be
    /// answered.
    pub(super) fn check<'a, B>(&self, request: &'a Request<B>) -> Result<&'a str, Refusal> {
        let status = StatusCode::FORBIDDEN;
        let refuse = |reason| Err(Refusal { status, reason });
        let Some(host) = self.host(request) else {
            return refuse("the Host header must be that of the page's address");
        };
        let origin = format!("http://{host}");
        let mut origins = request.headers().get_all(ORIGIN).iter();
        if !origins.all(|from| from.as_bytes() == origin.as_bytes()) {
            return refuse("requests from other web pages are not answered");
        }
        // Browsers ask for this on their own, without the secret. The answer is empty.
        if request.uri().path() == "/favicon.ico" {
            return Ok("favicon.ico");
        }
        let Some(path) = request
            .uri()
            .path()
            .get(..self.prefix.len())
            .filter(|start| is_equal(start.as_bytes(), self.prefix.as_bytes()))
        else {
            return refuse("the address lacks the secret that `darkroom review` printed");
        };
        match *request.method() {
            Method::GET => {}
            // No form can send this type, and no script of another origin without asking first.
            Method::POST if has_json(request) => {}
            Method::POST => return refuse("the Content-Type must be application/json"),
            _ => {
                return Err(Refusal {
                    status: StatusCode::METHOD_NOT_ALLOWED,
                    reason: "only GET and POST are answered",
                });
            }
        }
        Ok(&request.uri().path()[path.len()..])
    }

    /// Returns the host that the request names, if it is this port.
    fn host<B>(&self, request: &Request<B>) -> Option<&str> {
        let mut headers = request.headers().get_all(HOST).iter();
        let (Some(host), None) = (headers.next(), headers.next()) else {
            return None;
        };
        let authority = request.uri().authority().map(Authority::as_str);
        let is_named = |name: &&String| {
            host.as_bytes() == name.as_bytes()
                && authority.is_none_or(|authority| authority == name.as_str())
        };
        self.hosts.iter().find(is_named).map(String::as_str)
    }
}

fn has_json<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes() == b"application/json")
}

/// Compares without a hint, in the time it takes, about where two texts differ.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b));
    one.len() == other.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn status(method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
        let guard = Guard::new("http://127.0.0.1:9000", "0123456789abcdef");
        match guard.check(&request(method, path, headers)) {
            Ok(_) => 200,
            Err(refusal) => refusal.status.as_u16(),
        }
    }

    const HOST: (&str, &str) = ("host", "127.0.0.1:9000");
    const JSON: (&str, &str) = ("content-type", "application/json");
    const PAGE: &str = "/0123456789abcdef/jobs";

    #[test]
    fn the_page_itself_is_answered() {
        assert_eq!(status("GET", PAGE, &[HOST]), 200);
        assert_eq!(status("GET", PAGE, &[("host", "localhost:9000")]), 200);
        let own = ("origin", "http://127.0.0.1:9000");
        assert_eq!(status("POST", PAGE, &[HOST, own, JSON]), 200);
        let guard = Guard::new("http://127.0.0.1:9000", "0123456789abcdef");
        assert_eq!(guard.check(&request("GET", PAGE, &[HOST])).unwrap(), "jobs");
    }

    #[test]
    fn another_host_origin_token_or_method_is_refused() {
        for host in [
            "evil.example:9000",
            "127.0.0.1:9001",
            "127.0.0.1",
            "[::1]:9000",
            "",
        ] {
            assert_eq!(status("GET", PAGE, &[("host", host)]), 403, "{host}");
        }
        assert_eq!(status("GET", PAGE, &[]), 403);
        assert_eq!(status("GET", PAGE, &[HOST, ("host", "evil.example")]), 403);
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:9000",
            "https://127.0.0.1:9000",
        ] {
            assert_eq!(
                status("POST", PAGE, &[HOST, ("origin", origin), JSON]),
                403,
                "{origin}"
            );
        }
        for path in [
            "/",
            "/jobs",
            "/0123456789abcdee/jobs",
            "/0123456789abcdef",
            "/0123/jobs",
        ] {
            assert_eq!(status("GET", path, &[HOST]), 403, "{path}");
        }
        assert_eq!(status("POST", PAGE, &[HOST]), 403);
        assert_eq!(
            status("POST", PAGE, &[HOST, ("content-type", "text/plain")]),
            403
        );
        for method in ["PUT", "DELETE", "HEAD", "PATCH"] {
            assert_eq!(status(method, PAGE, &[HOST]), 405, "{method}");
        }
    }
}
