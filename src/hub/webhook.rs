//! Standard Webhooks: how a delivery is signed (<https://www.standardwebhooks.com>, v1 symmetric).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// Signs with every secret, so that subscribers may change theirs one at a time.
#[derive(Clone, Default)]
pub struct Signer(Vec<Hmac<Sha256>>);

/// A secret is not `whsec_` and base64.
#[derive(Debug, thiserror::Error)]
#[error("a signing secret is not `whsec_` and base64")]
pub struct NoSecret;

impl Signer {
    /// Takes the secrets up.
    ///
    /// # Errors
    /// One of them is none.
    pub fn new(secrets: &[SecretString]) -> Result<Self, NoSecret> {
        secrets.iter().map(mac).collect::<Result<_, _>>().map(Self)
    }

    /// The value of `webhook-signature`; `None` when there is no secret.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
        let head = format!("{id}.{timestamp}.");
        let one = |mac: &Hmac<Sha256>| {
            let mut mac = mac.clone();
            mac.update(head.as_bytes());
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        };
        let signatures: Vec<String> = self.0.iter().map(one).collect();
        (!signatures.is_empty()).then(|| signatures.join(" "))
    }
}

fn mac(secret: &SecretString) -> Result<Hmac<Sha256>, NoSecret> {
    let encoded = secret.expose_secret().strip_prefix("whsec_").ok_or(NoSecret)?;
    let key = STANDARD.decode(encoded).map_err(|_| NoSecret)?;
    Hmac::new_from_slice(&key).map_err(|_| NoSecret)
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Signer").field(&self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn signs_as_the_specification_does() {
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signer = Signer::new(&[secret]).unwrap();
        let signature =
            signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn signs_with_every_secret_and_with_none() {
        let secrets = ["whsec_AAAA", "whsec_BBBB"].map(SecretString::from);
        let both = Signer::new(&secrets).unwrap().sign("id", 1, b"").unwrap();
        let apart = secrets.map(|secret| Signer::new(&[secret]).unwrap().sign("id", 1, b"").unwrap());
        assert_eq!(both, apart.join(" "));
        assert_eq!(Signer::default().sign("id", 1, b""), None);
        assert!(Signer::new(&["AAAA".into()]).is_err());
        assert!(Signer::new(&["whsec_*".into()]).is_err());
    }
}
