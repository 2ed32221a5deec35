//! `ouroboros-sim`: runs the simulator.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

mod command;

// Runs allocate much and little at a time, and ask for zeros, for which jemalloc as it is set for the command goes to the
// kernel: 1,500 seeds took 20.0 and 19.6 s of the processor with this one, 22.0 s with that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    command::main()
}
