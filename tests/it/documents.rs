//! What is written for people keeps up with the program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::{Gateway, Postgres, Sandbox, TASKLIST};

#[tokio::test]
async fn every_metric_is_explained() {
    let sandbox = Sandbox::start().await;
    let gateway = Gateway::before(&sandbox).start();
    gateway.post(TASKLIST, r#"{"app_id":"a"}"#).await;
    let postgres = Postgres::start();
    let replica = crate::monitoring::in_a_cluster(&postgres).await;
    let page = std::fs::read_to_string("docs/operations.md").unwrap();
    let metrics = gateway.operate("/metrics").await.text() + &replica.operate("/metrics").await.text();
    let names: BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| name.starts_with("xinyao_") || name.starts_with("process_"))
        .collect();
    assert!(names.len() > 10, "{metrics}");
    let missing: Vec<_> = names.iter().filter(|name| !page.contains(&format!("`{name}"))).collect();
    assert!(missing.is_empty(), "docs/operations.md says nothing of {missing:?}");
}

#[test]
fn both_readmes_say_the_same() {
    let [english, chinese] =
        ["README.md", "README.zh-CN.md"].map(|path| std::fs::read_to_string(path).unwrap());
    same(&english, &chinese);
}

#[test]
fn troubleshooting_says_the_same_in_both_languages() {
    let [english, chinese] = ["docs/troubleshooting.md", "docs/troubleshooting.zh-CN.md"]
        .map(|path| std::fs::read_to_string(path).unwrap());
    same(&english, &chinese);
}

#[test]
fn the_page_of_the_cluster_says_the_same_in_both_languages() {
    let [english, chinese] =
        ["docs/cluster.md", "docs/cluster.zh-CN.md"].map(|path| std::fs::read_to_string(path).unwrap());
    same(&english, &chinese);
}

/// Two translations have the same links, but to each other, and the same shape.
#[track_caller]
fn same(english: &str, chinese: &str) {
    let links = |text: &str| -> Vec<String> {
        let links = links(text).into_iter();
        let translated = ["README", "troubleshooting.", "cluster."];
        links.filter(|link| !translated.iter().any(|page| link.contains(page))).collect()
    };
    assert_eq!(links(english), links(chinese));
    assert_eq!(shape(english), shape(chinese));
}

/// All that is written for people.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![PathBuf::from("README.md"), "README.zh-CN.md".into(), "CHANGELOG.md".into()];
    for folder in ["docs", "docs/decisions"] {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    pages
}

#[test]
fn files_that_are_named_are_there() {
    let folders = ["benches/", "deploy/", "docs/", "fuzz/", "scripts/", "src/", "tests/"];
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let words = text.split(|c: char| c.is_whitespace() || "`'\"(),;:|[]#".contains(c));
        for word in words.filter(|word| folders.iter().any(|folder| word.starts_with(folder))) {
            // Secrets are made by who follows the page.
            let made = word.starts_with("deploy/compose/secrets") || word.contains(['*', '$']);
            let path = word.trim_end_matches(['.', '/']);
            assert!(made || Path::new(path).exists(), "{}: there is no {path}", page.display());
        }
    }
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let folder = page.parent().unwrap_or(Path::new(""));
        for link in links(&std::fs::read_to_string(&page).unwrap()) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { folder.join(file) };
            let outside = link.contains("://");
            assert!(outside || target.exists(), "{}: {link} leads nowhere", page.display());
            let found = || anchors(&std::fs::read_to_string(&target).unwrap()).any(|known| known == anchor);
            assert!(outside || anchor.is_empty() || found(), "{}: {link} names no heading", page.display());
        }
    }
}

/// What a page's headings can be linked by.
pub fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|heading| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// The targets of a page's links.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1);
    targets.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// What two translations have in common: levels of headings, rows of tables, and code without its comments.
fn shape(text: &str) -> Vec<String> {
    let mut code = false;
    let lines = text.lines().filter_map(|line| {
        if line.starts_with("```") {
            code = !code;
            return Some(line.to_owned());
        }
        if code {
            let end = line.find("  #").unwrap_or(line.len());
            return Some(line[..end].trim_end().to_owned());
        }
        match line.split(' ').next()? {
            mark if mark.starts_with('#') || mark == "|" || mark == "-" => Some(mark.to_owned()),
            _ => None,
        }
    });
    lines.collect()
}
