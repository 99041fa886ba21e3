//! Whether a request is what the document asks for, field by field, from the one table of endpoints.
//!
//! Said is only what the document says: keys that it does not have are let be, and where it contradicts
//! itself the wider reading holds (`docs/checks.md` lists the places). What is wrong is told in words that
//! the app's developer can act on, and that repeat nothing the caller wrote: they end up in logs.

mod form;
mod json;
mod value;

use std::borrow::Cow;
use std::fmt;

pub use form::Form;
pub use json::{BODY, json, mend};

use super::endpoint::{Field, Kind, Need};

/// What can be wrong. Its name is a label of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// A field is not there that must be, or is empty.
    Required,
    /// A value is of another type.
    Type,
    /// A value is none of those that there are.
    Enum,
    /// A number is too small or too great.
    Range,
    /// A text is too short or too long.
    Length,
    /// A text is not written as it must be.
    Format,
    /// A map has maps or lists in it.
    Flat,
    /// A field is there more than once.
    Repeated,
    /// The body can't be read for its fields.
    Body,
    /// The number file is of another kind than it says.
    FileFormat,
    /// The number file's characters can't be read.
    FileEncoding,
    /// The number file has no header row, or none of ASCII letters.
    FileHeader,
    /// The number file's first column is not the number.
    FileNumber,
    /// The number file has no rows, too many, or broken ones.
    FileRows,
    /// `call_count` is not the number of rows.
    CallCount,
}

impl Check {
    /// All of them, in order.
    pub const ALL: [Self; 15] = [
        Self::Required,
        Self::Type,
        Self::Enum,
        Self::Range,
        Self::Length,
        Self::Format,
        Self::Flat,
        Self::Repeated,
        Self::Body,
        Self::FileFormat,
        Self::FileEncoding,
        Self::FileHeader,
        Self::FileNumber,
        Self::FileRows,
        Self::CallCount,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Type => "type",
            Self::Enum => "enum",
            Self::Range => "range",
            Self::Length => "length",
            Self::Format => "format",
            Self::Flat => "flat",
            Self::Repeated => "repeated",
            Self::Body => "body",
            Self::FileFormat => "file_format",
            Self::FileEncoding => "file_encoding",
            Self::FileHeader => "file_header",
            Self::FileNumber => "file_number",
            Self::FileRows => "file_rows",
            Self::CallCount => "call_count",
        }
    }
}

/// Something that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// With which field; `body`, if with none.
    pub field: &'static str,
    /// What it fails.
    pub check: Check,
    /// What is wrong, and what would be right. ASCII, and nothing of the caller's own text.
    pub msg: Cow<'static, str>,
}

impl Failure {
    /// One.
    pub fn new(field: &'static str, check: Check, msg: impl Into<Cow<'static, str>>) -> Self {
        Self { field, check, msg: msg.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.msg)
    }
}

/// Which fields were there, and what they decide of others.
#[derive(Debug, Default)]
struct Present {
    /// By position in the table's row.
    there: u32,
    seen: u32,
    repeated: u32,
    /// A field of choices, and which was taken.
    chosen: Option<(&'static str, &'static str)>,
}

impl Present {
    /// A field came. Told is whether for the first time: only then its value is judged. So failures are few,
    /// however often a field is repeated.
    fn see(&mut self, at: usize, field: &'static Field, failures: &mut Vec<Failure>) -> bool {
        let first = self.seen & (1 << at) == 0;
        if !first && self.repeated & (1 << at) == 0 {
            self.repeated |= 1 << at;
            failures.push(Failure::new(field.name, Check::Repeated, "is given more than once; give it once"));
        }
        self.seen |= 1 << at;
        first
    }

    /// It has a value.
    fn has(&mut self, at: usize, field: &'static Field, chosen: Option<&'static str>) {
        self.there |= 1 << at;
        if let Some(chosen) = chosen {
            self.chosen = Some((field.name, chosen));
        }
    }

    /// Tells which fields are missing.
    fn miss(&self, fields: &'static [Field], failures: &mut Vec<Failure>) {
        for (at, field) in fields.iter().enumerate().filter(|(at, _)| self.there & (1 << at) == 0) {
            let state = if self.seen & (1 << at) == 0 { "missing" } else { "empty" };
            let msg = match field.need {
                Need::Required => format!("is required, and {state}"),
                Need::When { field: other, is } if self.chosen == Some((other, is)) => {
                    format!("is required when {other} is {is}, and {state}")
                }
                Need::Optional | Need::When { .. } => continue,
            };
            failures.push(Failure::new(field.name, Check::Required, msg));
        }
    }
}

fn is_file(field: &Field) -> bool {
    matches!(field.kind, Kind::File)
}

#[cfg(test)]
mod tests;
