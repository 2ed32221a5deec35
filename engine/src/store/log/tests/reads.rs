//! How much is read.

use super::super::*;
use super::basics::{SMALL, STORE, payload, rng};
use super::crash_disk::CrashDisk;

#[test]
fn a_log_of_many_small_commits_is_read_a_few_times_over_by_a_replay_and_not_once_per_commit() {
    const BATCHES: usize = 400;
    let disk = CrashDisk::default();
    let options = LogOptions { segment_len: 256 << 10, ..SMALL };
    let mut log = Log::create(disk.clone(), options, STORE, b"config", &mut rng(), |_, _| true).unwrap();
    let mut written = Vec::new();
    for number in 0..BATCHES {
        let bytes = payload(number, 700 + number % 50);
        written.push((log.append(RecordKind::Blob, RecordFlags::NONE, &[&bytes]).unwrap(), bytes));
        log.commit(b"a note").unwrap();
    }
    log.settle().unwrap();
    assert!(log.segments().len() > 1);
    disk.take_read();
    let mut seen = Vec::new();
    log.replay(&mut |view| {
        seen.push((view.location, view.payload.to_vec()));
        Ok(())
    })
    .unwrap();
    assert!(seen == written, "in order, each of them once");
    let (read, used) = (disk.take_read(), disk.used());
    println!("{read} bytes read of a log of {used}, {BATCHES} commits");
    assert!(read < 4 * used, "{read} bytes read of {used}");
}
