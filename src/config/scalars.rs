//! The single values of the file: what each may look like, and what to say when it doesn't.

mod network;
mod quantity;
mod url;

use std::path::PathBuf;

use http::HeaderValue;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value as Json, json};

use super::read::{Bad, Scalar, nearest};
use crate::xinyao::Target;

pub(super) use network::Address;
pub(super) use quantity::{Count, PerSecond, Rate, Ratio, Share, Size, Timeout};
pub(super) use url::{BaseUrl, CollectorUrl, OriginUrl, PostgresUrl, ProxyUrl, RedisUrl, WebUrl};

/// A pattern for `pattern`, or for a text in which a variable will be replaced.
fn pattern(pattern: &str) -> String {
    format!(r"^({pattern})$|\$\{{")
}

impl Scalar for String {
    const NAME: &'static str = "a text";

    fn parse(text: &str) -> Result<Self, Bad> {
        Ok(text.to_owned())
    }

    fn schema() -> Json {
        json!({"type": ["string", "number", "boolean"]})
    }
}

impl Scalar for bool {
    const NAME: &'static str = "true or false";
    const BARE: bool = true;

    fn parse(text: &str) -> Result<Self, Bad> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Bad::new("is neither true nor false", "write `true` or `false`")),
        }
    }

    fn shown(&self, _: &str) -> Json {
        (*self).into()
    }

    fn schema() -> Json {
        json!({"type": ["boolean", "string"], "pattern": r"\$\{"})
    }
}

/// The name of an app or a subscriber.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(pub(super) String);

impl Name {
    const MAX_BYTES: usize = 64;
}

impl Scalar for Name {
    const NAME: &'static str = "a name";

    fn parse(text: &str) -> Result<Self, Bad> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if text.is_empty() || text.len() > Self::MAX_BYTES || !text.bytes().all(allowed) {
            let help =
                "names are made of a-z, 0-9 and `-`, at most 64 of them: they stand in URLs and metrics";
            return Err(Bad::new("is no name", help));
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern("[a-z0-9-]{1,64}")})
    }
}

/// The name of an app, or `*` for all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AppName {
    /// `*`.
    All,
    /// This one.
    One(String),
}

impl Scalar for AppName {
    const NAME: &'static str = "the name of an app, or `*`";

    fn parse(text: &str) -> Result<Self, Bad> {
        if text == "*" { Ok(Self::All) } else { Name::parse(text).map(|name| Self::One(name.0)) }
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern(r"\*|[a-z0-9-]{1,64}")})
    }
}

/// The name of an endpoint, or `*` for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndpointName {
    /// `*`.
    All,
    /// This one.
    One(Target),
}

impl Scalar for EndpointName {
    const NAME: &'static str = "an endpoint, or `*`";

    fn parse(text: &str) -> Result<Self, Bad> {
        if text == "*" {
            return Ok(Self::All);
        }
        text.parse().map(Self::One).map_err(|_| not_among(text, &Target::ALL.map(Target::name), "endpoint"))
    }

    fn schema() -> Json {
        let names: Vec<_> = std::iter::once("*").chain(Target::ALL.map(Target::name)).collect();
        json!({"anyOf": [{"enum": names}, {"type": "string", "pattern": r"\$\{"}]})
    }
}

/// What to say of a text that is none of `names`.
pub(super) fn not_among(text: &str, names: &[&'static str], what: &str) -> Bad {
    let guess = nearest(text, names.iter().copied());
    let hint = guess.map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
    Bad::new(format!("is no {what}{hint}"), format!("one of: {}", names.join(", ")))
}

/// Declares enums that are one word of a few in the file; the first is the stand-in for a faulty one.
macro_rules! choice {
    ($($(#[doc = $doc:literal])+ $what:literal enum $name:ident {
        $(#[doc = $first_doc:literal])+ $first:ident = $first_word:literal,
        $($(#[doc = $word_doc:literal])+ $variant:ident = $word:literal,)*
    })+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub(in crate::config) enum $name {
            $(#[doc = $first_doc])+ #[default] $first,
            $($(#[doc = $word_doc])+ $variant,)*
        }

        impl $crate::config::read::Scalar for $name {
            const NAME: &'static str = concat!("a ", $what);

            fn parse(text: &str) -> Result<Self, $crate::config::read::Bad> {
                match text {
                    $first_word => Ok(Self::$first),
                    $($word => Ok(Self::$variant),)*
                    _ => Err($crate::config::scalars::not_among(text, &[$first_word, $($word),*], $what)),
                }
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({
                    "anyOf": [{"enum": [$first_word, $($word),*]}, {"type": "string", "pattern": r"\$\{"}]
                })
            }
        }
    )+};
}

pub(super) use choice;

/// A secret: never shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Secret(pub(super) SecretString);

impl Scalar for Secret {
    const NAME: &'static str = "a secret";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, Bad> {
        Ok(Self(text.into()))
    }

    fn schema() -> Json {
        json!({"type": "string"})
    }
}

/// The path of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct FilePath(pub(super) PathBuf);

impl Scalar for FilePath {
    const NAME: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, Bad> {
        if text.is_empty() || text.contains('\0') {
            return Err(Bad::new("is no path", "a relative path starts at the working directory"));
        }
        Ok(Self(text.into()))
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

/// The beginning of a path of the SaaS.
#[derive(Debug, Clone)]
pub(super) struct PathPrefix(pub(super) String);

impl Scalar for PathPrefix {
    const NAME: &'static str = "a path's beginning";

    fn parse(text: &str) -> Result<Self, Bad> {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '%' | '\\');
        let dots = text.split('/').any(|part| matches!(part, "." | ".."));
        if !text.starts_with('/') || !text.chars().all(plain) || dots {
            let help = "it begins with `/`, as in `/v2/`, and has no query, `%`, `.` or `..`";
            return Err(Bad::new("is no path's beginning", help));
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern("/.*")})
    }
}

/// A header's value; it may be a secret.
#[derive(Debug, Clone)]
pub(super) struct HeaderText(pub(super) String);

impl Scalar for HeaderText {
    const NAME: &'static str = "a header's value";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, Bad> {
        match HeaderValue::from_str(text) {
            Ok(value) if value.to_str().is_ok() => Ok(Self(text.to_owned())),
            _ => Err(Bad::new("is no header's value", "visible ASCII characters and spaces, on one line")),
        }
    }

    fn schema() -> Json {
        json!({"type": "string"})
    }
}

impl Scalar for Timestamp {
    const NAME: &'static str = "a time";

    fn parse(text: &str) -> Result<Self, Bad> {
        let help = "RFC 3339, with an offset: 2026-01-31T08:00:00+08:00, or …Z";
        text.parse().map_err(|_| Bad::new("is no time", help))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern(r"\d{4}-\d\d-\d\d[Tt ].+")})
    }
}
