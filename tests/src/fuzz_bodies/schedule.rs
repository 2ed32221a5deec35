//! The whole engine in the simulator's world, whose every choice is a byte of the input: which faults there are, what
//! clients ask for, what strikes when. After the last byte all is calm.

use ouroboros_sim::Sim;
use std::path::PathBuf;

/// Operations of clients in one run, at most. Few, so that executions are many; their number is the first byte.
const MAX_OPERATIONS: u8 = 12;

/// The body of the target `schedule`: no promise is broken. Of a run that breaks one, the schedule is left where findings are
/// kept.
pub fn schedule(input: &[u8]) {
    let (first, choices) = input.split_first().unwrap_or((&0, &[]));
    let report = Sim::of_bytes(choices).operations(u32::from(first % MAX_OPERATIONS) + 1).run();
    let Some(violation) = report.violation else { return };
    let told = format!("{} is broken: {}", violation.promise, violation.what);
    // The same from its schedule? Then that can be shrunk, and its story read; else only these very bytes show it.
    let again = Sim::replay(&report.schedule).run();
    assert!(again.trace == report.trace, "{told}\nto see it again: this input alone; its schedule runs differently");
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/artifacts/schedule");
    let file = folder.join(format!("{}.schedule", &blake3::hash(input).to_hex()[..16]));
    let text = report.schedule.to_string();
    match std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, &text)) {
        Ok(()) => panic!(
            "{told}\nto see it again: cargo run --profile sim -p ouroboros-sim -- replay {}, or shrink it first",
            file.display()
        ),
        Err(error) => panic!("{told}\nits schedule, which could not be kept ({error}):\n{text}"),
    }
}
