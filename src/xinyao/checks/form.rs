//! A multipart body, field by field as it streams by (§6.2).

use super::value::{Given, judge};
use super::{BODY, Check, Failure, Present, is_file};
use crate::xinyao::endpoint::{Endpoint, Field, Kind};
use crate::xinyao::number_file::{Format, NumberFile, Numbers, Verdict};

/// Most bytes of a text field that are looked at; the document's longest have 20.
const MAX_VALUE: usize = 4096;

/// Follows the parts of a multipart body.
#[derive(Debug)]
pub struct Form {
    fields: &'static [Field],
    present: Present,
    failures: Vec<Failure>,
    part: Part,
    value: Vec<u8>,
    count: Option<i64>,
    file: NumberFile,
    has_file: bool,
}

/// Where the bytes that come belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// To nothing that is looked at.
    Other,
    /// To the text field at this place of the table's row.
    Text(usize),
    File,
}

impl Form {
    /// For a request to `endpoint`.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            fields: endpoint.spec().fields,
            present: Present::default(),
            failures: Vec::new(),
            part: Part::Other,
            value: Vec::new(),
            count: None,
            file: NumberFile::default(),
            has_file: false,
        }
    }

    /// A part begins.
    pub fn part(&mut self, name: &str, as_file: bool) {
        self.end_part();
        let Some(at) = self.fields.iter().position(|field| field.name == name) else { return };
        let field = &self.fields[at];
        if !self.present.see(at, field, &mut self.failures) {
            return;
        }
        if is_file(field) != as_file {
            let msg = if as_file {
                "is sent as a file; send it as a text field, without a filename"
            } else {
                "is sent as a text field; send it as a file, with a filename"
            };
            self.present.has(at, field, None);
            self.failures.push(Failure::new(field.name, Check::Type, msg));
        } else if as_file {
            self.present.has(at, field, None);
            self.part = Part::File;
            self.has_file = true;
        } else {
            self.part = Part::Text(at);
        }
    }

    /// Bytes of the part that began last. Told is which of them to keep for
    /// [`xlsx`](crate::xinyao::number_file::xlsx): those of a file that is no text.
    pub fn data<'a>(&'a mut self, bytes: &'a [u8], numbers: &mut dyn Numbers) -> [&'a [u8]; 2] {
        match self.part {
            Part::Other => [&[], &[]],
            Part::Text(_) => {
                let room = MAX_VALUE - self.value.len();
                self.value.extend_from_slice(&bytes[..bytes.len().min(room)]);
                [&[], &[]]
            }
            Part::File => self.file.feed(bytes, numbers),
        }
    }

    /// Whether the file has to be read as a workbook, from what was to be kept of it.
    pub fn wants_xlsx(&self) -> bool {
        self.file.is_zip()
    }

    /// Everything that is wrong; `xlsx` is the verdict on a workbook. If the body was not read to its end as
    /// multipart, nothing is said of its fields.
    pub fn finish(mut self, whole: bool, xlsx: Option<Verdict>, numbers: &mut dyn Numbers) -> Vec<Failure> {
        self.end_part();
        if !whole || !self.has_file {
            numbers.unreadable();
        }
        if !whole {
            return vec![Failure::new(
                BODY,
                Check::Body,
                "is not multipart/form-data that all readers take for the same; send it as curl -F does",
            )];
        }
        self.present.miss(self.fields, &mut self.failures);
        if self.has_file {
            self.judge_file(xlsx, numbers);
        }
        self.failures
    }

    fn judge_file(&mut self, xlsx: Option<Verdict>, numbers: &mut dyn Numbers) {
        let file = std::mem::take(&mut self.file);
        let format = self.present.chosen.and_then(|(_, suffix)| Format::of(suffix));
        let verdict = file.finish(format, xlsx, numbers);
        self.failures.extend(verdict.failures);
        if let (Some(rows), Some(count)) = (verdict.rows, self.count)
            && i64::from(rows) != count
        {
            let msg = format!("says {count}, but the file has {rows} rows below its header");
            self.failures.push(Failure::new("call_count", Check::CallCount, msg));
        }
    }

    fn end_part(&mut self) {
        if let Part::Text(at) = self.part {
            self.judge(at);
        }
        self.part = Part::Other;
        self.value.clear();
    }

    fn judge(&mut self, at: usize) {
        let field = &self.fields[at];
        let Ok(text) = std::str::from_utf8(&self.value) else {
            self.present.has(at, field, None);
            self.failures.push(Failure::new(field.name, Check::Type, "must be text in UTF-8"));
            return;
        };
        if text.trim_ascii().is_empty() {
            return;
        }
        let given = match &field.kind {
            Kind::Int { .. } => text.trim_ascii().parse().map_or(Given::Text(text), Given::Int),
            _ => Given::Text(text),
        };
        match judge(field, given) {
            Ok(chosen) => {
                self.present.has(at, field, chosen);
                if let ("call_count", Given::Int(count)) = (field.name, given) {
                    self.count = Some(count);
                }
            }
            Err(failure) => {
                self.present.has(at, field, None);
                self.failures.push(failure);
            }
        }
    }
}
