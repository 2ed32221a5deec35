//! What clients ask for and what they are answered, in words.

use crate::workload::Task;
use bytes::Bytes;
use ouroboros_engine::id::BlobId;
use ouroboros_engine::node::{
    CompactReport, Damage, Failure, Opened, PurgeTarget, RecodeReport, Reply, Request, ScrubReport, Select, Stats,
};

/// Of a list so many are named.
const NAMED: usize = 4;

fn short(id: &BlobId) -> String {
    format!("{:.8}", id.to_string())
}

fn shorts<'a>(ids: impl IntoIterator<Item = &'a BlobId>) -> String {
    ids.into_iter().map(short).collect::<Vec<_>>().join(", ")
}

/// What a task is about.
pub(crate) fn task(task: &Task) -> String {
    let mut out = String::new();
    for want in &task.wants {
        let len = want.content.as_ref().map(Bytes::len);
        out.push_str(&format!(" {}", want.key));
        match (len, want.source) {
            (_, Some(source)) => out.push_str(&format!(" from {}", short(&source))),
            (Some(len), _) => out.push_str(&format!(" {len} B")),
            (None, _) => out.push_str(" gone"),
        }
        if let Some(parents) = &want.parents {
            out.push_str(&format!(" on [{}]", shorts(parents)));
        }
    }
    match &task.purge {
        Some(PurgeTarget::Key(key)) => out.push_str(&format!(" {key}")),
        Some(PurgeTarget::Version(id)) => out.push_str(&format!(" {}", short(id))),
        None => {}
    }
    if let Some(request) = &task.asked {
        out.push_str(&question(request));
    }
    out
}

fn question(request: &Request) -> String {
    match request {
        Request::Get(wanted) => {
            let wanted = wanted.iter().map(|(key, select)| match select {
                Select::Winner => format!(" {key}"),
                Select::Version(id) => format!(" {key} as {}", short(id)),
                Select::At(time) => format!(" {key} at {}", time.0),
            });
            wanted.collect::<Vec<_>>().join(",")
        }
        Request::Exist(ids) | Request::MergeBases(ids) => format!(" {}", shorts(ids)),
        Request::GetVersion(id) => format!(" {}", short(id)),
        Request::Read { blob, range } => format!(" {} from {} to {}", short(blob), range.start, range.end),
        Request::Heads(key) => format!(" {key}"),
        Request::Log { key, after, limit } => {
            let after = after.map_or_else(String::new, |(_, id)| format!(" after {}", short(&id)));
            format!(" {key}{after}, {limit} at most")
        }
        Request::Diff { from, to } => format!(" {} to {}", short(from), short(to)),
        Request::List(list) => {
            let prefix = String::from_utf8_lossy(&list.prefix);
            let after = list.after.as_ref().map(|after| format!(" after {}", String::from_utf8_lossy(after)));
            let recursive = if list.recursive { ", recursively" } else { "" };
            let gone = if list.include_gone { ", with what is gone" } else { "" };
            format!(" {prefix}*{}, {} at most{recursive}{gone}", after.unwrap_or_default(), list.limit)
        }
        Request::Scrub { repair: true } => " and repair".to_owned(),
        Request::Recode(coding) => format!(" to {}+{}", coding.data(), coding.parity()),
        _ => String::new(),
    }
}

/// An answer.
pub(crate) fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Ready => "more is welcome".to_owned(),
        Reply::Put(results) => results_of(results, |written| format!("durable {}", short(&written.id)), "refused: "),
        Reply::Got(results) => {
            results_of(results, |got| format!("{} of {} B", short(&got.version.id), got.version.len), "")
        }
        Reply::Exist(found) => {
            found.iter().map(|there| if *there { "there" } else { "not there" }).collect::<Vec<_>>().join(", ")
        }
        Reply::Data(pieces) => format!("{} B", pieces.iter().map(Bytes::len).sum::<usize>()),
        Reply::Versions(versions) => format!("{} versions", versions.len()),
        Reply::Diff(diff) => format!("{} ranges differ", diff.ranges.len()),
        Reply::Listing(page) => {
            format!("{} entries{}", page.entries.len(), if page.next.is_some() { ", and more" } else { "" })
        }
        Reply::Purged { versions } => format!("{versions} versions purged"),
        Reply::Scrubbed(ScrubReport { records, seals, damage, lost, .. }) => {
            let lost = if lost.is_empty() { String::new() } else { format!("; lost: {}", shorts(lost)) };
            format!("{records} records and {seals} seals read; {}{lost}", damage_of(damage))
        }
        Reply::Recoded(RecodeReport { recoded, unchanged, damaged }) => {
            format!("{recoded} seals recoded, {unchanged} as they were, {} damaged", damaged.len())
        }
        Reply::Compacted(CompactReport { segments_removed, bytes_before, bytes_after, .. }) => {
            format!("{segments_removed} segments removed, {bytes_before} B are now {bytes_after} B")
        }
        Reply::Stats(Stats { keys, versions, seals, segments, log_bytes, .. }) => {
            format!("{keys} keys, {versions} versions, {seals} seals, {segments} segments of {log_bytes} B")
        }
        Reply::Closed => "closed".to_owned(),
        Reply::Failed(failure) => format!("failed: {failure}"),
    }
}

fn results_of<T>(results: &[Result<T, Failure>], well: impl Fn(&T) -> String, ill: &str) -> String {
    let words = results.iter().map(|result| match result {
        Ok(outcome) => well(outcome),
        Err(failure) => format!("{ill}{failure}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn damage_of(damage: &[Damage]) -> String {
    if damage.is_empty() {
        return "nothing is damaged".to_owned();
    }
    let named = damage.iter().take(NAMED).map(|damage| format!("{} {:?}", damage.place, damage.outcome));
    let named = named.collect::<Vec<_>>().join("; ");
    match damage.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}; and {more} more places"),
    }
}

/// How a store was found when it was opened.
pub(crate) fn opened(opened: &Opened) -> String {
    let Opened { index_rebuilt, replayed, torn, kept_in_place, damaged } = opened;
    let mut out = format!("{replayed} records replayed");
    for (is_so, what) in [
        (*index_rebuilt, ", the index made anew"),
        (*torn, ", a torn end dropped"),
        (*kept_in_place, ", the last batch kept in place"),
    ] {
        if is_so {
            out.push_str(what);
        }
    }
    if !damaged.is_empty() {
        out.push_str(&format!("; damaged: {}", damaged.join("; ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouroboros_engine::id::BlobId;
    use ouroboros_engine::names::KeyName;
    use ouroboros_engine::node::DamageOutcome;
    use ouroboros_engine::seal::Coding;

    #[test]
    fn questions_answers_and_openings_are_words() {
        let id = BlobId::from_bytes([0xab; 32]);
        let key = KeyName::try_from("a/b").unwrap();
        for (request, words) in [
            (
                Request::Get(vec![(key.clone(), Select::Winner), (key.clone(), Select::Version(id))]),
                " a/b, a/b as abababab",
            ),
            (Request::Read { blob: id, range: 3..9 }, " abababab from 3 to 9"),
            (Request::Log { key, after: None, limit: 4 }, " a/b, 4 at most"),
            (Request::Recode(Coding::new(4, 2).unwrap()), " to 4+2"),
            (Request::Compact, ""),
        ] {
            assert_eq!(question(&request), words);
        }
        let place = |number: u8| Damage { place: format!("place {number}"), outcome: DamageOutcome::Healed };
        let report = ScrubReport { records: 7, damage: (0..6).map(place).collect(), ..ScrubReport::default() };
        let told = reply(&Reply::Scrubbed(report));
        assert!(told.starts_with("7 records and 0 seals read; place 0 Healed") && told.ends_with("and 2 more places"));
        assert_eq!(reply(&Reply::Exist(vec![true, false])), "there, not there");
        let torn = Opened { torn: true, replayed: 2, ..Opened::default() };
        assert_eq!(opened(&torn), "2 records replayed, a torn end dropped");
    }
}
