//! Colour, where it is wanted.

use std::io::IsTerminal;

/// Standard output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    colour: bool,
}

/// How a text stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Bold,
    Dim,
    Good,
    Bad,
    Link,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "33",
            Self::Link => "36",
        }
    }
}

impl Screen {
    /// Colour is for terminals whose user has not set `NO_COLOR` (no-color.org).
    pub(super) fn new() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: !unwanted && std::io::stdout().is_terminal() }
    }

    /// `text`, standing out.
    pub(super) fn ink(self, ink: Ink, text: impl AsRef<str>) -> String {
        let text = text.as_ref();
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", ink.code()) } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colour_nothing_is_added() {
        let (plain, coloured) = (Screen { colour: false }, Screen { colour: true });
        assert_eq!(plain.ink(Ink::Good, "ok"), "ok");
        assert_eq!(coloured.ink(Ink::Good, "ok"), "\x1b[32mok\x1b[0m");
    }
}
