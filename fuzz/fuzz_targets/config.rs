//! No text makes the configuration's reader panic, and every fault can be shown.
#![no_main]

use std::io;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use xinyao_gateway::config::{Environment, parse};

/// One variable, and no files: the text must not choose what is read here.
struct Closed;

impl Environment for Closed {
    fn var(&self, name: &str) -> Option<String> {
        (name == "A").then(|| "${A}: [x, *y]".to_owned())
    }

    fn file(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fuzz_target!(|text: &str| {
    match parse("config.yaml", text, &Closed) {
        Ok(loaded) => drop(format!("{:?}{:?}", loaded.config, loaded.warnings)),
        Err(faults) => drop(faults.to_string()),
    }
});
