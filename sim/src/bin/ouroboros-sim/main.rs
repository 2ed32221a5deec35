//! `ouroboros-sim`: runs the simulator.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

#[cfg(not(target_arch = "wasm32"))]
mod command;

// Runs allocate much and little at a time: a tenth faster than with the system's allocator.
#[cfg(not(any(target_arch = "wasm32", target_env = "msvc")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> std::process::ExitCode {
    command::main()
}

#[cfg(target_arch = "wasm32")]
fn main() {}
