//! The demo plays to its end, on whatever machine, and leaves nothing behind.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use crate::support::Binary;

/// The campaign itself takes about ten seconds.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn a_campaign_from_end_to_end() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = assert_cmd::Command::from_std(Binary::command());
    command.args(["demo", "--exit"]).env("TMPDIR", temporary.path()).timeout(PATIENCE);
    let assert = command.assert().success();
    let told = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    for part in [
        "✗ 403",
        "the SaaS saw     Authorization: demo-apikey:",
        "60 numbers accepted",
        "numbers called      60",
        "call records        60 in",
        "p99 from the SaaS's push to crm-hook's answer:",
        "the console    http://127.0.0.1:",
        "/api/v1/status",
    ] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    assert!(!told.contains('\x1b'), "colour is for terminals:\n{told}");
    let figures = |name: &str| -> Vec<u64> {
        let line = told.lines().find(|line| line.trim().starts_with(name)).unwrap();
        line.split_whitespace().skip(1).map(|cell| cell.parse().unwrap()).collect()
    };
    let [delivered, failed, dead, left] = figures("crm-hook ")[..] else { panic!("{told}") };
    assert!(delivered > 1 && (failed, dead, left) == (0, 0, 0), "{told}");
    let [flaky, failed, dead, left] = figures("warehouse ")[..] else { panic!("{told}") };
    assert!(flaky == delivered && failed > 0 && (dead, left) == (0, 0), "{told}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "its store is gone");
}

#[test]
fn without_exit_it_stays_until_it_is_interrupted() {
    let mut child = Binary::command().arg("demo").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("Ctrl-C ends it")));
    let signal =
        |name: &str| std::process::Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(signal("INT").unwrap().success());
    assert!(child.wait().unwrap().success());
}
