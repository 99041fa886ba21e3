//! csv and txt, judged while they stream by.

use memchr::{memchr, memchr2};

use super::encoding::Encoding;
use super::{
    FILE, Format, MAX_ROWS, Numbers, Rows, Verdict, is_name, is_number, no_header, no_rows, tell,
    too_many_rows,
};
use crate::xinyao::checks::{Check, Failure};

/// Most bytes of the header row that are looked at.
const MAX_HEADER: usize = 4096;
/// Most bytes of any other row that are looked at: enough for any number.
const MAX_FIRST: usize = 64;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Follows a text. Commas, tabs, quotes and line ends are never a part of another character, neither in UTF-8
/// nor in GB18030, so rows and columns are found without decoding.
#[derive(Debug)]
pub(super) struct TextScan {
    encoding: Encoding,
    /// The beginning of a row whose end has not come.
    begun: Vec<u8>,
    quoted: bool,
    /// The byte before those that come next.
    last: u8,
    /// Whether the header was a good one; `None`: it has not come.
    header: Option<bool>,
    marked: bool,
    /// Rows so far, blank ones included: what a spreadsheet would number them.
    line: u32,
    rows: u32,
    bad: Rows,
    /// The first row whose first column ends in a tab.
    tab: Option<u32>,
}

impl Default for TextScan {
    fn default() -> Self {
        Self {
            encoding: Encoding::default(),
            begun: Vec::new(),
            quoted: false,
            last: b'\n',
            header: None,
            marked: false,
            line: 0,
            rows: 0,
            bad: Rows::default(),
            tab: None,
        }
    }
}

impl TextScan {
    pub(super) fn feed(&mut self, mut bytes: &[u8], numbers: &mut dyn Numbers) {
        self.encoding.feed(bytes);
        while !bytes.is_empty() && self.rows <= MAX_ROWS {
            let Some(end) = self.line_end(bytes) else { return self.begin(bytes) };
            if self.begun.is_empty() {
                self.end(&bytes[..end], numbers);
            } else {
                self.begin(&bytes[..end]);
                self.end_begun(numbers);
            }
            bytes = &bytes[end + 1..];
        }
    }

    pub(super) fn finish(mut self, format: Option<Format>, numbers: &mut dyn Numbers) -> Verdict {
        self.end_begun(numbers);
        let encoded = self.encoding.is_known(self.marked);
        if !encoded || self.quoted || self.rows > MAX_ROWS {
            numbers.unreadable();
        }
        let mut failures = Vec::new();
        if !encoded {
            let msg = "is neither UTF-8 nor GB18030; save it as one of them";
            failures.push(Failure::new(FILE, Check::FileEncoding, msg));
        }
        if self.header != Some(true) {
            failures.push(no_header());
        }
        if self.quoted {
            let msg = "has a quote that is never closed, so that rows run into each other";
            failures.push(Failure::new(FILE, Check::FileRows, msg));
        } else if self.rows > MAX_ROWS {
            failures.push(too_many_rows());
        } else if self.rows == 0 && self.header.is_some() {
            failures.push(no_rows());
        }
        failures.extend(self.bad.no_number());
        if let (Some(Format::Csv), Some(row)) = (format, self.tab) {
            let msg = format!("is csv, but row {row} has tabs between its columns; use commas, or say txt");
            failures.push(Failure::new(FILE, Check::FileFormat, msg));
        }
        let countable = !self.quoted && self.rows <= MAX_ROWS && self.header == Some(true);
        Verdict { rows: countable.then_some(self.rows), failures }
    }

    /// Where the row ends; a line end between quotes does not end it.
    fn line_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let found = if self.quoted { memchr(b'"', rest) } else { memchr2(b'\n', b'"', rest) };
            let Some(found) = found.map(|found| at + found) else {
                self.last = bytes[bytes.len() - 1];
                return None;
            };
            let before = if found == 0 { self.last } else { bytes[found - 1] };
            if bytes[found] == b'\n' && !self.quoted {
                self.last = b'\n';
                return Some(found);
            }
            // One that opens stands where a column begins, or behind one that closes: doubled, it is itself.
            self.quoted = !self.quoted && matches!(before, b',' | b'\t' | b'\n' | b'"');
            at = found + 1;
            if at == bytes.len() {
                self.last = b'"';
                return None;
            }
        }
    }

    fn begin(&mut self, bytes: &[u8]) {
        let room = self.looked_at().saturating_sub(self.begun.len());
        self.begun.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_begun(&mut self, numbers: &mut dyn Numbers) {
        if !self.begun.is_empty() {
            let begun = std::mem::take(&mut self.begun);
            self.end(&begun, numbers);
            self.begun = begun;
            self.begun.clear();
        }
    }

    fn looked_at(&self) -> usize {
        if self.header.is_none() { MAX_HEADER } else { MAX_FIRST }
    }

    /// A row has ended; of a long one, this is the beginning.
    fn end(&mut self, line: &[u8], numbers: &mut dyn Numbers) {
        self.line += 1;
        let line = &line[..line.len().min(self.looked_at())];
        let line = match line.strip_prefix(BOM) {
            Some(line) if self.line == 1 => {
                self.marked = true;
                line
            }
            _ => line,
        };
        if line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b',' | b'\r')) {
            return;
        }
        if self.header.is_none() {
            self.header = Some(is_header(line));
            return;
        }
        self.rows += 1;
        if self.rows > MAX_ROWS {
            return;
        }
        let end = line.iter().position(|byte| matches!(byte, b',' | b'\t')).unwrap_or(line.len());
        if line.get(end) == Some(&b'\t') && self.tab.is_none() {
            self.tab = Some(self.line);
        }
        if !is_number(&line[..end]) {
            self.bad.add(self.line);
        }
        tell(numbers, self.line, &line[..end]);
    }
}

/// Columns without a name are let pass behind the first: spreadsheets leave them.
fn is_header(line: &[u8]) -> bool {
    let mut cells = line.split(|byte| matches!(byte, b',' | b'\t'));
    cells.next().is_some_and(is_name) && cells.all(|cell| cell.trim_ascii().is_empty() || is_name(cell))
}
