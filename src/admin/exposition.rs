//! Metrics as text: OpenMetrics for those who ask for it, and else the text format 0.0.4 of Prometheus.
//!
//! They differ where it matters: in OpenMetrics a counter is declared without the `_total` that its
//! samples have, in 0.0.4 with it. A parser of the one takes the other's counters for something untyped.

use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use prometheus_client::registry::Registry;

use super::Problem;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is counted, in the format that `headers` ask for.
pub(super) fn scrape(registry: &Registry, headers: &HeaderMap) -> Response {
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, registry).is_err() {
        let detail = "the metrics could not be written out";
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response();
    }
    if takes_open_metrics(headers) {
        ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
    } else {
        ([(CONTENT_TYPE, TEXT)], plain(&text)).into_response()
    }
}

fn takes_open_metrics(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let named =
            parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
        named && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "version=0.0.1"))
    })
}

/// OpenMetrics text as text of format 0.0.4.
fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), rest) => help = Some((name, rest.unwrap_or_default())),
            (Some("#"), Some("TYPE"), Some(name), kind) => {
                let (suffix, kind) = match kind {
                    Some("counter") => ("_total", "counter"),
                    Some("info") => ("_info", "gauge"),
                    Some("unknown") | None => ("", "untyped"),
                    Some(kind) => ("", kind),
                };
                if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                    text += &format!("# HELP {name}{suffix} {help}\n");
                }
                text += &format!("# TYPE {name}{suffix} {kind}\n");
            }
            (Some("#"), Some("UNIT" | "EOF"), ..) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &'static str) -> bool {
        takes_open_metrics(&HeaderMap::from_iter([(ACCEPT, value.parse().unwrap())]))
    }

    #[test]
    fn open_metrics_is_for_those_who_ask() {
        assert!(accepts(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        ));
        assert!(!accepts("text/plain;version=0.0.4;q=0.3,*/*;q=0.2"));
        assert!(!accepts("application/openmetrics-text;q=0, text/plain"));
        assert!(!takes_open_metrics(&HeaderMap::new()));
    }

    #[test]
    fn counters_are_declared_as_their_samples_are_named() {
        let open = "# HELP a_requests Requests.\n# TYPE a_requests counter\na_requests_total{x=\"# EOF\"} 1\n\
                    # HELP b_seconds Time.\n# TYPE b_seconds histogram\n# UNIT b_seconds seconds\n\
                    b_seconds_bucket{le=\"+Inf\"} 1\n# TYPE c gauge\nc 1.0\n# EOF\n";
        let expected = "# HELP a_requests_total Requests.\n# TYPE a_requests_total counter\n\
                        a_requests_total{x=\"# EOF\"} 1\n# HELP b_seconds Time.\n# TYPE b_seconds histogram\n\
                        b_seconds_bucket{le=\"+Inf\"} 1\n# TYPE c gauge\nc 1.0\n";
        assert_eq!(plain(open), expected);
    }
}
