//! The configuration file: read, substituted, checked, understood; or every fault in it, each with its
//! place and a way out.

use crate::{admin, hub, proxy, store, telemetry};

/// What the file means.
#[derive(Debug, Clone)]
pub struct Config {
    /// The operators' listener.
    pub admin: admin::Settings,
    /// The request's way.
    pub proxy: proxy::Settings,
    /// The callback's way.
    pub hub: hub::Settings,
    /// Where events are kept.
    pub store: store::Settings,
    /// Logs.
    pub log: telemetry::Settings,
    /// The file as written after substitution, with every secret as `***`, for `GET /api/v1/config`.
    pub redacted: serde_json::Value,
}
