//! `init`: a first configuration, valid as it is written, with each secret in a file of its own.

mod draft;
mod keep;
mod terminal;

use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use self::draft::Draft;
use self::keep::Secrets;
use self::terminal::Terminal;
use super::arguments::Init;
use super::{Failed, print};
use crate::config;

/// Writes the configuration to `file`.
pub(super) fn init(asked: Init, file: &Path) -> Result<(), Failed> {
    if file.exists() && !asked.force {
        let there = file.display();
        return Err(Failed::Usage(format!(
            "{there} is there already, and is left as it is; --force replaces it, --config FILE writes another"
        )));
    }
    let mut secrets = Secrets::beside(file);
    let force = asked.force;
    let draft =
        if std::io::stdin().is_terminal() { ask(asked, &mut secrets)? } else { take(asked, &mut secrets)? };
    secrets.generate("callback-key")?;
    secrets.generate("admin-token")?;
    let text = draft.text(&secrets);
    config::parse(&file.display().to_string(), &text, &secrets).map_err(|faults| {
        Failed::Usage(format!("what was asked for makes no valid configuration:\n{faults}"))
    })?;
    let mut written = secrets.write()?;
    keep::write(file, &text, force)?;
    written.insert(0, file.to_owned());
    print(&told(&written, &draft.app, file))
}

/// What flags say, and defaults.
fn take(asked: Init, secrets: &mut Secrets) -> Result<Draft, Failed> {
    if let Some(apikey) = asked.apikey {
        secrets.set("apikey", apikey.into());
    }
    let mut missing = Vec::new();
    if !secrets.has("apikey") {
        missing.push("--apikey");
    }
    if asked.apisecret_file.is_none() && !secrets.has("apisecret") {
        missing.push("--apisecret-file");
    }
    if !missing.is_empty() {
        return Err(Failed::Usage(format!(
            "{} must be given where nobody can be asked; see xinyao-gateway init --help",
            missing.join(" and ")
        )));
    }
    let or_here = |networks: Vec<String>| if networks.is_empty() { here() } else { networks };
    Ok(Draft {
        app: asked.app.unwrap_or_else(|| APP.into()),
        networks: or_here(asked.network),
        apisecret_file: asked.apisecret_file,
        allowed_ips: asked.allowed_ip,
        public_url: asked.public_url.unwrap_or_else(|| PUBLIC_URL.into()),
        subscriber: asked.subscriber,
    })
}

/// What flags say, and somebody at the terminal.
fn ask(asked: Init, secrets: &mut Secrets) -> Result<Draft, Failed> {
    let terminal = Terminal::new();
    let app = match asked.app {
        Some(app) => app,
        None => terminal.ask("Which app may call?", APP, app)?,
    };
    let networks = match asked.network {
        networks if networks.is_empty() => {
            terminal.ask_list("From which addresses or CIDRs?", &here().join(" "), network)?
        }
        networks => networks,
    };
    match asked.apikey {
        Some(apikey) => secrets.set("apikey", apikey.into()),
        None if secrets.has("apikey") => {}
        None => secrets.set("apikey", terminal.ask("apikey, as the SaaS gave it out:", "", one_line)?.into()),
    }
    if asked.apisecret_file.is_none() && !secrets.has("apisecret") {
        let secret: SecretString = terminal.ask_secret("apisecret (it does not show):")?;
        secrets.set("apisecret", secret);
    }
    let allowed_ips = match asked.allowed_ip {
        addresses if addresses.is_empty() => terminal.ask_list(
            "Which addresses has the SaaS's whitelist? (none: not known yet)",
            "",
            address,
        )?,
        addresses => addresses,
    };
    let public_url = match asked.public_url {
        Some(url) => url,
        None => terminal.ask("How does the SaaS reach port 8081 of this host?", PUBLIC_URL, url)?,
    };
    let subscriber = match asked.subscriber {
        Some(url) => Some(url),
        None => terminal
            .ask_list("Where do the app's events go? (nothing: to nobody yet)", "", url)?
            .into_iter()
            .next(),
    };
    Ok(Draft { app, networks, apisecret_file: asked.apisecret_file, allowed_ips, public_url, subscriber })
}

const APP: &str = "crm";
const PUBLIC_URL: &str = "http://localhost:8081";

fn here() -> Vec<String> {
    vec!["127.0.0.1".into(), "::1".into()]
}

fn told(written: &[PathBuf], app: &str, file: &Path) -> String {
    let mut text = String::new();
    for path in written {
        text += &format!("wrote {}\n", path.display());
    }
    let config = if file == Path::new("config.yaml") {
        String::new()
    } else {
        format!(" --config {}", file.display())
    };
    let token = Secrets::beside(file).path("admin-token");
    text + &format!(
        "\nNext:\n  xinyao-gateway check{config}\n  xinyao-gateway doctor{config}   # names, connections, clock, \
         addresses, disk\n  xinyao-gateway run{config}\n  xinyao-gateway callback-url --app {app}{config}   # what \
         the SaaS is to push to\nConsole, once it runs: http://127.0.0.1:9090/ (its token is in {})\n",
        token.display()
    )
}

/// An app's name.
pub(super) fn app(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !text.is_empty() && text.chars().all(good) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no name: a-z, 0-9 and -"))
}

/// An address, or a network in CIDR notation.
pub(super) fn network(text: &str) -> Result<String, String> {
    let good = text.parse::<IpAddr>().is_ok() || text.parse::<ipnet::IpNet>().is_ok();
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no address or CIDR, as in 10.20.0.0/16"))
    }
}

/// An address.
pub(super) fn address(text: &str) -> Result<String, String> {
    text.parse::<IpAddr>().map(|address| address.to_string()).map_err(|_| format!("{text:?} is no address"))
}

/// An http or https URL.
pub(super) fn url(text: &str) -> Result<String, String> {
    let uri: Option<http::Uri> = text.parse().ok();
    let good =
        uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no URL, as in https://callbacks.example.com"))
    }
}

fn one_line(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it is needed".into()) } else { Ok(text.to_owned()) }
}
