//! `docs/configuration.md`, made of the schema.

pub(super) const PREFACE: &str = "";

/// The reference of all keys, in Markdown.
pub fn reference() -> String {
    String::new()
}
