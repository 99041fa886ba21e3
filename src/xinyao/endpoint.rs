//! The eight endpoints (§6, §10-§16): one table that routing, retries, OpenAPI, the sandbox and the
//! request checks all read.

mod table;

use std::fmt;
use std::str::FromStr;

pub use table::{ANSWER, TABLE};

/// One of the SaaS's eight endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// §10: create an outbound-call task.
    AddTask,
    /// §6: upload a batch of numbers to be called.
    Outnum,
    /// §11: list tasks.
    TaskList,
    /// §12: list bots.
    SyncPrompt,
    /// §13: what bot and caller said before a call was handed to an agent.
    FollowedData,
    /// §14: open a chat session.
    BotdmStart,
    /// §15: say something in a chat session.
    BotdmTrigger,
    /// §16: close a chat session.
    BotdmStop,
}

impl Endpoint {
    /// All of them, in the order of their discriminants and of [`TABLE`].
    pub const ALL: [Self; 8] = [
        Self::AddTask,
        Self::Outnum,
        Self::TaskList,
        Self::SyncPrompt,
        Self::FollowedData,
        Self::BotdmStart,
        Self::BotdmTrigger,
        Self::BotdmStop,
    ];

    /// What the document says of it.
    pub fn spec(self) -> &'static Spec {
        &TABLE[self as usize]
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct Spec {
    /// Which endpoint this is.
    pub endpoint: Endpoint,
    /// Its name in configuration, metrics and logs.
    pub name: &'static str,
    /// Section of the vendor's document.
    pub section: u8,
    /// What it is for.
    pub summary: &'static str,
    /// Its path; every endpoint is a POST (§5.1).
    pub path: &'static str,
    /// How its body is encoded.
    pub body: BodyKind,
    /// Whether sending it twice does no harm. `false`: a second one could call people twice.
    pub repeatable: bool,
    /// The fields of the request.
    pub fields: &'static [Field],
    /// The fields that a successful answer has beside `code` and `msg`.
    pub answer: &'static [Field],
    /// The document's request example, made valid JSON where it is not (multipart: its text fields).
    pub example: &'static str,
    /// The document's example of a successful answer.
    pub answer_example: &'static str,
}

/// Encoding of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// `application/json`.
    Json,
    /// `multipart/form-data`.
    Multipart,
}

/// A field of a request or of an answer.
#[derive(Debug)]
pub struct Field {
    /// Its key.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it must be there.
    pub need: Need,
    /// What the SaaS takes when it is absent.
    pub default: Option<&'static str>,
    /// What the document says of it.
    pub meaning: &'static str,
}

/// What a field may hold.
#[derive(Debug)]
pub enum Kind {
    /// A string.
    Text,
    /// An integer within these bounds.
    Int {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// A floating-point number.
    Float,
    /// `1` or `2`, with what each means.
    Switch {
        /// What 1 means.
        one: &'static str,
        /// What 2 means.
        two: &'static str,
    },
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A session id: 32 characters.
    Sid,
    /// A list of `HH:MM-HH:MM`.
    TimeRanges,
    /// A list of call states as text (§18).
    States,
    /// A list of comma-joined call states as text.
    StateGroups,
    /// A flat map: values are strings, numbers or booleans, never maps or lists.
    FlatMap,
    /// An object of these fields.
    Object(&'static [Field]),
    /// A list of objects of these fields.
    List(&'static [Field]),
    /// The uploaded number file.
    File,
}

/// Whether a field must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Always.
    Required,
    /// Never.
    Optional,
    /// When the field `field` has the value `is`.
    When {
        /// The deciding field.
        field: &'static str,
        /// The value that makes this one required.
        is: &'static str,
    },
}

/// What a request goes to, as far as rights, limits and metrics tell targets apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A documented endpoint.
    Endpoint(Endpoint),
    /// `GET /coeus/…`: a recording (`record_url` of §7).
    Recordings,
    /// One of the configured extra paths.
    Extra,
}

impl Target {
    /// How many there are; [`Target::index`] is below it.
    pub const COUNT: usize = 10;

    /// All of them, by index.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Endpoint(Endpoint::AddTask),
        Self::Endpoint(Endpoint::Outnum),
        Self::Endpoint(Endpoint::TaskList),
        Self::Endpoint(Endpoint::SyncPrompt),
        Self::Endpoint(Endpoint::FollowedData),
        Self::Endpoint(Endpoint::BotdmStart),
        Self::Endpoint(Endpoint::BotdmTrigger),
        Self::Endpoint(Endpoint::BotdmStop),
        Self::Recordings,
        Self::Extra,
    ];

    /// A dense number, for arrays.
    pub fn index(self) -> usize {
        match self {
            Self::Endpoint(endpoint) => endpoint as usize,
            Self::Recordings => 8,
            Self::Extra => 9,
        }
    }

    /// Its name in configuration, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Endpoint(endpoint) => endpoint.spec().name,
            Self::Recordings => "recordings",
            Self::Extra => "extra",
        }
    }

    /// Whether sending a request twice does no harm.
    pub fn repeatable(self) -> bool {
        match self {
            Self::Endpoint(endpoint) => endpoint.spec().repeatable,
            Self::Recordings | Self::Extra => false,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(name: &str) -> Result<Self, UnknownTarget> {
        Self::ALL.into_iter().find(|target| target.name() == name).ok_or(UnknownTarget)
    }
}

/// A name that is no target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no endpoint has this name")]
pub struct UnknownTarget;

/// A set of targets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TargetSet(u16);

impl TargetSet {
    /// Every target.
    pub const ALL: Self = Self((1 << Target::COUNT) - 1);

    /// Whether `target` is in it.
    pub fn contains(self, target: Target) -> bool {
        self.0 & (1 << target.index()) != 0
    }
}

impl FromIterator<Target> for TargetSet {
    fn from_iter<I: IntoIterator<Item = Target>>(targets: I) -> Self {
        Self(targets.into_iter().fold(0, |set, target| set | 1 << target.index()))
    }
}

impl fmt::Debug for TargetSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(Target::ALL.into_iter().filter(|target| self.contains(*target)).map(Target::name))
            .finish()
    }
}

/// The documented endpoint at `path`.
pub fn at(path: &str) -> Option<Endpoint> {
    TABLE.iter().find(|spec| spec.path == path).map(|spec| spec.endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (endpoint, spec) in Endpoint::ALL.into_iter().zip(&TABLE) {
            assert_eq!(spec.endpoint, endpoint);
            assert_eq!(at(spec.path), Some(endpoint));
            assert_eq!(spec.name.parse(), Ok(Target::Endpoint(endpoint)));
        }
        for (index, target) in Target::ALL.into_iter().enumerate() {
            assert_eq!(target.index(), index);
        }
    }

    #[test]
    fn only_reading_endpoints_are_repeatable() {
        let names: Vec<_> = TABLE.iter().filter(|spec| spec.repeatable).map(|spec| spec.name).collect();
        assert_eq!(names, ["tasklist", "syncprompt", "followed_data"]);
    }

    #[test]
    fn examples_hold_the_required_fields() {
        for spec in &TABLE {
            let request: Value = serde_json::from_str(spec.example).unwrap();
            let answer: Value = serde_json::from_str(spec.answer_example).unwrap();
            let missing = |fields: &'static [Field], value: &Value| -> Vec<_> {
                let required =
                    fields.iter().filter(|f| f.need == Need::Required && !matches!(f.kind, Kind::File));
                required.filter(|f| value.get(f.name).is_none()).map(|f| f.name).collect()
            };
            assert_eq!(missing(spec.fields, &request), Vec::<&str>::new(), "{}", spec.name);
            assert_eq!(missing(spec.answer, &answer), Vec::<&str>::new(), "{}", spec.name);
            assert_eq!(answer["code"], 0);
        }
    }

    #[test]
    fn a_set_holds_what_it_was_made_of() {
        let set: TargetSet = [Target::Recordings, Target::Endpoint(Endpoint::Outnum)].into_iter().collect();
        let held: Vec<_> = Target::ALL.into_iter().filter(|t| set.contains(*t)).map(Target::name).collect();
        assert_eq!(held, ["outnum", "recordings"]);
        assert!(Target::ALL.into_iter().all(|target| TargetSet::ALL.contains(target)));
    }
}
