//! What in a file must not be shown: values of keys that look secret (misspelt ones too), values of
//! headers, everything under `credentials`, and users and passwords in URLs.

use super::node::{Content, Node, Place, Scalar};
use super::read::likeness;

const NAMES: [&str; 6] = ["apikey", "apisecret", "token", "key", "signing_secret", "password"];
const PARTS: [&str; 9] = ["secret", "token", "key", "passw", "pwd", "auth", "bearer", "apisec", "signing"];

/// Adds the place of every secret below `node`.
pub(super) fn places(node: &Node, found: &mut Vec<Place>) {
    match &node.content {
        Content::Map(entries) => {
            for entry in entries {
                if is_secret(&entry.key)
                    || matches!(entry.key.as_str(), "headers" | "credentials" | "postgres")
                {
                    all_places(&entry.value, found);
                } else {
                    places(&entry.value, found);
                }
            }
        }
        Content::List(items) => items.iter().for_each(|item| places(item, found)),
        Content::Scalar(_) | Content::Broken => {}
    }
}

fn all_places(node: &Node, found: &mut Vec<Place>) {
    match &node.content {
        Content::Map(entries) => {
            let values = entries.iter().filter(|entry| !entry.key.ends_with("_file"));
            values.for_each(|entry| all_places(&entry.value, found));
        }
        Content::List(items) => items.iter().for_each(|item| all_places(item, found)),
        Content::Scalar(scalar) if !is_variable(scalar) => found.push(node.place),
        Content::Scalar(_) | Content::Broken => {}
    }
}

/// `${NAME}` and nothing else: a name is no secret, and helps who has to set it.
fn is_variable(scalar: &Scalar) -> bool {
    let name = scalar.written().strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// Whether the value of `key` may be a secret.
pub(super) fn is_secret(key: &str) -> bool {
    let key: String = key.chars().take(64).collect::<String>().to_ascii_lowercase();
    let close = || NAMES.iter().any(|name| likeness(name, &key) > 0.88);
    !key.ends_with("_file") && (PARTS.iter().any(|part| key.contains(part)) || close())
}

/// A line that could not be parsed, with all that may be a secret masked.
pub(super) fn of_unparsed_line(line: &str) -> String {
    let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let open = line.find(':').filter(|_| !words.into_iter().any(is_secret));
    if open.is_some() {
        return without_url_secrets(line);
    }
    let indent = line.len() - line.trim_start_matches([' ', '-', '\t']).len();
    let shown = line.find(':').map_or(indent, |colon| colon + 1);
    if line.len() == shown { line.to_owned() } else { format!("{} ***", line[..shown].trim_end_matches(' ')) }
}

/// `text` with `***` for what may be secret in its URLs: user and password, and the query.
pub(super) fn without_url_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        // A comma may be part of a secret: rather too much is hidden than too little.
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).unwrap_or(after.len());
        let (mut url, behind) = after.split_at(end);
        if let Some(host) = url.rfind('@') {
            shown.push_str("***");
            url = &url[host..];
        }
        match url.split_once('?') {
            Some((path, _)) => shown.extend([path, "?***"]),
            None => shown.push_str(url),
        }
        rest = behind;
    }
    shown.push_str(rest);
    shown
}
