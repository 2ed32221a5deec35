//! `ouroboros-sim`: runs the simulator.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

#[cfg(not(target_arch = "wasm32"))]
mod command;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> std::process::ExitCode {
    command::main()
}

#[cfg(target_arch = "wasm32")]
fn main() {}
