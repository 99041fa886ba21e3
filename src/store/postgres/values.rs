//! Values as PostgreSQL can keep them.

use std::borrow::Cow;

/// Most bytes of a name: a row of an index takes some 2700, and an event that can't be written would hold up the
/// local log.
const MAX_NAME_BYTES: usize = 1000;

/// A name as it is kept and looked for: without U+0000, which a JSON string may hold and `text` can't, and cut where it
/// is longer than any that means something.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let text = &text[..text.floor_char_boundary(MAX_NAME_BYTES)];
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
