//! `Authorization: apikey:timestamp:md5(apisecret:timestamp)` (§3.1).

use std::time::Duration;

use md5::{Digest, Md5};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// How far a timestamp may be from the SaaS's clock, either way (§3.1).
pub const TOLERANCE: Duration = Duration::from_mins(5);

const HEX: &[u8; 16] = b"0123456789abcdef";

/// An apikey with its apisecret (§2.2).
#[derive(Debug, Clone)]
pub struct Credential {
    /// Public half; it travels in every request.
    pub apikey: String,
    /// Secret half; it never leaves this process.
    pub apisecret: SecretString,
}

impl Credential {
    /// The header's value for `timestamp` (Unix seconds).
    pub fn authorization(&self, timestamp: u64) -> Vec<u8> {
        let mut digits = [0; 20];
        let digits = decimal(timestamp, &mut digits);
        let mut value = Vec::with_capacity(self.apikey.len() + digits.len() + 34);
        value.extend_from_slice(self.apikey.as_bytes());
        value.push(b':');
        value.extend_from_slice(digits);
        value.push(b':');
        value.extend_from_slice(&self.digest(digits));
        value
    }

    /// Whether `header` carries this credential's signature for a time within [`TOLERANCE`] of `now`.
    ///
    /// # Errors
    /// The first thing wrong with it.
    pub fn verify(&self, header: &str, now: u64) -> Result<(), Invalid> {
        let mut parts = header.split(':');
        let (Some(apikey), Some(timestamp), Some(digest), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Invalid::Malformed);
        };
        if apikey != self.apikey {
            return Err(Invalid::UnknownKey);
        }
        let seconds: u64 = timestamp.parse().map_err(|_| Invalid::Malformed)?;
        if !bool::from(self.digest(timestamp.as_bytes()).ct_eq(digest.as_bytes())) {
            return Err(Invalid::WrongSignature);
        }
        if seconds.abs_diff(now) > TOLERANCE.as_secs() {
            return Err(Invalid::Expired);
        }
        Ok(())
    }

    fn digest(&self, timestamp: &[u8]) -> [u8; 32] {
        let mut hash = Md5::new();
        hash.update(self.apisecret.expose_secret());
        hash.update(b":");
        hash.update(timestamp);
        let mut hex = [0; 32];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(hash.finalize()) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        hex
    }
}

/// Why an `Authorization` header was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not three fields, or a timestamp that is no number.
    #[error("authorization is not apikey:timestamp:md5(apisecret:timestamp)")]
    Malformed,
    /// Another apikey.
    #[error("unknown apikey")]
    UnknownKey,
    /// The digest does not fit secret and timestamp.
    #[error("wrong signature")]
    WrongSignature,
    /// Signed too long ago, or too far ahead.
    #[error("timestamp is off by more than 5 minutes")]
    Expired,
}

fn decimal(mut number: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = HEX[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            return &buffer[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn credential(apikey: &str, apisecret: &str) -> Credential {
        Credential { apikey: apikey.into(), apisecret: apisecret.into() }
    }

    /// Reproduced with `printf 'SECRET:TS' | md5sum`.
    #[test]
    fn known_answers() {
        for (key, secret, timestamp, expected) in [
            ("labkey", "labsecret", 1_700_000_000, "labkey:1700000000:4db6e932d2cf86c516f7dd93361aac76"),
            ("k", "s", 0, "k:0:3982b067c1d43bf0a1a7cecd19ebed4e"),
            ("ak-心", "密钥", 1_714_435_200, "ak-心:1714435200:f65525c48517e2e7faeb9704cbdc054b"),
        ] {
            let value = credential(key, secret).authorization(timestamp);
            assert_eq!(String::from_utf8(value).unwrap(), expected);
        }
    }

    #[test]
    fn each_fault_is_told_apart() {
        let credential = credential("key", "secret");
        let good = String::from_utf8(credential.authorization(1000)).unwrap();
        assert_eq!(credential.verify(&good, 1000), Ok(()));
        assert_eq!(credential.verify(&good, 1300), Ok(()));
        assert_eq!(credential.verify(&good, 700), Ok(()));
        assert_eq!(credential.verify(&good, 1301), Err(Invalid::Expired));
        assert_eq!(credential.verify(&good, 699), Err(Invalid::Expired));
        assert_eq!(credential.verify(&good.replace("key", "kex"), 1000), Err(Invalid::UnknownKey));
        assert_eq!(credential.verify(&good.replace("1000", "1001"), 1000), Err(Invalid::WrongSignature));
        assert_eq!(credential.verify("key:1000", 1000), Err(Invalid::Malformed));
        assert_eq!(credential.verify(&format!("{good}:x"), 1000), Err(Invalid::Malformed));
    }

    #[test]
    fn the_secret_does_not_print() {
        assert!(!format!("{:?}", credential("key", "hush")).contains("hush"));
    }

    proptest! {
        #[test]
        fn what_is_signed_verifies(key in "[a-z0-9]{1,20}", secret in "\\PC{1,40}", at in 0..u64::MAX / 2) {
            let credential = credential(&key, &secret);
            let value = String::from_utf8(credential.authorization(at)).unwrap();
            prop_assert_eq!(credential.verify(&value, at), Ok(()));
            let (head, digest) = value.rsplit_once(':').unwrap();
            let expected = format!("{key}:{at}");
            prop_assert_eq!(head, expected);
            prop_assert!(digest.len() == 32 && digest.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
        }
    }
}
