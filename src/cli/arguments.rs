//! What can be asked for.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::init;
use super::when::When;
use crate::net::{Origin, Scheme};
use crate::sandbox::Fault;
use crate::xinyao::callback::Kind;

const ENDS: &str = "Exit codes: 0; 1, it went wrong; 2, the arguments or the configuration are wrong.";

/// Signing gateway and callback hub in front of the Xinyao (心耀) SaaS.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, after_help = ENDS)]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(long, short, global = true, value_name = "FILE", default_value = "config.yaml")]
    pub(super) config: PathBuf,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the gateway (what it does when no command is given).
    Run,
    /// Write a first configuration file, from a few questions or flags.
    Init(Init),
    /// Check the configuration file and say everything that is wrong with it.
    Check,
    /// Print an Authorization header value, for curl.
    Sign(Sign),
    /// Print the URL that the SaaS is to push an app's callbacks to.
    CallbackUrl(CallbackUrl),
    /// Look whether the gateway can do its work from here: DNS, TCP, TLS, clock, egress IPs, store.
    Doctor,
    /// Ask the running gateway whether it is ready; for container health checks.
    Health,
    /// Print the JSON Schema of the configuration file, or of log lines.
    Schema(Schema),
    /// Print the OpenAPI document.
    Openapi,
    /// Print what a shell needs to complete commands and flags.
    Completions(Completions),
    /// Print the manual page, or write those of all commands.
    Man(Man),
    /// Run a stand-in for the SaaS, to try things out against: nobody is called.
    Sandbox(Sandbox),
    /// Ask the running gateway how it fares.
    Status(Reach),
    /// Have the running gateway read its configuration file again and take it up.
    Reload(Reach),
    /// List events, newest first, and how their deliveries stand; or show one.
    Events(Events),
    /// List deliveries that were given up, newest first.
    DeadLetters(DeadLetters),
    /// Have events delivered to a subscriber again.
    Replay(Replay),
    /// List batches of numbers, newest first, and how far they have come; or show one.
    Batches(Batches),
    /// List requests that must not be sent twice and whose outcome is unknown; or settle one.
    Requests(Requests),
    /// Show it all at work: a gateway and a sandbox in one process, and a campaign from end to end.
    Demo(Demo),
}

/// `init`
#[derive(Debug, Args)]
pub(super) struct Init {
    /// The app that may call: a-z 0-9 -.
    #[arg(long, value_name = "NAME", value_parser = init::app)]
    pub(super) app: Option<String>,
    /// Where it calls from, an address or a CIDR; may be given again.
    #[arg(long, value_name = "CIDR", value_parser = init::network)]
    pub(super) network: Vec<String>,
    /// What the SaaS gave out; kept in a file of its own.
    #[arg(long, value_name = "K")]
    pub(super) apikey: Option<String>,
    /// The file that the apisecret is in (as an argument, all users of this host could see it).
    #[arg(long, value_name = "FILE")]
    pub(super) apisecret_file: Option<PathBuf>,
    /// An address that is registered in the SaaS's whitelist; may be given again.
    #[arg(long, value_name = "IP", value_parser = init::address)]
    pub(super) allowed_ip: Vec<String>,
    /// How the SaaS reaches the callbacks listener.
    #[arg(long, value_name = "URL", value_parser = init::url)]
    pub(super) public_url: Option<String>,
    /// Where the app's events go.
    #[arg(long, value_name = "URL", value_parser = init::url)]
    pub(super) subscriber: Option<String>,
    /// Replace the file, if there is one.
    #[arg(long)]
    pub(super) force: bool,
}

/// `completions`
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which shell.
    pub(super) shell: clap_complete::Shell,
}

/// `man`
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write the pages of all commands into this folder, instead.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
}

/// `sign`
#[derive(Debug, Args)]
pub(super) struct Sign {
    /// Which of the configured credentials signs.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(super) credential: String,
    /// Unix seconds to sign for, instead of now.
    #[arg(long, value_name = "N")]
    pub(super) timestamp: Option<u64>,
}

/// `callback-url`
#[derive(Debug, Args)]
pub(super) struct CallbackUrl {
    /// Whose callbacks.
    #[arg(long, value_name = "NAME")]
    pub(super) app: String,
    /// Told to subscribers with each callback that comes to this URL: A-Z a-z 0-9 - . _ ~, at most 64.
    #[arg(long, value_name = "TEXT")]
    pub(super) label: Option<String>,
}

/// `schema`
#[derive(Debug, Args)]
pub(super) struct Schema {
    /// Of a log line, as they are with log.format json, instead of the configuration file.
    #[arg(long)]
    pub(super) log: bool,
}

/// `sandbox`
#[derive(Debug, Args)]
pub(super) struct Sandbox {
    /// Where it listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9100")]
    pub(super) listen: SocketAddr,
    /// The apikey that it knows.
    #[arg(long, value_name = "K")]
    pub(super) apikey: String,
    /// The apisecret that goes with it.
    #[arg(long, value_name = "S")]
    pub(super) apisecret: String,
    /// How much faster than life simulated calls go.
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = speed)]
    pub(super) speed: f64,
    /// What goes wrong, and how often; may be given again. Kinds: latency[:500ms], http-400 to http-599,
    /// code[:N], drop, drop-mid, hang, skew:400s. RATE is from 0 to 1.
    #[arg(long, value_name = "KIND=RATE")]
    pub(super) fault: Vec<Fault>,
    /// An address of the IP whitelist (§2.2); may be given again. None: any address.
    #[arg(long, value_name = "IP")]
    pub(super) allow_ip: Vec<IpAddr>,
    /// Whom to ask (§9) when somebody rings back who missed a call.
    #[arg(long, value_name = "URL")]
    pub(super) inbound_url: Option<String>,
    /// Makes its dice repeatable.
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
}

fn speed(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|speed: &f64| speed.is_finite() && *speed > 0.0);
    number.ok_or_else(|| "give a number above 0; 60 makes a minute a second".to_owned())
}

/// `demo`
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// End after one campaign, instead of staying up until Ctrl-C.
    #[arg(long)]
    pub(super) exit: bool,
}

/// Which running gateway is meant, and how it is to answer.
#[derive(Debug, Args)]
pub(super) struct Reach {
    /// Its admin listener, instead of the configuration file's.
    #[arg(long, value_name = "URL", value_parser = admin_url)]
    pub(super) admin: Option<AdminUrl>,
    /// Its admin.token, instead of the configuration file's; with --admin, $ADMIN_TOKEN is looked at too.
    #[arg(long, value_name = "TOKEN")]
    pub(super) token: Option<String>,
    /// Print what the API answers, as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Where an admin listener is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AdminUrl {
    pub(super) origin: Origin,
    /// What something in front adds to paths; without a slash at its end.
    pub(super) path: String,
}

fn admin_url(text: &str) -> Result<AdminUrl, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let help = || format!("{text:?} is no URL like http://127.0.0.1:9090");
    let uri: http::Uri = whole.parse().map_err(|_| help())?;
    let (scheme, port) = match uri.scheme_str() {
        Some("http") => (Scheme::Http, 80),
        Some("https") => (Scheme::Https, 443),
        _ => return Err(help()),
    };
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(help)?;
    let odd_port = authority.as_str() != authority.host() && authority.port_u16().is_none();
    if uri.query().is_some() || odd_port {
        return Err(help());
    }
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let origin = Origin { scheme, host, port: authority.port_u16().unwrap_or(port) };
    Ok(AdminUrl { origin, path: uri.path().trim_end_matches('/').to_owned() })
}

/// `events`
#[derive(Debug, Args)]
pub(super) struct Events {
    /// Show this event with its attempts, instead of a list.
    #[arg(conflicts_with_all = ["app", "event", "task_id", "call_sn", "since", "until", "cursor"])]
    pub(super) id: Option<String>,
    /// Only those of this app.
    #[arg(long)]
    pub(super) app: Option<String>,
    /// Only those of this kind: call_record, intent_result, inbound_query or unknown.
    #[arg(long, value_name = "KIND")]
    pub(super) event: Option<Kind>,
    /// Only those of this task.
    #[arg(long, value_name = "ID")]
    pub(super) task_id: Option<String>,
    /// Only those of this batch.
    #[arg(long, value_name = "ID")]
    pub(super) call_sn: Option<String>,
    /// Only those that came then or later: RFC 3339, or how long ago, e.g. 90m, 24h, 7d.
    #[arg(long, value_name = "T")]
    pub(super) since: Option<When>,
    /// Only those that came before then.
    #[arg(long, value_name = "T")]
    pub(super) until: Option<When>,
    #[command(flatten)]
    pub(super) page: Page,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Which part of a list.
#[derive(Debug, Args)]
pub(super) struct Page {
    /// Most rows.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) limit: u16,
    /// Where the page before ended.
    #[arg(long)]
    pub(super) cursor: Option<String>,
}

/// `dead-letters`
#[derive(Debug, Args)]
pub(super) struct DeadLetters {
    /// Only those of this subscriber.
    #[arg(long, value_name = "NAME")]
    pub(super) subscriber: Option<String>,
    #[command(flatten)]
    pub(super) page: Page,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// `replay`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub(super) struct Replay {
    /// To whom.
    pub(super) subscriber: String,
    /// Events that came then or later: RFC 3339, or how long ago, e.g. 90m, 24h, 7d.
    #[arg(long, value_name = "T", group = "which")]
    pub(super) since: Option<When>,
    /// Events that came before then.
    #[arg(long, value_name = "T", requires = "since")]
    pub(super) until: Option<When>,
    /// Its dead letters.
    #[arg(long, group = "which")]
    pub(super) dead_letters: bool,
    /// One event.
    #[arg(long, value_name = "ID", group = "which")]
    pub(super) event: Option<String>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// `batches`
#[derive(Debug, Args)]
pub(super) struct Batches {
    /// Show this batch, instead of a list.
    #[arg(conflicts_with = "app")]
    pub(super) call_sn: Option<String>,
    /// List the numbers of this batch that have no call record, by their rows in the uploaded file.
    #[arg(long, requires = "call_sn")]
    pub(super) missing: bool,
    /// Only those of this app.
    #[arg(long)]
    pub(super) app: Option<String>,
    #[command(flatten)]
    pub(super) page: Page,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// `requests`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Requests {
    #[command(subcommand)]
    pub(super) settle: Option<SettleRequest>,
    /// In which state: unknown, under_way, done, or any.
    #[arg(long, default_value = "unknown", value_parser = ["unknown", "under_way", "done", "any"])]
    pub(super) state: String,
    #[command(flatten)]
    pub(super) page: Page,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// `requests settle`
#[derive(Debug, Subcommand)]
pub(super) enum SettleRequest {
    /// Decide about a request whose outcome is unknown, once it is known whether the SaaS acted on it.
    Settle {
        /// Its id, as `requests` lists it.
        id: String,
        /// done: the SaaS acted on it, and the same request stays refused. not-sent: it did not, and the same
        /// request may be sent again.
        #[arg(long, value_enum)]
        outcome: Outcome,
        #[command(flatten)]
        reach: Reach,
    },
}

/// What came of a request.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Outcome {
    /// The SaaS acted on it.
    Done,
    /// It did not.
    #[value(alias = "not_sent")]
    NotSent,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_admin_listener_is_named_by_url() {
        let url = |text| admin_url(text).map(|url| (url.origin.to_string(), url.path));
        assert_eq!(url("127.0.0.1:9090"), Ok(("http://127.0.0.1:9090".into(), String::new())));
        assert_eq!(url("https://ops.example/gw/"), Ok(("https://ops.example".into(), "/gw".into())));
        assert_eq!(url("http://[::1]:9090"), Ok(("http://[::1]:9090".into(), String::new())));
        for wrong in ["ftp://x", "http://", "http://a:b@c", "http://x/?y", "http://x:port"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
