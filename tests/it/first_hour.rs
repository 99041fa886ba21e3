//! What a stranger does first: a configuration from a few answers, completions, a manual.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use assert_cmd::assert::OutputAssertExt;
use nix::pty::openpty;

use crate::support::{Binary, DEADLINE};

const SECRET: &str = "the-apisecret-itself";

/// The command in that folder, with nobody to ask.
fn run(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Binary::command();
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    command
}

/// A folder in which `init` ran, with these flags too.
fn begun(more: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("apisecret"), format!("{SECRET}\n")).unwrap();
    let flags = ["init", "--apikey", "the-apikey", "--apisecret-file", "apisecret"];
    run(folder.path(), &[&flags, more].concat()).assert().success();
    folder
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn what_init_writes_is_valid_and_has_no_secret() {
    let flags = "--app shop --network 10.20.0.0/16 --network ::1 --allowed-ip 198.51.100.7 \
                 --public-url https://callbacks.example.com/x --subscriber http://10.20.0.5/hook?a=%20";
    for more in [Vec::new(), flags.split_whitespace().collect()] {
        let folder = begun(&more);
        run(folder.path(), &["check"]).assert().success();
        let config = text(folder.path().join("config.yaml"));
        for secret in [SECRET, "the-apikey", text(folder.path().join("secrets/callback-key")).trim()] {
            assert!(!config.contains(secret), "{config}");
        }
        for given in more.iter().filter(|flag| !flag.starts_with("--")) {
            assert!(config.contains(given), "{given} is not in\n{config}");
        }
        let signed = run(folder.path(), &["sign"]).output().unwrap();
        assert!(String::from_utf8_lossy(&signed.stdout).starts_with("the-apikey:"));
    }
}

#[test]
fn secrets_are_for_their_owner_alone() {
    let folder = begun(&[]);
    let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("secrets"), 0o700);
    for secret in ["apikey", "callback-key", "admin-token"] {
        assert_eq!(mode(&format!("secrets/{secret}")), 0o600, "{secret}");
    }
    let keys = ["callback-key", "admin-token"].map(|name| text(folder.path().join("secrets").join(name)));
    assert!(keys[0] != keys[1] && keys.iter().all(|key| key.trim().len() == 64));
}

#[test]
fn a_file_that_is_there_stays() {
    let folder = begun(&[]);
    let (config, key) = (folder.path().join("config.yaml"), folder.path().join("secrets/callback-key"));
    let before = (text(&config), text(&key));
    let again = ["init", "--app", "other", "--apisecret-file", "apisecret"];
    let refused = run(folder.path(), &again).assert().code(2);
    assert!(String::from_utf8_lossy(&refused.get_output().stderr).contains("--force"));
    assert_eq!(before, (text(&config), text(&key)));

    run(folder.path(), &[&again[..], &["--force"]].concat()).assert().success();
    assert!(text(&config).contains("name: other"));
    assert_eq!(text(&key), before.1, "URLs that were given out are void");
}

#[test]
fn what_cannot_be_asked_must_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let refused = run(folder.path(), &["init"]).assert().code(2);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("--apikey") && said.contains("--apisecret-file"), "{said}");
    run(folder.path(), &["init", "--network", "10.0.0.0/40"]).assert().code(2);
    let nowhere = ["init", "--apikey", "k", "--apisecret-file", "nowhere"];
    let refused = run(folder.path(), &nowhere).assert().code(2);
    assert!(String::from_utf8_lossy(&refused.get_output().stderr).contains("nowhere"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "it wrote something all the same");
}

/// What shows on a terminal, as it comes.
struct Shown {
    parts: Receiver<Vec<u8>>,
    text: String,
}

impl Shown {
    /// Waits until this shows.
    fn wait(&mut self, for_what: &str) {
        while !self.text.contains(for_what) {
            let part = self.parts.recv_timeout(DEADLINE);
            let part = part.unwrap_or_else(|_| panic!("{for_what:?} never shows:\n{}", self.text));
            self.text += &String::from_utf8_lossy(&part);
        }
    }
}

#[test]
fn at_a_terminal_it_asks_and_hides_the_secret() {
    let folder = tempfile::tempdir().unwrap();
    let pty = openpty(None, None).unwrap();
    let (mut master, slave) = (fs::File::from(pty.master), pty.slave);
    let mut child = run(folder.path(), &["init", "--public-url", "https://callbacks.example.com"])
        .stdin(slave.try_clone().unwrap())
        .stderr(slave)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (part, parts) = mpsc::channel();
    let mut screen = master.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(read) = screen.read(&mut buffer) {
            if read == 0 || part.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut shown = Shown { parts, text: String::new() };
    for (question, answer) in [
        ("Which app", "My App"),
        ("is no name", "shop"),
        ("addresses or CIDRs", "10.20.0.0/16, 10.21.0.0/16"),
        ("apikey", "the-apikey"),
        ("apisecret", SECRET),
        ("whitelist", ""),
        ("events go", "http://10.20.0.5/hook"),
    ] {
        shown.wait(question);
        writeln!(master, "{answer}").unwrap();
    }
    assert!(child.wait().unwrap().success(), "{}", shown.text);
    assert!(!shown.text.contains(SECRET), "{}", shown.text);
    assert_eq!(text(folder.path().join("secrets/apisecret")), format!("{SECRET}\n"));
    let config = text(folder.path().join("config.yaml"));
    for answer in ["name: shop", r#"["10.20.0.0/16", "10.21.0.0/16"]"#, "http://10.20.0.5/hook"] {
        assert!(config.contains(answer), "{answer} is not in\n{config}");
    }
    run(folder.path(), &["check"]).assert().success();
}

#[test]
fn shells_complete_commands() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = run(folder.path(), &["completions", shell]).assert().success();
        assert!(String::from_utf8_lossy(&script.get_output().stdout).contains("callback-url"), "{shell}");
    }
    let completed = format!(
        "source <('{}' completions bash)
        COMP_WORDS=(xinyao-gateway callb) COMP_CWORD=1
        by=$(complete -p xinyao-gateway) && by=${{by#*-F }}
        ${{by%% *}} xinyao-gateway callb xinyao-gateway
        echo \"${{COMPREPLY[@]}}\"",
        env!("CARGO_BIN_EXE_xinyao-gateway")
    );
    Command::new("bash").args(["-c", &completed]).assert().success().stdout("callback-url\n");
    run(folder.path(), &["completions", "csh"]).assert().code(2);
}

#[test]
fn each_command_has_its_page() {
    let folder = tempfile::tempdir().unwrap();
    let page = run(folder.path(), &["man"]).assert().success();
    assert!(String::from_utf8_lossy(&page.get_output().stdout).contains(".TH xinyao-gateway 1"));
    run(folder.path(), &["man", "--out", "pages"]).assert().success();
    let pages = fs::read_dir(folder.path().join("pages")).unwrap();
    let pages: BTreeSet<String> =
        pages.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let help = run(folder.path(), &["--help"]).assert().success();
    let help = String::from_utf8_lossy(&help.get_output().stdout).into_owned();
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    for command in commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()) {
        let page = format!("xinyao-gateway-{command}.1");
        assert!(command.is_empty() || command == "help" || pages.contains(&page), "no {page} in {pages:?}");
    }
}
