//! `ouroboros-sim`: runs the simulator.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

mod command;

// Runs allocate much and little at a time: a tenth faster than with the system's allocator.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    command::main()
}
