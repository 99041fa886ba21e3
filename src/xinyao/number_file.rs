//! The uploaded list of numbers (§6.2): a header row of ASCII letters, then rows whose first column is the
//! number; at most 150,000 of them, as csv, txt or xlsx.
//!
//! Text is judged while it streams by; a workbook must be there whole, since the list of what is in it
//! stands at its end. Memory is bounded by a few hundred bytes for text, and by a few MiB for a workbook,
//! whatever either holds. The numbers themselves are told to [`Numbers`] on the way.

mod encoding;
mod sheet;
mod text;
mod xml;
mod zip;

use self::text::TextScan;
use super::checks::{Check, Failure};

pub use self::sheet::xlsx;

/// Most rows below the header (§6.2).
pub const MAX_ROWS: u32 = 150_000;
/// What failures are told of.
const FILE: &str = "file";
/// A zip archive, which an xlsx is.
const ZIP: &[u8; 4] = b"PK\x03\x04";
/// An OLE container: an xls, or a workbook with a password.
const OLE: &[u8; 4] = b"\xd0\xcf\x11\xe0";

/// What a file says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Columns are separated by commas.
    Csv,
    /// Columns are separated by commas or tabs, or there is just one.
    Txt,
    /// A workbook of Excel 2007 or later.
    Excel,
}

impl Format {
    /// By `file_suffix`.
    pub fn of(suffix: &str) -> Option<Self> {
        match suffix {
            "csv" => Some(Self::Csv),
            "txt" => Some(Self::Txt),
            "excel" | "xlsx" => Some(Self::Excel),
            _ => None,
        }
    }
}

/// Is told of the numbers in a file, each with its row: as a spreadsheet counts rows, the header being one.
pub trait Numbers {
    /// What stands in the first column of a row, if something does: a number, or what is none. In a workbook,
    /// rows need not come in order.
    fn number(&mut self, row: u32, number: &[u8]);

    /// The file can't be read, or not in one way only: what was told is not what is in it.
    fn unreadable(&mut self);
}

/// For those who want the verdict alone.
impl Numbers for () {
    fn number(&mut self, _: u32, _: &[u8]) {}
    fn unreadable(&mut self) {}
}

/// What was found out about a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Rows below the header; `None`: nobody can say, or too many.
    pub rows: Option<u32>,
    /// What is wrong.
    pub failures: Vec<Failure>,
}

impl Verdict {
    fn unread(check: Check, msg: &'static str) -> Self {
        Self { rows: None, failures: vec![Failure::new(FILE, check, msg)] }
    }
}

/// A number file that streams by.
#[derive(Debug, Default)]
pub struct NumberFile {
    first: [u8; 4],
    length: usize,
    looks: Looks,
}

/// What a file begins like.
#[derive(Debug, Default)]
enum Looks {
    #[default]
    Unknown,
    Text(Box<TextScan>),
    Zip,
    Ole,
}

impl NumberFile {
    /// Takes its next bytes in. Told is which bytes to keep for [`xlsx`]: none of a text.
    pub fn feed<'a>(&'a mut self, bytes: &'a [u8], numbers: &mut dyn Numbers) -> [&'a [u8]; 2] {
        let rest = match &mut self.looks {
            Looks::Text(scan) => {
                scan.feed(bytes, numbers);
                return [&[], &[]];
            }
            Looks::Zip => return [&[], bytes],
            Looks::Ole => return [&[], &[]],
            Looks::Unknown => {
                let taken = bytes.len().min(self.first.len() - self.length);
                self.first[self.length..self.length + taken].copy_from_slice(&bytes[..taken]);
                self.length += taken;
                &bytes[taken..]
            }
        };
        if self.length < self.first.len() {
            return [&[], &[]];
        }
        match &self.first {
            ZIP => {
                self.looks = Looks::Zip;
                return [&self.first, rest];
            }
            OLE => self.looks = Looks::Ole,
            _ => {
                let mut scan = Box::<TextScan>::default();
                scan.feed(&self.first, numbers);
                scan.feed(rest, numbers);
                self.looks = Looks::Text(scan);
            }
        }
        [&[], &[]]
    }

    /// Whether it is to be read by [`xlsx`].
    pub fn is_zip(&self) -> bool {
        matches!(self.looks, Looks::Zip)
    }

    /// The verdict, given what it says that it is, and what [`xlsx`] found.
    pub fn finish(self, format: Option<Format>, xlsx: Option<Verdict>, numbers: &mut dyn Numbers) -> Verdict {
        if let Some((check, msg)) = self.unread(format) {
            numbers.unreadable();
            return Verdict::unread(check, msg);
        }
        match self.looks {
            Looks::Zip | Looks::Ole => xlsx.unwrap_or_default(),
            Looks::Text(scan) => scan.finish(format, numbers),
            Looks::Unknown => {
                let mut scan = TextScan::default();
                scan.feed(&self.first[..self.length], numbers);
                scan.finish(format, numbers)
            }
        }
    }

    /// Why nobody looks into it.
    fn unread(&self, format: Option<Format>) -> Option<(Check, &'static str)> {
        let excel = format == Some(Format::Excel);
        match self.looks {
            Looks::Unknown if self.length == 0 => Some((Check::FileRows, "is empty")),
            Looks::Ole => Some((
                Check::FileFormat,
                "is an .xls of before 2007, or a workbook with a password; save it as .xlsx without one",
            )),
            Looks::Zip if format.is_some() && !excel => Some((
                Check::FileFormat,
                "is a workbook or another zip archive, and not the text that file_suffix says",
            )),
            Looks::Unknown | Looks::Text(_) if excel => {
                Some((Check::FileFormat, "is no .xlsx, as file_suffix says; if it is text, say csv or txt"))
            }
            Looks::Unknown | Looks::Text(_) | Looks::Zip => None,
        }
    }
}

/// Rows that are wrong in the same way: how many, and the first of them.
#[derive(Debug, Default)]
struct Rows {
    first: Vec<u32>,
    count: u32,
}

impl Rows {
    fn add(&mut self, row: u32) {
        self.count += 1;
        if self.first.len() < 3 {
            self.first.push(row);
            self.first.sort_unstable();
        } else if self.first[2] > row {
            self.first[2] = row;
            self.first.sort_unstable();
        }
    }

    /// That these rows have no number in their first column.
    fn no_number(&self) -> Option<Failure> {
        let rows: Vec<_> = self.first.iter().map(ToString::to_string).collect();
        let more = match self.count.saturating_sub(3) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let plural = if self.count == 1 { "" } else { "s" };
        let msg = format!(
            "has no number of 3 to 20 digits in its first column in row{plural} {}{more}",
            rows.join(", ")
        );
        (self.count > 0).then(|| Failure::new(FILE, Check::FileNumber, msg))
    }
}

fn no_header() -> Failure {
    let msg = "must begin with a header row of ASCII letters, as in phone,name";
    Failure::new(FILE, Check::FileHeader, msg)
}

fn no_rows() -> Failure {
    Failure::new(FILE, Check::FileRows, "has no rows below its header")
}

fn too_many_rows() -> Failure {
    Failure::new(FILE, Check::FileRows, "has more than 150000 rows below its header; send it in parts")
}

/// A number as the SaaS dials it.
fn is_number(cell: &[u8]) -> bool {
    let cell = plain(cell);
    let digits = cell.strip_prefix(b"+").unwrap_or(cell);
    (3..=20).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
}

/// A name in the header row. `_` is let pass beside the letters.
fn is_name(cell: &[u8]) -> bool {
    let cell = plain(cell);
    !cell.is_empty() && cell.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'_')
}

/// Without blanks and quotes around it.
fn plain(cell: &[u8]) -> &[u8] {
    let cell = cell.trim_ascii();
    cell.strip_prefix(b"\"").and_then(|cell| cell.strip_suffix(b"\"")).unwrap_or(cell)
}

/// What a row's first column says, if it says something.
fn tell(numbers: &mut dyn Numbers, row: u32, value: &[u8]) {
    let number = plain(value);
    if !number.is_empty() {
        numbers.number(row, number);
    }
}

#[cfg(test)]
mod tests;
