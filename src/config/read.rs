//! From nodes to what was written: typed values that know their place. Every fault on the way is
//! reported, and a stand-in (the default) takes the faulty value's place, so that one reading finds all.

mod collections;
mod fields;

use std::ops::Deref;

use serde_json::Value as Json;

use super::environment::Environment;
use super::node::{Content, Node, Place};
use super::report::{Report, quote};

pub(super) use collections::{Named, OneOrMany, or_null};
pub(super) use fields::{Field, Fields};

/// What a reading needs.
pub(super) struct Reader<'a> {
    /// Where defaults and `X_file` are looked up.
    pub(super) environment: &'a dyn Environment,
    /// Where faults go.
    pub(super) report: &'a mut Report,
}

/// A value with its place.
#[derive(Debug, Clone, Default)]
pub(super) struct At<T> {
    /// The value.
    pub(super) value: T,
    /// Where it was written; where it would have been for a default.
    pub(super) place: Place,
    /// How it is shown to operators: secrets as `***`.
    pub(super) shown: Json,
    /// Whether the file has it.
    pub(super) given: bool,
    /// Whether nothing was wrong with it, nor with anything in it.
    pub(super) sound: bool,
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Something that a node can be read as.
pub(super) trait Value: Sized {
    /// Whether `X_file` may stand for it.
    const IN_FILE: bool = false;

    /// The value and how it is shown; `None`, and a fault reported, when `node` is no such thing.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<(Self, Json)>;

    /// Its JSON Schema.
    fn schema() -> Json;
}

impl<T: Value> At<T> {
    /// Reads `node` with its place.
    pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let before = reader.report.trouble();
        let (value, shown) = T::read(node, reader)?;
        let sound = reader.report.trouble() == before;
        Some(Self { value, place: node.place, shown, given: true, sound })
    }
}

/// A value that is a single text.
pub(super) trait Scalar: Sized {
    /// What it is, for messages and the schema's `title`.
    const NAME: &'static str;
    /// Whether it must not be shown.
    const SECRET: bool = false;
    /// Whether `X_file` may stand for it.
    const IN_FILE: bool = Self::SECRET;
    /// Whether it is none when written in quotes: numbers and switches.
    const BARE: bool = false;

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with the text, and how to write it right.
    fn parse(text: &str) -> Result<Self, Bad>;

    /// How it is shown to operators.
    fn shown(&self, text: &str) -> Json {
        text.into()
    }

    /// Its JSON Schema, without title.
    fn schema() -> Json;
}

/// What is wrong with a text, and how to write it right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    /// To follow the text: "is no duration".
    pub(super) message: String,
    /// A way out.
    pub(super) help: String,
}

impl Bad {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

impl<T: Scalar> Value for T {
    const IN_FILE: bool = <T as Scalar>::IN_FILE;

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<(Self, Json)> {
        let scalar = match &node.content {
            Content::Broken => {
                reader.report.met_broken();
                return None;
            }
            Content::Scalar(scalar) => scalar,
            Content::List(_) | Content::Map(_) => {
                wrong_kind(node, T::NAME, reader);
                return None;
            }
        };
        if T::BARE && scalar.quoted && scalar.before.is_none() {
            let fault =
                reader.report.fault(node.place, format!("expected {}, found text in quotes", T::NAME));
            fault.help("write it without the quotes");
            return None;
        }
        match T::parse(&scalar.text) {
            Ok(value) => {
                let shown = if T::SECRET { "***".into() } else { value.shown(&scalar.text) };
                Some((value, shown))
            }
            Err(bad) => {
                let hide = T::SECRET;
                let subject = if hide { "this value".to_owned() } else { quote(scalar.written()) };
                reader.report.fault(node.place, format!("{subject} {}", bad.message)).help(bad.help);
                None
            }
        }
    }

    fn schema() -> Json {
        let mut schema = <T as Scalar>::schema();
        schema["title"] = T::NAME.into();
        schema
    }
}

/// What a list is called.
const LIST: &str = "a list";

/// Reports that `node` is something else than `expected`.
pub(super) fn wrong_kind(node: &Node, expected: &str, reader: &mut Reader<'_>) {
    if matches!(node.content, Content::Broken) {
        reader.report.met_broken();
        return;
    }
    let found = if node.is_null() { "nothing" } else { node.kind() };
    let fault = reader.report.fault(node.place, format!("expected {expected}, found {found}"));
    if expected == LIST {
        fault.help("put it in brackets: [a, b]");
    }
}

/// How alike two words are, from 0 to 1. Two letters that changed places are a slip of the finger even in words
/// so short that they have little else in common.
pub(super) fn likeness(word: &str, other: &str) -> f64 {
    const ONE_SLIP: f64 = 0.9;
    let alike = strsim::jaro_winkler(word, other);
    if strsim::osa_distance(word, other) == 1 { alike.max(ONE_SLIP) } else { alike }
}

/// The one of `known` that `word` is probably meant to be.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    const MAX_CHARS: usize = 40;
    const ALIKE: f64 = 0.8;
    if word.chars().count() > MAX_CHARS {
        return None;
    }
    let word = word.to_lowercase();
    let alike = known.into_iter().map(|other| (likeness(&word, other), other));
    alike.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, other)| other)
}
