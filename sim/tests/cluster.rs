//! Worlds of several nodes: what befalls nodes and links really does, nobody is misled by it, and the same seed does it again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use core::time::Duration;
use ouroboros_sim::disk::Fault;
use ouroboros_sim::network::{NetworkCounts, NetworkFault};
use ouroboros_sim::oracle::Promise;
use ouroboros_sim::schedule::Schedule;
use ouroboros_sim::shrink::shrink;
use ouroboros_sim::sometimes::Sometimes;
use ouroboros_sim::story::Told;
use ouroboros_sim::{At, NodeId, ProbeCounts, Report, Sim};
use std::collections::{BTreeMap, BTreeSet};

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);
const C: NodeId = NodeId(2);

/// Three nodes to whom nothing happens but what a test says.
fn calm(seed: u64) -> Sim {
    Sim::new(seed).nodes(3).operations(36).calm(true).told(true)
}

/// Runs, and breaks no promise.
fn well(sim: Sim) -> Report {
    let report = sim.run();
    assert_eq!(report.violation, None, "{}", report.schedule);
    report
}

/// Where in the story this stands first.
fn place(report: &Report, text: &str) -> usize {
    let found = report.story.iter().position(|entry| entry.text.contains(text));
    found.unwrap_or_else(|| panic!("no {text:?} in {:#?}", report.story))
}

/// As it stands in the README.
#[test]
fn two_nodes_serve_on_while_the_third_is_cut_off_and_loses_its_power() {
    let [a, b, c] = NodeId::first();
    let sim = Sim::new(7).nodes(3).operations(60);
    let sim = sim.partition(At(3), &[a], &[b, c]).crash(At(5), a);
    let report = sim.heal(At(9)).restart(At(12), a).run();
    assert_eq!(report.violation, None);
}

#[test]
fn a_hundred_worlds_of_three_and_five_nodes_break_no_promise_and_everything_happens_in_them() {
    let (mut counts, mut struck, mut probes) = (BTreeMap::new(), BTreeMap::new(), ProbeCounts::default());
    let mut reached = ouroboros_sim::sometimes::SometimesCounts::default();
    std::thread::scope(|scope| {
        let half = |nodes| move || (0..50).map(|seed| Sim::new(seed).nodes(nodes).run()).collect::<Vec<_>>();
        let halves = [3, 5].map(|nodes| scope.spawn(half(nodes)));
        for report in halves.into_iter().flat_map(|half| half.join().unwrap()) {
            let (seed, nodes) = (report.seed, report.nodes);
            assert_eq!(report.violation, None, "ouroboros-sim run --seed {seed} --nodes {nodes}");
            report.counts.iter().for_each(|(name, count)| *counts.entry(*name).or_insert(0) += count);
            report.network.iter().for_each(|(fault, count)| *struck.entry(fault).or_insert(0) += count);
            reached.add(&report.sometimes);
            probes.add(&report.probe);
        }
    });
    for name in
        ["put", "crash", "kill", "reinstall", "lose-disk", "roll-back-disk", "gone-for-long", "pause", "wall-jump"]
    {
        assert!(counts.get(name).is_some_and(|count| *count > 0), "no {name} in a hundred worlds: {counts:?}");
    }
    for fault in NetworkFault::ALL {
        assert!(struck.get(&fault).is_some_and(|count| *count > 0), "no {fault} in a hundred worlds: {struck:?}");
    }
    assert!(probes.heard > 1000 && probes.refused > 1000 && probes.opened_anew > 100, "{probes}");
    for what in [Sometimes::AnsweredMeanwhile, Sometimes::ForgeryRefused, Sometimes::HeardAfterPartition] {
        assert!(reached.of(what) > 0, "it never came to this: {}", what.text());
    }
}

#[test]
fn the_same_seed_and_its_schedule_give_the_same_run_of_several_nodes() {
    for seed in 0..12 {
        let sim = || Sim::new(seed).nodes(3).crash(At(2), B).clog(At(3), A, C, Duration::from_millis(3));
        let (one, other) = (sim().run(), sim().run());
        assert_eq!(
            (one.trace, one.events, one.virtual_ns),
            (other.trace, other.events, other.virtual_ns),
            "seed {seed}"
        );
        let text = one.schedule.to_string();
        assert!(text.contains("\nnodes 3\n") && text.contains("\nat 2 crash 1\n"), "{text}");
        let again = Sim::replay(&Schedule::parse(&text).unwrap()).run();
        assert_eq!((again.trace, again.schedule.to_string()), (one.trace, text), "seed {seed}");
    }
}

#[test]
fn one_node_alone_has_no_network_and_is_what_it_always_was() {
    let (one, plain) = (Sim::new(5).nodes(1).run(), Sim::new(5).run());
    assert_eq!(one.trace, plain.trace);
    assert_eq!((one.network.sent, one.probe), (0, ProbeCounts::default()));
    assert!(!one.schedule.to_string().contains("nodes"), "an older schedule says nothing of nodes");
}

#[test]
fn in_a_calm_world_every_node_serves_its_own_clients_and_hears_every_letter() {
    let report = well(calm(1));
    assert_eq!((report.nodes, report.faults.total(), report.network.iter().count()), (3, 0, 0));
    assert_eq!((report.network.sent, report.network.overflowed), (report.network.delivered, 0));
    let ProbeCounts { said, said_again, heard, thanked, given_up, refused, opened, opened_anew, .. } = report.probe;
    assert_eq!((said, said, said_again, given_up, refused, opened, opened_anew), (heard, thanked, 0, 0, 0, 6, 0));
    assert!(said >= 6 * 6, "{said}");
    let asked: BTreeSet<u8> =
        report.story.iter().filter(|entry| matches!(entry.told, Told::Asked { .. })).map(|entry| entry.node).collect();
    assert_eq!(asked, BTreeSet::from([0, 1, 2]));
}

#[test]
fn rounds_of_several_nodes_overlap() {
    let report = Sim::new(3).nodes(3).operations(60).calm(true).logged(true).run();
    let log = &report.log;
    let asked = log.iter().enumerate().filter(|(_, event)| event.what == "asked");
    // Whether another node is asked before this answer is there.
    let overlaps = asked.filter(|(at, event)| {
        let until = log[*at..].iter().position(|other| other.what == "answered" && other.details == event.details);
        let between = &log[*at..*at + until.unwrap_or(0)];
        between.iter().any(|other| other.what == "asked" && other.node != event.node)
    });
    let overlaps = overlaps.count();
    assert!(overlaps > 30, "{overlaps} requests overlap with another node's");
}

#[test]
fn a_partition_keeps_letters_back_and_healing_lets_them_through() {
    let minute = Duration::from_secs(60);
    let apart = well(calm(4).partition(At(0), &[A], &[B, C]).rest(At(3), minute).heal(At(6)).rest(At(6), minute));
    let whole = well(calm(4).rest(At(3), minute));
    assert_eq!((apart.network.of(NetworkFault::Partition), apart.sometimes.of(Sometimes::HeardAfterPartition)), (1, 1));
    assert!(apart.network.delivered < apart.network.sent && whole.network.delivered == whole.network.sent);
    assert!(apart.probe.said_again > 0 && whole.probe.said_again == 0);
    assert_eq!((apart.probe.heard, apart.probe.given_up), (apart.probe.said, 0));
    // One way: B hears nothing of A, and A hears B's greetings; a session takes both.
    let one_way = well(calm(4).partition_one_way(At(0), &[A], &[B]).rest(At(11), minute));
    assert_eq!((one_way.network.of(NetworkFault::OneWay), one_way.network.of(NetworkFault::Partition)), (1, 0));
    assert!(one_way.network.delivered < one_way.network.sent);
}

#[test]
fn clogged_flapping_and_slow_links_lose_or_delay_and_nobody_is_misled() {
    let hour = Duration::from_secs(3600);
    let clogged = well(calm(3).clog(At(1), A, B, hour / 2).rest(At(3), hour));
    let NetworkCounts { sent, delivered, overflowed, .. } = clogged.network;
    assert_eq!((clogged.network.of(NetworkFault::Clog), sent), (1, delivered + overflowed));
    assert!(overflowed > 0, "a link holds so many frames, and no more");
    assert!(clogged.probe.said_again > 0, "{}", clogged.probe);
    let flapped = well(calm(3).flap(At(1), &[A], &[B, C], Duration::from_millis(100)).rest(At(3), hour));
    assert!(flapped.network.delivered < flapped.network.sent, "{}", flapped.network);
    assert!(flapped.probe.said_again > 0 && flapped.probe.heard >= flapped.probe.said - 16 * 4, "{}", flapped.probe);
    let slow = well(calm(3).slow(At(0), B, hour / 60).rest(At(3), hour));
    assert!(
        slow.probe.said_again > 0 && slow.network.sent == slow.network.delivered + slow.network.overflowed,
        "{}",
        slow.probe
    );
}

/// Each fault that strikes frames, alone and often, and the attacker's all together.
#[test]
fn nobody_believes_a_frame_that_is_forged_altered_or_comes_again() {
    for fault in NetworkFault::ALL.into_iter().take(NetworkFault::OF_FRAMES) {
        let report = well(calm(4).weather(At(0), fault, 200_000).bounce(At(4), B).bounce(At(8), A));
        assert!(report.network.of(fault) > 0, "{fault}: {}", report.network);
        let lossless = !matches!(
            fault,
            NetworkFault::Drop
                | NetworkFault::Corrupt
                | NetworkFault::Truncate
                | NetworkFault::Alter
                | NetworkFault::Splice
                | NetworkFault::Misdeliver
        );
        assert!(lossless || report.probe.said_again > 0, "{fault}: {}", report.probe);
        let foreign = fault.is_attack() || matches!(fault, NetworkFault::Corrupt | NetworkFault::Truncate);
        // What was recorded of the present life comes twice, which is not refused but taken once.
        assert!(!foreign || fault == NetworkFault::Replay || report.probe.refused > 0, "{fault}: {}", report.probe);
    }
    let attacks = NetworkFault::ALL.into_iter().filter(|fault| fault.is_attack());
    let report = well(attacks.fold(calm(5), |sim, fault| sim.weather(At(0), fault, 80_000)));
    assert!(report.sometimes.of(Sometimes::ForgeryRefused) > 0 && report.probe.refused > 20, "{}", report.probe);
}

#[test]
fn a_node_that_crashed_is_down_until_it_is_restarted_and_the_others_serve_on() {
    let report = well(calm(6).crash(At(3), B).restart(At(8), B));
    let (down, up) = (place(&report, "the scenario says: crash 1"), place(&report, "the scenario says: restart 1"));
    let asked = |node: u8| {
        let between = report.story[down..up].iter();
        between.filter(|entry| entry.node == node && matches!(entry.told, Told::Asked { .. })).count()
    };
    assert!(asked(0) > 0 && asked(1) == 0 && asked(2) > 0);
    assert!(report.story[up..].iter().any(|entry| entry.node == 1 && matches!(entry.told, Told::Asked { .. })));
    assert!(report.probe.opened_anew > 0, "a process that was started anew is greeted anew: {}", report.probe);
    // Who is never restarted comes back when the faults stop, with everything it has acknowledged.
    let report = well(calm(6).kill(At(3), B));
    let stop = place(&report, "the faults stop");
    assert!(report.story[stop..].iter().any(|entry| entry.node == 1 && entry.told == Told::Open));
}

#[test]
fn a_paused_process_finds_its_requests_and_its_frames_all_at_once() {
    let lasts = Duration::from_secs(60);
    let report = well(calm(7).pause(At(2), C, lasts));
    assert!(report.virtual_ns >= 60_000_000_000);
    assert!(report.sometimes.of(Sometimes::PausedOver) > 0 && report.sometimes.of(Sometimes::MailOverPause) > 0);
    let paused = report.story[place(&report, "gets no turn")].at;
    let answered = |entry: &&ouroboros_sim::story::Entry| {
        entry.node == 2
            && entry.at > paused
            && entry.at < paused + 60_000_000_000
            && matches!(entry.told, Told::Answered { .. })
    };
    assert_eq!(report.story.iter().find(answered), None);
}

#[test]
fn a_node_that_was_gone_for_a_year_comes_back_with_everything() {
    let year = Duration::from_secs(365 * 86_400);
    let report = well(calm(8).gone(At(6), B, year));
    assert!(u128::from(report.virtual_ns) > year.as_nanos());
    assert_eq!(report.counts.get("gone-for-long"), Some(&1));
    // The wall clock, too, has gone on: the engine stamps what is written by it.
    let jumped = well(calm(8).wall_jump(At(3), B, -86_400_000));
    assert_eq!(jumped.counts.get("wall-jump"), Some(&1));
}

#[test]
fn a_fault_of_a_disk_strikes_once_where_it_is_told_to() {
    let report = well(calm(8).fault(At(3), B, Fault::SyncFailure).fault(At(4), A, Fault::Slow));
    assert_eq!((report.faults.of(Fault::SyncFailure), report.faults.of(Fault::Slow), report.faults.total()), (1, 1, 2));
    let failed = place(&report, "the disk failed: the process is started anew");
    assert_eq!(report.story[failed].node, 1);
    let again = Schedule::parse(&report.schedule.to_string()).unwrap();
    assert_eq!(Sim::replay(&again).run().trace, report.trace);
}

#[test]
fn a_node_that_is_installed_anew_shows_nothing_of_its_old_life_and_works() {
    for sim in
        [calm(10).reinstall(At(6), B), calm(10).lose_disk(At(6), B), calm(10).crash(At(5), B).reinstall(At(6), B)]
    {
        let report = well(sim);
        assert_eq!(report.sometimes.of(Sometimes::Reinstalled), 1);
        let anew = place(&report, "a store is made anew");
        let answered = |entry: &ouroboros_sim::story::Entry| entry.node == 1 && entry.text.contains("durable");
        assert!(report.story[..anew].iter().any(answered) && report.story[anew..].iter().any(answered));
    }
    assert_eq!(well(calm(10).lose_disk(At(6), B)).sometimes.of(Sometimes::DiskLost), 1);
}

#[test]
fn a_disk_that_is_rolled_back_holds_what_it_held_then() {
    // The copy is taken in the second life, soon after it began.
    let report = well(calm(10).restart(At(3), B).roll_back(At(9), B));
    assert_eq!(report.sometimes.of(Sometimes::DiskRolledBack), 1);
    let report = well(calm(10).roll_back(At(9), B));
    assert_eq!(report.sometimes.of(Sometimes::DiskRolledBack), 0, "there is no copy yet");
}

#[test]
fn a_finding_in_a_world_of_three_nodes_shrinks_to_one_node() {
    let found =
        (0..50).map(|seed| Sim::new(seed).nodes(3).canary(true).run()).find(|report| report.violation.is_some());
    let report = found.expect("the canary is found within 50 seeds");
    let shrunk = shrink(&report.schedule, Promise::P7, 600).schedule;
    assert!(Sim::replay(&shrunk).run().violation.is_some());
    assert!(shrunk.nodes < 3 && shrunk.choices.len() < 30, "{shrunk}");
}

#[test]
#[should_panic(expected = "names a node that there is not")]
fn a_scenario_cannot_name_a_node_that_there_is_not() {
    let _ = Sim::new(1).nodes(2).crash(At(1), C);
}
