//! Cursors as callers see them: the store's own, with a mark that tells one that was never given out.
//! Without it a mistyped cursor would read as the end of the list.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What is listed; a cursor of one listing is none of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    Events,
    DeadLetters,
    Requests,
    Batches,
    /// Numbers of a batch.
    Missing,
}

impl Listing {
    /// The store's cursor, to be given out.
    pub(super) fn shown(self, cursor: &str) -> String {
        let mut bytes = self.mark(cursor.as_bytes()).to_vec();
        bytes.extend_from_slice(cursor.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The store's cursor that was given out as `shown`.
    pub(super) fn meant(self, shown: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(shown).ok()?;
        let (mark, cursor) = bytes.split_at_checked(4)?;
        let cursor = (self.mark(cursor) == mark).then_some(cursor)?;
        String::from_utf8(cursor.to_vec()).ok()
    }

    fn mark(self, cursor: &[u8]) -> [u8; 4] {
        let mut hash = crc32fast::Hasher::new();
        hash.update(match self {
            Self::Events => b"events",
            Self::DeadLetters => b"dead letters",
            Self::Requests => b"requests",
            Self::Batches => b"batches",
            Self::Missing => b"missing",
        });
        hash.update(cursor);
        hash.finalize().to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_out_is_taken() {
        let shown = Listing::Events.shown("0:42");
        assert_eq!(Listing::Events.meant(&shown).as_deref(), Some("0:42"));
        assert_eq!(Listing::DeadLetters.meant(&shown), None);
        for wrong in ["", "x", "0:42", "AAAA", "AAAAAA", &shown[1..], &format!("{shown}A")] {
            assert_eq!(Listing::Events.meant(wrong), None, "{wrong}");
        }
    }
}
