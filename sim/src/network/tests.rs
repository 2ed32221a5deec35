use super::*;
use std::collections::BTreeSet;

const CALM: Weather = Weather { latency: 100, jitter: 800, rates: [0; NetworkFault::COUNT] };

fn with(fault: NetworkFault, rate: u32) -> Weather {
    let mut weather = CALM;
    weather.rates[fault as usize] = rate;
    weather
}

fn network(seed: u64, weather: Weather) -> SimNetwork {
    SimNetwork::new(Tape::random(seed), 3, weather)
}

fn frame(number: u64) -> Bytes {
    Bytes::copy_from_slice(blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// Sends frames from 0 to 1, one a nanosecond, and takes each off its link at once.
fn arrivals(network: &mut SimNetwork, count: u64) -> Vec<Arrival> {
    let mut all = Vec::new();
    for number in 0..count {
        let first = all.len();
        network.send(number, (0, 1), Port::Probe, &frame(number), &mut all);
        all[first..].iter().for_each(|arrival| network.arrived(arrival, true));
    }
    all
}

fn one(network: &mut SimNetwork, now: u64, from: u8, to: u8) -> Vec<Arrival> {
    let mut out = Vec::new();
    network.send(now, (from, to), Port::Probe, &frame(now), &mut out);
    out.iter().for_each(|arrival| network.arrived(arrival, true));
    out
}

#[test]
fn every_fault_has_a_name_and_a_text_of_its_own() {
    let names: BTreeSet<&str> = NetworkFault::ALL.into_iter().map(NetworkFault::name).collect();
    let texts: BTreeSet<&str> = NetworkFault::ALL.into_iter().map(NetworkFault::text).collect();
    assert_eq!((names.len(), texts.len()), (NetworkFault::COUNT, NetworkFault::COUNT));
    for (place, fault) in NetworkFault::ALL.into_iter().enumerate() {
        assert_eq!(fault as usize, place);
    }
}

#[test]
fn frames_overtake_each_other_and_none_is_lost_on_a_link_that_loses_none() {
    let arrived = arrivals(&mut network(1, CALM), 1000);
    assert_eq!(arrived.len(), 1000);
    assert!(arrived.windows(2).any(|pair| pair[0].at > pair[1].at));
    assert!(arrived.iter().zip(0..).all(|(arrival, sent)| (sent + 100..=sent + 900).contains(&arrival.at)));
}

#[test]
fn a_link_loses_and_doubles_at_its_rates() {
    let left = arrivals(&mut network(2, with(NetworkFault::Drop, 300_000)), 10_000).len();
    assert!((6_700..7_300).contains(&left), "{left}");
    let doubled = arrivals(&mut network(2, with(NetworkFault::Duplicate, 300_000)), 10_000).len();
    assert!((12_700..13_300).contains(&doubled), "{doubled}");
}

/// What a frame may be and is not, with each fault that strikes frames.
#[test]
fn each_fault_of_a_frame_does_what_its_text_says() {
    for fault in NetworkFault::ALL.into_iter().take(NetworkFault::OF_FRAMES) {
        let mut network = network(3, with(fault, 200_000));
        // The sender is started anew in the middle.
        let mut all = arrivals(&mut network, 500);
        network.born(0, 1);
        all.extend(arrivals(&mut network, 500));
        let struck = network.counts().of(fault);
        let least = if fault == NetworkFault::ReplayOldLife { 20 } else { 100 };
        assert!(struck >= least, "{fault}: {struck}");
        let sent: BTreeSet<Bytes> = (0..500).map(frame).collect();
        let foreign = all.iter().filter(|arrival| !sent.contains(&arrival.frame)).count() as u64;
        let astray = all.iter().filter(|arrival| arrival.to != 1).count() as u64;
        let late = all.iter().filter(|arrival| arrival.at > 499 + 900).count();
        let (count, extra) = (all.len() as u64, all.len() as i64 - 1000);
        match fault {
            NetworkFault::Drop => assert_eq!(count, 1000 - struck),
            NetworkFault::Delay => assert!(count == 1000 && late as u64 == struck, "{late} of {struck} late"),
            NetworkFault::Reorder => {
                let overtaken = all.windows(2).filter(|pair| pair[0].at > pair[1].at + 100).count();
                assert!(count == 1000 && overtaken > 50, "{overtaken}");
            }
            NetworkFault::Duplicate | NetworkFault::Replay | NetworkFault::ReplayOldLife => {
                assert!(extra as u64 == struck && foreign == 0 && astray == 0, "{fault}");
            }
            NetworkFault::Corrupt | NetworkFault::Truncate | NetworkFault::Alter | NetworkFault::Splice => {
                assert!(extra == 0 && foreign == struck, "{fault}: {foreign} of {struck}");
            }
            NetworkFault::Inject => assert!(extra as u64 == struck && foreign == struck),
            NetworkFault::Reflect => assert!(extra as u64 == struck && astray == struck),
            NetworkFault::Misdeliver => assert!(extra == 0 && astray == struck),
            _ => unreachable!("{fault} strikes links"),
        }
    }
}

#[test]
fn what_the_attacker_replays_of_earlier_lives_is_of_earlier_lives() {
    let mut network = network(4, with(NetworkFault::ReplayOldLife, 1_000_000));
    assert_eq!(arrivals(&mut network, 50).len(), 50, "nobody was started anew yet");
    network.born(1, 1);
    let again = arrivals(&mut network, 10);
    assert_eq!(again.len(), 20);
}

#[test]
fn a_one_way_partition_stops_one_way_and_ends_with_its_slot() {
    let mut network = network(5, CALM);
    network.partition(&[0], &[1, 2], false, 4);
    assert!(one(&mut network, 0, 0, 1).is_empty() && one(&mut network, 0, 0, 2).is_empty());
    assert_eq!(one(&mut network, 0, 1, 0).len(), 1);
    network.partition(&[0], &[1], true, FOR_EVER);
    assert!(one(&mut network, 0, 1, 0).is_empty());
    network.slot(4, 0);
    assert_eq!((one(&mut network, 0, 0, 2).len(), one(&mut network, 0, 0, 1).len()), (1, 0));
    network.heal_links();
    assert_eq!((one(&mut network, 0, 0, 1).len(), one(&mut network, 0, 1, 0).len()), (1, 1));
}

#[test]
fn a_flapping_link_is_down_and_up_by_turns() {
    let mut network = network(6, CALM);
    network.flap(&[0], &[1], 1000, 500, 9);
    let up: Vec<bool> = [1000, 1499, 1500, 1999, 2000].map(|now| !one(&mut network, now, 1, 0).is_empty()).into();
    assert_eq!(up, [false, false, true, true, false]);
    network.slot(9, 3000);
    assert_eq!(one(&mut network, 3000, 0, 1).len(), 1);
}

#[test]
fn a_clogged_link_holds_frames_back_and_a_slow_peer_is_slow_until_healed() {
    let mut network = network(7, CALM);
    network.clog(0, 1, 1_000_000);
    assert!(arrivals(&mut network, 50).iter().all(|arrival| arrival.at == 1_000_000));
    network.slow(1, 7_000);
    assert!(one(&mut network, 0, 1, 2)[0].at >= 7_100 && one(&mut network, 0, 2, 1)[0].at <= 900);
    network.slot(u32::MAX - 1, 0);
    assert!(one(&mut network, 0, 1, 2)[0].at >= 7_100, "for ever");
    network.heal();
    assert!(one(&mut network, 0, 1, 2)[0].at <= 900 && one(&mut network, 0, 0, 1)[0].at <= 900);
}

#[test]
fn links_are_struck_at_their_rates_and_every_shape_comes() {
    let mut weather = CALM;
    weather.rates[NetworkFault::OF_FRAMES..].fill(100_000);
    let mut network = network(8, weather);
    let struck = (0..1000).filter(|slot| network.slot(*slot, 0).is_some()).count();
    assert!((430..570).contains(&struck), "{struck}");
    let all = NetworkFault::ALL.into_iter().skip(NetworkFault::OF_FRAMES);
    assert!(all.clone().all(|fault| network.counts().of(fault) > 50), "{}", network.counts());
    network.heal();
    assert!((1000..2000).all(|slot| network.slot(slot, 0).is_none()));
}

#[test]
fn a_link_has_room_for_so_many_frames() {
    let mut network = network(9, CALM);
    let mut out = Vec::new();
    for number in 0..300 {
        network.send(0, (0, 1), Port::Probe, &frame(number), &mut out);
    }
    assert_eq!((out.len(), network.in_flight()), (MAX_IN_FLIGHT, MAX_IN_FLIGHT));
    assert_eq!(network.counts().overflowed, 300 - MAX_IN_FLIGHT as u64);
    out.iter().for_each(|arrival| network.arrived(arrival, true));
    assert_eq!(network.in_flight(), 0);
}

#[test]
fn a_calm_tape_delivers_each_frame_once_after_the_mean_delay() {
    let weather = Weather { rates: [60_000; NetworkFault::COUNT], ..CALM };
    let mut network = SimNetwork::new(Tape::bytes(&[]), 3, weather);
    assert_eq!(network.slot(0, 0), None);
    let arrived = arrivals(&mut network, 100);
    assert!(arrived.len() == 100 && arrived.iter().zip(0..).all(|(arrival, sent)| arrival.at == sent + 500));
}

#[test]
fn to_leave_a_frame_out_moves_no_choice_of_another_link() {
    let weather = Weather { rates: [40_000; NetworkFault::COUNT], ..CALM };
    let of_two = |also: bool| {
        let mut network = network(10, weather);
        let mut strikes = Vec::new();
        for number in 0..200 {
            if also {
                network.send(number, (0, 2), Port::Probe, &frame(number), &mut Vec::new());
            }
            strikes.push(network.send(number, (0, 1), Port::Probe, &frame(number), &mut Vec::new()));
        }
        strikes
    };
    let (with, without) = (of_two(true), of_two(false));
    // What needs a recorded frame may find none of an earlier life either way.
    assert_eq!(with, without);
    assert!(with.iter().flatten().count() > 20);
}
