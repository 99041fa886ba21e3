use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::*;
use crate::xinyao::call_state;

fn content(path: &str) -> &'static str {
    FILES.iter().find(|file| file.path == path).unwrap().content
}

fn scripts() -> impl Iterator<Item = &'static File> {
    FILES.iter().filter(|file| file.kind == SCRIPT && !file.path.starts_with("i18n/"))
}

/// A dictionary: what its module exports is JSON.
fn words(language: &str) -> Map<String, Value> {
    let module = content(&format!("i18n/{language}.js"));
    let object = module.split_once("export default ").unwrap().1.trim_end().trim_end_matches(';');
    serde_json::from_str(object).unwrap()
}

/// A script on one line: a call that is broken over several reads like one that is not.
fn text(file: &File) -> String {
    file.content.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(")
}

/// What stands between `before` and the next quote.
fn quoted<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next())
}

#[test]
fn every_file_on_disk_is_served() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/console");
    let mut folders = vec![folder.clone()];
    let mut found = BTreeSet::new();
    while let Some(next) = folders.pop() {
        for path in std::fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_none_or(|extension| extension != "rs") {
                found.insert(path.strip_prefix(&folder).unwrap().display().to_string());
            }
        }
    }
    assert_eq!(found, FILES.iter().map(|file| file.path.to_owned()).collect());
}

#[test]
fn both_languages_say_the_same() {
    let (english, chinese) = (words("en"), words("zh"));
    let keys = |words: &Map<String, Value>| -> BTreeSet<String> { words.keys().cloned().collect() };
    assert_eq!(keys(&english), keys(&chinese));
    for (key, text) in &english {
        let values = |text: &Value| -> BTreeSet<String> {
            let text = text.as_str().unwrap();
            text.split('{').skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()).collect()
        };
        // What is said of one needs no number.
        assert!(key.strip_suffix(".one").is_some() || values(text) == values(&chinese[key]), "{key}");
        assert!(!chinese[key].as_str().unwrap().is_empty(), "{key}");
    }
}

#[test]
fn what_pages_say_is_in_the_dictionaries() {
    let english = words("en");
    let mut used = BTreeSet::new();
    for file in scripts() {
        let text = text(file);
        for key in quoted(&text, "t(\"") {
            // `document.createElement("…")` and its like end in `t("` too.
            let call = format!("t(\"{key}\"");
            let at = text.find(&call).unwrap();
            let before = text[..at].chars().next_back();
            if before.is_none_or(|c| !c.is_alphanumeric() && c != '.') {
                assert!(english.contains_key(key), "{}: {key:?}", file.path);
                used.insert(key.to_owned());
            }
        }
    }
    assert!(used.len() > 100, "{used:?}");
}

#[test]
fn nothing_in_the_dictionaries_is_left_over() {
    let text: String = scripts().map(text).collect();
    for key in words("en").keys() {
        let stem = key.trim_end_matches(".one");
        let family = stem.rsplit_once('.').map_or(stem, |(family, _)| family);
        let last = stem.rsplit_once('.').map_or(stem, |(_, last)| last);
        let named = text.contains(&format!("\"{stem}\""));
        // As in t(`kind.${kind}`), or t(`dead.${action}.title`).
        let made = text.contains(&format!("`{family}.${{"))
            || text.contains(&format!("}}.{last}`"))
            || text.contains(&format!("_all.{last}`"));
        assert!(named || made, "{key} is said nowhere");
    }
}

#[test]
fn call_states_are_those_of_the_document() {
    let chinese = words("zh");
    for (state, text) in call_state::STATES {
        assert_eq!(chinese[&format!("state.{state}")], text);
    }
}

/// Strings from outside become text, never elements; and nothing needs what the policy forbids.
#[test]
fn nothing_makes_elements_or_code_of_strings() {
    for file in FILES {
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "setAttribute(\"style\"",
            "<style",
            " style=\"",
            " onclick=\"",
            "javascript:",
            "@import",
        ] {
            assert!(!file.content.contains(forbidden), "{}: {forbidden}", file.path);
        }
    }
}

#[test]
fn no_other_host_is_named() {
    for file in FILES {
        let mut hosts = quoted(file.content, "://").filter(|rest| !rest.starts_with("www.w3.org/2000/svg"));
        assert_eq!(hosts.next(), None, "{}", file.path);
    }
}

#[test]
fn a_tag_is_known_in_a_list_and_as_a_weak_one() {
    let tag = HeaderValue::from_static("\"a\"");
    for list in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"] {
        assert!(has(&HeaderValue::from_static(list), &tag), "{list}");
    }
    assert!(!has(&HeaderValue::from_static("\"b\""), &tag));
}
