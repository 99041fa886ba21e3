//! Numbers that are called, as they are told from each other.

/// What may stand before a mobile number of mainland China and makes no other of it.
const PREFIXES: [&[u8]; 4] = [b"+86", b"0086", b"86", b"0"];

/// `number` as it is compared: without blanks around it, and a mobile number of mainland China without the
/// prefixes that it may be written with. The document does not say in which of these ways a call record (§7)
/// repeats a number of the file (§6).
pub fn normal(number: &[u8]) -> &[u8] {
    let number = number.trim_ascii();
    let mut mobile = PREFIXES.iter().filter_map(|prefix| number.strip_prefix(*prefix));
    mobile.find(|rest| is_mobile(rest)).unwrap_or(number)
}

fn is_mobile(number: &[u8]) -> bool {
    matches!(number, [b'1', b'3'..=b'9', ..]) && number.len() == 11 && number.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mobile_number_is_itself_however_it_is_written() {
        for written in ["13800138000", " 13800138000\r", "+8613800138000", "008613800138000", "013800138000"]
        {
            assert_eq!(normal(written.as_bytes()), b"13800138000", "{written}");
        }
        for other in
            ["9998", "01087654321", "075512345678", "+85212345678", "8613800138", "+86", "861380013800x"]
        {
            assert_eq!(normal(other.as_bytes()), other.as_bytes());
        }
    }
}
