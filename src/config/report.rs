//! What was found in a file: faults and warnings, gathered with their places and shown in rustc's manner.

mod source;

use std::fmt;

use super::node::{Node, Place};
use super::secrets;
use source::{Excerpt, Source};

/// Every fault of a file, in the order of their places.
#[derive(Debug, Clone)]
pub struct Faults(Vec<Finding>);

/// A fault or a warning: what, where, and a way out.
#[derive(Debug, Clone)]
pub struct Finding {
    severity: Severity,
    message: String,
    help: Option<String>,
    file: String,
    excerpt: Option<Excerpt>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file can't be used.
    Error,
    /// It can, but perhaps not as its writer thinks.
    Warning,
}

impl Faults {
    /// A fault of the file as a whole.
    pub(super) fn of_file(file: &str, message: String, help: &str) -> Self {
        let help = Some(help.to_owned());
        Self(vec![Finding { severity: Severity::Error, message, help, file: file.to_owned(), excerpt: None }])
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Finding {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What is wrong, in a line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// A way out.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line itself, secrets masked, and under it a pointer to what is meant.
    pub fn snippet(&self) -> Option<String> {
        let excerpt = self.excerpt.as_ref()?;
        Some(excerpt.pointed(excerpt.line.to_string().len()))
    }

    /// Line, from 1; `None` where the file as a whole is meant.
    pub fn line(&self) -> Option<usize> {
        self.excerpt.as_ref().map(|excerpt| excerpt.line)
    }

    /// Column, from 1, in characters.
    pub fn column(&self) -> Option<usize> {
        self.excerpt.as_ref().map(|excerpt| excerpt.column)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{label}: {}", self.message)?;
        let indent = self.excerpt.as_ref().map_or(1, |excerpt| excerpt.line.to_string().len());
        match &self.excerpt {
            Some(excerpt) => excerpt.write(f, &self.file, indent)?,
            None => write!(f, "\n{:indent$}--> {}", "", self.file)?,
        }
        match &self.help {
            Some(help) => write!(f, "\n{:indent$} = help: {help}", ""),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Gathers findings while a file is read.
pub(super) struct Report {
    source: Source,
    found: Vec<Found>,
    faults: usize,
    broken: usize,
}

/// A finding that has not met its source text yet.
pub(super) struct Found {
    severity: Severity,
    place: Place,
    message: String,
    help: Option<String>,
    /// The text there could not be parsed, so that it is not known what in it is secret.
    unparsed: bool,
}

impl Found {
    /// Adds a way out.
    pub(super) fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }
}

impl Report {
    /// Nothing found yet in `text` of file `name`.
    pub(super) fn new(name: &str, text: &str) -> Self {
        Self { source: Source::new(name, text), found: Vec::new(), faults: 0, broken: 0 }
    }

    /// Notes which parts of the file must not be shown.
    pub(super) fn hide_secrets_of(&mut self, root: &Node) {
        let mut places = Vec::new();
        secrets::places(root, &mut places);
        self.source.hide(places);
    }

    /// Something that makes the file unusable.
    pub(super) fn fault(&mut self, place: Place, message: impl Into<String>) -> &mut Found {
        self.faults += 1;
        self.add(Severity::Error, place, message.into())
    }

    /// Something that is perhaps not meant.
    pub(super) fn warning(&mut self, place: Place, message: impl Into<String>) -> &mut Found {
        self.add(Severity::Warning, place, message.into())
    }

    /// The text is no YAML from `place` on.
    pub(super) fn syntax(&mut self, place: Place, message: &str) {
        let found = self.fault(place, format!("not valid YAML: {message}"));
        found.unparsed = true;
        found.help(
            "close every bracket and quote, indent with spaces, and quote text with `: ` or ` #` in it",
        );
    }

    fn add(&mut self, severity: Severity, place: Place, message: String) -> &mut Found {
        let index = self.found.len();
        self.found.push(Found { severity, place, message, help: None, unparsed: false });
        &mut self.found[index]
    }

    /// How many faults there are by now.
    pub(super) fn faults(&self) -> usize {
        self.faults
    }

    /// Something broken was met once more, of which a fault tells already.
    pub(super) fn met_broken(&mut self) {
        self.broken += 1;
    }

    /// Grows with each fault, and with each meeting with one.
    pub(super) fn trouble(&self) -> usize {
        self.faults + self.broken
    }

    /// The line that `place` begins in, from 1.
    pub(super) fn line(&self, place: Place) -> usize {
        self.source.line(place.start)
    }

    /// What stands at `place`, for a message: as written, never with what came from the environment.
    pub(super) fn quoted(&self, place: Place) -> String {
        quote(self.source.shown(place.start, place.end).trim_matches(['"', '\'']))
    }

    /// The warnings, or the faults if there is any.
    pub(super) fn finish(mut self) -> Result<Vec<Finding>, Faults> {
        self.found.sort_by_key(|found| found.place);
        let wanted = if self.faults > 0 { Severity::Error } else { Severity::Warning };
        let found = self.found.into_iter().filter(|found| found.severity == wanted);
        let findings = found
            .map(|found| Finding {
                severity: found.severity,
                message: found.message,
                help: found.help,
                file: self.source.name().to_owned(),
                excerpt: Some(self.source.excerpt(found.place, found.unparsed)),
            })
            .collect();
        if self.faults > 0 { Err(Faults(findings)) } else { Ok(findings) }
    }
}

/// `text` in backticks, short and on one line, without the user and password of a URL.
pub(super) fn quote(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    let mut quoted: String =
        secrets::without_url_secrets(text).chars().take(MAX_CHARS).map(visible).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        quoted.push('…');
    }
    format!("`{quoted}`")
}

/// A character that does nothing to a terminal.
fn visible(c: char) -> char {
    if c.is_control() { '\u{fffd}' } else { c }
}
