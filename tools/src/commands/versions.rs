//! Versions as people name them, and as they are shown.

use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Report, rfc3339, short, size, table, time};
use crate::store::{BlobKind, Db, KeyName, Version};
use ouroboros_engine::id::BlobId;
use serde::Serialize;
use std::io::{self, Write};

/// The fewest digits that name a version.
const FEWEST_DIGITS: usize = 4;

/// Versions fetched at a time.
const PAGE: usize = 1000;

/// Every version of a key, newest first.
pub(crate) fn log(db: &Db, key: &KeyName) -> Outcome<Vec<Version>> {
    let mut found: Vec<Version> = Vec::new();
    loop {
        let after = found.last().map(|version| (version.created, version.id));
        let page = db.log(key, after, PAGE)?;
        let last = page.len() < PAGE;
        found.extend(page);
        if last {
            return Ok(found);
        }
    }
}

/// The version of `key` whose id starts with `typed`.
pub(crate) fn resolve(db: &Db, key: &KeyName, typed: &str) -> Outcome<BlobId> {
    if let Some(id) = BlobId::from_hex(typed) {
        return Ok(id);
    }
    let ids = log(db, key)?.into_iter().map(|version| version.id);
    pick(ids, typed, "version").map_err(|f| f.advise(format!("`ouroboros log` shows the versions of {key}")))
}

/// The one id that starts with `typed`.
pub(crate) fn pick(ids: impl Iterator<Item = BlobId>, typed: &str, what: &str) -> Outcome<BlobId> {
    let digits = typed.to_ascii_lowercase();
    if digits.len() < FEWEST_DIGITS || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Failure::usage(format!("'{typed}' is no id; give at least its first {FEWEST_DIGITS} digits")));
    }
    let mut found: Vec<BlobId> = ids.filter(|id| id.to_string().starts_with(&digits)).collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [id] => Ok(*id),
        [] => Err(Failure::new(Exit::NotFound, format!("there is no {what} {typed}"))),
        _ => Err(Failure::usage(format!("{} ids start with {typed}; give more digits", found.len()))),
    }
}

/// One version, for a list of them.
#[derive(Serialize)]
pub(crate) struct VersionLine {
    key: String,
    version: String,
    created: String,
    author: String,
    kind: &'static str,
    parents: Vec<String>,
    gone: bool,
    len: u64,
    head: bool,
}

impl VersionLine {
    fn new(key: &KeyName, version: &Version) -> Self {
        Self {
            key: key.to_string(),
            version: version.id.to_string(),
            created: rfc3339(version.created),
            author: version.author.to_string(),
            kind: kind(version.kind),
            parents: version.parents.iter().map(ToString::to_string).collect(),
            gone: version.gone,
            len: version.len,
            head: version.is_head,
        }
    }
}

const fn kind(kind: BlobKind) -> &'static str {
    match kind {
        BlobKind::Child => "child",
        BlobKind::Merger => "merger",
        BlobKind::VersionVector => "snapshot",
    }
}

impl Report for VersionLine {
    const TYPE: &'static str = "version";
    fn human(&self, _page: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// Shows versions: objects, or one table.
pub(crate) fn show(out: &mut crate::output::Output, key: &KeyName, versions: &[Version]) -> Outcome {
    if out.is_json() {
        return versions.iter().try_for_each(|version| out.emit(&VersionLine::new(key, version)));
    }
    let rows = versions.iter().map(|version| {
        let what = if version.gone { "removed".to_owned() } else { size(version.len) };
        let parents: Vec<String> = version.parents.iter().map(|id| short(*id)).collect();
        let head = if version.is_head { "head" } else { "" };
        [short(version.id), time(version.created), what, kind(version.kind).into(), head.into(), parents.join(" ")]
    });
    out.say(table(["version", "created", ">size", "kind", "", "parents"], rows))
}

/// What a write made.
#[derive(Serialize)]
pub(crate) struct Written {
    key: String,
    version: String,
    heads: Vec<String>,
    #[serde(skip)]
    verb: &'static str,
}

impl Written {
    /// A report that says `verb`.
    pub(crate) fn new(verb: &'static str, key: &KeyName, put: &crate::store::Written) -> Self {
        Self {
            key: key.to_string(),
            version: put.id.to_string(),
            heads: put.heads.iter().map(ToString::to_string).collect(),
            verb,
        }
    }

    /// Warns when the key has other heads.
    pub(crate) fn warn_of_heads(&self, out: &mut crate::output::Output) {
        if self.heads.len() > 1 {
            out.note(format_args!(
                "{} has {} heads: `ouroboros heads` shows them, `ouroboros merge` joins them",
                self.key,
                self.heads.len()
            ));
        }
    }
}

impl Report for Written {
    const TYPE: &'static str = "written";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "{} {}  {}", self.verb, self.key, &self.version[..12])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_named_by_its_first_digits_if_they_are_enough() {
        let ids = [BlobId::from_bytes([0xaa; 32]), BlobId::from_bytes([0xab; 32])];
        let pick = |typed: &str| pick(ids.into_iter(), typed, "version");
        assert_eq!(pick("AAAA").unwrap(), ids[0]);
        assert_eq!(pick("aa").unwrap_err().exit, Exit::Usage);
        assert_eq!(pick("acac").unwrap_err().exit, Exit::NotFound);
        assert_eq!(pick("xyzw").unwrap_err().exit, Exit::Usage);
        let twins = [BlobId::from_bytes([0xaa; 32]); 2];
        assert!(super::pick(twins.into_iter(), "aaaa", "version").is_ok());
    }
}
