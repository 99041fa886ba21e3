//! Keys that are understood but that nothing acts on: whoever sets one to something else than its
//! default is told so.

use std::time::Duration;

use super::node::Place;
use super::report::Report;
use super::written::{App, Checks, File, Outside};

/// Warns of what has no effect.
pub(super) fn warn(file: &File, report: &mut Report) {
    for app in file.apps.iter() {
        of_app(app, report);
    }
    let callbacks = &file.callbacks;
    let set = [
        (
            *callbacks.team_url_outside != Outside::Reject,
            "callbacks.team_url_outside",
            callbacks.team_url_outside.place,
        ),
        (callbacks.team_url_networks.given, "callbacks.team_url_networks", callbacks.team_url_networks.place),
        (file.limits.shared.is_some(), "limits.shared", file.limits.shared.place),
        (file.store.postgres.is_some(), "store.postgres", file.store.postgres.place),
        (file.tracing_otlp.is_some(), "tracing_otlp", file.tracing_otlp.place),
    ];
    note(&set, report);
}

fn of_app(app: &App, report: &mut Report) {
    let window = &app.outnum_duplicate_window;
    let set = [
        (*app.checks == Checks::Enforce, "checks", app.checks.place),
        (**window != Duration::from_secs(600), "outnum_duplicate_window", window.place),
        (app.weight.0 != 1, "weight", app.weight.place),
    ];
    note(&set, report);
}

fn note(set: &[(bool, &str, Place)], report: &mut Report) {
    for (_, key, place) in set.iter().filter(|(set, ..)| *set) {
        let warning = report.warning(*place, format!("`{key}` has no effect in this version"));
        warning.help("its value is checked and shown, but nothing acts on it yet");
    }
}
