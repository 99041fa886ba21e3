//! `app_id` in a query.

use std::borrow::Cow;

use super::{Denied, Tenants};

const AMBIGUOUS: Denied = Denied::Unreadable(
    "the query has a broken escape, or ';' beside app_id; escape it as UTF-8, %3B for ';'",
);

/// Whether the query names no tenant but those in `tenants`.
///
/// # Errors
/// What is wrong with it. For an app without a list nothing ever is.
pub fn check_query(query: Option<&str>, tenants: &Tenants) -> Result<(), Denied> {
    let Some(query) = query.filter(|_| !tenants.is_empty()) else { return Ok(()) };
    let mut seen = false;
    for pair in query.split('&') {
        let Some(id) = tenant_in(pair, tenants)? else { continue };
        if seen {
            return Err(Denied::Twice);
        }
        if !tenants.allows(&id) {
            return Err(Denied::Foreign);
        }
        seen = true;
    }
    Ok(())
}

/// The tenant that `key=value` names, if it does.
///
/// Some receivers take `;` for a separator too; with a tenant on either side of one, their reading is not ours.
fn tenant_in<'q>(pair: &'q str, tenants: &Tenants) -> Result<Option<Cow<'q, str>>, Denied> {
    let mut named = None;
    for piece in pair.split(';') {
        let (key, value) = piece.split_once('=').unwrap_or((piece, ""));
        let key = decode(key).ok_or(AMBIGUOUS)?;
        if key.contains(char::is_control) {
            return Err(AMBIGUOUS);
        }
        if tenants.named_by(&key) {
            named = Some(value);
        }
    }
    match named {
        None => Ok(None),
        Some(_) if pair.contains(';') => Err(AMBIGUOUS),
        Some(value) => decode(value).map(Some).ok_or(AMBIGUOUS),
    }
}

/// `text` without its escapes; `None` if one is broken or they hide something other than UTF-8.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(plain).ok().map(Cow::Owned)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
