//! Every example runs to its end and has something to say.

use std::path::Path;
use std::process::Command;

#[test]
fn every_example_runs() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in std::fs::read_dir(package.join("examples")).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap();
        let mut command = Command::new(env!("CARGO"));
        command.args(["run", "--quiet", "-p", "ouroborosdb", "--example"]).arg(name);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}: {output:?}", name.display());
        let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
        assert!(lines > 2 && output.stderr.is_empty(), "{}: {output:?}", name.display());
        count += 1;
    }
    assert!(count >= 8);
}
