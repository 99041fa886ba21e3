//! `completions` and `man`: the command line, told to shells and to readers.

use anyhow::Context;
use clap::CommandFactory;

use super::arguments::{Arguments, Completions, Man};
use super::{Failed, print};

const NAME: &str = "xinyao-gateway";

/// Prints what a shell needs to complete commands and flags.
pub(super) fn completions(asked: &Completions) -> Result<(), Failed> {
    let mut script = Vec::new();
    clap_complete::generate(asked.shell, &mut Arguments::command(), NAME, &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Prints the manual page, or writes those of all commands.
pub(super) fn man(asked: Man) -> Result<(), Failed> {
    let command = Arguments::command().name(NAME);
    if let Some(folder) = asked.out {
        let written =
            std::fs::create_dir_all(&folder).and_then(|()| clap_mangen::generate_to(command, &folder));
        written.with_context(|| format!("cannot write into {}", folder.display()))?;
        return Ok(());
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).context("cannot write the page")?;
    print(&String::from_utf8_lossy(&page))
}
