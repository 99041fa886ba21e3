//! The fields of a mapping: known ones are taken, unknown ones reported, secrets also read from files.

use std::borrow::Cow;
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::{At, Reader, Value, nearest, wrong_kind};
use crate::config::node::{Content, Entry, Node, Place, Scalar};
use crate::config::report::quote;
use crate::config::{substitute, yaml};

/// What is known of a field before it is read.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct Field {
    /// Its key.
    pub(in crate::config) key: &'static str,
    /// Whether `KEY_file` may stand for it.
    pub(in crate::config) in_file: bool,
    /// What is taken when it is absent, as YAML; `None`: it must be there.
    pub(in crate::config) default: Option<&'static str>,
}

/// The fields of one mapping while they are taken.
pub(in crate::config) struct Fields<'n> {
    entries: &'n [Entry],
    place: Place,
    /// There is no mapping, which has been said: nothing is missing from it.
    broken: bool,
    shown: Map<String, Json>,
}

impl<'n> Fields<'n> {
    /// The fields of `node`, once those that are not `known` have been reported.
    pub(in crate::config) fn of(node: &'n Node, known: &[Field], reader: &mut Reader<'_>) -> Self {
        let mut fields = Self { entries: &[], place: node.place, broken: false, shown: Map::new() };
        match &node.content {
            Content::Map(entries) => fields.entries = entries,
            _ if node.is_null() => {}
            _ => {
                wrong_kind(node, "a mapping", reader);
                fields.broken = true;
            }
        }
        for entry in fields.entries {
            let stem = entry.key.strip_suffix("_file");
            let known_file = |field: &Field| field.in_file && stem == Some(field.key);
            if !known.iter().any(|field| field.key == entry.key || known_file(field)) {
                unknown(entry, known, reader);
            }
        }
        fields
    }

    /// Takes a field; what is absent or faulty is its default, or nothing at all.
    pub(in crate::config) fn take<T: Value + Default>(
        &mut self,
        field: Field,
        reader: &mut Reader<'_>,
    ) -> At<T> {
        let before = reader.report.trouble();
        let node = self.node(field, reader);
        let given = node.is_some();
        let place = node.as_ref().map_or(self.place, |node| node.place);
        let mut value = node.and_then(|node| At::read(&node, reader));
        if value.is_none() {
            value = self.stand_in(field, given, place, reader);
        }
        let mut value = value.unwrap_or_default();
        value.place = place;
        value.given = given;
        value.sound = reader.report.trouble() == before;
        self.shown.insert(field.key.to_owned(), value.shown.clone());
        value
    }

    /// Everything taken, as operators see it.
    pub(in crate::config) fn shown(self) -> Json {
        self.shown.into()
    }

    fn stand_in<T: Value>(
        &self,
        field: Field,
        given: bool,
        place: Place,
        reader: &mut Reader<'_>,
    ) -> Option<At<T>> {
        if let Some(default) = field.default {
            let mut node = yaml::snippet(default, place);
            substitute::substitute(&mut node, field.key, reader.environment, reader.report);
            return At::read(&node, reader);
        }
        if !given && !self.broken {
            self.missing(field, reader);
        }
        None
    }

    fn missing(&self, field: Field, reader: &mut Reader<'_>) {
        let entry = self.entry(field.key);
        let place = entry.map_or(self.place, |entry| entry.place);
        let what = if entry.is_some() { "has no value" } else { "is missing" };
        let fault = reader.report.fault(place, format!("required key `{}` {what}", field.key));
        let file = if field.in_file { format!(", or `{}_file: path`", field.key) } else { String::new() };
        fault.help(format!("give `{}`{file}", field.key));
    }

    fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// What was written for a field, or in the file that it names; `None` for nothing.
    fn node(&self, field: Field, reader: &mut Reader<'_>) -> Option<Cow<'n, Node>> {
        let has_value = |entry: &&Entry| !is_nothing(&entry.value, field);
        let written = self.entry(field.key).filter(has_value);
        let file_key = format!("{}_file", field.key);
        let file = self.entry(&file_key).filter(|entry| field.in_file && !entry.value.is_null());
        match (written, file) {
            (Some(_), Some(file)) => {
                let fault = reader.report.fault(file.place, format!("both `{}` and `{file_key}`", field.key));
                fault.help("keep one of them");
                written.map(|entry| Cow::Borrowed(&entry.value))
            }
            (None, Some(file)) => Some(Cow::Owned(contents(&file.value, reader))),
            (written, None) => written.map(|entry| Cow::Borrowed(&entry.value)),
        }
    }
}

/// Whether `node` is as good as absent: a variable that holds nothing is, in quotes too, and so is a required
/// value that is empty.
fn is_nothing(node: &Node, field: Field) -> bool {
    let empty =
        |scalar: &Scalar| scalar.text.is_empty() && (scalar.before.is_some() || field.default.is_none());
    node.is_null() || matches!(&node.content, Content::Scalar(scalar) if empty(scalar))
}

/// What the file says that `node` names; a list of files is a list of texts.
fn contents(node: &Node, reader: &mut Reader<'_>) -> Node {
    match &node.content {
        Content::Scalar(scalar) => match reader.environment.file(Path::new(&scalar.text)) {
            Ok(mut text) => {
                if text.ends_with('\n') {
                    text.truncate(text.len() - 1);
                }
                if text.ends_with('\r') {
                    text.truncate(text.len() - 1);
                }
                if text.is_empty() {
                    let message = format!("file {} is empty", quote(scalar.written()));
                    reader.report.fault(node.place, message);
                    return Node { content: Content::Broken, ..node.clone() };
                }
                let quoted = true;
                Node::scalar(node.place, Scalar { text, before: Some(scalar.written().to_owned()), quoted })
            }
            Err(error) => {
                let message = format!("file {} can't be read: {error}", quote(scalar.written()));
                let help = "a relative path starts at the working directory";
                reader.report.fault(node.place, message).help(help);
                Node { content: Content::Broken, ..node.clone() }
            }
        },
        Content::List(items) => {
            let items = items.iter().map(|item| contents(item, reader)).collect();
            Node { content: Content::List(items), ..node.clone() }
        }
        Content::Map(_) | Content::Broken => {
            wrong_kind(node, "the path of a file", reader);
            Node { content: Content::Broken, ..node.clone() }
        }
    }
}

fn unknown(entry: &Entry, known: &[Field], reader: &mut Reader<'_>) {
    let key = quote(&entry.key);
    let keys = || known.iter().map(|field| field.key);
    match nearest(&entry.key, keys()) {
        Some(meant) => {
            let message = format!("unknown key {key}; did you mean `{meant}`?");
            reader.report.fault(entry.place, message).help(all_of(keys()));
        }
        None => {
            reader.report.fault(entry.place, format!("unknown key {key}")).help(all_of(keys()));
        }
    }
}

fn all_of(keys: impl Iterator<Item = &'static str>) -> String {
    format!("known here: {}", keys.collect::<Vec<_>>().join(", "))
}
