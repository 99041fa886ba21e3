//! The `xinyao-gateway` program; see the library of the same name for what it does.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    xinyao_gateway::cli::main()
}
