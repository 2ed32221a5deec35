//! `review-marks`: lists which functions were written or reviewed by whom, from the marks that `REVIEW.md` explains.
//!
//! ```text
//! review-marks [--check] [--summary] [FOLDER…]
//! ```
//!
//! Without options: every marked function with its place, grouped by mark, then counts per folder. `--summary` leaves
//! the list out. `--check` fails on marks that are misspelt or do not stand first in a function's body.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: review-marks [--check] [--summary] [FOLDER…]";
const FOLDERS: [&str; 6] = ["engine", "io", "sim", "tests", "tools", "fuzz"];

/// Who wrote a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Writer {
    Human,
    Machine,
}

/// How much of a function a person other than its writer has reviewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Review {
    None,
    Partly,
    Completely,
}

/// One mark: `P`, if a mistake there loses or leaks data, then the writer, then the review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    // In the order of the listing: what needs a reviewer most comes first.
    low_risk: bool,
    review: Review,
    writer: Writer,
}

impl Mark {
    /// What a function without a mark is.
    const DEFAULT: Self = Self { low_risk: true, review: Review::None, writer: Writer::Machine };
    /// What a function without a mark is in a test file written by a person.
    const DEFAULT_HUMAN_TEST: Self = Self { low_risk: true, review: Review::None, writer: Writer::Human };

    fn parse(text: &str) -> Option<Self> {
        let (low_risk, rest) = match text.strip_prefix('P') {
            Some(rest) => (false, rest),
            None => (true, text),
        };
        let (writer, rest) = match rest.strip_prefix('A') {
            Some(rest) => (Writer::Machine, rest),
            None => (Writer::Human, rest.strip_prefix('H')?),
        };
        let review = match rest {
            "" => Review::None,
            "P" => Review::Partly,
            "C" => Review::Completely,
            _ => return None,
        };
        Some(Self { low_risk, review, writer })
    }

    fn explanation(self) -> String {
        let writer = match self.writer {
            Writer::Human => "human-written",
            Writer::Machine => "machine-written",
        };
        let review = match self.review {
            Review::None => "not reviewed",
            Review::Partly => "partly reviewed",
            Review::Completely => "completely reviewed",
        };
        format!("{writer}, {review}{}", if self.low_risk { "" } else { ", HIGH RISK" })
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = [
            if self.low_risk { "" } else { "P" },
            match self.writer {
                Writer::Human => "H",
                Writer::Machine => "A",
            },
            match self.review {
                Review::None => "",
                Review::Partly => "P",
                Review::Completely => "C",
            },
        ]
        .concat();
        f.pad(&text)
    }
}

/// A piece of Rust source, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(u8),
    LineComment(&'a str),
}

/// Splits source into tokens with the line that each starts on. Block comments and the insides of literals vanish.
fn tokens(source: &str) -> Vec<(usize, Token<'_>)> {
    let bytes = source.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        let rest = &bytes[at..];
        if rest.starts_with(b"//") {
            at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
            // `///` and `//!` are documentation, which carries no mark.
            if !matches!(rest.get(2), Some(b'/' | b'!')) {
                found.push((line, Token::LineComment(source[start + 2..at].trim())));
            }
            continue;
        }
        at += if rest.starts_with(b"/*") {
            block_comment_len(rest)
        } else if let Some(len) = raw_string_len(rest) {
            len
        } else if byte == b'"' {
            quoted_len(rest, b'"')
        } else if byte == b'\'' && is_char_literal(rest) {
            quoted_len(rest, b'\'')
        } else if byte == b'_' || byte.is_ascii_alphanumeric() || byte >= 0x80 {
            let len =
                rest.iter().position(|&b| b != b'_' && !b.is_ascii_alphanumeric() && b < 0x80).unwrap_or(rest.len());
            found.push((line, Token::Word(&source[start..start + len])));
            len
        } else {
            if !byte.is_ascii_whitespace() {
                found.push((line, Token::Symbol(byte)));
            }
            1
        };
        line += bytes[start..at].iter().filter(|&&b| b == b'\n').count();
    }
    found
}

fn block_comment_len(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The length of a raw string (`r"…"`, `br#"…"#`) that starts here, if one does.
fn raw_string_len(bytes: &[u8]) -> Option<usize> {
    let prefix = [&b"r"[..], b"br", b"cr"].into_iter().find(|p| bytes.starts_with(p))?;
    let hashes = bytes[prefix.len()..].iter().take_while(|&&b| b == b'#').count();
    let open = prefix.len() + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let close = [&b"\""[..], &b"#".repeat(hashes)].concat();
    let inside = bytes[open + 1..].windows(close.len()).position(|w| w == close);
    Some(inside.map_or(bytes.len(), |len| open + 1 + len + close.len()))
}

fn quoted_len(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Tells `'a'` and `'\n'` from the lifetime `'a`.
fn is_char_literal(bytes: &[u8]) -> bool {
    match bytes.get(1) {
        Some(b'\\') => true,
        Some(&first) => {
            let len = match first {
                0..0x80 => 1,
                0x80..0xe0 => 2,
                0xe0..0xf0 => 3,
                _ => 4,
            };
            bytes.get(1 + len) == Some(&b'\'')
        }
        None => false,
    }
}

/// A function with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Function {
    line: usize,
    name: String,
    mark: Option<Mark>,
}

/// The functions of one file, and what is wrong with its marks as (line, complaint).
fn read_source(source: &str) -> (Vec<Function>, Vec<(usize, String)>) {
    let tokens = tokens(source);
    let (mut functions, mut complaints) = (Vec::new(), Vec::new());
    let mut placed = Vec::new();
    for (index, (line, token)) in tokens.iter().enumerate() {
        if *token != Token::Word("fn") {
            continue;
        }
        let Some((_, Token::Word(name))) = tokens.get(index + 1) else { continue };
        let Some(body) = body_of(&tokens, index + 2) else { continue };
        let mark = match tokens.get(body + 1) {
            Some((mark_line, Token::LineComment(text))) => {
                let own_line = *mark_line > tokens[body].0;
                let mark = text.split_once(':').map_or(*text, |(mark, _)| mark);
                Mark::parse(mark).filter(|_| own_line).inspect(|_| placed.push(body + 1))
            }
            _ => None,
        };
        functions.push(Function { line: *line, name: (*name).to_owned(), mark });
    }
    for (index, (line, token)) in tokens.iter().enumerate() {
        let Token::LineComment(text) = token else { continue };
        if let Some(complaint) = complain(text, placed.contains(&index)) {
            complaints.push((*line, complaint));
        }
    }
    (functions, complaints)
}

/// Where the body of a function opens, from the token after its name on; none if it is only declared.
fn body_of(tokens: &[(usize, Token<'_>)], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, (_, token)) in tokens.iter().enumerate().skip(from) {
        match token {
            Token::Symbol(b'(' | b'[') => depth += 1,
            Token::Symbol(b')' | b']') => depth = depth.saturating_sub(1),
            Token::Symbol(b'{') if depth == 0 => return Some(index),
            Token::Symbol(b';') if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// What is wrong with a comment that is a mark, or was meant as one.
fn complain(text: &str, first_in_a_body: bool) -> Option<String> {
    // Behind a colon may stand the reason: `PA: two writers destroy a log`.
    let (word, more) = match text.find(|c: char| !c.is_alphanumeric()) {
        Some(end) => (&text[..end], !text[end..].starts_with(':')),
        None => (text, false),
    };
    if Mark::parse(word).is_some() {
        // "A blob …" is a sentence; a mark of one letter with words behind it cannot be told from it.
        return match (more, first_in_a_body) {
            (true, _) if word.len() == 1 => None,
            (true, _) => Some(format!("behind the mark `{word}` may stand nothing, or a colon and the reason")),
            (false, false) => Some(format!("the mark `{word}` is not the first line of a function's body")),
            (false, true) => None,
        };
    }
    let meant = !more && (1..=4).contains(&word.len()) && word.bytes().all(|b| b"PAHCpahc".contains(&b));
    meant.then(|| format!("`{word}` is no mark: P? then A or H, then P or C or nothing; see REVIEW.md"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if !matches!(entry.file_name().to_str(), Some("target" | "corpus" | "artifacts")) {
                sources(&path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn default_mark(path: &Path) -> Mark {
    if path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("_h")) {
        Mark::DEFAULT_HUMAN_TEST
    } else {
        Mark::DEFAULT
    }
}

#[derive(Default)]
struct Report {
    listed: BTreeMap<Mark, Vec<String>>,
    counts: BTreeMap<String, BTreeMap<Mark, usize>>,
    complaints: Vec<String>,
}

impl Report {
    fn add(&mut self, folder: &str, path: &Path, source: &str) {
        let (functions, complaints) = read_source(source);
        for function in functions {
            let mark = function.mark.unwrap_or_else(|| default_mark(path));
            *self.counts.entry(folder.to_owned()).or_default().entry(mark).or_default() += 1;
            if function.mark.is_some() {
                let place = format!("{}:{}  {}", path.display(), function.line, function.name);
                self.listed.entry(mark).or_default().push(place);
            }
        }
        self.complaints.extend(complaints.into_iter().map(|(line, why)| format!("{}:{line}: {why}", path.display())));
    }

    fn render(&self, with_list: bool) -> String {
        let mut lines = Vec::new();
        if with_list {
            for (mark, places) in &self.listed {
                lines.push(format!("{mark}  {} ({})", mark.explanation(), places.len()));
                lines.extend(places.iter().map(|place| format!("    {place}")));
                lines.push(String::new());
            }
        }
        let mut marks: Vec<Mark> = self.counts.values().flat_map(BTreeMap::keys).copied().collect();
        marks.sort_unstable();
        marks.dedup();
        let row = |name: &str, cells: Vec<String>| {
            let cells: String = cells.into_iter().map(|cell| format!("{cell:>7}")).collect();
            format!("{name:<10}{cells}")
        };
        lines.push(row("functions", marks.iter().map(ToString::to_string).collect()));
        for (folder, counts) in &self.counts {
            let cells = marks.iter().map(|mark| counts.get(mark).copied().unwrap_or(0).to_string()).collect();
            lines.push(row(folder, cells));
        }
        lines.join("\n") + "\n"
    }
}

fn run(arguments: impl Iterator<Item = String>) -> Result<ExitCode, String> {
    let (mut check, mut summary, mut folders) = (false, false, Vec::new());
    for argument in arguments {
        match argument.as_str() {
            "--check" => check = true,
            "--summary" => summary = true,
            "--help" | "-h" => {
                let _ = writeln!(std::io::stdout(), "{USAGE}");
                return Ok(ExitCode::SUCCESS);
            }
            other if other.starts_with('-') => return Err(format!("no option {other}\n{USAGE}")),
            _ => folders.push(argument),
        }
    }
    if folders.is_empty() {
        folders = FOLDERS.iter().filter(|folder| Path::new(folder).is_dir()).map(ToString::to_string).collect();
    }
    if folders.is_empty() {
        return Err(format!("none of {} is here; run this from the workspace's root", FOLDERS.join(", ")));
    }
    let mut report = Report::default();
    for folder in &folders {
        let mut files = Vec::new();
        sources(Path::new(folder), &mut files).map_err(|error| format!("{folder}: {error}"))?;
        files.sort();
        for path in files {
            let source = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            report.add(folder, &path, &source);
        }
    }
    // A reader that closes the pipe early is no failure.
    let _ = std::io::stdout().write_all(report.render(!summary).as_bytes());
    for complaint in &report.complaints {
        let _ = writeln!(std::io::stderr(), "{complaint}");
    }
    Ok(if check && !report.complaints.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn main() -> ExitCode {
    run(std::env::args().skip(1)).unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "review-marks: {error}");
        ExitCode::from(2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(source: &str) -> Vec<(String, Option<String>)> {
        read_source(source).0.into_iter().map(|f| (f.name, f.mark.map(|m| m.to_string()))).collect()
    }

    fn complaints(source: &str) -> usize {
        read_source(source).1.len()
    }

    #[test]
    fn every_spelling_of_a_mark_survives() {
        for text in ["A", "AP", "AC", "H", "HP", "HC", "PA", "PAP", "PAC", "PH", "PHP", "PHC"] {
            assert_eq!(Mark::parse(text).map(|mark| mark.to_string()).as_deref(), Some(text));
        }
        for text in ["", "P", "C", "AA", "PP", "AH", "ACP", "PPA", "a"] {
            assert_eq!(Mark::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_mark_counts_only_as_the_first_line_of_a_body() {
        let source = "fn one() {\n    // PA\n    two();\n}\nfn two<T>(x: [u8; { 3 }]) -> T\nwhere T: Fn() -> u8,\n{\n    // HC\n}\nfn three() {}\n";
        let found = |name: &str, mark: Option<&str>| (name.to_owned(), mark.map(str::to_owned));
        assert_eq!(marks(source), [found("one", Some("PA")), found("two", Some("HC")), found("three", None)]);
        assert_eq!(complaints(source), 0);
        assert_eq!(complaints("fn one() {\n    two();\n    // PA\n}\n"), 1);
        assert_eq!(complaints("// PA\nfn one() {}\n"), 1);
        assert_eq!(complaints("fn one() { // PA\n}\n"), 1);
    }

    #[test]
    fn a_mark_may_give_its_reason_behind_a_colon() {
        let source = "fn one() {\n    // PA: two writers destroy a log\n}\n";
        assert_eq!(marks(source), [("one".to_owned(), Some("PA".to_owned()))]);
        assert_eq!(complaints(source), 0);
        assert_eq!(complaints("fn one() {\n    two();\n    // PA: late\n}\n"), 1);
    }

    #[test]
    fn misspelt_marks_are_reported_and_sentences_are_not() {
        for bad in ["PAA", "pa", "AH", "PC", "PAC, mostly", "PAA: why"] {
            assert_eq!(complaints(&format!("fn one() {{\n    // {bad}\n}}\n")), 1, "{bad}");
        }
        for good in ["A blob of bytes", "H is the hash", "the cap", "Padded", "x"] {
            assert_eq!(complaints(&format!("fn one() {{\n    // {good}\n}}\n")), 0, "{good}");
        }
    }

    #[test]
    fn strings_and_comments_hide_what_looks_like_code() {
        let source = "fn one() { let s = \"fn two() { // PA\"; }\n/* fn three() { /* nested */ } */\nfn four<'a>(x: &'a str) { let c = '{'; let r = r#\"\n// PA\n\"#; }\ntrait T { fn declared(&self); }\ntype F = fn(u8) -> u8;\n";
        let names: Vec<String> = marks(source).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["one", "four"]);
        assert_eq!(complaints(source), 0);
    }

    #[test]
    fn line_numbers_survive_strings_over_several_lines() {
        let source = "const S: &str = \"a\nb\nc\";\nfn late() {}\n";
        assert_eq!(read_source(source).0.first().map(|function| function.line), Some(4));
    }
}
