//! Which tenants a request names, held against those its app may act for.
//!
//! A tenant is named by `app_id`: at the top level of a JSON body (§10-§14), in a text field of
//! outnum's multipart body (§6), or, with a lenient receiver, in the query. We read each of them once,
//! and the SaaS reads it again with a parser we do not know. So whatever a more lenient reader could
//! take for another tenant is refused rather than interpreted: a second `app_id`, one spelled in another
//! way, a body that is broken in the least.
//!
//! A request without `app_id` is allowed. Not every endpoint has the field (§15, §16 know the session
//! only), and where it is left out the credential alone says whose request it is; that a required field
//! is missing is for the request checks and the SaaS to say.
//!
//! For an app with no list of tenants only [`Denied::Twice`] is ever answered.

mod json;
mod multipart;
mod params;
mod query;

use std::collections::BTreeSet;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

pub use json::check_json;
pub use multipart::{MultipartScan, Parts};
pub use query::check_query;

/// What names the tenant (§6, §10-§14).
const FIELD: &str = "app_id";

/// The tenants an app may act for.
#[derive(Debug, Clone, Default)]
pub struct Tenants(BTreeSet<String>);

impl Tenants {
    /// From the ids that the app is configured with; none of them means any tenant.
    pub fn new(ids: &[String]) -> Self {
        Self(ids.iter().cloned().collect())
    }

    /// Whether the app may act for any tenant.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the app may act for this one. Compared byte for byte: `01` is not `1`.
    pub fn allows(&self, id: &str) -> bool {
        self.is_empty() || self.0.contains(id)
    }

    /// Whether a field of this name may be read as the tenant's by some receiver.
    ///
    /// Go compares JSON keys without regard to case, fastjson without regard to `_` and `-` as well,
    /// PHP turns `app.id` and `app id` into `app_id` and makes a list of `app_id[]`.
    fn named_by(&self, key: &str) -> bool {
        key.eq_ignore_ascii_case(FIELD) || (!self.is_empty() && resembles(key))
    }

    /// The verdict on `denied`, given that an app without a list need not be readable.
    fn excuse(&self, denied: Denied) -> Result<(), Denied> {
        match denied {
            Denied::Unreadable(_) if self.is_empty() => Ok(()),
            denied => Err(denied),
        }
    }
}

/// Why a request may not go out for its app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It names a tenant outside the app's list.
    #[error(
        "app_id names a tenant that this app may not act for; use one of the app's own tenants, or ask the \
         operator to add this one to its app_ids"
    )]
    Foreign,
    /// It names a tenant more than once.
    #[error("app_id is given more than once, in one spelling or another; give it once")]
    Twice,
    /// It could be read for a tenant in more than one way, or not at all.
    #[error("this app is bound to its tenants, and the request can't be read for app_id: {0}")]
    Unreadable(&'static str),
}

/// Whether the body can be read as the bytes that it consists of, going by the request's headers.
///
/// # Errors
/// [`Denied::Unreadable`] for a content coding, for a charset other than UTF-8, and for more than one
/// content type.
pub fn check_head(headers: &HeaderMap, tenants: &Tenants) -> Result<(), Denied> {
    if tenants.is_empty() {
        return Ok(());
    }
    let encoded = |coding: &http::HeaderValue| !coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().any(encoded) {
        return Err(Denied::Unreadable("the body is compressed; send it without Content-Encoding"));
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let Some(kind) = types.next() else { return Ok(()) };
    if types.next().is_some() {
        return Err(Denied::Unreadable("there are several Content-Type headers; send one"));
    }
    let Some((_, params)) = params::split(kind.as_bytes()) else {
        return Err(Denied::Unreadable("Content-Type is malformed; write it as in application/json"));
    };
    if params.iter().all(|param| !param.is("charset") || is_utf8(param.value)) {
        Ok(())
    } else {
        Err(Denied::Unreadable("the body's charset is not UTF-8; send it in UTF-8"))
    }
}

/// US-ASCII is UTF-8 too.
fn is_utf8(charset: &[u8]) -> bool {
    ["utf-8", "utf8", "us-ascii"].iter().any(|name| charset.eq_ignore_ascii_case(name.as_bytes()))
}

/// Whether letters and digits of `key` spell `appid`, up to its end or to the first bracket.
fn resembles(key: &str) -> bool {
    let spells = |part: &str| {
        part.chars().filter(|c| !c.is_ascii() || c.is_ascii_alphanumeric()).map(plain).eq("appid".chars())
    };
    spells(key) || key.split_once('[').is_some_and(|(head, _)| spells(head))
}

/// Lower case; the Turkish letters are what Java's `equalsIgnoreCase` takes for an `i`.
fn plain(c: char) -> char {
    match c {
        'ı' | 'İ' => 'i',
        c => c.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests;
