//! Whether text is UTF-8 or GB18030, told while it streams by.

/// Follows a text in both readings.
#[derive(Debug, Default)]
pub(super) struct Encoding {
    utf8: Utf8,
    gb: Gb,
}

impl Encoding {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.utf8.feed(bytes);
        self.gb.feed(bytes);
    }

    /// Whether it was either; of a text with a byte order mark, UTF-8.
    pub(super) fn is_known(&self, marked: bool) -> bool {
        let utf8 = !self.utf8.bad && self.utf8.length == 0;
        utf8 || (!marked && self.gb == Gb::Between)
    }
}

#[derive(Debug, Default)]
struct Utf8 {
    bad: bool,
    /// A character whose end has not come.
    begun: [u8; 4],
    length: usize,
}

impl Utf8 {
    fn feed(&mut self, mut bytes: &[u8]) {
        while self.length > 0 && !self.bad {
            let Some((&byte, rest)) = bytes.split_first() else { return };
            self.begun[self.length] = byte;
            self.length += 1;
            bytes = rest;
            match std::str::from_utf8(&self.begun[..self.length]) {
                Ok(_) => self.length = 0,
                // Of four bytes it can be told: so there is room for the next one.
                Err(error) => self.bad = error.error_len().is_some(),
            }
        }
        if self.bad {
            return;
        }
        if let Err(error) = std::str::from_utf8(bytes) {
            self.bad = error.error_len().is_some();
            let begun = &bytes[error.valid_up_to()..];
            if !self.bad {
                self.length = begun.len();
                self.begun[..begun.len()].copy_from_slice(begun);
            }
        }
    }
}

/// Where in a character of GB18030 we are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Gb {
    #[default]
    Between,
    /// Behind the first byte of two or four.
    First,
    /// Behind the second of four.
    Second,
    /// Behind the third of four.
    Third,
    Bad,
}

impl Gb {
    fn feed(&mut self, mut bytes: &[u8]) {
        if *self == Self::Bad {
            return;
        }
        loop {
            if *self == Self::Between {
                bytes = &bytes[ascii(bytes)..];
            }
            let Some((&byte, rest)) = bytes.split_first() else { return };
            *self = self.after(byte);
            bytes = rest;
            if *self == Self::Bad {
                return;
            }
        }
    }

    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Between, 0..=0x7f) => Self::Between,
            (Self::Between, 0x81..=0xfe) => Self::First,
            (Self::First, 0x40..=0x7e | 0x80..=0xfe) => Self::Between,
            (Self::First, b'0'..=b'9') => Self::Second,
            (Self::Second, 0x81..=0xfe) => Self::Third,
            (Self::Third, b'0'..=b'9') => Self::Between,
            _ => Self::Bad,
        }
    }
}

/// How many bytes at the beginning are ASCII; some may be missed, which is then found out one by one.
fn ascii(bytes: &[u8]) -> usize {
    let words = bytes.chunks_exact(8).take_while(|word| word.iter().fold(0, |all, byte| all | byte) < 0x80);
    let found = words.count() * 8;
    found + bytes[found..].iter().take(8).take_while(|byte| byte.is_ascii()).count()
}
