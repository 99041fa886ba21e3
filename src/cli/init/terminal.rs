//! Questions at the terminal.

use std::io::{self, BufRead, Stdin, Write};

use anyhow::Context;
use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use secrecy::SecretString;

/// Somebody who can be asked.
pub(super) struct Terminal {
    input: Stdin,
}

impl Terminal {
    /// On standard input; questions go to standard error.
    pub(super) fn new() -> Self {
        Self { input: io::stdin() }
    }

    /// Asks until the answer is one; nothing stands for `default`.
    pub(super) fn ask<T>(
        &self,
        question: &str,
        default: &str,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        loop {
            let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
            let line = self.line(&format!("{question}{shown} "))?;
            let answer = if line.is_empty() { default } else { &line };
            match check(answer) {
                Ok(answer) => return Ok(answer),
                Err(why) => eprintln!("  {why}"),
            }
        }
    }

    /// Likewise, for answers with blanks or commas between them.
    pub(super) fn ask_list<T>(
        &self,
        question: &str,
        default: &str,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<Vec<T>> {
        self.ask(question, default, |line| {
            let words = line.split([' ', ',']).filter(|word| !word.is_empty());
            words.map(&check).collect()
        })
    }

    /// Asks for what must not show.
    pub(super) fn ask_secret(&self, question: &str) -> anyhow::Result<SecretString> {
        loop {
            let answer = {
                let _hidden = Hidden::begin(&self.input)?;
                self.line(&format!("{question} "))?
            };
            eprintln!();
            if !answer.is_empty() {
                return Ok(answer.into());
            }
            eprintln!("  it is needed");
        }
    }

    fn line(&self, prompt: &str) -> anyhow::Result<String> {
        eprint!("{prompt}");
        io::stderr().flush()?;
        let mut line = String::new();
        let read = self.input.lock().read_line(&mut line).context("cannot read the answer")?;
        anyhow::ensure!(read > 0, "there is no answer; nothing was written");
        Ok(line.trim().to_owned())
    }
}

/// While this lives, what is typed does not show.
struct Hidden<'a> {
    input: &'a Stdin,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn begin(input: &'a Stdin) -> anyhow::Result<Self> {
        let before = termios::tcgetattr(input).context("cannot have the terminal not show the secret")?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        termios::tcsetattr(input, SetArg::TCSAFLUSH, &hidden)?;
        Ok(Self { input, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing put back.
        let _ = termios::tcsetattr(self.input, SetArg::TCSANOW, &self.before);
    }
}
