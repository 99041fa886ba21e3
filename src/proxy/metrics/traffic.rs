//! All requests that have ended, in short: what operators see plotted.

use serde::Serialize;

use super::{Code, Counts, Metrics, OfApp, Outcome, endpoint};
use crate::telemetry::histogram::{Histogram, SPREAD};

/// How many requests ended in which way, since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Endings {
    /// HTTP 200 and code 0.
    pub ok: u64,
    /// HTTP 200 and another code.
    pub business_error: u64,
    /// No answer, or none as documented.
    pub upstream_error: u64,
    /// The gateway answered by itself.
    pub rejected: u64,
    /// The client did not wait for the answer.
    pub client_gone: u64,
}

/// What was wrong with requests, and how many there were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    /// What was called; `none` where nothing was told apart.
    pub endpoint: &'static str,
    /// `business_error`, `upstream_error` or `rejected`.
    pub outcome: &'static str,
    /// The SaaS's code, the status of a failed answer, or the reason of a refusal.
    pub code: String,
    /// How many, since the process began.
    pub count: u64,
}

/// All requests that have ended.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// By how they ended.
    pub endings: Endings,
    /// To the last byte of their answers.
    pub took: Histogram,
    /// What was wrong.
    pub errors: Vec<Errors>,
}

impl Endings {
    fn add(&mut self, outcome: Outcome, count: u64) {
        *match outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::BusinessError => &mut self.business_error,
            Outcome::UpstreamError => &mut self.upstream_error,
            Outcome::Rejected(_) => &mut self.rejected,
            Outcome::ClientGone => &mut self.client_gone,
        } += count;
    }

    fn and(self, other: Self) -> Self {
        Self {
            ok: self.ok + other.ok,
            business_error: self.business_error + other.business_error,
            upstream_error: self.upstream_error + other.upstream_error,
            rejected: self.rejected + other.rejected,
            client_gone: self.client_gone + other.client_gone,
        }
    }

    /// Each with its name.
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("ok", self.ok),
            ("business_error", self.business_error),
            ("upstream_error", self.upstream_error),
            ("rejected", self.rejected),
            ("client_gone", self.client_gone),
        ]
    }
}

impl Metrics {
    /// The workers' counts, in short.
    pub fn traffic(&self) -> Traffic {
        let sum = self.sum();
        let mut took = Histogram::new(SPREAD);
        sum.took.iter().for_each(|of_row| took.add(of_row));
        let endings = sum.apps.iter().map(OfApp::endings).fold(Endings::default(), Endings::and);
        Traffic { endings, took, errors: sum.errors() }
    }

    /// For each app, by slot: how its requests ended, and how many a rate limit refused.
    pub fn by_app(&self) -> Vec<(Endings, u64)> {
        let sum = self.sum();
        sum.apps.iter().map(|app| (app.endings(), app.limited.iter().sum())).collect()
    }
}

impl OfApp {
    fn endings(&self) -> Endings {
        let mut endings = Endings::default();
        for ((_, outcome), count) in self.requests.iter().flat_map(|tally| &tally.0) {
            endings.add(*outcome, *count);
        }
        endings
    }
}

impl Counts {
    fn errors(&self) -> Vec<Errors> {
        let mut errors = Vec::<Errors>::new();
        for (row, codes) in self.codes.iter().enumerate() {
            for (code, count) in codes.0.iter().filter(|(code, _)| *code != Code::Known(0)) {
                let code = match code {
                    Code::Known(code) => code.to_string(),
                    Code::Other => "other".into(),
                };
                let outcome = Outcome::BusinessError.label();
                errors.push(Errors { endpoint: endpoint(row), outcome, code, count: *count });
            }
        }
        for (row, tally) in self.apps.iter().flat_map(|app| app.requests.iter().enumerate()) {
            for ((status, outcome), count) in &tally.0 {
                let code = match outcome {
                    Outcome::Rejected(reason) => (*reason).to_owned(),
                    Outcome::UpstreamError => status.to_string(),
                    Outcome::Ok | Outcome::BusinessError | Outcome::ClientGone => continue,
                };
                let (endpoint, outcome) = (endpoint(row), outcome.label());
                let same = |known: &&mut Errors| {
                    (known.endpoint, known.outcome, &known.code) == (endpoint, outcome, &code)
                };
                match errors.iter_mut().find(same) {
                    Some(known) => known.count += count,
                    None => errors.push(Errors { endpoint, outcome, code, count: *count }),
                }
            }
        }
        errors
    }
}
