//! Keys that are understood but that nothing acts on: whoever sets one to something else than its
//! default is told so.

use serde_json::Value as Json;

use super::node::Place;
use super::read::At;
use super::report::Report;
use super::schema::schema;
use super::written::File;

/// Warns of what has no effect.
pub(super) fn warn(file: &File, report: &mut Report) {
    let schema = schema();
    let store = &file.store;
    let set = [row("store.postgres", &store.postgres)];
    for (path, shown, place) in set {
        let default = path.split('.').fold(&schema, |at, key| {
            let inside = if at["items"].is_object() { &at["items"] } else { at };
            &inside["properties"][key]
        });
        if *shown != default["default"] {
            let warning = report.warning(place, format!("`{path}` has no effect in this version"));
            warning.help("its value is checked and shown, but nothing acts on it yet");
        }
    }
}

type Row<'f> = (&'static str, &'f Json, Place);

fn row<'f, T>(path: &'static str, value: &'f At<T>) -> Row<'f> {
    (path, &value.shown, value.place)
}
