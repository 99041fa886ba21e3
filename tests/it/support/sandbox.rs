//! The stand-in SaaS.

use std::net::SocketAddr;
use std::ops::Deref;

use tokio::task::JoinHandle;
use xinyao_gateway::sandbox::{self, Handle, Settings};
use xinyao_gateway::xinyao::Credential;

/// A sandbox that runs until it is dropped, and is controlled by the handle that it derefs to.
pub struct Sandbox {
    /// Where it listens.
    pub address: SocketAddr,
    handle: Handle,
    running: JoinHandle<()>,
}

impl Sandbox {
    /// One that knows the credential that gateways have here, and whose calls take no time.
    pub async fn start() -> Self {
        let credential = Credential { apikey: "key".into(), apisecret: "secret".into() };
        let settings = Settings::new("127.0.0.1:0".parse().unwrap(), credential);
        Self::with(Settings { seed: Some(1), speed: 1000.0, ..settings }).await
    }

    /// One with these settings.
    pub async fn with(settings: Settings) -> Self {
        let sandbox = sandbox::bind(settings).await.unwrap();
        let (address, handle) = (sandbox.local_addr(), sandbox.handle());
        Self { address, handle, running: tokio::spawn(sandbox.run(std::future::pending())) }
    }

    /// From now on, this goes wrong.
    pub fn fault(&self, fault: &str) {
        self.handle.add_fault(fault.parse().unwrap());
    }
}

impl Deref for Sandbox {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.running.abort();
    }
}
