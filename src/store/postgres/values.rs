//! Values as PostgreSQL can keep them.

use std::borrow::Cow;

/// Text without U+0000, which a JSON string may hold and `text` can't.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A number for a column of four bytes.
pub(super) fn integer(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A number of a column of four bytes.
pub(super) fn natural(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}
