//! The file as a tree in which each node knows where it stands.

/// A part of the file, in bytes from its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// First byte.
    pub(super) start: usize,
    /// First byte after it.
    pub(super) end: usize,
}

/// A value of the file.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Where it stands. A block mapping is said to stand at its first key, a list at its first item.
    pub(super) place: Place,
    /// What it is.
    pub(super) content: Content,
    /// How many levels are below it.
    pub(super) height: usize,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A single value, not yet understood.
    Scalar(Scalar),
    /// Items.
    List(Vec<Node>),
    /// Keys and values, in order; each key once.
    Map(Vec<Entry>),
    /// Nothing that can be understood, and it has been said already.
    Broken,
}

/// A single value.
#[derive(Debug, Clone, Default)]
pub(super) struct Scalar {
    /// What it says, after substitution.
    pub(super) text: String,
    /// What it said before, where substitution changed it.
    pub(super) before: Option<String>,
    /// Whether it was written as text for certain: in quotes, or as a block.
    pub(super) quoted: bool,
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// Where the key stands.
    pub(super) place: Place,
    /// The value.
    pub(super) value: Node,
}

impl Node {
    /// A single value.
    pub(super) fn scalar(place: Place, scalar: Scalar) -> Self {
        Self { place, content: Content::Scalar(scalar), height: 0 }
    }

    /// No value: nothing after the colon, `~`, `null`, or a variable that holds nothing.
    pub(super) fn is_null(&self) -> bool {
        match &self.content {
            Content::Scalar(scalar) => {
                !scalar.quoted && matches!(scalar.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// What kind of thing it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match &self.content {
            Content::Scalar(scalar) if scalar.quoted => "text in quotes",
            Content::Scalar(_) => "a single value",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
            Content::Broken => "something broken",
        }
    }

    /// Says of this node, and of all below it, that they stand at `place`.
    pub(super) fn move_to(&mut self, place: Place) {
        self.place = place;
        match &mut self.content {
            Content::List(items) => items.iter_mut().for_each(|item| item.move_to(place)),
            Content::Map(entries) => entries.iter_mut().for_each(|entry| {
                entry.place = place;
                entry.value.move_to(place);
            }),
            Content::Scalar(_) | Content::Broken => {}
        }
    }
}

impl Scalar {
    /// As written in the file, never with what came from the environment.
    pub(super) fn written(&self) -> &str {
        self.before.as_deref().unwrap_or(&self.text)
    }
}
