//! The command line, as a user has it.

use std::path::PathBuf;
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use md5::{Digest, Md5};
use serde_json::Value;

use crate::support::{Binary, Gateway, Sandbox, Upstream};

/// A folder with this `config.yaml`, and the command to be run in it.
struct Shell {
    folder: tempfile::TempDir,
}

impl Shell {
    fn with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.yaml"), config).unwrap();
        Self { folder }
    }

    fn run(&self, arguments: &[&str]) -> Command {
        let mut command = Binary::command();
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        command
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("config.yaml")
    }
}

const GOOD: &str = "
listen: {proxy: 127.0.0.1:0, callbacks: 127.0.0.1:0, admin: 127.0.0.1:0}
credentials: {default: {apikey: k, apisecret: s}, other: {apikey: \"${KEY}\", apisecret: s2}}
apps: [{name: crm, networks: [127.0.0.1]}]
callbacks: {key: 0123456789abcdef0123456789abcdef}
";

fn out(command: &mut Command) -> String {
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

fn err(command: &mut Command) -> String {
    String::from_utf8(command.output().unwrap().stderr).unwrap()
}

#[test]
fn check_says_that_a_good_file_is_valid() {
    let shell = Shell::with(GOOD);
    shell.run(&["check"]).env("KEY", "x").assert().success();
    let elsewhere = shell.file().display().to_string();
    Binary::command().args(["check", "--config", &elsewhere]).env("KEY", "x").assert().success();
}

#[test]
fn check_says_everything_that_is_wrong_and_where() {
    let broken = "\
listn: {proxy: 127.0.0.1:1}
credentials: {default: {apikey: k, apisecret: the-secret, x: the-secret}}
upstream:
  connect_timeout: 3
  base_url: not a url
apps:
  - {name: Crm, networks: [10.0.0.0/33], endpoints: [outnumm]}
  - {name: a, networks: [127.0.0.1], credential: none}
  - {name: a, networks: [127.0.0.1]}
egress: {allowed_ips: [1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4, 1.1.1.5, 1.1.1.6]}
";
    let shell = Shell::with(broken);
    shell.run(&["check"]).assert().code(2);
    let said = err(&mut shell.run(&["check"]));
    for place in ["1:1", "2:59", "4:20", "5:13", "7:12", "7:28", "7:54", "8:50", "9:12", "10:"] {
        assert!(said.contains(&format!("config.yaml:{place}")), "nothing about {place}:\n{said}");
    }
    for hint in ["did you mean `listen`", "did you mean `outnum`", "3s"] {
        assert!(said.contains(hint), "{hint} is not in\n{said}");
    }
    assert!(!said.contains("the-secret"), "{said}");
}

#[test]
fn a_broken_file_never_starts() {
    for broken in [
        "",
        "# nothing\n",
        "a: [",
        "apps: {}\n",
        &GOOD.replace("crm", "CRM"),
        &GOOD.replace("127.0.0.1:0", "1.2.3:0"),
    ] {
        let shell = Shell::with(broken);
        for command in [&["run"][..], &[], &["check"], &["sign"], &["health"]] {
            let assert = shell.run(command).env("KEY", "x").assert().code(2);
            let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
            assert!(said.contains("config.yaml") && said.contains("help:"), "{command:?}: {said}");
        }
    }
}

#[test]
fn an_unset_variable_names_its_key() {
    let shell = Shell::with(GOOD);
    shell.run(&["check"]).assert().code(2);
    let said = err(&mut shell.run(&["check"]));
    assert!(said.contains("KEY") && said.contains("credentials.other.apikey"), "{said}");
}

#[test]
fn a_missing_file_is_named() {
    let shell = Shell::with(GOOD);
    let said = err(&mut shell.run(&["check", "--config", "nowhere.yaml"]));
    assert!(said.contains("nowhere.yaml"), "{said}");
    shell.run(&["check", "--config", "nowhere.yaml"]).assert().code(2);
}

#[test]
fn the_admin_listener_off_loopback_wants_a_token() {
    let open = GOOD.replace("admin: 127.0.0.1:0", "admin: 0.0.0.0:0");
    let shell = Shell::with(&open);
    shell.run(&["run"]).env("KEY", "x").assert().code(2);
    assert!(err(shell.run(&["run"]).env("KEY", "x")).contains("admin.token"));
}

#[test]
fn sign_prints_the_header_for_curl() {
    let shell = Shell::with(GOOD);
    let signed =
        out(shell.run(&["sign", "--credential", "other", "--timestamp", "1700000000"]).env("KEY", "the-key"));
    assert_eq!(signed, format!("the-key:1700000000:{}\n", hex::encode(Md5::digest("s2:1700000000"))));
    let now = out(shell.run(&["sign"]).env("KEY", "x"));
    let [key, timestamp, digest] = now.trim_end().split(':').collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((key, digest), ("k", hex::encode(Md5::digest(format!("s:{timestamp}"))).as_str()));
    shell.run(&["sign", "--credential", "none"]).env("KEY", "x").assert().code(2);
}

#[test]
fn schema_and_openapi_are_json_and_need_no_file() {
    let nowhere = tempfile::tempdir().unwrap();
    for (command, key) in [("schema", "properties"), ("openapi", "paths")] {
        let said = out(Binary::command().arg(command).current_dir(nowhere.path()));
        let document: Value = serde_json::from_str(&said).unwrap();
        assert!(document[key].is_object(), "{command}");
    }
}

#[test]
fn usage_errors_exit_with_2() {
    for arguments in
        [&["nonsense"][..], &["--nonsense"], &["sign", "--timestamp", "soon"], &["check", "--config"]]
    {
        Binary::command().args(arguments).assert().code(2);
    }
    Binary::command().arg("--help").assert().success();
    Binary::command().arg("--version").assert().success();
}

#[tokio::test]
async fn health_asks_the_running_gateway() {
    let gateway = Gateway::to(&Upstream::start()).start();
    let healthy = Shell::with(&GOOD.replace("admin: 127.0.0.1:0", &format!("admin: {}", gateway.admin)));
    healthy.run(&["health"]).env("KEY", "x").assert().success();
    let nobody = crate::support::nobody();
    let gone = Shell::with(&GOOD.replace("admin: 127.0.0.1:0", &format!("admin: {nobody}")));
    gone.run(&["health"]).env("KEY", "x").assert().code(1);
}

#[tokio::test]
async fn doctor_has_a_line_for_each_part_and_fails_with_any() {
    let sandbox = Sandbox::start().await;
    let upstream = |address: &str| {
        format!(
            "{GOOD}upstream: {{base_url: \"http://{address}\", recordings_url: \"http://{address}\", connect_timeout: 1s}}\n"
        )
    };
    let doctor = |shell: Shell| {
        tokio::task::spawn_blocking(move || {
            let output = shell.run(&["doctor"]).env("KEY", "x").output().unwrap();
            (output.status.code(), String::from_utf8(output.stdout).unwrap())
        })
    };
    let (code, said) = doctor(Shell::with(&upstream(&sandbox.address.to_string()))).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    for part in ["DNS", "TCP", "clock"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let (code, said) = doctor(Shell::with(&upstream(&crate::support::nobody().to_string()))).await.unwrap();
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn output_may_be_piped_to_who_stops_reading() {
    let shell = format!(
        "{} schema | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_xinyao-gateway")
    );
    Command::new("bash").args(["-c", &shell]).assert().success();
}
