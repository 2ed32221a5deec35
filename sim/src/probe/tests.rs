use super::ledger::Ledger;
use super::*;

const ROUND_TRIP: u64 = 1000;

fn setup(me: u8, life: u64) -> Setup {
    Setup {
        me,
        nodes: 2,
        seed: 7,
        life,
        round_trip: ROUND_TRIP,
        #[cfg(feature = "planted")]
        flaw: None,
    }
}

/// Two probes and the frames between them.
struct Pair {
    probes: [Probe; 2],
    lives: [u64; 2],
    now: u64,
    ledger: Ledger,
    /// Every frame there ever was.
    record: Vec<(u8, Bytes)>,
}

impl Pair {
    fn new() -> Self {
        let probes = [0, 1].map(|me| Probe::new(setup(me, 0)));
        Self { probes, lives: [0, 0], now: 0, ledger: Ledger::default(), record: Vec::new() }
    }

    fn restart(&mut self, node: usize) {
        self.lives[node] += 1;
        self.probes[node] = Probe::new(setup(node as u8, self.lives[node]));
    }

    fn enter(&mut self) {
        for (node, probe) in self.probes.iter_mut().enumerate() {
            for noted in probe.noted() {
                self.ledger.enter(node as u8, self.lives[node], noted).unwrap();
            }
            assert!(probe.is_bounded());
        }
    }

    /// Carries frames that `passes` lets through until none is under way.
    fn carry(&mut self, mut passes: impl FnMut(u64) -> bool) {
        loop {
            self.enter();
            let frames: Vec<_> = self.probes.iter_mut().flat_map(Probe::frames).collect();
            if frames.is_empty() {
                return;
            }
            self.now += ROUND_TRIP / 2;
            for (to, frame) in frames {
                self.record.push((to, frame.clone()));
                if passes(self.record.len() as u64) {
                    self.probes[usize::from(to)].receive(self.now, &frame);
                }
            }
        }
    }

    /// The same, and lets time pass until nothing waits.
    fn settle(&mut self, mut passes: impl FnMut(u64) -> bool) {
        self.carry(&mut passes);
        while let Some(due) = self.probes.iter().filter_map(Probe::due).min() {
            self.now = self.now.max(due);
            for probe in &mut self.probes {
                probe.timeout(due);
            }
            self.carry(&mut passes);
        }
    }
}

#[test]
fn letters_arrive_and_queues_drain() {
    let mut pair = Pair::new();
    for _ in 0..10 {
        assert!(pair.probes[0].say(0, 1) && pair.probes[1].say(0, 0));
    }
    assert!(!pair.probes[0].say(0, 0), "nobody writes to himself");
    pair.settle(|_| true);
    let counts = pair.ledger.counts;
    assert_eq!((counts.heard, counts.thanked, counts.opened, counts.said_again), (20, 20, 2, 0));
    assert_eq!((pair.probes[0].waiting(1), pair.probes[1].waiting(0)), (0, 0));
}

#[test]
fn what_is_lost_is_said_again_until_it_is_heard() {
    let mut pair = Pair::new();
    for _ in 0..16 {
        assert!(pair.probes[0].say(0, 1));
    }
    assert!(!pair.probes[0].say(0, 1), "there is room for so many");
    pair.settle(|number| blake3::hash(&number.to_le_bytes()).as_bytes()[0] < 85);
    let counts = pair.ledger.counts;
    assert!(counts.thanked == 16 && counts.said_again > 10, "{counts}");
    assert!(pair.now < pair.probes[0].lifetime(), "{}", pair.now);
}

#[test]
fn a_peer_that_was_started_anew_is_greeted_anew() {
    let mut pair = Pair::new();
    pair.probes[0].say(0, 1);
    pair.settle(|_| true);
    pair.restart(1);
    let now = pair.now;
    pair.probes[0].say(now, 1);
    pair.settle(|_| true);
    let counts = pair.ledger.counts;
    assert_eq!((counts.thanked, counts.opened_anew, counts.given_up), (2, 1, 0));
}

#[test]
fn what_nobody_hears_is_given_up_in_the_end() {
    let mut pair = Pair::new();
    pair.probes[0].say(0, 1);
    pair.settle(|_| false);
    assert_eq!((pair.ledger.counts.given_up, pair.probes[0].waiting(1)), (1, 0));
    assert!(pair.now <= pair.probes[0].lifetime() + ROUND_TRIP);
}

#[test]
fn nothing_of_what_was_recorded_is_believed_again() {
    let mut pair = Pair::new();
    for _ in 0..8 {
        pair.probes[0].say(0, 1);
    }
    pair.settle(|_| true);
    let heard = pair.ledger.counts.heard;
    for restarted in [None, Some(1), Some(0)] {
        restarted.into_iter().for_each(|node| pair.restart(node));
        for (to, frame) in pair.record.clone() {
            let now = pair.now;
            pair.probes[usize::from(to)].receive(now, &frame);
            pair.enter();
        }
        pair.settle(|_| true);
    }
    assert_eq!(pair.ledger.counts.heard, heard);
}

#[test]
fn one_letter_that_is_always_lost_does_not_let_the_others_run_out_of_the_window() {
    let mut pair = Pair::new();
    pair.probes[0].say(0, 1);
    pair.settle(|_| true);
    // The first letter of the next burst is lost each time it is said.
    let mut lost = None;
    for _ in 0..200 {
        let now = pair.now;
        pair.probes[0].say(now, 1);
        pair.enter();
        for (to, frame) in pair.probes[0].frames() {
            let lost = lost.get_or_insert_with(|| frame.clone());
            if frame != *lost {
                pair.probes[usize::from(to)].receive(now, &frame);
            }
        }
        pair.enter();
        for (_, frame) in pair.probes[1].frames() {
            pair.probes[0].receive(now, &frame);
        }
    }
    assert_eq!(pair.probes[0].waiting(1), LETTERS, "the queue is full behind it");
    pair.settle(|_| true);
    assert_eq!(pair.probes[0].waiting(1), 0);
}
