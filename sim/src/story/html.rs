//! A story as one page that needs nothing else: a lane for every client, process and disk, time from top to bottom, requests
//! and answers as arrows, and what befell whom.

use super::{Entry, FrameFate, Told};
use crate::Report;
use crate::cause::Cause;
use crate::disk::Fault;
use crate::network::NetworkFault;
use core::fmt::Write;
use std::collections::BTreeMap;

/// Entries that are drawn: of a longer story the beginning and, above all, the end.
const MOST_ENTRIES: usize = 400;
const FIRST_ENTRIES: usize = 100;
/// Choices that are listed.
const MOST_CHOICES: usize = 2000;
/// Characters of one entry's text beside the lanes, and in full.
const BESIDE: usize = 118;
const IN_FULL: usize = 300;

const ROW: usize = 22;
const HEAD: usize = 40;
const LANE: usize = 120;
const TIMES: usize = 110;
/// Distance of the lines of operations that overlap.
const TRACK: usize = 12;

/// The page of a run that was [told](crate::Sim::told).
#[must_use]
pub fn page(report: &Report) -> String {
    let mut out = String::with_capacity(100_000);
    let title = match &report.violation {
        Some(violation) => format!("Seed {} breaks {}", report.seed, violation.promise),
        None => format!("Seed {} breaks no promise", report.seed),
    };
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>\n"
    );
    verdict(&mut out, report);
    facts(&mut out, report);
    let (entries, left_out) = shown(&report.story);
    legend(&mut out);
    if left_out > 0 {
        let _ = writeln!(
            out,
            "<p class=\"quiet\">{left_out} entries are left out: frames that only arrived, and the middle.</p>"
        );
    }
    Drawing::of(&entries).write(&mut out);
    table(&mut out, &entries);
    choices(&mut out, report);
    let _ = write!(out, "<script>{SCRIPT}</script>\n</html>\n");
    out
}

/// What is drawn, and how many entries are left out: first the frames that went as they should, then the middle.
fn shown(story: &[Entry]) -> (Vec<&Entry>, usize) {
    let mut entries: Vec<&Entry> = story.iter().collect();
    if entries.len() > MOST_ENTRIES {
        entries.retain(|entry| !entry.is_plain_frame());
    }
    if entries.len() > MOST_ENTRIES {
        let tail = entries.len() - (MOST_ENTRIES - FIRST_ENTRIES);
        entries.drain(FIRST_ENTRIES..tail);
    }
    let left_out = story.len() - entries.len();
    (entries, left_out)
}

fn verdict(out: &mut String, report: &Report) {
    let Some(violation) = &report.violation else {
        out.push_str("<p class=\"good\">Everything that clients were told held true to the end.</p>\n");
        return;
    };
    let _ = write!(
        out,
        "<section class=\"bad\">\n<p><b>{}: {}.</b> {}</p>\n<p>Here: <code>{}</code></p>\n\
         <p class=\"quiet\">At {} virtual seconds, on node {}. <a href=\"#broken\">Show me.</a></p>\n</section>\n",
        violation.promise,
        escaped(violation.promise.text(), IN_FULL),
        escaped(violation.promise.meaning(), 2000),
        escaped(&violation.what, 2000),
        seconds(violation.at_virtual_ns),
        violation.node
    );
}

fn facts(out: &mut String, report: &Report) {
    let _ = write!(
        out,
        "<p class=\"quiet\">{} operations asked for, {} events, {} virtual seconds, {} choices that were not calm. \
         Trace <code>{:.16}</code>.",
        report.operations,
        report.events,
        seconds(report.virtual_ns),
        report.schedule.choices.len(),
        report.trace.to_string(),
    );
    let schedule = &report.schedule;
    // Steps of a scenario and planted bugs stand in schedules alone.
    if schedule.steps.is_empty() && schedule.planted.is_none() {
        let nodes = if schedule.nodes > 1 { format!(" --nodes {}", schedule.nodes) } else { String::new() };
        let _ = write!(
            out,
            " Again, unless the schedule was shrunk: <code>ouroboros-sim run --seed {} --operations {}{nodes}{}{}</code>",
            report.seed,
            schedule.operations,
            if schedule.beyond { " --beyond" } else { "" },
            if schedule.canary { " --canary" } else { "" },
        );
    }
    out.push_str("</p>\n");
}

fn legend(out: &mut String) {
    out.push_str(
        "<p class=\"legend\"><span class=\"ask\">→ request</span> <span class=\"yes\">← answer</span> \
         <span class=\"no\">← refusal</span> <span class=\"fault\">◆ fault of the disk</span> \
         <span class=\"frame\">⇢ frame between nodes</span> <span class=\"fault\">⇢ struck or lost, ◀ links</span> \
         <span class=\"befell\">● something befalls the node</span> <span class=\"crash\">✖ power or process gone</span> \
         <span class=\"open\">▲ store opened, ▼ closed</span> <span class=\"oracle\">○ the oracle</span> \
         Time runs downwards, not to scale; point at a mark for all of its text.</p>\n",
    );
}

/// The lanes of the nodes that a story is about.
struct Drawing<'a> {
    entries: &'a [&'a Entry],
    nodes: usize,
    /// Where the line of each operation stands among those that overlap, and where it begins and ends.
    operations: Vec<Operation>,
}

/// Operations under way, each with its track and its first row.
type Open = BTreeMap<(u8, u32), (usize, usize)>;

struct Operation {
    node: u8,
    slot: u32,
    track: usize,
    from: usize,
    to: usize,
    answered: bool,
}

impl<'a> Drawing<'a> {
    fn of(entries: &'a [&'a Entry]) -> Self {
        let last = |entry: &&Entry| match entry.told {
            Told::Frame { from, to, .. } => from.max(to),
            _ => entry.node,
        };
        let nodes = entries.iter().map(|entry| usize::from(last(entry)) + 1).max().unwrap_or(1);
        let mut open = Open::new();
        let mut operations = Vec::new();
        let end = |operations: &mut Vec<Operation>, (node, slot), (track, from), to, answered| {
            operations.push(Operation { node, slot, track, from, to, answered });
        };
        for (row, entry) in entries.iter().enumerate() {
            match entry.told {
                Told::Asked { slot } => {
                    let taken =
                        |track| open.iter().any(|((node, _), (other, _))| *node == entry.node && *other == track);
                    let track = (0..8).find(|track| !taken(*track)).unwrap_or(0);
                    open.insert((entry.node, slot), (track, row));
                }
                Told::Answered { slot, .. } => {
                    if let Some(begun) = open.remove(&(entry.node, slot)) {
                        end(&mut operations, (entry.node, slot), begun, row, true);
                    }
                }
                Told::Down => {
                    let (its, others) =
                        std::mem::take(&mut open).into_iter().partition(|((node, _), _)| *node == entry.node);
                    open = others;
                    for (which, begun) in Open::into_iter(its) {
                        end(&mut operations, which, begun, row, false);
                    }
                }
                _ => {}
            }
        }
        for (which, begun) in open {
            end(&mut operations, which, begun, entries.len(), false);
        }
        Self { entries, nodes, operations }
    }

    const fn lane(node: u8, lane: usize) -> usize {
        TIMES + (node as usize * 3 + lane) * LANE + LANE / 2
    }

    const fn y(row: usize) -> usize {
        HEAD + row * ROW + ROW / 2
    }

    fn texts(&self) -> usize {
        TIMES + self.nodes * 3 * LANE + 10
    }

    fn write(&self, out: &mut String) {
        let (width, height) = (self.texts() + 960, HEAD + self.entries.len() * ROW + ROW);
        let _ = writeln!(
            out,
            "<div class=\"lanes\"><svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
             <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
             <path d=\"M0 0 8 4 0 8z\" fill=\"context-stroke\"/></marker></defs>"
        );
        self.write_lanes(out, height);
        for operation in &self.operations {
            self.write_operation(out, operation);
        }
        let mut before = None;
        for (row, entry) in self.entries.iter().enumerate() {
            self.write_entry(out, row, entry, before);
            before = Some(entry.at);
        }
        out.push_str("</svg></div>\n");
    }

    fn write_lanes(&self, out: &mut String, height: usize) {
        for node in 0..self.nodes as u8 {
            for (lane, name) in ["client", "node", "disk"].into_iter().enumerate() {
                let x = Self::lane(node, lane);
                let _ = writeln!(
                    out,
                    "<text class=\"name\" x=\"{x}\" y=\"18\">{name} {node}</text>\
                     <line class=\"lane\" x1=\"{x}\" y1=\"26\" x2=\"{x}\" y2=\"{height}\"/>"
                );
            }
            self.write_lives(out, node);
        }
    }

    /// A bar for as long as a process runs.
    fn write_lives(&self, out: &mut String, node: u8) {
        let mut since = Some(0);
        let mut bar = |from: usize, to: usize| {
            let (x, y, height) = (Self::lane(node, 1) - 5, Self::y(from), (to - from) * ROW);
            let _ = writeln!(out, "<rect class=\"life\" x=\"{x}\" y=\"{y}\" width=\"10\" height=\"{height}\"/>");
        };
        for (row, entry) in self.entries.iter().enumerate().filter(|(_, entry)| entry.node == node) {
            match entry.told {
                Told::Down | Told::Closed => {
                    if let Some(from) = since.take() {
                        bar(from, row);
                    }
                }
                Told::Open => since = since.or(Some(row)),
                _ => {}
            }
        }
        if let Some(from) = since {
            bar(from, self.entries.len());
        }
    }

    fn write_operation(&self, out: &mut String, operation: &Operation) {
        let Operation { node, slot, track, from, to, answered } = *operation;
        let x = Self::lane(node, 0) - LANE / 2 + 14 + track * TRACK;
        let class = if answered { "span" } else { "span lost" };
        let title = if answered { "" } else { ": never answered" };
        let _ = writeln!(
            out,
            "<line class=\"{class}\" x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{}\"><title>#{slot}{title}</title></line>",
            Self::y(from),
            Self::y(to)
        );
    }

    fn track(&self, row: usize, node: u8, slot: u32) -> usize {
        let its = |operation: &&Operation| {
            operation.node == node && operation.slot == slot && (operation.from == row || operation.to == row)
        };
        let track = self.operations.iter().find(its).map_or(0, |operation| operation.track);
        Self::lane(node, 0) - LANE / 2 + 14 + track * TRACK
    }

    fn write_entry(&self, out: &mut String, row: usize, entry: &Entry, before: Option<u64>) {
        let (y, node) = (Self::y(row), entry.node);
        let (client, process, disk) = (Self::lane(node, 0), Self::lane(node, 1), Self::lane(node, 2));
        let id = if entry.told == Told::Broken { " id=\"broken\"" } else { "" };
        let class = class(&entry.told);
        let _ = write!(out, "<g class=\"{class}\"{id}><title>{}</title>", escaped(&entry.text, IN_FULL));
        let width = self.texts() + 960;
        let _ = write!(out, "<rect class=\"row\" x=\"0\" y=\"{}\" width=\"{width}\" height=\"{ROW}\"/>", y - ROW / 2);
        if before != Some(entry.at) {
            let _ =
                write!(out, "<text class=\"time\" x=\"{}\" y=\"{}\">{}</text>", TIMES - 14, y + 4, seconds(entry.at));
        }
        match &entry.told {
            Told::Asked { slot } => {
                let x = self.track(row, node, *slot);
                let _ = write!(out, "<path class=\"arrow\" d=\"M{x} {y}H{}\"/>", process - 6);
            }
            Told::Answered { slot, .. } => {
                let x = self.track(row, node, *slot);
                let _ = write!(out, "<path class=\"arrow\" d=\"M{} {y}H{x}\"/>", process - 6);
            }
            Told::Struck { cause: Cause::Disk(Fault::Crash), .. } => cross(out, disk, y),
            Told::Struck { cause: Cause::Disk(_) | Cause::Rot(_), .. } => {
                let _ = write!(out, "<path d=\"M{disk} {}l7 7-7 7-7-7z\"/>", y - 7);
            }
            Told::Struck { cause: Cause::Power(_) | Cause::Befell(_) | Cause::Network(_), .. } => dot(out, process, y),
            Told::Down => {
                let _ = write!(out, "<path class=\"cut\" d=\"M{client} {y}H{disk}\"/>");
                cross(out, process, y);
            }
            Told::Open => {
                let _ = write!(out, "<path d=\"M{process} {}l8 13h-16z\"/>", y - 7);
            }
            Told::Closed => {
                let _ = write!(out, "<path d=\"M{process} {}l8-13h-16z\"/>", y + 6);
            }
            Told::Oracle => {
                let _ = write!(out, "<circle class=\"hollow\" cx=\"{client}\" cy=\"{y}\" r=\"5\"/>");
            }
            Told::Damage | Told::OpenFailed => dot(out, process, y),
            Told::Frame { from, to, fate } => {
                let (from, to) = (Self::lane(*from, 1), Self::lane(*to, 1));
                let away = if from < to { 6 } else { -6 };
                let (start, end) = (from.saturating_add_signed(away), to.saturating_add_signed(-away));
                // What does not arrive ends on its way.
                let end = match fate {
                    FrameFate::Lost | FrameFate::Struck(NetworkFault::Drop) => start.midpoint(end),
                    _ => end,
                };
                let _ = write!(out, "<path class=\"arrow\" d=\"M{start} {y}H{end}\"/>");
            }
            Told::Network => {
                let _ = write!(out, "<path d=\"M{} {y}l8-7v14z\"/>", process - 4);
            }
            Told::Broken => {
                let _ = write!(out, "<path class=\"cut\" d=\"M{TIMES} {y}H{}\"/>", self.texts() - 10);
            }
            Told::Note => {}
        }
        let _ = writeln!(
            out,
            "<text class=\"text\" x=\"{}\" y=\"{}\">{}</text></g>",
            self.texts(),
            y + 4,
            escaped(&entry.text, BESIDE)
        );
    }
}

fn cross(out: &mut String, x: usize, y: usize) {
    let _ = write!(out, "<path class=\"cross\" d=\"M{} {}l12 12m0-12-12 12\"/>", x - 6, y - 6);
}

fn dot(out: &mut String, x: usize, y: usize) {
    let _ = write!(out, "<circle cx=\"{x}\" cy=\"{y}\" r=\"6\"/>");
}

const fn class(told: &Told) -> &'static str {
    match told {
        Told::Asked { .. } => "ask",
        Told::Answered { refused: false, .. } => "yes",
        Told::Answered { refused: true, .. } => "no",
        Told::Struck { cause: Cause::Disk(Fault::Crash), .. } | Told::Down => "crash",
        Told::Struck { cause: Cause::Disk(_) | Cause::Rot(_), .. } => "fault",
        Told::Struck { .. } => "befell",
        Told::OpenFailed => "no",
        Told::Open | Told::Closed => "open",
        Told::Damage | Told::Network => "fault",
        Told::Frame { fate: FrameFate::Arrived, .. } => "frame",
        Told::Frame { .. } => "fault frame",
        Told::Oracle => "oracle",
        Told::Broken => "broken",
        Told::Note => "note",
    }
}

fn table(out: &mut String, entries: &[&Entry]) {
    let _ = writeln!(
        out,
        "<details><summary>All {} entries in full</summary>\n<input id=\"find\" type=\"search\" placeholder=\"only entries with …\">\n\
         <table id=\"entries\"><tr><th>seconds<th>node<th>entry",
        entries.len()
    );
    for entry in entries {
        let _ = writeln!(
            out,
            "<tr class=\"{}\"><td>{}<td>{}<td>{}",
            class(&entry.told),
            seconds(entry.at),
            entry.node,
            escaped(&entry.text, IN_FULL)
        );
    }
    out.push_str("</table></details>\n");
}

fn choices(out: &mut String, report: &Report) {
    let all = &report.schedule.choices;
    let _ = writeln!(out, "<details><summary>The schedule: {} choices that were not calm</summary>\n<pre>", all.len());
    let text = report.schedule.to_string();
    for line in text.lines().take(MOST_CHOICES) {
        let _ = writeln!(out, "{}", escaped(line, IN_FULL));
    }
    let more = text.lines().count().saturating_sub(MOST_CHOICES);
    if more > 0 {
        let _ = writeln!(out, "… and {more} more");
    }
    out.push_str("</pre></details>\n");
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:06}", nanos / 1_000_000_000, nanos / 1000 % 1_000_000)
}

/// At most so many characters of a text, fit to stand in a page.
fn escaped(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        if at == most {
            out.push('…');
            break;
        }
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

const STYLE: &str = include_str!("page.css");

const SCRIPT: &str = "\
const find=document.getElementById('find'),rows=[...document.querySelectorAll('#entries tr')].slice(1);\
find.oninput=()=>rows.forEach(r=>r.hidden=!r.textContent.toLowerCase().includes(find.value.toLowerCase()));";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sim;

    #[test]
    fn a_page_shows_every_entry_needs_nothing_else_and_is_small() {
        let report = Sim::new(5).canary(true).told(true).run();
        let page = page(&report);
        assert!(page.contains("<h1>Seed 5 breaks P7</h1>") && page.contains("id=\"broken\""));
        assert_eq!(page.matches("<g class=").count(), report.story.len());
        for outside in ["http:", "https:", "src=", "@import", "url(h"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.len() < 500_000);
        // A name that looks like markup is text.
        assert!(!page.contains("<plaintext"));
    }

    #[test]
    fn frames_are_arrows_from_node_to_node_and_what_is_lost_ends_on_its_way() {
        let frame = |fate| Entry { at: 0, node: 0, told: Told::Frame { from: 0, to: 2, fate }, text: String::new() };
        let drawn = |fate| {
            let entry = frame(fate);
            let entries = [&entry];
            let drawing = Drawing::of(&entries);
            assert_eq!(drawing.nodes, 3, "there is a lane for who gets it");
            let mut out = String::new();
            drawing.write(&mut out);
            out
        };
        let (from, to) = (Drawing::lane(0, 1) + 6, Drawing::lane(2, 1) - 6);
        let y = Drawing::y(0);
        assert!(drawn(FrameFate::Arrived).contains(&format!("<path class=\"arrow\" d=\"M{from} {y}H{to}\"/>")));
        let half = from.midpoint(to);
        assert!(drawn(FrameFate::Lost).contains(&format!("d=\"M{from} {y}H{half}\"")));
        assert!(drawn(FrameFate::Struck(NetworkFault::Drop)).contains("<g class=\"fault frame\">"));
    }

    #[test]
    fn how_to_run_it_again_is_said_where_a_seed_is_enough() {
        let again = "ouroboros-sim run --seed 3 --operations 12 --nodes 2 --beyond";
        let sim = || Sim::new(3).operations(12).nodes(2).beyond(true);
        assert!(page(&sim().run()).contains(again));
        assert!(!page(&sim().crash(crate::At(2), crate::NodeId(0)).run()).contains("Again"));
    }

    #[test]
    fn of_a_long_story_the_beginning_and_the_end_are_drawn() {
        let entry = |at: u64| Entry { at, node: 0, told: Told::Note, text: "x".repeat(5000) };
        let mut report = Sim::of_bytes(&[]).run();
        report.story = (0..5000).map(entry).collect();
        let (drawn, left_out) = shown(&report.story);
        assert_eq!((drawn.len(), left_out), (MOST_ENTRIES, 5000 - MOST_ENTRIES));
        assert_eq!((drawn[0].at, drawn[MOST_ENTRIES - 1].at), (0, 4999));
        assert!(page(&report).len() < 500_000);
    }

    #[test]
    fn what_is_never_answered_ends_where_the_process_does() {
        let entry = |told| Entry { at: 0, node: 0, told, text: String::new() };
        let story = [
            entry(Told::Asked { slot: 1 }),
            entry(Told::Asked { slot: 2 }),
            entry(Told::Answered { slot: 1, refused: false }),
            Entry { node: 1, ..entry(Told::Down) },
            entry(Told::Down),
        ];
        let entries: Vec<&Entry> = story.iter().collect();
        let drawing = Drawing::of(&entries);
        let ends: Vec<_> = drawing.operations.iter().map(|o| (o.slot, o.track, o.from, o.to, o.answered)).collect();
        assert_eq!(ends, [(1, 0, 0, 2, true), (2, 1, 1, 4, false)], "another node's end is not its own");
    }
}
