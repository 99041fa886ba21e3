//! Finds the integer at the top-level key `code` of a JSON object, byte by byte.
//!
//! Not a parser: what is not JSON may pass for it, and the first `code` counts. It serves statistics.

use memchr::memchr2;

const KEY: &[u8; 4] = b"code";

/// Where in the text we are, and what was found.
#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    code: Option<i64>,
    /// Bytes that may yet be looked at.
    left: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Before the object.
    Start,
    /// Before a key, or at the object's end.
    BeforeKey,
    /// In a key.
    Key(Key),
    /// Between a key and its value's first byte.
    BeforeValue { wanted: bool },
    /// In the value of `code`.
    Number(Number),
    /// In a value of no interest, this many brackets deep.
    Other { depth: u32 },
    /// In a string in such a value.
    Text { depth: u32 },
    /// Behind a `\` in such a string.
    Escaped { depth: u32 },
    /// Found, or nothing left to be found.
    Done,
}

impl Scanner {
    /// To look at no more than `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { state: State::Start, code: None, left: limit }
    }

    pub(super) fn code(&self) -> Option<i64> {
        self.code
    }

    /// Looks at the next bytes; whether more are wanted.
    pub(super) fn feed(&mut self, text: &[u8]) -> bool {
        let mut text = &text[..text.len().min(self.left)];
        self.left -= text.len();
        while let Some(&byte) = text.first() {
            let used = match self.state {
                State::Done => break,
                State::Text { .. } => memchr2(b'"', b'\\', text).unwrap_or(text.len() - 1) + 1,
                _ => 1,
            };
            let byte = if used == 1 { byte } else { text[used - 1] };
            self.state = self.next(byte);
            text = &text[used..];
        }
        if self.left == 0 {
            self.state = State::Done;
        }
        !matches!(self.state, State::Done)
    }

    fn next(&mut self, byte: u8) -> State {
        match self.state {
            state @ (State::Start | State::BeforeKey) if is_blank(byte) => state,
            State::Start if byte == b'{' => State::BeforeKey,
            State::BeforeKey if byte == b'"' => State::Key(Key::default()),
            State::Key(key) => key.next(byte),
            State::BeforeValue { wanted } if is_blank(byte) || byte == b':' => State::BeforeValue { wanted },
            State::BeforeValue { wanted: true } => Number::first(byte).map_or(State::Done, State::Number),
            State::BeforeValue { wanted: false } => other(0, byte),
            State::Number(number) => self.number(number, byte),
            State::Other { depth } => other(depth, byte),
            State::Text { depth } => match byte {
                b'"' => State::Other { depth },
                b'\\' => State::Escaped { depth },
                _ => State::Text { depth },
            },
            State::Escaped { depth } => State::Text { depth },
            State::Start | State::BeforeKey | State::Done => State::Done,
        }
    }

    fn number(&mut self, number: Number, byte: u8) -> State {
        if let Some(number) = number.and(byte) {
            return State::Number(number);
        }
        if number.ends_at(byte) {
            self.code = number.value;
        }
        State::Done
    }
}

/// The next byte of a value that is skipped, outside its strings.
fn other(depth: u32, byte: u8) -> State {
    match byte {
        b'"' => State::Text { depth },
        b'{' | b'[' => State::Other { depth: depth.saturating_add(1) },
        b'}' | b']' if depth == 0 => State::Done,
        b'}' | b']' => State::Other { depth: depth - 1 },
        b',' if depth == 0 => State::BeforeKey,
        _ => State::Other { depth },
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// A key, compared as it comes in.
#[derive(Debug, Clone, Copy, Default)]
struct Key {
    /// Characters that agree with [`KEY`]; past its length: another key.
    agreed: usize,
    escape: Escape,
}

#[derive(Debug, Clone, Copy, Default)]
enum Escape {
    #[default]
    None,
    /// Behind a `\`.
    Open,
    /// In `\uXXXX`: digits missing, value so far.
    Unicode(u8, u32),
}

impl Key {
    fn next(self, byte: u8) -> State {
        State::Key(match (self.escape, byte) {
            (Escape::None, b'"') => return State::BeforeValue { wanted: self.agreed == KEY.len() },
            (Escape::None, b'\\') => Self { escape: Escape::Open, ..self },
            (Escape::Open, b'u') => Self { escape: Escape::Unicode(4, 0), ..self },
            (Escape::None, byte) => self.with(u32::from(byte)),
            // of the short escapes none stands for a letter
            (Escape::Open, _) => self.with(0),
            (Escape::Unicode(missing, value), byte) => {
                let Some(digit) = char::from(byte).to_digit(16) else { return State::Done };
                match (missing - 1, value * 16 + digit) {
                    (0, value) => self.with(value),
                    (missing, value) => Self { escape: Escape::Unicode(missing, value), ..self },
                }
            }
        })
    }

    fn with(self, character: u32) -> Self {
        let agrees = KEY.get(self.agreed).is_some_and(|&byte| u32::from(byte) == character);
        Self { agreed: if agrees { self.agreed + 1 } else { KEY.len() + 1 }, escape: Escape::None }
    }
}

/// An integer, or a string of digits.
#[derive(Debug, Clone, Copy)]
struct Number {
    quoted: bool,
    negative: bool,
    /// Whether the sign may still come.
    fresh: bool,
    /// `None` before the first digit.
    value: Option<i64>,
}

impl Number {
    fn first(byte: u8) -> Option<Self> {
        let number = Self { quoted: byte == b'"', negative: false, fresh: true, value: None };
        if number.quoted { Some(number) } else { number.and(byte) }
    }

    /// With one more sign or digit; `None` if the byte is neither, or too much.
    fn and(self, byte: u8) -> Option<Self> {
        match byte {
            b'-' if self.fresh => Some(Self { negative: true, fresh: false, ..self }),
            b'0'..=b'9' => {
                let digit = i64::from(byte - b'0');
                let value = self.value.unwrap_or(0).checked_mul(10)?;
                let value = if self.negative { value.checked_sub(digit) } else { value.checked_add(digit) };
                Some(Self { value: Some(value?), fresh: false, ..self })
            }
            _ => None,
        }
    }

    fn ends_at(self, byte: u8) -> bool {
        if self.quoted { byte == b'"' } else { is_blank(byte) || byte == b',' || byte == b'}' }
    }
}
