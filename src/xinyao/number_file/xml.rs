//! XML in pieces: tags and text, as far as a workbook needs them. No piece is kept beyond 8 KiB.

use memchr::memchr;

/// Most bytes of a tag that are looked at.
const MAX_TAG: usize = 8 * 1024;

/// Is told of what there is.
pub(super) trait Handler {
    /// What stands between `<` and `>`: `c r="A1"`, `/c`, `row/`.
    fn tag(&mut self, tag: &[u8]);
    /// Text, cut anywhere, entities left as they are.
    fn text(&mut self, text: &[u8]);
}

/// Cuts XML into tags and text.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    state: State,
    begun: Vec<u8>,
    quote: Option<u8>,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Text,
    /// Behind `<`.
    Open,
    Tag,
    /// Behind `<!`.
    Declaration,
    Cdata,
    /// In what ends so.
    Until(&'static [u8]),
}

impl Tokens {
    pub(super) fn feed(&mut self, mut bytes: &[u8], handler: &mut impl Handler) {
        while let Some(&byte) = bytes.first() {
            let used = match self.state {
                State::Text => self.text(bytes, handler),
                State::Open => self.open(byte),
                State::Tag => self.tag(bytes, handler),
                State::Declaration => self.declaration(byte),
                State::Cdata => self.cdata(byte, handler),
                State::Until(end) => self.until(byte, end),
            };
            bytes = &bytes[used..];
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.begun.clear();
        self.quote = None;
    }

    fn text(&mut self, bytes: &[u8], handler: &mut impl Handler) -> usize {
        let end = memchr(b'<', bytes);
        let text = &bytes[..end.unwrap_or(bytes.len())];
        if !text.is_empty() {
            handler.text(text);
        }
        if end.is_some() {
            self.enter(State::Open);
        }
        text.len() + usize::from(end.is_some())
    }

    fn open(&mut self, byte: u8) -> usize {
        let (state, used) = match byte {
            b'!' => (State::Declaration, 1),
            b'?' => (State::Until(b"?>"), 1),
            _ => (State::Tag, 0),
        };
        self.enter(state);
        used
    }

    /// A `>` between quotes does not end a tag.
    fn tag(&mut self, bytes: &[u8], handler: &mut impl Handler) -> usize {
        let mut quote = self.quote;
        let end = bytes.iter().position(|&byte| {
            match (quote, byte) {
                (None, b'>') => return true,
                (None, b'"' | b'\'') => quote = Some(byte),
                (Some(open), byte) if open == byte => quote = None,
                _ => {}
            }
            false
        });
        self.quote = quote;
        let tag = &bytes[..end.unwrap_or(bytes.len())];
        match end {
            Some(end) if self.begun.is_empty() => {
                handler.tag(&tag[..tag.len().min(MAX_TAG)]);
                self.enter(State::Text);
                end + 1
            }
            _ => {
                let room = MAX_TAG - self.begun.len();
                self.begun.extend_from_slice(&tag[..tag.len().min(room)]);
                if end.is_some() {
                    handler.tag(&self.begun);
                    self.enter(State::Text);
                }
                tag.len() + usize::from(end.is_some())
            }
        }
    }

    fn declaration(&mut self, byte: u8) -> usize {
        self.begun.push(byte);
        match &self.begun[..] {
            b"--" => self.enter(State::Until(b"-->")),
            b"[CDATA[" => self.enter(State::Cdata),
            _ if byte == b'>' => self.enter(State::Text),
            _ if self.begun.len() > 7 => self.enter(State::Until(b">")),
            _ => {}
        }
        1
    }

    fn cdata(&mut self, byte: u8, handler: &mut impl Handler) -> usize {
        self.begun.push(byte);
        if self.begun == b"]]>" {
            self.enter(State::Text);
        } else if self.begun.len() == 3 {
            handler.text(&self.begun[..1]);
            self.begun.remove(0);
        }
        1
    }

    fn until(&mut self, byte: u8, end: &[u8]) -> usize {
        if self.begun.len() == end.len() {
            self.begun.remove(0);
        }
        self.begun.push(byte);
        if self.begun == end {
            self.enter(State::Text);
        }
        1
    }
}

/// A tag's name, without the namespace's prefix; with `/` before it, if it closes.
pub(super) fn name(tag: &[u8]) -> (bool, &[u8]) {
    let (closes, tag) = match tag.strip_prefix(b"/") {
        Some(tag) => (true, tag),
        None => (false, tag),
    };
    let end = tag.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'/').unwrap_or(tag.len());
    let name = &tag[..end];
    (closes, memchr(b':', name).map_or(name, |colon| &name[colon + 1..]))
}

/// Whether a tag closes what it opens.
pub(super) fn is_empty(tag: &[u8]) -> bool {
    tag.ends_with(b"/")
}

/// A tag's attribute of this name, prefix included.
pub(super) fn attribute<'a>(tag: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut rest = tag;
    loop {
        let equals = memchr(b'=', rest)?;
        let key = rest[..equals].trim_ascii();
        let start = key.iter().rposition(u8::is_ascii_whitespace).map_or(0, |at| at + 1);
        let value = rest[equals + 1..].trim_ascii_start();
        let (&quote, value) = value.split_first().filter(|(quote, _)| matches!(quote, b'"' | b'\''))?;
        let end = memchr(quote, value)?;
        if &key[start..] == name.as_bytes() {
            return Some(&value[..end]);
        }
        rest = &value[end + 1..];
    }
}
