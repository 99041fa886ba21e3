//! What came of a reload, and how operators are told.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::admin::Problem;
use crate::config::{Faults, Finding};

/// Most faults that the log and the API tell of one by one.
const MAX_TOLD: usize = 100;

/// What set a reload off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) enum Trigger {
    /// The start of the process.
    Start,
    /// The file, or one that it names, has changed.
    File,
    /// SIGHUP.
    Signal,
    /// `POST /api/v1/reload`.
    Api,
}

impl Trigger {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::File => "file",
            Self::Signal => "signal",
            Self::Api => "api",
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub(in crate::app) enum Outcome {
    /// The file is what runs.
    Ok {
        /// What is perhaps not meant.
        warnings: Vec<Finding>,
        /// Keys that take effect with the next start.
        restart: Vec<&'static str>,
    },
    /// The file can't be used, and nothing has changed.
    Invalid(Faults),
    /// The file is well, but not here and now; nothing has changed.
    Failed(String),
}

impl Outcome {
    /// All names.
    pub(super) const NAMES: [&str; 3] = ["ok", "invalid", "failed"];

    /// Which of the names it has.
    pub(super) fn at(&self) -> usize {
        match self {
            Self::Ok { .. } => 0,
            Self::Invalid(_) => 1,
            Self::Failed(_) => 2,
        }
    }
}

/// A reload that is over.
#[derive(Debug)]
pub(in crate::app) struct Told {
    /// What set it off.
    pub(super) trigger: Trigger,
    /// What came of it.
    pub(super) outcome: Outcome,
    /// When it ended.
    pub(super) at: Timestamp,
    /// How long it took.
    pub(super) took: Duration,
}

impl Told {
    /// One that ends now.
    pub(in crate::app) fn new(trigger: Trigger, outcome: Outcome) -> Self {
        Self { trigger, outcome, at: Timestamp::now(), took: Duration::ZERO }
    }

    /// The name of what came of it.
    pub(super) fn name(&self) -> &'static str {
        Outcome::NAMES[self.outcome.at()]
    }

    /// As JSON, for status and API.
    pub(super) fn json(&self) -> Value {
        let mut told = json!({
            "outcome": self.name(),
            "trigger": self.trigger.name(),
            "at": self.at.to_string(),
            "took_ms": self.took.as_secs_f64() * 1000.0,
        });
        match &self.outcome {
            Outcome::Ok { warnings, restart } => {
                told["warnings"] = warnings.iter().map(finding).collect();
                told["restart_needed"] = json!(restart);
            }
            Outcome::Invalid(faults) => {
                told["error"] = self.error().into();
                told["faults"] = faults.iter().take(MAX_TOLD).map(finding).collect();
            }
            Outcome::Failed(_) => told["error"] = self.error().into(),
        }
        told
    }

    /// What is wrong, in a line.
    fn error(&self) -> String {
        match &self.outcome {
            Outcome::Ok { .. } => String::new(),
            Outcome::Invalid(faults) => {
                let first = faults
                    .iter()
                    .next()
                    .map_or_else(String::new, |first| format!(", the first: {}", line(first)));
                format!("the configuration is not valid: {} faults{first}", faults.count())
            }
            Outcome::Failed(reason) => format!("the configuration can't be taken up: {reason}"),
        }
    }

    /// As the answer to who asked for it.
    pub(in crate::app) fn answer(&self) -> Result<Value, Problem> {
        let status = match &self.outcome {
            Outcome::Ok { .. } => return Ok(self.json()),
            Outcome::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Outcome::Failed(_) => StatusCode::CONFLICT,
        };
        let detail = format!("{}; what runs stays as it was", self.error());
        Err(Problem::new(status, detail).with(self.json()))
    }

    /// Tells the log.
    pub(super) fn log(&self) {
        let trigger = self.trigger.name();
        match &self.outcome {
            Outcome::Ok { warnings, restart } => {
                for warning in warnings {
                    tracing::warn!("{}", line(warning));
                }
                for key in restart {
                    tracing::warn!(
                        key,
                        "a changed key takes effect with the next start; until then its old value holds"
                    );
                }
                tracing::info!(trigger, took_ms = self.took.as_millis(), "the configuration is reloaded");
            }
            Outcome::Invalid(faults) => {
                for fault in faults.iter().take(MAX_TOLD) {
                    tracing::error!("{}", line(fault));
                }
                tracing::error!(
                    trigger,
                    faults = faults.count(),
                    "the configuration is not valid; what runs stays as it was"
                );
            }
            Outcome::Failed(reason) => {
                tracing::error!(
                    trigger,
                    reason,
                    "the configuration can't be taken up; what runs stays as it was"
                );
            }
        }
    }
}

/// A finding in a line: where, what, and the way out.
fn line(finding: &Finding) -> String {
    let place = match (finding.line(), finding.column()) {
        (Some(line), Some(column)) => format!("{}:{line}:{column}", finding.file()),
        _ => finding.file().to_owned(),
    };
    let help = finding.help().map_or_else(String::new, |help| format!(" ({help})"));
    format!("{place}: {}{help}", finding.message())
}

fn finding(finding: &Finding) -> Value {
    json!({
        "file": finding.file(),
        "line": finding.line(),
        "column": finding.column(),
        "message": finding.message(),
        "snippet": finding.snippet(),
        "hint": finding.help(),
    })
}
