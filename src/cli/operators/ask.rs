//! Paths and query strings.

/// `a=b&c=d` of what is given.
pub(super) fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", segment((*value)?))));
    given.collect::<Vec<_>>().join("&")
}

/// `text` as a part of a path or query (RFC 3986 §2.3).
pub(super) fn segment(text: &str) -> String {
    let mut segment = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_special_is_escaped() {
        let parameters =
            [("app", Some("心 耀&x=1")), ("cursor", None), ("since", Some("2026-11-24T08:00:00Z"))];
        assert_eq!(query(&parameters), "app=%E5%BF%83%20%E8%80%80%26x%3D1&since=2026-11-24T08%3A00%3A00Z");
    }
}
