//! `sandbox`: the stand-in SaaS by itself.

use anyhow::Context;

use super::arguments::Sandbox;
use super::{Failed, print};
use crate::xinyao::Credential;
use crate::{app, sandbox, telemetry};

/// Serves until SIGTERM or SIGINT.
pub(super) async fn sandbox(asked: Sandbox) -> Result<(), Failed> {
    telemetry::log::start(telemetry::Settings {
        format: telemetry::Format::Text,
        level: tracing::level_filters::LevelFilter::INFO,
        access: false,
        mask_numbers: true,
    });
    let credential = Credential { apikey: asked.apikey, apisecret: asked.apisecret.into() };
    let settings = sandbox::Settings {
        allowed_ips: asked.allow_ip,
        speed: asked.speed,
        inbound_url: asked.inbound_url,
        faults: asked.fault,
        seed: asked.seed,
        ..sandbox::Settings::new(asked.listen, credential)
    };
    let bound = sandbox::bind(settings).await;
    let sandbox = bound.with_context(|| format!("the sandbox cannot listen on {}", asked.listen))?;
    // Asked for before the address is told, so that whoever reads it can end this at once.
    let stop = app::asked_to_stop()?;
    print(&format!("sandbox: listening on http://{}\n", sandbox.local_addr()))?;
    sandbox.run(stop).await;
    Ok(())
}
