//! Callback URLs: who has one was given it. The token in it is the only proof that a callback is meant for
//! its app, and so a secret.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// Bytes of the digest that make the token.
const TOKEN_BYTES: usize = 16;
/// Longest label.
const MAX_LABEL: usize = 64;

/// What signs callback URLs.
#[derive(Debug, Clone)]
pub struct Keys(Vec<SecretString>);

impl Keys {
    /// The first signs, all verify. Where there is none, which is allowed on loopback only, an empty key
    /// does both: tokens are then the same everywhere, and prove nothing.
    pub fn new(keys: &[SecretString]) -> Self {
        Self(if keys.is_empty() { vec![SecretString::default()] } else { keys.to_vec() })
    }

    /// The token of `app`.
    pub fn token(&self, app: &str) -> String {
        self.0.first().map_or_else(String::new, |key| hex::encode(digest(key, app)))
    }

    /// Where the SaaS may have been told to push callbacks of `app`: by each key, the one that signs first.
    pub fn urls(&self, public_url: &str, app: &str) -> impl Iterator<Item = String> {
        self.0
            .iter()
            .map(move |key| format!("{public_url}/callbacks/{app}/{}", hex::encode(digest(key, app))))
    }

    /// Whether `token` is one of `app`'s. Takes as long for any wrong one, whichever key it is near to.
    pub fn verify(&self, app: &str, token: &str) -> bool {
        let matches = |key: &SecretString| hex::encode(digest(key, app)).as_bytes().ct_eq(token.as_bytes());
        self.0.iter().map(matches).fold(Choice::from(0), |any, one| any | one).into()
    }

    /// Where the SaaS is to push callbacks of `app`.
    pub fn url(&self, public_url: &str, app: &str, label: Option<&str>) -> String {
        let label = label.map_or_else(String::new, |label| format!("/{label}"));
        format!("{public_url}/callbacks/{app}/{}{label}", self.token(app))
    }
}

fn digest(key: &SecretString, app: &str) -> [u8; TOKEN_BYTES] {
    let mut token = [0; TOKEN_BYTES];
    // HMAC takes keys of any length.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes()) {
        mac.update(app.as_bytes());
        token.copy_from_slice(&mac.finalize().into_bytes()[..TOKEN_BYTES]);
    }
    token
}

/// Whether a label can stand in a URL as it is: 1 to 64 of the characters that are never escaped there
/// (RFC 3986 §2.3), and neither `.` nor `..`, which clients would resolve.
pub fn is_label(text: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (1..=MAX_LABEL).contains(&text.len()) && text.bytes().all(unreserved) && !matches!(text, "." | "..")
}

/// App, token and label of a path: `/callbacks/{app}/{token}[/{label}]`.
pub fn parts(path: &str) -> Option<(&str, &str, Option<&str>)> {
    let (app, rest) = path.strip_prefix("/callbacks/")?.split_once('/')?;
    match rest.split_once('/') {
        None => Some((app, rest, None)),
        Some((token, label)) => is_label(label).then_some((app, token, Some(label))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[&str]) -> Keys {
        Keys::new(&keys.iter().map(|key| SecretString::from(*key)).collect::<Vec<_>>())
    }

    /// printf %s crm | openssl dgst -sha256 -hmac KEY | cut -c-32
    #[test]
    fn tokens_are_what_openssl_says() {
        assert_eq!(
            keys(&["0123456789abcdef0123456789abcdef"]).token("crm"),
            "1d688e2844b70f3c27399218b0cad03e"
        );
        assert_eq!(keys(&[]).token("crm"), "8e67c5f379d525f0529203427b96d156");
    }

    #[test]
    fn all_keys_verify_and_the_first_signs() {
        let (old, new, both) = (keys(&["old"]), keys(&["new"]), keys(&["new", "old"]));
        assert_eq!(both.token("crm"), new.token("crm"));
        assert!(both.verify("crm", &old.token("crm")) && both.verify("crm", &new.token("crm")));
        assert!(!new.verify("crm", &old.token("crm")));
        assert!(!both.verify("erp", &new.token("crm")));
        let token = new.token("crm");
        for wrong in ["", &token[1..], &token.to_uppercase(), &format!("{token}0"), &"0".repeat(32)] {
            assert!(!both.verify("crm", wrong), "{wrong}");
        }
    }

    #[test]
    fn a_url_leads_back_to_its_parts() {
        let keys = keys(&["k"]);
        let token = keys.token("crm");
        let url = keys.url("https://gw.example.com/x", "crm", Some("vip"));
        assert_eq!(url, format!("https://gw.example.com/x/callbacks/crm/{token}/vip"));
        let path = url.strip_prefix("https://gw.example.com/x").unwrap();
        assert_eq!(parts(path), Some(("crm", token.as_str(), Some("vip"))));
        assert_eq!(parts("/callbacks/crm/t"), Some(("crm", "t", None)));
        for path in
            ["/", "/callbacks", "/callbacks/crm", "/callbacks/crm/t/", "/callbacks/crm/t/a/b", "/x/crm/t"]
        {
            assert_eq!(parts(path), None, "{path}");
        }
    }

    #[test]
    fn labels_are_short_and_plain() {
        for label in ["vip", "A-1_b.c~", &"x".repeat(64)] {
            assert!(is_label(label), "{label}");
        }
        for label in ["", ".", "..", "a b", "a%20b", "贵宾", "a/b", "a?", &"x".repeat(65)] {
            assert!(!is_label(label), "{label}");
        }
    }
}
