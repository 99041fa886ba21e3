//! `docs/configuration.md`, made of the schema.

use std::fmt::Write;

use serde_json::Value as Json;

use super::schema;

const PREFACE: &str = "\
# Configuration

<!-- Made of the schema; after a change there: UPDATE=1 cargo test --test it reference -->

`xinyao-gateway` reads one YAML file, `config.yaml` unless `--config` names another. `xinyao-gateway check` shows
everything that is wrong with it at once, each fault with its place and a way out; `xinyao-gateway schema` prints
its JSON Schema. The shipped `config.yaml` has every key. Only `credentials` has to be there, and `callbacks.key`
unless the callbacks listener is on loopback.

- **Variables.** `${NAME}` and `${NAME:-default}` are replaced from the environment inside any value (not in keys)
  after the file was parsed, so that what a variable holds is never taken for YAML, nor looked through for further
  variables. The default also stands in for an empty variable. A variable that is not set and has no default is an
  error.
- **Secrets.** `X_file: path` may stand for any secret `X`: `apikey`, `apisecret`, `token`, `key`, `signing_secret`;
  and for `store.postgres` and `limits.shared`, whose URLs have passwords.
  The file's last newline is cut. Where a list of secrets may be given, so may a list of files.
- **Nothing.** A key without a value (`ca_file:`), or with a variable that is empty, is as good as left out. So is
  `\"\"` where a value is optional.
- **Paths** that are relative start at the working directory.
- **Durations** are a whole number and a unit, `500ms`, `3s`, `10m`, `2h` or `7d`. **Sizes**: bytes, or `64KiB`,
  `8MiB`, `20GiB`, `1TiB`. **Rates**: `50/s`, `600/m`, `1000/h`; a burst that is not given is one second's worth, at
  least 1.
- **Changes** of the file, and of the files that it names, are taken up while the gateway runs, all or nothing;
  `listen`, `store`, `log.format` and `tracing_otlp` wait for the next start. [operations.md](operations.md) has the rest.
- **Anchors** (`&x`, `*x`, `<<: *x`) work; tags (`!x`) and further documents are refused.
";

/// The reference of all keys, in Markdown.
pub fn reference() -> String {
    let schema = schema();
    let mut page = PREFACE.to_owned();
    let (mut single, mut sections) = (String::new(), String::new());
    for (key, property) in properties(&schema) {
        if nested(property).is_empty() {
            write_row(&mut single, "", key, property, false);
        } else {
            write_section(&mut sections, key, property, required(&schema, key));
        }
    }
    page.push_str("\n## Top level\n");
    page.push_str(TABLE);
    page.push_str(&single);
    page.push_str(&sections);
    page
}

const TABLE: &str = "\n| key | value | default | |\n| --- | --- | --- | --- |\n";

fn write_section(page: &mut String, key: &str, property: &Json, required: bool) {
    let need = if required { " Required." } else { "" };
    // writing to a String does not fail
    let _ = write!(page, "\n## {key}\n\n{}{need}\n{TABLE}", text(property));
    for (infix, inner) in nested(property) {
        write_rows(page, &format!("{key}{infix}"), inner);
    }
}

fn write_rows(page: &mut String, prefix: &str, object: &Json) {
    for (key, property) in properties(object) {
        let is_file = key.strip_suffix("_file").is_some_and(|stem| object["properties"][stem].is_object());
        if is_file {
            continue;
        }
        write_row(page, prefix, key, property, required(object, key));
        for (infix, inner) in nested(property) {
            write_rows(page, &format!("{prefix}{key}{infix}"), inner);
        }
    }
}

fn write_row(page: &mut String, prefix: &str, key: &str, property: &Json, required: bool) {
    let default = match &property["default"] {
        _ if required => "*required*".to_owned(),
        Json::Null => String::new(),
        Json::Object(fields) if fields.is_empty() && !nested(property).is_empty() => String::new(),
        Json::String(text) if !text.is_empty() => format!("`{text}`"),
        other => format!("`{other}`"),
    };
    let _ = writeln!(page, "| `{prefix}{key}` | {} | {default} | {} |", kind(property), text(property));
}

fn properties(object: &Json) -> impl Iterator<Item = (&String, &Json)> {
    object["properties"].as_object().into_iter().flatten()
}

/// The mappings inside a property, each with what stands between its key and theirs.
fn nested(property: &Json) -> Vec<(&'static str, &Json)> {
    let candidates =
        [(".", property), ("[].", &property["items"]), (".NAME.", &property["additionalProperties"])];
    let choices = property["anyOf"].as_array().into_iter().flatten().map(|choice| (".", choice));
    candidates.into_iter().chain(choices).filter(|(_, inner)| inner["properties"].is_object()).collect()
}

fn required(object: &Json, key: &str) -> bool {
    let names = |list: &Json| list.as_array().is_some_and(|names| names.contains(&key.into()));
    let groups = || object["allOf"].as_array().into_iter().flatten();
    let choices = || groups().filter_map(|group| group["anyOf"].as_array()).flatten();
    names(&object["required"]) || choices().any(|choice| names(&choice["required"]))
}

/// What a value looks like.
fn kind(property: &Json) -> String {
    let words = property["anyOf"][0]["enum"].as_array();
    if let (Some(words), false) = (words, property["title"].as_str().is_some_and(|title| title.contains(',')))
    {
        let words: Vec<_> = words.iter().filter_map(Json::as_str).map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    if let Some(title) = property["title"].as_str() {
        return title.to_owned();
    }
    if property["items"].is_object() {
        let item = property["items"]["title"].as_str();
        return item.map_or("a list".to_owned(), |item| format!("a list, each {item}"));
    }
    "a mapping".to_owned()
}

/// A property's description, fit for a table.
fn text(property: &Json) -> String {
    property["description"].as_str().unwrap_or_default().replace('|', "\\|")
}
