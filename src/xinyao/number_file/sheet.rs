//! xlsx: the first worksheet, passed over once, and then the table of shared texts, of which only those are
//! looked at that stand in the header and in the first column.

use std::io::{Read, Seek};
use std::ops::ControlFlow;

use super::xml::{Handler, Tokens, attribute, is_empty, name};
use super::zip::{Archive, Unreadable};
use super::{MAX_ROWS, Numbers, Rows, Verdict, is_name, is_number, no_header, no_rows, tell, too_many_rows};
use crate::xinyao::checks::Check;

/// Most bytes that a workbook may unpack to: 150,000 rows of some thirty columns.
const MAX_UNPACKED: u64 = 256 * 1024 * 1024;
/// Most bytes of a value that are looked at.
const MAX_VALUE: usize = 64;
/// Most columns there can be.
const MAX_COLUMNS: usize = 16_384;
/// Stands for the header where a row's number would.
const HEADER: u32 = 0;

/// The verdict on a workbook.
pub fn xlsx(file: impl Read + Seek, numbers: &mut dyn Numbers) -> Verdict {
    read(file, numbers).unwrap_or_else(|unreadable| {
        numbers.unreadable();
        let msg = match unreadable {
            Unreadable::Broken => {
                "is no workbook of Excel 2007 or later that can be read; save it as .xlsx again"
            }
            Unreadable::TooLarge => {
                "unpacks to more than 256 MiB; send only the columns that are needed, or csv"
            }
        };
        Verdict::unread(Check::FileFormat, msg)
    })
}

fn read(file: impl Read + Seek, numbers: &mut dyn Numbers) -> Result<Verdict, Unreadable> {
    let mut archive = Archive::open(file)?;
    let mut budget = MAX_UNPACKED;
    let path = first_sheet(&mut archive, &mut budget)?;
    let mut sheet = Sheet::default();
    let mut tokens = Tokens::default();
    archive.unpack(&path, &mut budget, |bytes| {
        tokens.feed(bytes, &mut Telling { part: &mut sheet, numbers });
        if sheet.done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let mut shared = Shared::new(std::mem::take(&mut sheet.shared));
    if !shared.is_done() && sheet.rows <= MAX_ROWS {
        let mut tokens = Tokens::default();
        archive.unpack(b"xl/sharedStrings.xml", &mut budget, |bytes| {
            tokens.feed(bytes, &mut Telling { part: &mut shared, numbers });
            if shared.is_done() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    if sheet.rows > MAX_ROWS {
        numbers.unreadable();
    }
    Ok(sheet.verdict(shared))
}

/// The path of the first worksheet in the workbook's own order.
fn first_sheet<R: Read + Seek>(archive: &mut Archive<R>, budget: &mut u64) -> Result<Vec<u8>, Unreadable> {
    let mut first = Named { element: b"sheet", with: None, wanted: "r:id", found: None };
    read_entry(archive, b"xl/workbook.xml", budget, &mut first)?;
    let id = first.found.ok_or(Unreadable::Broken)?;
    let with = Some(("Id", id));
    let mut target = Named { element: b"Relationship", with, wanted: "Target", found: None };
    read_entry(archive, b"xl/_rels/workbook.xml.rels", budget, &mut target)?;
    let target = target.found.ok_or(Unreadable::Broken)?;
    let path = match target.strip_prefix(b"/") {
        Some(path) => path.to_vec(),
        None => [b"xl/", &target[..]].concat(),
    };
    if archive.has(&path) { Ok(path) } else { Err(Unreadable::Broken) }
}

fn read_entry<R: Read + Seek>(
    archive: &mut Archive<R>,
    name: &[u8],
    budget: &mut u64,
    named: &mut Named,
) -> Result<(), Unreadable> {
    let mut tokens = Tokens::default();
    archive.unpack(name, budget, |bytes| {
        tokens.feed(bytes, named);
        if named.found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

/// Looks for an attribute of the first element of a name, and with an attribute, that is wanted.
struct Named {
    element: &'static [u8],
    with: Option<(&'static str, Vec<u8>)>,
    wanted: &'static str,
    found: Option<Vec<u8>>,
}

impl Handler for Named {
    fn tag(&mut self, tag: &[u8]) {
        let is_it = name(tag) == (false, self.element)
            && self.with.as_ref().is_none_or(|(key, value)| attribute(tag, key) == Some(value));
        if is_it && self.found.is_none() {
            self.found = attribute(tag, self.wanted).map(<[u8]>::to_vec);
        }
    }

    fn text(&mut self, _: &[u8]) {}
}

/// A part of the workbook as it passes by, and who is told of the numbers in it.
struct Telling<'a, P> {
    part: &'a mut P,
    numbers: &'a mut dyn Numbers,
}

/// How a cell's value is to be read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[default]
    Number,
    Text,
    /// As an index into the table of shared texts.
    Shared,
    /// A truth value or a fault: neither a number nor a name.
    Other,
}

#[derive(Debug, Default)]
struct Cell {
    column: usize,
    kind: Kind,
    value: Vec<u8>,
}

/// What is found out about a worksheet.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is about something else, and changes by itself")]
struct Sheet {
    row: u32,
    /// Whether a cell of the row has a value.
    filled: bool,
    /// Whether the row's first column was judged.
    judged: bool,
    next_column: usize,
    cell: Cell,
    in_value: bool,
    has_header: bool,
    bad_header: bool,
    header_cells: usize,
    rows: u32,
    bad: Rows,
    /// What is to be looked up: index, and the row it stands in.
    shared: Vec<(u32, u32)>,
    done: bool,
}

impl Handler for Telling<'_, Sheet> {
    fn tag(&mut self, tag: &[u8]) {
        self.part.tag(tag, self.numbers);
    }

    fn text(&mut self, text: &[u8]) {
        if self.part.in_value {
            keep(&mut self.part.cell.value, text);
        }
    }
}

impl Sheet {
    fn tag(&mut self, tag: &[u8], numbers: &mut dyn Numbers) {
        match name(tag) {
            (false, b"row") => {
                self.begin_row(tag);
                if is_empty(tag) {
                    self.end_row();
                }
            }
            (true, b"row") => self.end_row(),
            (false, b"c") => {
                self.begin_cell(tag);
                if is_empty(tag) {
                    self.end_cell(numbers);
                }
            }
            (true, b"c") => self.end_cell(numbers),
            (closes, b"v" | b"t") => self.in_value = !closes && !is_empty(tag),
            (true, b"sheetData") => {
                self.end_row();
                self.done = true;
            }
            _ => {}
        }
    }

    fn begin_row(&mut self, tag: &[u8]) {
        // One that was not closed counts too, or rows had no end.
        self.end_row();
        let named = attribute(tag, "r").and_then(|row| std::str::from_utf8(row).ok()?.parse().ok());
        self.row = named.unwrap_or_else(|| self.row.saturating_add(1)).max(HEADER + 1);
        (self.filled, self.judged, self.next_column) = (false, false, 0);
    }

    fn begin_cell(&mut self, tag: &[u8]) {
        let column = attribute(tag, "r").and_then(column).unwrap_or(self.next_column);
        self.next_column = column.saturating_add(1);
        let kind = match attribute(tag, "t") {
            None | Some(b"n") => Kind::Number,
            Some(b"s") => Kind::Shared,
            Some(b"b" | b"e") => Kind::Other,
            Some(_) => Kind::Text,
        };
        self.cell.column = column;
        self.cell.kind = kind;
        self.cell.value.clear();
    }

    fn end_cell(&mut self, numbers: &mut dyn Numbers) {
        self.in_value = false;
        if self.cell.value.trim_ascii().is_empty() {
            return;
        }
        self.filled = true;
        if !self.has_header {
            self.judge_header();
        } else if self.cell.column == 0 && !self.judged && self.rows < MAX_ROWS {
            self.judged = true;
            self.judge_number(numbers);
        }
        self.cell.value.clear();
    }

    fn judge_header(&mut self) {
        self.header_cells += 1;
        // A name is wanted for the first column; behind it, spreadsheets leave columns without.
        let misplaced = self.header_cells == 1 && self.cell.column != 0;
        let good = match self.cell.kind {
            Kind::Text => is_name(&self.cell.value),
            Kind::Shared => self.look_up(HEADER),
            Kind::Number | Kind::Other => false,
        };
        self.bad_header |= misplaced || !good || self.header_cells > MAX_COLUMNS;
    }

    fn judge_number(&mut self, numbers: &mut dyn Numbers) {
        let (row, value) = (self.row, &self.cell.value);
        let whole = whole(value).filter(|_| self.cell.kind == Kind::Number && !is_number(value));
        let good = match self.cell.kind {
            Kind::Number | Kind::Text => {
                match whole {
                    Some(whole) => numbers.number(row, whole.to_string().as_bytes()),
                    None => tell(numbers, row, value),
                }
                whole.is_some() || is_number(value)
            }
            Kind::Shared => self.look_up(row),
            Kind::Other => false,
        };
        if !good {
            self.bad.add(row);
        }
    }

    /// Whether it can be looked up later.
    fn look_up(&mut self, row: u32) -> bool {
        let index = std::str::from_utf8(&self.cell.value).ok().and_then(|index| index.trim().parse().ok());
        let Some(index) = index else { return false };
        if row != HEADER || self.header_cells <= MAX_COLUMNS {
            self.shared.push((index, row));
        }
        true
    }

    fn end_row(&mut self) {
        if !self.filled {
            return;
        }
        self.filled = false;
        if !self.has_header {
            self.has_header = true;
            return;
        }
        self.rows += 1;
        if self.rows > MAX_ROWS {
            self.done = true;
        } else if !self.judged {
            self.bad.add(self.row);
        }
    }

    fn verdict(mut self, shared: Shared) -> Verdict {
        let mut failures = Vec::new();
        let over = self.rows > MAX_ROWS;
        if !over {
            // What is not in the table is no number either.
            for (_, row) in &shared.wanted[shared.at..] {
                if *row == HEADER { self.bad_header = true } else { self.bad.add(*row) }
            }
            shared.bad.iter().for_each(|row| self.bad.add(*row));
        }
        if !self.has_header || self.bad_header || shared.bad_header {
            failures.push(no_header());
        }
        if over {
            failures.push(too_many_rows());
        } else if self.rows == 0 && self.has_header {
            failures.push(no_rows());
        }
        failures.extend(self.bad.no_number());
        let countable = !over && self.has_header && !self.bad_header && !shared.bad_header;
        Verdict { rows: countable.then_some(self.rows), failures }
    }
}

/// The texts that were asked for, as the table passes by.
struct Shared {
    /// By index.
    wanted: Vec<(u32, u32)>,
    /// How many of these have passed.
    at: usize,
    index: u32,
    value: Vec<u8>,
    in_text: bool,
    /// In what tells how a text is pronounced.
    in_phonetic: bool,
    bad_header: bool,
    bad: Vec<u32>,
}

impl Shared {
    fn new(mut wanted: Vec<(u32, u32)>) -> Self {
        wanted.sort_unstable();
        Self {
            wanted,
            at: 0,
            index: 0,
            value: Vec::new(),
            in_text: false,
            in_phonetic: false,
            bad_header: false,
            bad: Vec::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.at == self.wanted.len()
    }

    fn end(&mut self, numbers: &mut dyn Numbers) {
        while let Some((_, row)) = self.wanted.get(self.at).filter(|(index, _)| *index == self.index) {
            match *row {
                HEADER => self.bad_header |= !is_name(&self.value),
                row => {
                    tell(numbers, row, &self.value);
                    if !is_number(&self.value) {
                        self.bad.push(row);
                    }
                }
            }
            self.at += 1;
        }
        self.index = self.index.saturating_add(1);
        self.value.clear();
    }
}

impl Handler for Telling<'_, Shared> {
    fn tag(&mut self, tag: &[u8]) {
        let shared = &mut *self.part;
        match name(tag) {
            (true, b"si") => shared.end(self.numbers),
            (false, b"si") if is_empty(tag) => shared.end(self.numbers),
            (closes, b"rPh") => shared.in_phonetic = !closes && !is_empty(tag),
            (closes, b"t") => shared.in_text = !closes && !is_empty(tag),
            _ => {}
        }
    }

    fn text(&mut self, text: &[u8]) {
        if self.part.in_text && !self.part.in_phonetic {
            keep(&mut self.part.value, text);
        }
    }
}

fn keep(value: &mut Vec<u8>, text: &[u8]) {
    let room = MAX_VALUE.saturating_sub(value.len());
    value.extend_from_slice(&text[..text.len().min(room)]);
}

/// `AB12`: which column, from 0.
fn column(cell: &[u8]) -> Option<usize> {
    let letters = cell.iter().take_while(|byte| byte.is_ascii_uppercase());
    let number = letters.take(4).fold(0, |sum, letter| sum * 26 + usize::from(letter - b'A') + 1);
    (number > 0 && number <= MAX_COLUMNS).then(|| number - 1)
}

/// A spreadsheet may write a long number as a fraction of none, or with an exponent.
fn whole(value: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(value).ok()?.trim().parse::<f64>().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole, and in bounds")]
    (number.fract() == 0.0 && (100.0..1e15).contains(&number)).then_some(number as u64)
}
