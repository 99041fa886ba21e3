//! URLs, each as strict as what it is for.

use http::Uri;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value as Json, json};

use super::pattern;
use crate::config::read::{Bad, Scalar};
use crate::config::secrets;
use crate::net::{EgressProxy, EgressProxyKind, Origin, Scheme};
use crate::proxy;
use crate::store;
use crate::telemetry::trace::otlp;

/// The parts of a URL. No fragment: it never leaves the client.
struct Parts<'t> {
    scheme: String,
    userinfo: Option<&'t str>,
    /// IPv6 without brackets.
    host: String,
    port: Option<u16>,
    /// From the first `/` or `?` on.
    path: &'t str,
}

/// Takes a URL apart; `None` when it is none.
fn split(text: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = text.split_once("://")?;
    if !text.bytes().all(|c| c.is_ascii_graphic()) || text.contains(['#', '\\']) {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (userinfo, place) = match authority.rsplit_once('@') {
        Some((userinfo, place)) => (Some(userinfo), place),
        None => (None, authority),
    };
    let uri: Uri = format!("http://{place}/").parse().ok()?;
    let host = uri.host().filter(|host| !host.is_empty())?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let address = host.parse::<std::net::Ipv6Addr>().is_ok();
    if !address && !host.chars().all(named) {
        return None;
    }
    let port_text = place.rsplit_once(':').filter(|(before, _)| !address || before.ends_with(']'));
    let port = match port_text {
        Some((_, port)) => Some(port.parse().ok().filter(|port| *port != 0)?),
        None => None,
    };
    Some(Parts { scheme: scheme.to_ascii_lowercase(), userinfo, host: host.to_owned(), port, path })
}

/// Takes an http or https URL apart that has no user in it.
fn web<'t>(text: &'t str, help: &str) -> Result<(Scheme, Parts<'t>), Bad> {
    let parts = split(text).ok_or_else(|| Bad::new("is no URL", help))?;
    let scheme = match parts.scheme.as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(Bad::new("is neither http nor https", help)),
    };
    if parts.userinfo.is_some() {
        return Err(Bad::new("has a user in it", "a user and password can't be given in this URL"));
    }
    Ok((scheme, parts))
}

/// Scheme, host and port, and nothing else.
#[derive(Debug, Clone)]
pub(in crate::config) struct OriginUrl(pub(in crate::config) Origin);

impl Default for OriginUrl {
    fn default() -> Self {
        Self(Origin { scheme: Scheme::Http, host: "localhost".to_owned(), port: 80 })
    }
}

impl Scalar for OriginUrl {
    const NAME: &'static str = "an origin";

    fn parse(text: &str) -> Result<Self, Bad> {
        let help = "scheme, host and port only: https://api.example.com or http://127.0.0.1:8089";
        let (scheme, parts) = web(text, help)?;
        if !matches!(parts.path, "" | "/") {
            return Err(Bad::new("is more than an origin", help));
        }
        let default_port = if scheme == Scheme::Http { 80 } else { 443 };
        Ok(Self(Origin { scheme, host: parts.host, port: parts.port.unwrap_or(default_port) }))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern("https?://[^/?#]+/?")})
    }
}

/// Where something of ours is reached; a path may lead there. Without a slash at the end.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct BaseUrl(pub(in crate::config) String);

impl Scalar for BaseUrl {
    const NAME: &'static str = "a base URL";

    fn parse(text: &str) -> Result<Self, Bad> {
        let help =
            "scheme, host and port, and a path where something in front adds one: https://gw.example.com";
        let (_, parts) = web(text, help)?;
        if parts.path.contains('?') {
            return Err(Bad::new("has a query", help));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern("https?://[^?#]+")})
    }
}

/// Where something is posted.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct WebUrl(pub(in crate::config) String);

impl Scalar for WebUrl {
    const NAME: &'static str = "a URL";

    fn parse(text: &str) -> Result<Self, Bad> {
        web(text, "http:// or https://, a host, and a path: http://10.20.0.5/xinyao")?;
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern("https?://[^#]+")})
    }
}

/// A proxy on the way to the SaaS.
#[derive(Debug, Clone)]
pub(in crate::config) struct ProxyUrl(pub(in crate::config) EgressProxy);

impl Scalar for ProxyUrl {
    const NAME: &'static str = "the URL of a proxy";

    fn parse(text: &str) -> Result<Self, Bad> {
        let help =
            "http://host:port (CONNECT) or socks5://host:port; user:password@ may stand before the host";
        let bad = |message| Bad::new(message, help);
        let parts = split(text).ok_or_else(|| bad("is no URL of a proxy"))?;
        let kind = match parts.scheme.as_str() {
            "http" => EgressProxyKind::Connect,
            "socks5" => EgressProxyKind::Socks5,
            _ => return Err(bad("is neither http nor socks5")),
        };
        if !matches!(parts.path, "" | "/") {
            return Err(bad("has a path"));
        }
        let port = parts.port.ok_or_else(|| bad("has no port"))?;
        let login = parts.userinfo.map(login).transpose()?;
        Ok(Self(EgressProxy { kind, host: parts.host, port, login }))
    }

    fn shown(&self, text: &str) -> Json {
        secrets::without_url_secrets(text).into()
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern("(http|socks5)://.+")})
    }
}

fn login(userinfo: &str) -> Result<(String, SecretString), Bad> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let decode = |text| decoded(text).ok_or_else(|| Bad::new("has a broken %-escape", "write `%` as %25"));
    Ok((decode(user)?, decode(password)?.into()))
}

/// Without %-escapes (RFC 3986 §2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if *first == b'%' {
            let (digits, more) = more.split_at_checked(2)?;
            bytes.extend(hex::decode(digits).ok()?);
            rest = more;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// A PostgreSQL.
#[derive(Debug, Clone)]
pub(in crate::config) struct PostgresUrl(pub(in crate::config) store::PostgresUrl);

impl Scalar for PostgresUrl {
    const NAME: &'static str = "the URL of a PostgreSQL";
    /// It may have a password.
    const IN_FILE: bool = true;

    fn parse(text: &str) -> Result<Self, Bad> {
        text.parse().map(Self).map_err(|bad: store::BadPostgresUrl| Bad::new(bad.to_string(), bad.way_out))
    }

    fn shown(&self, text: &str) -> Json {
        secrets::without_url_secrets(text.split('?').next().unwrap_or("")).into()
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern("(postgresql|postgres)://.+")})
    }
}

/// A Redis.
#[derive(Debug, Clone)]
pub(in crate::config) struct RedisUrl(pub(in crate::config) proxy::RedisUrl);

impl RedisUrl {
    const PORT: u16 = 6379;
}

impl Default for RedisUrl {
    fn default() -> Self {
        let host = "localhost".to_owned();
        Self(proxy::RedisUrl { tls: false, host, port: Self::PORT, user: None, password: None, database: 0 })
    }
}

impl Scalar for RedisUrl {
    const NAME: &'static str = "the URL of a Redis";
    /// It may have a password.
    const IN_FILE: bool = true;

    fn parse(text: &str) -> Result<Self, Bad> {
        let help =
            "redis://user:password@host:6379/0, or rediss:// for TLS; all but the host may be left out";
        let bad = |message| Bad::new(message, help);
        let parts = split(text).ok_or_else(|| bad("is no URL of a Redis"))?;
        let tls = match parts.scheme.as_str() {
            "redis" => false,
            "rediss" => true,
            _ => return Err(bad("is neither redis nor rediss")),
        };
        let database = match parts.path.strip_prefix('/').unwrap_or(parts.path) {
            "" => 0,
            number => number.parse().map_err(|_| bad("has a path that is no number of a database"))?,
        };
        let (user, password) = match parts.userinfo.map(login).transpose()? {
            None => (None, None),
            Some((user, password)) => {
                let is_given = !password.expose_secret().is_empty();
                (Some(user).filter(|user| !user.is_empty()), is_given.then_some(password))
            }
        };
        let port = parts.port.unwrap_or(Self::PORT);
        Ok(Self(proxy::RedisUrl { tls, host: parts.host, port, user, password, database }))
    }

    fn shown(&self, text: &str) -> Json {
        secrets::without_url_secrets(text).into()
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern("rediss?://.+")})
    }
}

/// Where an OpenTelemetry collector takes traces, path included.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct CollectorUrl(pub(in crate::config) Uri);

impl Scalar for CollectorUrl {
    const NAME: &'static str = "the URL of a collector";

    fn parse(text: &str) -> Result<Self, Bad> {
        let help = "http://collector:4318, or with the path at which it takes traces";
        let (_, parts) = web(text, help)?;
        let bare = matches!(parts.path, "" | "/");
        let url =
            if bare { format!("{}{}", text.trim_end_matches('/'), otlp::PATH) } else { text.to_owned() };
        url.parse().map(Self).map_err(|_| Bad::new("is no URL", help))
    }

    fn shown(&self, text: &str) -> Json {
        secrets::without_url_secrets(text.split('?').next().unwrap_or("")).into()
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern("https?://.+")})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (text, shown) in [
            ("https://api.xinyaoai.com", "https://api.xinyaoai.com"),
            ("http://127.0.0.1:8089/", "http://127.0.0.1:8089"),
            ("HTTPS://h:443", "https://h"),
            ("http://[::1]:81", "http://[::1]:81"),
            ("http://[::1]", "http://[::1]"),
        ] {
            assert_eq!(OriginUrl::parse(text).unwrap().0.to_string(), shown, "{text}");
        }
        for text in [
            "",
            "api.xinyaoai.com",
            "ftp://h",
            "https://",
            "https://h/v2",
            "https://h?x",
            "https://h#x",
            "http://h:0",
            "http://h:99999",
            "http://h:",
            "http://u@h",
            "http://h h",
            "http://[::1",
            "http://::1",
            "https://h\\x",
        ] {
            assert!(OriginUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_proxy_may_want_a_login() {
        let proxy = ProxyUrl::parse("socks5://us%40er:p%3Aw@10.0.0.1:1080").unwrap();
        assert_eq!((proxy.0.host.as_str(), proxy.0.port), ("10.0.0.1", 1080));
        let (user, password) = proxy.0.login.clone().unwrap();
        assert_eq!((user.as_str(), password.expose_secret()), ("us@er", "p:w"));
        assert_eq!(proxy.shown("socks5://a:b@h:1"), "socks5://***@h:1");
        for text in ["http://h", "https://h:1", "socks4://h:1", "http://h:1/x", "http://%zz@h:1", "h:1"] {
            assert!(ProxyUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_redis_may_be_named_by_its_host_alone() {
        let redis = RedisUrl::parse("redis://cache").unwrap().0;
        assert_eq!(
            (redis.to_string().as_str(), redis.user, redis.password.is_some()),
            ("redis://cache:6379/0", None, false)
        );
        let redis = RedisUrl::parse("rediss://gate%40way:p%3Aw@[::1]:7000/3").unwrap();
        assert_eq!(redis.0.to_string(), "rediss://[::1]:7000/3");
        assert_eq!(redis.0.user.as_deref(), Some("gate@way"));
        assert_eq!(redis.0.password.as_ref().unwrap().expose_secret(), "p:w");
        assert_eq!(redis.shown("redis://:secret@h/1"), "redis://***@h/1");
        assert!(!format!("{redis:?}").contains("p:w"));
        for text in [
            "cache:6379",
            "http://cache",
            "redis://",
            "redis://h/x",
            "redis://h/0/1",
            "redis://h:0",
            "redis://h?db=1",
        ] {
            assert!(RedisUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_collector_takes_traces_at_the_usual_path_unless_another_is_named() {
        for (text, url) in [
            ("http://collector:4317", "http://collector:4317/v1/traces"),
            ("https://[::1]:4318/", "https://[::1]:4318/v1/traces"),
            ("http://h/otlp/v1/traces", "http://h/otlp/v1/traces"),
        ] {
            assert_eq!(CollectorUrl::parse(text).unwrap().0, url);
        }
        for text in ["collector:4317", "grpc://h:4317", "http://user:secret@h", "http://"] {
            assert!(CollectorUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_base_loses_its_last_slash() {
        assert_eq!(BaseUrl::parse("http://h:1/gw/").unwrap().0, "http://h:1/gw");
        assert!(BaseUrl::parse("http://h/?x=1").is_err());
        assert!(WebUrl::parse("http://user:secret@h/x").is_err());
    }
}
