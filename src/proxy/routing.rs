//! What is called: the path against the one table, after whatever two readers could take for two
//! different paths has been refused.

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{Method, Uri, Version};

use super::call::Call;
use super::refusal::Refusal;
use crate::xinyao::{self, Target};

/// Longest request target, bytes.
const MAX_TARGET: usize = 8 * 1024;
const RECORDINGS: &str = "/coeus/";

/// Finds the target of the request, and whether the app may call it.
///
/// # Errors
/// The target is too long, ambiguous or unknown, or its method or the app's right does not fit.
pub fn route(call: &mut Call) -> Result<(), Refusal> {
    unambiguous(&call.head)?;
    let target = target(call.head.uri.path(), &call.worker.running.settings.upstream.extra_paths)
        .ok_or(Refusal::UnknownEndpoint)?;
    call.record.target = Some(target);
    method_fits(target, &call.head.method)?;
    let app = &call.record.app;
    if !app.endpoints.contains(target) {
        return Err(Refusal::EndpointNotAllowed { app: app.name.clone(), target });
    }
    make_origin_form(&mut call.head.uri);
    Ok(())
}

/// What `path` leads to.
pub fn target(path: &str, extra_paths: &[String]) -> Option<Target> {
    if let Some(endpoint) = xinyao::endpoint::at(path) {
        return Some(Target::Endpoint(endpoint));
    }
    if path.starts_with(RECORDINGS) {
        return Some(Target::Recordings);
    }
    extra_paths.iter().any(|prefix| is_below(path, prefix)).then_some(Target::Extra)
}

/// A prefix ends at a segment's end: `/a` leads to `/a` and `/a/b`, not to `/ab`.
fn is_below(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
}

fn method_fits(target: Target, method: &Method) -> Result<(), Refusal> {
    let allowed = match target {
        Target::Endpoint(_) if method == Method::POST => return Ok(()),
        Target::Recordings if method == Method::GET || method == Method::HEAD => return Ok(()),
        Target::Extra if method != Method::CONNECT && method != Method::TRACE => return Ok(()),
        Target::Endpoint(_) => "POST",
        Target::Recordings => "GET, HEAD",
        Target::Extra => "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    };
    Err(Refusal::MethodNotAllowed(allowed))
}

/// Refuses what a second reader could take for another request (RFC 9112 §11.2).
pub fn unambiguous(head: &Parts) -> Result<(), Refusal> {
    let text = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
    if text.len() > MAX_TARGET {
        return Err(Refusal::TargetTooLong);
    }
    // A path of the table is as plain as it can be.
    if xinyao::endpoint::at(head.uri.path()).is_none() {
        plain_path(head.uri.path()).map_err(Refusal::Invalid)?;
    }
    one_host(&head.uri, &head.headers)?;
    if head.headers.contains_key(header::UPGRADE) && has_body(head) {
        return Err(Refusal::Invalid("Upgrade and a body do not go together; send one of them"));
    }
    Ok(())
}

/// No way to write one path as another.
fn plain_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("the request target must be a path");
    }
    if path.bytes().any(|byte| byte == b'\\' || byte <= b' ' || byte >= 0x7f) {
        return Err("the path has a backslash, a space, a control or a non-ASCII character");
    }
    if path.contains("//") || path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err("the path has an empty segment, `.` or `..`; write it out");
    }
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        rest = &rest[at + 1..];
        let code = rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(b'/' | b'\\' | b'.' | b'%' | 0..=0x1f | 0x7f) => {
                return Err("the path has an encoded slash, backslash, dot, percent or control character");
            }
            Some(_) => {}
            None => return Err("the path has a `%` that is not followed by two hex digits"),
        }
    }
    Ok(())
}

/// An absolute target must be for the host that `Host` names (RFC 9112 §3.2.2 would have it win silently).
fn one_host(uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(authority) = uri.authority() else { return Ok(()) };
    let named = headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let same = named.is_some_and(|named| named == *authority);
    let plain = uri.scheme_str() == Some("http") && !authority.as_str().contains('@');
    if same && plain {
        return Ok(());
    }
    Err(Refusal::Invalid("the request target names another host than the Host field"))
}

fn has_body(head: &Parts) -> bool {
    let length = head.headers.get(header::CONTENT_LENGTH).map(HeaderValue::as_bytes);
    head.version < Version::HTTP_2
        && (head.headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|n| n != b"0"))
}

fn make_origin_form(uri: &mut Uri) {
    if uri.authority().is_some() {
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *uri = Uri::from(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xinyao::Endpoint;
    use proptest::prelude::*;

    #[test]
    fn paths_lead_to_their_targets() {
        let extra = ["/api/v2".to_owned(), "/new/".to_owned()];
        let outnum = Endpoint::Outnum.spec().path;
        for (path, expected) in [
            (outnum, Some(Target::Endpoint(Endpoint::Outnum))),
            ("/coeus/a/b.wav", Some(Target::Recordings)),
            ("/coeus", None),
            ("/api/v2", Some(Target::Extra)),
            ("/api/v2/x", Some(Target::Extra)),
            ("/api/v22", None),
            ("/new/x", Some(Target::Extra)),
            ("/new", None),
            ("/", None),
        ] {
            assert_eq!(target(path, &extra), expected, "{path}");
        }
        assert_eq!(target(&format!("{outnum}/"), &extra), None);
        assert_eq!(target(&outnum.to_uppercase(), &extra), None);
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for path in [
            "/a/../b",
            "/a/./b",
            "/..",
            "/a//b",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/%2e%2e/b",
            "/a%00",
            "/a%0d%0a",
            "/a%zz",
            "/a%2",
            "/a\\b",
            "*",
            "/a%252e",
        ] {
            assert!(plain_path(path).is_err(), "{path}");
        }
        for path in ["/", "/a/b", "/a.b/c..d", "/a%20b", "/a/", "/%E4%BD%A0"] {
            assert!(plain_path(path).is_ok(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_path_that_passes_means_the_same_decoded_twice(path in "/[a-z%0-9./\\\\]{0,24}") {
            if plain_path(&path).is_ok() {
                let segments = path.split('/').filter(|s| matches!(*s, "." | ".."));
                prop_assert_eq!(segments.count(), 0);
                prop_assert!(!path.to_lowercase().contains("%2e") && !path.to_lowercase().contains("%2f"));
            }
        }
    }
}
