//! The house keeps to its plan: what a room imports stands in the table of `lib.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What each room may import. `store` for proxy and hub are its traits, for admin its queries.
const TABLE: [(&str, &[&str]); 12] = [
    ("xinyao", &[]),
    ("net", &[]),
    ("telemetry", &[]),
    ("store", &["xinyao"]),
    ("proxy", &["xinyao", "net", "telemetry", "store"]),
    ("hub", &["xinyao", "net", "telemetry", "store"]),
    ("ledger", &["store", "xinyao"]),
    ("admin", &["telemetry", "store", "xinyao"]),
    ("sandbox", &["xinyao", "net"]),
    ("config", &["admin", "hub", "net", "proxy", "store", "telemetry", "xinyao"]),
    ("app", &["admin", "config", "hub", "ledger", "net", "proxy", "store", "telemetry", "xinyao"]),
    ("cli", &["admin", "app", "config", "hub", "net", "proxy", "sandbox", "store", "telemetry", "xinyao"]),
];

#[test]
fn rooms_import_what_the_table_lets_them() {
    let table: BTreeMap<&str, &[&str]> = TABLE.into();
    let mut strays = Vec::new();
    for file in files(Path::new("src")) {
        let room = room_of(&file);
        let Some(allowed) = table.get(room.as_str()) else {
            assert!(room == "lib" || room == "main", "{} is in no room of the table", file.display());
            continue;
        };
        for import in imports(&std::fs::read_to_string(&file).unwrap()) {
            if import != room && !allowed.contains(&import.as_str()) {
                strays.push(format!("{} imports {import}", file.display()));
            }
        }
    }
    assert!(strays.is_empty(), "{strays:#?}");
}

#[test]
fn every_room_of_the_house_is_in_the_table() {
    let library = std::fs::read_to_string("src/lib.rs").unwrap();
    let rooms: BTreeSet<&str> = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod ")))
        .filter_map(|line| line.strip_suffix(';'))
        .collect();
    assert_eq!(rooms, TABLE.map(|(room, _)| room).into());
}

#[test]
fn imports_are_found_however_they_are_written() {
    let text = "use crate::net::{self, Origin};\nuse crate::{admin, hub::Settings, xinyao::{Target, endpoint}};\n\
                let x = crate::proxy::reject(crate::store::y);\n// crate::cli\n";
    assert_eq!(imports(text), ["admin", "hub", "net", "proxy", "store", "xinyao"].map(String::from).into());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .collect()
}

fn room_of(file: &Path) -> String {
    let first = file.strip_prefix("src").unwrap().iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The first names of all paths that begin with `crate::`.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    code.split("crate::").skip(1).flat_map(names).collect()
}

fn names(after: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(list) = after.strip_prefix('{') else { return vec![word(after)] };
    let mut depth = 0;
    let mut found = Vec::new();
    let mut start = true;
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            letter if start && letter.is_alphanumeric() => {
                found.push(word(&list[at..]));
                start = false;
            }
            _ => {}
        }
    }
    found
}
