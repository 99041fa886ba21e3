//! Where PostgreSQL is: `store.postgres`, in the form that libpq knows.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

const CONNECT: Duration = Duration::from_secs(3);
/// A server that acknowledges nothing for so long is gone.
const GONE: Duration = Duration::from_secs(10);

/// `postgresql://user:password@host:port/database?sslmode=…&sslrootcert=…`; several hosts, divided by commas, where
/// one takes over from another. It does not print.
#[derive(Clone)]
pub struct PostgresUrl {
    pub(super) config: Config,
    ca_file: Option<PathBuf>,
}

/// Why a text is no such URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct BadPostgresUrl {
    what: String,
    /// What to do about it.
    pub way_out: &'static str,
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresUrl").field("place", &self.place()).finish_non_exhaustive()
    }
}

impl PostgresUrl {
    /// Whether TLS may be used.
    pub fn may_use_tls(&self) -> bool {
        self.config.get_ssl_mode() != SslMode::Disable
    }

    /// Certificate authorities that are believed besides the system's.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// Hosts and database, for people.
    pub fn place(&self) -> String {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(index, host)| {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                tokio_postgres::config::Host::Tcp(host) if host.contains(':') => format!("[{host}]:{port}"),
                tokio_postgres::config::Host::Tcp(host) => format!("{host}:{port}"),
                tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
            }
        });
        let hosts = hosts.collect::<Vec<_>>().join(",");
        format!("{hosts}/{}", self.config.get_dbname().or(self.config.get_user()).unwrap_or_default())
    }
}

impl FromStr for PostgresUrl {
    type Err = BadPostgresUrl;

    fn from_str(text: &str) -> Result<Self, BadPostgresUrl> {
        let bad = |what: String, way_out| BadPostgresUrl { what, way_out };
        let form = "postgresql://user:password@host:5432/database?sslmode=verify-full";
        let is_url = ["postgresql://", "postgres://"].iter().any(|scheme| text.starts_with(scheme));
        if !is_url {
            return Err(bad("is not the URL of a PostgreSQL".into(), form));
        }
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let (mut left, mut ca_file, mut mode) = (Vec::new(), None, SslMode::Prefer);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("sslmode", value) => mode = ssl_mode(value)?,
                ("sslrootcert", "system") => {}
                ("sslrootcert", value) => {
                    let path = decoded(value).ok_or_else(|| {
                        bad("has a broken %-escape in sslrootcert".into(), "write `%` as %25")
                    })?;
                    ca_file = Some(path.into());
                }
                ("sslcert" | "sslkey", _) => {
                    let what = "names a certificate for the gateway itself, which it does not show".into();
                    return Err(bad(what, "leave sslcert and sslkey out, and give a password"));
                }
                _ => left.push(pair),
            }
        }
        let rest = format!("{base}?{}", left.join("&"));
        let mut config: Config =
            rest.trim_end_matches('?').parse().map_err(|error| bad(said(&error), form))?;
        if config.get_hosts().is_empty() {
            return Err(bad("names no host".into(), form));
        }
        config.ssl_mode(mode).connect_timeout(CONNECT).tcp_user_timeout(GONE);
        if config.get_application_name().is_none() {
            config.application_name("xinyao-gateway");
        }
        Ok(Self { config, ca_file })
    }
}

/// Whoever uses TLS is shown a certificate for the host's name: the weaker modes of libpq are taken for `verify-full`.
fn ssl_mode(value: &str) -> Result<SslMode, BadPostgresUrl> {
    match value {
        "disable" => Ok(SslMode::Disable),
        "allow" | "prefer" => Ok(SslMode::Prefer),
        "require" | "verify-ca" | "verify-full" => Ok(SslMode::Require),
        _ => Err(BadPostgresUrl {
            what: "has an sslmode that is none".into(),
            way_out: "disable, prefer, or verify-full",
        }),
    }
}

/// What the parser says, which never has the password in it.
fn said(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    format!("cannot be understood: {cause}")
}

/// Without %-escapes (RFC 3986 §2.1).
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.as_bytes().split_at_checked(2)?;
        bytes.extend(hex::decode(digits).ok()?);
        bytes.extend(rest);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_plain_or_verified() {
        for (query, tls, ca_file) in [
            ("", SslMode::Prefer, None),
            ("?sslmode=disable", SslMode::Disable, None),
            ("?sslmode=require", SslMode::Require, None),
            ("?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem", SslMode::Require, Some("/etc/ca.pem")),
            ("?connect_timeout=5&sslmode=verify-ca&sslrootcert=system", SslMode::Require, None),
        ] {
            let url: PostgresUrl = format!("postgresql://u:p@h,i:6000/d{query}").parse().unwrap();
            assert_eq!(url.config.get_ssl_mode(), tls, "{query}");
            assert_eq!(url.ca_file(), ca_file.map(Path::new), "{query}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (text, what) in [
            ("mysql://u:hush@h/d", "is not the URL"),
            ("postgresql://u:hush@h/d?sslmode=maybe", "sslmode"),
            ("postgresql://u:hush@h/d?sslcert=a", "certificate"),
            ("postgresql://u:hush@h/d?sslrootcert=%zz", "%-escape"),
            ("postgresql://u:hush@h/d?colour=red", "colour"),
            ("postgresql://u:hush@h:port/d", "cannot be understood"),
        ] {
            let bad = text.parse::<PostgresUrl>().unwrap_err();
            assert!(bad.what.contains(what) && !bad.what.contains("hush"), "{text}: {}", bad.what);
        }
        let url: PostgresUrl = "postgresql://u:hush@h/d".parse().unwrap();
        assert_eq!(format!("{url:?}"), r#"PostgresUrl { place: "h:5432/d", .. }"#);
    }
}
