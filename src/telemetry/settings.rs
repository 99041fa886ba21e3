//! What the room can be told.

/// Logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How lines look.
    pub format: Format,
    /// The least severe level that is written.
    pub level: tracing::level_filters::LevelFilter,
    /// Whether each request has its line.
    pub access: bool,
    /// Whether phone numbers are masked.
    pub mask_numbers: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For machines: an object a line.
    Json,
}
