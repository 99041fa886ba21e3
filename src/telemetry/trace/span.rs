//! A span that has ended.

use std::borrow::Cow;
use std::time::SystemTime;

use super::context::{Context, SpanId};

/// A span that has ended.
#[derive(Debug, Clone)]
pub struct Span {
    /// Where it stands.
    pub context: Context,
    /// The span above it.
    pub parent: Option<SpanId>,
    /// When it began.
    pub began: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// What it was.
    pub told: Told,
}

/// What a span was.
#[derive(Debug, Clone)]
pub struct Told {
    /// What is done, of a few names.
    pub name: &'static str,
    /// On which side of what.
    pub kind: Kind,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Whether it failed.
    pub failed: bool,
}

/// On which side of an exchange a span is; the numbers are OTLP's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of none.
    Internal = 1,
    /// It was asked.
    Server = 2,
    /// It asked.
    Client = 3,
}

/// What an attribute says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl Told {
    /// Nothing but its name is known yet.
    pub fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, attributes: Vec::new(), failed: false }
    }

    /// This is known of it too.
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((key, value.into()));
        self
    }

    /// So is this, if it is there.
    pub fn with_some(self, key: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// It failed, in this way of a few.
    pub fn failed(self, how: Option<&'static str>) -> Self {
        let failed = how.is_some();
        Self { failed, ..self.with_some("error.type", how) }
    }
}
