//! The operators' API of a running gateway.

use std::path::Path;

use anyhow::anyhow;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::told;
use crate::cli::arguments::{AdminUrl, Reach};
use crate::cli::exchange::{Answer, Trouble, exchange};
use crate::cli::health::reachable;
use crate::cli::{Failed, load};

/// Where it is, and what it wants to be shown.
pub(super) struct Api {
    url: AdminUrl,
    token: Option<SecretString>,
}

impl Api {
    /// The one that `--admin` names, or else the one of the configuration file.
    pub(super) fn reached(reach: &Reach, file: &Path) -> Result<Self, Failed> {
        let token = reach.token.clone().map(SecretString::from);
        if let Some(url) = &reach.admin {
            let token = token.or_else(|| std::env::var("ADMIN_TOKEN").ok().map(SecretString::from));
            return Ok(Self {
                url: url.clone(),
                token: token.filter(|token| !token.expose_secret().is_empty()),
            });
        }
        let settings = load(file)
            .map_err(|failed| match failed {
                Failed::Usage(faults) => {
                    let hint = "to ask a gateway elsewhere, name it: --admin http://127.0.0.1:9090";
                    Failed::Usage(format!("{faults}\n{hint}"))
                }
                other => other,
            })?
            .config
            .admin;
        let url = AdminUrl { origin: reachable(settings.address), path: String::new() };
        Ok(Self { url, token: token.or(settings.token) })
    }

    /// What is at `path`.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failed> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// What `path` answers to `told`.
    pub(super) async fn post(&self, path: &str, told: &Value) -> Result<Value, Failed> {
        self.ask(Method::POST, path, told.to_string().into()).await
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Value, Failed> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url.path));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(body).map_err(|error| anyhow!("this can't be asked: {error}"))?;
        let answer = exchange(&self.url.origin, request).await.map_err(unreached)?;
        self.understood(&answer)
    }

    fn understood(&self, answer: &Answer) -> Result<Value, Failed> {
        let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let origin = &self.url.origin;
        if answer.status.is_success() {
            return Ok(body.ok_or_else(|| anyhow!("{origin} answered with something that is no JSON"))?);
        }
        if answer.status == StatusCode::UNAUTHORIZED {
            let wrong = if self.token.is_some() { "refuses this token" } else { "wants a token" };
            return Err(anyhow!("{origin} {wrong}; give that of admin.token: --token TOKEN").into());
        }
        let detail = body.as_ref().and_then(|body| body["detail"].as_str());
        let mut detail =
            detail.map_or_else(|| "is this a gateway's admin listener?".to_owned(), str::to_owned);
        if let Some(body) = &body {
            detail += &told::faults(body);
        }
        Err(anyhow!("{origin} answered {}: {detail}", answer.status).into())
    }
}

fn unreached(trouble: Trouble) -> Failed {
    let hint = match &trouble {
        Trouble::Connect(..) => {
            "\n  is the gateway running there? --config FILE or --admin URL say where its admin listener is"
        }
        Trouble::Broken(..) => "\n  is this a gateway's admin listener, and is it http or https?",
        Trouble::Silent(_) => "",
    };
    Failed::Error(anyhow!("{:#}{hint}", anyhow::Error::from(trouble)))
}
