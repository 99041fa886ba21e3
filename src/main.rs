//! The `xinyao-gateway` program; see the library of the same name for what it does.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    spare_memory();
    xinyao_gateway::cli::main()
}

/// The allocator asks for huge pages, of which each thread would fill a corner: 8 MiB of 15 for nothing. A kernel
/// that refuses is as good.
#[cfg(target_os = "linux")]
fn spare_memory() {
    let _ = nix::sys::prctl::set_thp_disable(true);
}
