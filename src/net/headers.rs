//! Which header fields pass through an intermediary, and which end here; what some of them say.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// Fields that end at each hop (RFC 9110 §7.6.1), `Connection` itself aside; `Expect` too, since the
/// listener has answered it by the time the body is read.
static HOP_BY_HOP: [HeaderName; 9] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::EXPECT,
];

/// Fields that tell of the way a request has come (RFC 7239, and what went before it).
static FORWARDING: [HeaderName; 2] = [header::FORWARDED, HeaderName::from_static("x-real-ip")];

/// Removes what ends at this hop, and the fields that `Connection` names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    strip(headers, |_| false);
}

/// Removes what ends at this hop, what tells of the way here, and whatever `also` picks.
pub fn strip_for_upstream(headers: &mut HeaderMap, also: fn(&HeaderName) -> bool) {
    strip(headers, |name| {
        FORWARDING.contains(name) || name.as_str().starts_with("x-forwarded-") || also(name)
    });
}

/// How long an answer asks to be left alone (RFC 9110 §10.2.3: seconds, or a date).
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds are a long time too.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let until = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

/// One pass over the names that are there is cheaper than a look-up for each that might be.
fn strip(headers: &mut HeaderMap, also: impl Fn(&HeaderName) -> bool) {
    strip_named_by_connection(headers);
    while let Some(name) = headers.keys().find(|name| HOP_BY_HOP.contains(name) || also(name)).cloned() {
        headers.remove(name);
    }
}

fn strip_named_by_connection(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CONNECTION) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    headers.remove(header::CONNECTION);
    for name in named {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable(); // a map that lost a field keeps no order
        names
    }

    #[test]
    fn what_ends_at_this_hop_is_removed() {
        let mut headers = map(&[
            ("connection", "close, X-Private"),
            ("connection", "x-other"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("x-private", "1"),
            ("x-other", "2"),
            ("content-type", "application/json"),
            ("x-forwarded-for", "10.0.0.1"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(names(&headers), ["content-type", "x-forwarded-for"]);
    }

    #[test]
    fn what_tells_of_the_way_is_removed_too() {
        let mut headers = map(&[
            ("forwarded", "for=10.0.0.1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-client-cert", "x"),
            ("x-real-ip", "10.0.0.1"),
            ("cookie", "a=b"),
            ("x-kept", "1"),
        ]);
        strip_for_upstream(&mut headers, |name| name == header::COOKIE);
        assert_eq!(names(&headers), ["x-kept"]);
    }

    proptest! {
        #[test]
        fn nothing_hop_by_hop_gets_through(fields in prop::collection::vec(
            ("(connection|te|keep-alive|upgrade|x-[a-c]|accept|x-forwarded-[a-z]{1,4})", "[a-z, -]{0,12}"), 0..20,
        )) {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let before = map(&fields);
            let mut after = before.clone();
            strip_for_upstream(&mut after, |_| false);
            let named: Vec<String> = before.get_all("connection").iter()
                .flat_map(|v| v.to_str().unwrap().split(',').map(|n| n.trim().to_owned())).collect();
            for name in before.keys() {
                let ends = HOP_BY_HOP.contains(name) || name == header::CONNECTION
                    || name.as_str().starts_with("x-forwarded-") || named.iter().any(|n| n == name.as_str());
                prop_assert_eq!(after.contains_key(name), !ends, "{}", name);
            }
        }
    }
}
