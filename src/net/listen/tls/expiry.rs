//! When a certificate runs out (RFC 5280 §4.1.2.5). rustls looks at that of others, not of our own.

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The Unix second after which `certificate`, in DER, is no longer valid; `None` where it does not say.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    let mut certificate = Der(Der(certificate).value(SEQUENCE)?);
    let mut signed = Der(certificate.value(SEQUENCE)?);
    // Version (only from 2 on), serial number, signature's algorithm, issuer.
    let before = if signed.0.first() == Some(&VERSION) { 4 } else { 3 };
    for _ in 0..before {
        signed.next()?;
    }
    let mut validity = Der(signed.value(SEQUENCE)?);
    validity.next()?;
    let (tag, time) = validity.next()?;
    seconds(tag, std::str::from_utf8(time).ok()?)
}

fn seconds(tag: u8, time: &str) -> Option<i64> {
    let time = match tag {
        // Two digits stand for 1950 to 2049.
        UTC_TIME => format!("{}{time}", if time.get(..2)? < "50" { "20" } else { "19" }),
        GENERALIZED_TIME => time.to_owned(),
        _ => return None,
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%SZ", time).ok()?;
    Some(jiff::tz::Offset::UTC.to_timestamp(time).ok()?.as_second())
}

/// Elements one after the other, of which the first are taken off.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag, of one byte as all are here, and its value.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, short], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match short {
            0..=0x7f => (usize::from(short), rest),
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
                (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    /// The next element's value, if it has this tag.
    fn value(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["gateway.test".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 3, 4);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn either_form_of_a_time_is_read() {
        // date -u -d 2031-03-04 +%s; from 2050 on it is written otherwise.
        assert_eq!(not_after(&certificate(2031)), Some(1_930_348_800));
        assert_eq!(not_after(&certificate(2061)), Some(2_877_120_000));
        assert_eq!(seconds(UTC_TIME, "990101000000Z"), Some(915_148_800));
        assert_eq!(seconds(UTC_TIME, "9901010000Z"), None);
    }

    proptest! {
        #[test]
        fn nothing_upsets_it(bytes: Vec<u8>, at in 0_usize..300, byte: u8) {
            not_after(&bytes);
            let mut broken = certificate(2031);
            broken[at] = byte;
            not_after(&broken);
            not_after(&broken[..at]);
        }
    }
}
