//! What can be asked for.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::sandbox::Fault;

/// Signing gateway and callback hub in front of the Xinyao (心耀) SaaS.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
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
    /// Check the configuration file and say everything that is wrong with it.
    Check,
    /// Print an Authorization header value, for curl.
    Sign(Sign),
    /// Look whether the gateway can do its work from here: DNS, TCP, TLS, clock, egress IPs, store.
    Doctor,
    /// Ask the running gateway whether it is ready; for container health checks.
    Health,
    /// Print the JSON Schema of the configuration file.
    Schema,
    /// Print the OpenAPI document.
    Openapi,
    /// Run a stand-in for the SaaS, to try things out against: nobody is called.
    Sandbox(Sandbox),
    /// Show it all at work: a gateway and a sandbox in one process, and a campaign from end to end.
    Demo(Demo),
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
