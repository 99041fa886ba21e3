//! The configuration file: read, substituted, checked, understood; or every fault in it, each with its
//! place and a way out.

mod environment;
mod meaning;
mod node;
mod read;
mod record;
mod reference;
mod report;
mod scalars;
mod schema;
mod secrets;
mod source;
mod substitute;
mod written;
mod yaml;

use std::path::Path;

use self::node::{Content, Node, Place};
use self::read::{At, Reader};
use self::report::Report;
use crate::{admin, hub, proxy, store, telemetry};

pub use environment::{Environment, Process};
pub use reference::reference;
pub use report::{Faults, Finding, Severity};
pub use schema::schema;
pub use source::{Contents, Source};

/// What the file means.
#[derive(Debug, Clone)]
pub struct Config {
    /// The operators' listener.
    pub admin: admin::Settings,
    /// The request's way.
    pub proxy: proxy::Settings,
    /// The callback's way.
    pub hub: hub::Settings,
    /// Where events are kept.
    pub store: store::Settings,
    /// Logs.
    pub log: telemetry::Settings,
    /// Traces; none: there are none.
    pub traces: Option<telemetry::trace::Settings>,
    /// The file as written after substitution, with every secret as `***`, for `GET /api/v1/config`.
    pub redacted: serde_json::Value,
}

/// A file that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it means.
    pub config: Config,
    /// What is perhaps not meant.
    pub warnings: Vec<Finding>,
}

/// Reads the file at `path`.
///
/// # Errors
/// Every fault in it, or that it can't be read.
pub fn load(path: &Path, environment: &dyn Environment) -> Result<Loaded, Faults> {
    let name = path.display().to_string();
    let text = environment.file(path).map_err(|error| {
        Faults::of_file(
            &name,
            format!("the configuration can't be read: {error}"),
            "name it with --config FILE",
        )
    })?;
    parse(&name, &text, environment)
}

/// Reads `text` as the file `name`.
///
/// # Errors
/// Every fault in it.
pub fn parse(name: &str, text: &str, environment: &dyn Environment) -> Result<Loaded, Faults> {
    let mut report = Report::new(name, text);
    let config = understand(text, environment, &mut report);
    let warnings = report.finish()?;
    match config {
        Some(config) => Ok(Loaded { config, warnings }),
        None => Err(Faults::of_file(name, "the configuration can't be understood".to_owned(), HELP)),
    }
}

const HELP: &str = "at least `credentials` is needed; the shipped config.yaml shows every key";

fn understand(text: &str, environment: &dyn Environment, report: &mut Report) -> Option<Config> {
    let mut root = yaml::parse(text, report);
    if report.faults() == 0 && root.as_ref().is_none_or(Node::is_null) {
        report.fault(Place::default(), "the file is empty").help(HELP);
        return None;
    }
    let root = root.as_mut()?;
    report.hide_secrets_of(root);
    substitute::substitute(root, "", environment, report);
    if !matches!(root.content, Content::Map(_)) {
        report.fault(root.place, format!("expected a mapping of keys, found {}", root.kind())).help(HELP);
        return None;
    }
    let file = At::read(root, &mut Reader { environment, report })?;
    Some(meaning::of(&file, report))
}
