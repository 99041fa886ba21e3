//! The console: files that are part of the binary, and a policy that keeps it to itself.
//!
//! The files are open: they hold nothing but how to ask. What they show they get from the API, with the token.

use std::sync::OnceLock;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};

use super::Problem;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// One file of the console.
struct File {
    path: &'static str,
    kind: &'static str,
    content: &'static str,
}

macro_rules! files {
    ($($kind:ident $path:literal),* $(,)?) => {
        &[$(File { path: $path, kind: $kind, content: include_str!(concat!("console/", $path)) }),*]
    };
}

/// All of them.
const FILES: &[File] = files![
    HTML "index.html",
    IMAGE "icon.svg",
    STYLE "style/theme.css",
    STYLE "style/frame.css",
    STYLE "style/controls.css",
    STYLE "style/marks.css",
    STYLE "style/cards.css",
    STYLE "style/tables.css",
    STYLE "style/plots.css",
    STYLE "style/dialogs.css",
    SCRIPT "app.js",
    SCRIPT "api.js",
    SCRIPT "dialog.js",
    SCRIPT "dom.js",
    SCRIPT "filters.js",
    SCRIPT "format.js",
    SCRIPT "i18n.js",
    SCRIPT "i18n/en.js",
    SCRIPT "i18n/zh.js",
    SCRIPT "listing.js",
    SCRIPT "mask.js",
    SCRIPT "parts.js",
    SCRIPT "plot.js",
    SCRIPT "poll.js",
    SCRIPT "preferences.js",
    SCRIPT "router.js",
    SCRIPT "session.js",
    SCRIPT "pages/apps.js",
    SCRIPT "pages/batches.js",
    SCRIPT "pages/config.js",
    SCRIPT "pages/dead-letters.js",
    SCRIPT "pages/event.js",
    SCRIPT "pages/events.js",
    SCRIPT "pages/missing.js",
    SCRIPT "pages/overview.js",
    SCRIPT "pages/overview/attention.js",
    SCRIPT "pages/overview/cluster.js",
    SCRIPT "pages/overview/figures.js",
    SCRIPT "pages/requests.js",
    SCRIPT "pages/subscribers.js",
];

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(async |headers: HeaderMap| serve("index.html", &headers))).route(
        "/console/{*path}",
        get(async |Path(path): Path<String>, headers: HeaderMap| serve(&path, &headers)),
    )
}

fn serve(path: &str, asked: &HeaderMap) -> Response {
    let Some(at) = FILES.iter().position(|file| file.path == path) else {
        return Problem::not_found("the console has no such file").into_response();
    };
    let (file, tag) = (&FILES[at], &tags()[at]);
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(file.kind)),
        (ETAG, tag.clone()),
        // A browser asks each time, so that what it shows is this version's.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    if asked.get_all(IF_NONE_MATCH).iter().any(|known| has(known, tag)) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, file.content).into_response()
}

/// Whether a list of tags has this one, weak ones included (RFC 9110 §13.1.2).
fn has(list: &HeaderValue, tag: &HeaderValue) -> bool {
    let Ok(list) = list.to_str() else { return false };
    list.split(',')
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == "*" || one.as_bytes() == tag.as_bytes())
}

/// The files' tags, in the order of the files.
fn tags() -> &'static [HeaderValue] {
    static TAGS: OnceLock<Vec<HeaderValue>> = OnceLock::new();
    TAGS.get_or_init(|| {
        let tag = |file: &File| {
            let digest = hex::encode(&Sha256::digest(file.content)[..12]);
            HeaderValue::try_from(format!("\"{digest}\"")).unwrap_or(HeaderValue::from_static("\"\""))
        };
        FILES.iter().map(tag).collect()
    })
}

#[cfg(test)]
mod tests;
