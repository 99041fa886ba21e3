//! An OpenTelemetry collector, and what it was sent.

use serde_json::Value;

use super::{Act, Upstream, eventually, ok};

/// A collector that takes OTLP over HTTP.
pub struct Collector {
    server: Upstream,
}

/// A span as it was sent.
#[derive(Debug, Clone)]
pub struct Span(pub Value);

impl Collector {
    /// One that takes everything.
    pub fn start() -> Self {
        Self::in_turn([ok()])
    }

    /// One that does the first of these with the first batch, and so on; the last with all further ones.
    pub fn in_turn(acts: impl IntoIterator<Item = Act>) -> Self {
        Self { server: Upstream::in_turn(acts) }
    }

    /// Its URL, as `tracing_otlp` has it.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// All that came, as text.
    pub fn text(&self) -> String {
        self.server.seen().iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect()
    }

    /// How many batches came.
    pub fn batches(&self) -> usize {
        self.server.seen().len()
    }

    /// The spans that came, in order.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for seen in self.server.seen() {
            assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/v1/traces"));
            assert_eq!(seen.header("content-type"), "application/json");
            let batch: Value = serde_json::from_slice(&seen.body).unwrap();
            let resource = &batch["resourceSpans"][0];
            assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "xinyao-gateway");
            spans.extend(resource["scopeSpans"][0]["spans"].as_array().unwrap().iter().cloned().map(Span));
        }
        spans
    }

    /// Those with this name, once there are so many.
    pub async fn has(&self, name: &str, count: usize) -> Vec<Span> {
        let found = || self.spans().into_iter().filter(|span| span.0["name"] == name).collect::<Vec<_>>();
        eventually(async || found().len() >= count).await;
        let spans = found();
        assert_eq!(spans.len(), count, "{spans:?}");
        spans
    }
}

impl Span {
    /// A field that is a text; empty where there is none.
    pub fn field(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    /// What an attribute says; empty where there is none.
    pub fn attribute(&self, key: &str) -> &str {
        let attributes = self.0["attributes"].as_array().unwrap();
        let value = attributes.iter().find(|one| one["key"] == key).map_or(&Value::Null, |one| &one["value"]);
        value["stringValue"].as_str().or(value["intValue"].as_str()).unwrap_or_default()
    }

    /// How long it took, in nanoseconds.
    pub fn took(&self) -> u64 {
        let at = |key| self.field(key).parse::<u64>().unwrap();
        at("endTimeUnixNano").checked_sub(at("startTimeUnixNano")).unwrap()
    }

    /// Whether it failed.
    pub fn failed(&self) -> bool {
        self.0["status"]["code"] == 2
    }
}
