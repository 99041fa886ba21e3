//! The configuration that is written.

use std::path::{Path, PathBuf};

use super::keep::Secrets;

/// What was answered.
pub(super) struct Draft {
    pub(super) app: String,
    pub(super) networks: Vec<String>,
    /// Where the apisecret is, if not among the secrets that are written.
    pub(super) apisecret_file: Option<PathBuf>,
    pub(super) allowed_ips: Vec<String>,
    pub(super) public_url: String,
    pub(super) subscriber: Option<String>,
}

impl Draft {
    /// The file's text.
    pub(super) fn text(&self, secrets: &Secrets) -> String {
        let secret = |name: &str| quoted(&secrets.path(name));
        let apisecret = self.apisecret_file.as_deref().map_or_else(|| secret("apisecret"), quoted);
        let subscribers = match &self.subscriber {
            None => " []                  # e.g. [{ name: crm-hook, url: \"http://10.20.0.5/xinyao\" }]"
                .to_owned(),
            Some(url) => format!(
                "\n  - name: {}-hook\n    url: {}\n    apps: [{}]\n    events: [call_record, intent_result]   # \
                 inbound_query and unknown may be added",
                self.app,
                yaml(url),
                yaml(&self.app)
            ),
        };
        format!(
            "\
# Configuration of xinyao-gateway. What is not here has its default: docs/configuration.md has every key.
# Secrets are in files of their own. Relative paths start at the working directory.
# xinyao-gateway check   says everything that is wrong with this file, xinyao-gateway doctor   with this host.

listen:
  proxy: 0.0.0.0:8080            # for apps, with unsigned requests
  callbacks: 0.0.0.0:8081        # for the SaaS
  admin: 127.0.0.1:9090          # for operators and Prometheus
admin:
  token_file: {admin_token}   # Authorization: Bearer, for operators
proxy_url: http://localhost:8080  # how subscribers reach this host
credentials:
  default:
    apikey_file: {apikey}
    apisecret_file: {apisecret}
egress:
  allowed_ips: {allowed_ips}   # the addresses registered in the SaaS's whitelist, at most 5 (§2.2)
  source_ips: none               # auto: leave from those of them that are this host's

apps:                            # who may call; the first that matches wins, and none: 403
  - name: {app}
    networks: {networks}
    # token_file: {app_token}   # a second factor
    # app_ids: []                # tenants that it may act for; empty: any
    # rate_limits: [{{ limit: 100/s, burst: 200 }}]

callbacks:
  public_url: {public_url}   # how the SaaS reaches port 8081
  key_file: {callback_key}   # signs callback URLs: with another key, those that were given out are void
subscribers:{subscribers}

store:
  path: data/gateway.db          # callbacks are kept here before they are acknowledged: back it up
log:
  format: text                   # json, for those who collect logs
",
            admin_token = secret("admin-token"),
            apikey = secret("apikey"),
            allowed_ips = list(&self.allowed_ips),
            app = self.app,
            app_token = secret(&format!("{}-token", self.app)),
            networks = list(&self.networks),
            public_url = yaml(&self.public_url),
            callback_key = secret("callback-key"),
        )
    }
}

fn quoted(path: &Path) -> String {
    yaml(&path.display().to_string())
}

/// A scalar as YAML: as it is where that is plain, and else as JSON has it.
fn yaml(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    let tame = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') && text.chars().all(plain);
    if tame && !text.ends_with(':') { text.to_owned() } else { serde_json::json!(text).to_string() }
}

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| serde_json::json!(item).to_string()).collect();
    format!("[{}]", items.join(", "))
}
