//! The file's text, and excerpts of it in which secrets are hidden.

use std::fmt;

use super::visible;
use crate::config::node::Place;
use crate::config::secrets;

/// What stands in a secret's place.
const MASK: &str = "***";
/// Widest excerpt, characters.
const MAX_WIDTH: usize = 140;

/// A file's text.
pub(super) struct Source {
    name: String,
    text: String,
    /// The first byte of each line.
    lines: Vec<usize>,
    /// What must not be shown, in order.
    hidden: Vec<Place>,
}

/// A line of the file, with a part of it pointed at.
#[derive(Debug, Clone)]
pub(super) struct Excerpt {
    pub(super) line: usize,
    pub(super) column: usize,
    before: String,
    pointed_at: String,
    after: String,
}

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(breaks).collect();
        Self { name: name.to_owned(), text: text.to_owned(), lines, hidden: Vec::new() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn hide(&mut self, mut places: Vec<Place>) {
        places.sort_unstable();
        self.hidden = places;
    }

    /// The line that holds byte `at`, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at).max(1)
    }

    /// The line that `place` begins in.
    pub(super) fn excerpt(&self, place: Place, unparsed: bool) -> Excerpt {
        let start = self.text.floor_char_boundary(place.start);
        let line = self.line(start);
        let from = self.lines.get(line - 1).copied().unwrap_or(0);
        let whole = self.text.get(from..).unwrap_or("").lines().next().unwrap_or("");
        let to = from + whole.len();
        let start = start.min(to);
        let end = self.text.ceil_char_boundary(place.end).clamp(start, to);
        let column = self.text.get(from..start).unwrap_or("").chars().count() + 1;
        let (before, pointed_at, after) = if unparsed {
            let shown = secrets::of_unparsed_line(whole);
            split_at_column(&shown, column)
        } else {
            (self.shown(from, start), self.shown(start, end), self.shown_tail(end, to))
        };
        Excerpt { line, column, before, pointed_at, after }.cropped()
    }

    /// Bytes `from..to`, with the hidden ones masked.
    pub(super) fn shown(&self, from: usize, to: usize) -> String {
        let mut shown = String::new();
        let mut at = from;
        let first = self.hidden.partition_point(|place| place.end <= from);
        for place in self.hidden.iter().skip(first).take_while(|place| place.start < to) {
            let start = place.start.max(at);
            shown.push_str(self.text.get(at..start).unwrap_or(""));
            if place.end > at {
                shown.push_str(MASK);
            }
            at = place.end.min(to).max(at);
        }
        shown.push_str(self.text.get(at..to).unwrap_or(""));
        secrets::without_url_secrets(&shown).chars().map(visible).collect()
    }

    /// The rest of a line. Behind a secret, a comment goes too: people keep the old one there.
    fn shown_tail(&self, from: usize, to: usize) -> String {
        let line_start = self.lines.get(self.line(from) - 1).copied().unwrap_or(0);
        let has_secret = self.hidden.iter().any(|place| place.start < to && place.end > line_start);
        let tail = self.shown(from, to);
        match tail.find(" #") {
            Some(comment) if has_secret => tail[..comment].to_owned(),
            _ => tail,
        }
    }
}

fn split_at_column(line: &str, column: usize) -> (String, String, String) {
    let mut chars = line.chars().map(visible);
    let before = chars.by_ref().take(column - 1).collect();
    let pointed_at = chars.by_ref().take(1).collect();
    (before, pointed_at, chars.collect())
}

impl Excerpt {
    fn cropped(mut self) -> Self {
        let long = self.before.chars().count().saturating_sub(MAX_WIDTH / 2);
        if long > 0 {
            self.before = std::iter::once('…').chain(self.before.chars().skip(long)).collect();
        }
        self.pointed_at = crop(&self.pointed_at, MAX_WIDTH / 2);
        self.after = crop(&self.after, MAX_WIDTH / 2);
        self
    }

    /// Place, line and pointer, beginning with a line break.
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, file: &str, indent: usize) -> fmt::Result {
        writeln!(f, "\n{:indent$}--> {file}:{}:{}", "", self.line, self.column)?;
        writeln!(f, "{:indent$} |", "")?;
        f.write_str(&self.pointed(indent))
    }

    /// Line and pointer.
    pub(super) fn pointed(&self, indent: usize) -> String {
        let Self { line, before, pointed_at, after, .. } = self;
        let whole = format!("{before}{pointed_at}{after}");
        let pointer = "^".repeat(width(pointed_at.trim_end()).max(1));
        let before = width(before);
        format!("{line} | {}\n{:indent$} | {:before$}{pointer}", whole.trim_end(), "", "")
    }
}

fn crop(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Columns on a terminal; Chinese and other wide characters take two.
fn width(text: &str) -> usize {
    text.chars().map(|c| if ('\u{1100}'..'\u{fff0}').contains(&c) && c != '…' { 2 } else { 1 }).sum()
}
