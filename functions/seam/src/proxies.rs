//! The HTTP proxies between this process and the network.
//!
//! The variables are those of curl: `HTTPS_PROXY` for `https` addresses, `HTTP_PROXY` for `http`
//! addresses, `ALL_PROXY` for both where the first two are absent, and `NO_PROXY` for the hosts
//! that are contacted without a proxy. The upper-case name of each has precedence over the
//! lower-case one.

use std::{fmt, sync::Arc};

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use reqwest::{NoProxy, Proxy};

use crate::environment::{VariableError, Variables};

/// Which requests go through which proxy. The default is no proxy at all.
///
/// It is a value, so that a client that is given none ignores the process's environment. `Debug`
/// shows no address, because one may contain a password.
#[derive(Clone, Default)]
pub struct Proxies(Option<Arc<Rules>>);

/// The variables, and the same rules in the form that answers for one address.
struct Rules {
    http: String,
    https: String,
    all: String,
    no: String,
    matcher: Matcher,
}

impl Proxies {
    /// Reads `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, or their lower-case names.
    ///
    /// # Errors
    /// [`VariableError::Malformed`] when a proxy is not `http://host:port` or `https://host:port`.
    /// A setting that is ignored would send requests past the proxy.
    pub fn from_variables(variables: &Variables) -> Result<Self, VariableError> {
        let http = proxy(variables, "HTTP_PROXY", "http_proxy")?;
        let https = proxy(variables, "HTTPS_PROXY", "https_proxy")?;
        let all = proxy(variables, "ALL_PROXY", "all_proxy")?;
        if http.is_empty() && https.is_empty() && all.is_empty() {
            return Ok(Self::default());
        }

        let no = variables.optional("NO_PROXY");
        let no = no.or_else(|| variables.optional("no_proxy"));
        let no = no.unwrap_or_default();
        let matcher = Matcher::builder()
            .http(&http)
            .https(&https)
            .all(&all)
            .no(&no)
            .build();
        Ok(Self(Some(Arc::new(Rules {
            http,
            https,
            all,
            no,
            matcher,
        }))))
    }

    /// Whether requests to `uri` go through a proxy.
    pub fn intercept(&self, uri: &Uri) -> bool {
        self.intercepted(uri).is_some()
    }

    /// The proxy for requests to `uri`.
    pub(crate) fn intercepted(&self, uri: &Uri) -> Option<Intercept> {
        self.0.as_ref()?.matcher.intercept(uri)
    }

    /// The same rules for `reqwest`, most specific first.
    pub(crate) fn rules(&self) -> reqwest::Result<Vec<Proxy>> {
        let Some(rules) = &self.0 else {
            return Ok(Vec::new());
        };
        let mut proxies = Vec::new();
        for (address, make) in [
            (&rules.http, Proxy::http as fn(String) -> _),
            (&rules.https, Proxy::https),
            (&rules.all, Proxy::all),
        ] {
            if !address.is_empty() {
                let proxy: Proxy = make(address.clone())?;
                proxies.push(proxy.no_proxy(NoProxy::from_string(&rules.no)));
            }
        }
        Ok(proxies)
    }
}

/// The address in one of two variables, or nothing. The parser that serves requests checks it.
fn proxy(
    variables: &Variables,
    name: &'static str,
    lower_case: &'static str,
) -> Result<String, VariableError> {
    let found = [name, lower_case]
        .into_iter()
        .find_map(|name| Some((name, variables.optional(name)?)));
    let Some((name, address)) = found else {
        return Ok(String::new());
    };
    let matcher = Matcher::builder().all(&address).build();
    let is_usable = matcher
        .intercept(&Uri::from_static("http://host.invalid/"))
        .is_some_and(|proxy| matches!(proxy.uri().scheme_str(), Some("http" | "https")))
        && Proxy::all(&address).is_ok();
    if is_usable {
        Ok(address)
    } else {
        Err(VariableError::Malformed {
            name,
            problem: "expected http://host:port or https://host:port".to_owned(),
        })
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Proxies(…)"
        } else {
            "Proxies(none)"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&'static str, &'static str)]) -> Result<Proxies, VariableError> {
        Proxies::from_variables(&variables.iter().copied().collect())
    }

    /// The proxy for an address, without its path.
    fn proxy_for(proxies: &Proxies, uri: &'static str) -> Option<String> {
        let intercept = proxies.intercepted(&Uri::from_static(uri))?;
        Some(intercept.uri().authority().unwrap().to_string())
    }

    #[test]
    fn without_variables_there_is_no_proxy() {
        let none = proxies(&[("NO_PROXY", "a.example"), ("HTTPS_PROXY", "")]).unwrap();
        assert_eq!(proxy_for(&none, "https://a.example/"), None);
        assert!(none.rules().unwrap().is_empty());
    }

    #[test]
    fn each_scheme_has_its_proxy_and_all_covers_the_rest() {
        let https =
            proxies(&[("https_proxy", "proxy:1"), ("HTTP_PROXY", "http://proxy:2")]).unwrap();
        assert_eq!(proxy_for(&https, "https://a.example/").unwrap(), "proxy:1");
        assert_eq!(proxy_for(&https, "http://a.example/").unwrap(), "proxy:2");
        let all = proxies(&[("ALL_PROXY", "https://proxy:3"), ("HTTP_PROXY", "proxy:2")]).unwrap();
        assert_eq!(proxy_for(&all, "https://a.example/").unwrap(), "proxy:3");
        assert_eq!(proxy_for(&all, "http://a.example/").unwrap(), "proxy:2");
        assert_eq!(all.rules().unwrap().len(), 2);
    }

    #[test]
    fn the_upper_case_name_has_precedence() {
        let both = proxies(&[("https_proxy", "lower:1"), ("HTTPS_PROXY", "upper:1")]).unwrap();
        assert_eq!(proxy_for(&both, "https://a.example/").unwrap(), "upper:1");
    }

    #[test]
    fn hosts_in_no_proxy_are_contacted_directly() {
        let some = proxies(&[
            ("ALL_PROXY", "proxy:1"),
            ("NO_PROXY", ".a.example, 10.0.0.0/8"),
        ])
        .unwrap();
        assert_eq!(proxy_for(&some, "https://b.a.example/"), None);
        assert_eq!(proxy_for(&some, "https://10.1.2.3/"), None);
        assert_eq!(proxy_for(&some, "https://c.example/").unwrap(), "proxy:1");
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_an_error_without_its_value() {
        for address in [
            "socks5://user:canary@proxy:1080",
            "ftp://canary",
            "http://",
            "a canary",
        ] {
            let error = proxies(&[("HTTPS_PROXY", address)]).unwrap_err();
            let message = error.to_string();
            assert!(
                message.contains("HTTPS_PROXY") && !message.contains("canary"),
                "{message}"
            );
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let some = proxies(&[("ALL_PROXY", "http://user:canary@proxy:1")]).unwrap();
        assert!(!format!("{some:?}").contains("canary"));
    }
}
