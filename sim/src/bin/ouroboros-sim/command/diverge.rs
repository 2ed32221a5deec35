//! The first event at which two runs of a seed part.

use super::{BROKEN, FINE, USAGE, WorldArguments};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The two runs.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Parting {
    /// The seed.
    seed: u64,
    /// Writes every event of one run, to be compared with elsewhere.
    #[arg(long, value_name = "FILE", conflicts_with = "against")]
    save: Option<PathBuf>,
    /// Compares with the events that another run has saved: by another build, or on another machine.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

/// A run as a text: a line for each event, with a hash of everything up to it.
fn events(seed: u64, world: &WorldArguments) -> Vec<String> {
    world.sim(seed).logged(true).run().log.iter().map(ToString::to_string).collect()
}

pub(super) fn diverge(wanted: &Parting, world: &WorldArguments) -> u8 {
    let ours = events(wanted.seed, world);
    if let Some(file) = &wanted.save {
        return save(file, &ours);
    }
    let (theirs, who) = match &wanted.against {
        Some(file) => match std::fs::read_to_string(file) {
            Ok(text) => (text, file.display().to_string()),
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                return USAGE;
            }
        },
        None => match elsewhere(wanted.seed, world) {
            Ok(text) => (text, "another process".to_owned()),
            Err(error) => {
                eprintln!("no other process can be started: {error}");
                return USAGE;
            }
        },
    };
    let theirs: Vec<String> = theirs.lines().map(str::to_owned).collect();
    compare(&ours, &theirs, &who)
}

fn save(file: &Path, events: &[String]) -> u8 {
    let text = events.join("\n") + "\n";
    let written = if file == Path::new("-") {
        print!("{text}");
        Ok(())
    } else {
        std::fs::write(file, text)
    };
    match written {
        Ok(()) => FINE,
        Err(error) => {
            eprintln!("{}: {error}", file.display());
            USAGE
        }
    }
}

/// The same seed in a process of its own, with another environment, elsewhere, and in another time zone.
fn elsewhere(seed: u64, world: &WorldArguments) -> std::io::Result<String> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["diverge", &seed.to_string(), "--save", "-", "--operations", &world.operations.to_string()]);
    command.args(["--nodes", &world.nodes.to_string()]);
    if world.beyond {
        command.arg("--beyond");
    }
    if world.canary {
        command.arg("--canary");
    }
    let output = command
        .env_clear()
        .env("TZ", "Pacific/Kiritimati")
        .env("LANG", "tr_TR.UTF-8")
        .current_dir(std::env::temp_dir())
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn compare(ours: &[String], theirs: &[String], who: &str) -> u8 {
    // Every event's line holds a hash of all before it: once two runs have parted, they stay apart.
    let common = ours.len().min(theirs.len());
    let (mut same, mut apart) = (0, common);
    while same < apart {
        let middle = same.midpoint(apart);
        if ours[middle] == theirs[middle] {
            same = middle + 1;
        } else {
            apart = middle;
        }
    }
    if same == common && ours.len() == theirs.len() {
        println!("{common} events, the same in both");
        return FINE;
    }
    println!("the runs part at event {same} of {} here, {} of {who}:", ours.len(), theirs.len());
    let from = same.saturating_sub(3);
    ours[from..same].iter().for_each(|event| println!("    both   {event}"));
    let line = |events: &[String]| events.get(same).map_or("nothing any more".to_owned(), Clone::clone);
    println!("    here   {}\n    there  {}", line(ours), line(theirs));
    BROKEN
}
