//! Everything that can go wrong, each with what it does.

use super::FINE;
use ouroboros_sim::cause::Cause;
use ouroboros_sim::disk::Fault;
use ouroboros_sim::network::NetworkFault;

/// What no table counts by a node's state.
const CLOCKS: [(&str, &str); 1] = [("clock-drift", "a node's clocks are fast or slow by up to 5,000 ppm")];

/// A title, and what stands under it.
type Group = (&'static str, fn(&Cause) -> bool);

pub(super) fn list_faults() -> u8 {
    let print = |name: &str, text: &str| println!("    {name:<30}{text}");
    println!("At any operation of the disk (* destroys: of the log only with --beyond):");
    for fault in Fault::ALL {
        let star = if fault.may_destroy() { "*" } else { "" };
        let never =
            if fault == Fault::EarlyEnd { "; the disk's contract forbids it, only tests ask for it" } else { "" };
        print(&format!("{fault}{star}"), &format!("{}{never}", fault.text()));
    }
    let groups: [Group; 3] = [
        ("When the power fails:", |cause| matches!(cause, Cause::Power(_))),
        ("At rest:", |cause| matches!(cause, Cause::Rot(_))),
        ("To a node:", |cause| matches!(cause, Cause::Befell(_))),
    ];
    for (title, belongs) in groups {
        println!("{title}");
        Cause::all().filter(belongs).for_each(|cause| print(cause.name(), cause.text()));
    }
    CLOCKS.iter().for_each(|(name, text)| print(name, text));
    println!("To what nodes send each other, which today are their probes' letters (with --nodes 2 and more):");
    NetworkFault::ALL.iter().for_each(|fault| print(fault.name(), fault.text()));
    println!("{} kinds, of which a table counts {} by what a node did", Cause::COUNT + CLOCKS.len(), Cause::COUNT);
    FINE
}
