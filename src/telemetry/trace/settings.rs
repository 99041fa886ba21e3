//! What tracing can be told.

use http::Uri;

/// Traces.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where spans are posted, path included.
    pub endpoint: Uri,
    /// How many of the traces that begin here are kept, from 0 to 1.
    pub ratio: f64,
}
