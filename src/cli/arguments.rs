//! What can be asked for.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
