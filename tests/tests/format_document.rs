//! `docs/FORMAT.md` is what this build writes and reads: its worked examples byte for byte, and of everything else that is
//! encoded the bytes' hash and the declaration, so that a change in the code that the document does not know is noticed.
#![allow(clippy::expect_used)]

use ouroboros_tests::fuzz_bodies::{DECODERS, FILES};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// The blocks that begin with "```hex NAME", as bytes by name. White space and what follows `#` in a line do not count.
fn examples(document: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open: Option<(String, String)> = None;
    for line in document.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(fence)) => open = Some((fence.to_owned(), String::new())),
            (Some(_), Some(_)) => {
                let (fence, digits) = open.take().expect("a block is open");
                if let Some(name) = fence.strip_prefix("hex ") {
                    let bytes = bytes_of(&digits);
                    assert!(found.insert(name.trim().to_owned(), bytes).is_none(), "two examples are called {name}");
                }
            }
            (Some((_, text)), None) => {
                let line = line.split('#').next().unwrap_or_default();
                text.extend(line.chars().filter(|c| !c.is_whitespace()));
            }
            (None, None) => {}
        }
    }
    found
}

fn bytes_of(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "half a byte in {digits:?}");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

#[test]
fn every_worked_example_is_what_this_build_writes() {
    let examples = examples(&document());
    assert!(!examples.is_empty(), "docs/FORMAT.md shows no example");
    for (name, bytes) in examples {
        let decoder = DECODERS.iter().find(|decoder| decoder.name == name);
        let decoder = decoder.unwrap_or_else(|| panic!("the example {name} names no decoder of fuzz_bodies::DECODERS"));
        assert_eq!((decoder.example)(), bytes, "the example {name} is not what this build writes");
        assert!((decoder.accepts)(&bytes), "the example {name} is refused");
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn document() -> String {
    std::fs::read_to_string(root().join("docs/FORMAT.md")).expect("docs/FORMAT.md")
}

/// The text between two markers.
fn part<'a>(document: &'a str, name: &str) -> &'a str {
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (_, rest) = document.split_once(&start).expect("the marker stands in docs/FORMAT.md");
    rest.split_once(&end).expect("the part ends").0
}

// ---- Examples of every decoder ---------------------------------------------------------------------------------------

fn table_of_examples() -> String {
    let mut table = "\n| structure | bytes | hash |\n|---|---|---|\n".to_owned();
    for decoder in DECODERS.iter().chain(FILES) {
        let example = (decoder.example)();
        // The index is encrypted pages of a library's making; its fixed parts are held by the store's own tests.
        if !example.is_empty() && !decoder.name.starts_with("index-file") {
            let hash = blake3::hash(&example).to_hex();
            let _ = writeln!(table, "| {} | {} | `{}` |", decoder.name, example.len(), &hash[..16]);
        }
    }
    table + "\n"
}

#[test]
fn every_decoder_is_as_the_document_last_saw_it() {
    let (document, expected) = (document(), table_of_examples());
    let shown = part(&document, "examples");
    let changed: Vec<&str> = expected.lines().filter(|line| !shown.lines().any(|other| other == *line)).collect();
    assert!(shown == expected, "encoded otherwise than docs/FORMAT.md says; {REMEDY}\n{}", changed.join("\n"));
}

// ---- Declarations of every type that is encoded ----------------------------------------------------------------------

/// Every source file of what is written to disk, without its tests.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join("engine/src"), root().join("io/src"), root().join("tools/src")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() && name != "tests" {
                open.push(path);
            } else if name.ends_with(".rs") && !["tests.rs", "golden.rs", "hostile.rs", "sample.rs"].contains(&&*name) {
                let text = std::fs::read_to_string(&path).expect("a source file");
                let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
                found.push((path.display().to_string(), code));
            }
        }
    }
    found.sort();
    found
}

/// `{ a: A, b: B }` of a declaration: without comments, attributes and visibility.
fn fields(declaration: &str) -> String {
    let mut depth = 0;
    let mut text = String::new();
    let mut skips = false;
    for line in declaration.lines().map(str::trim) {
        // What is skipped is not encoded.
        if line.starts_with("//") || std::mem::replace(&mut skips, line == "#[borsh(skip)]") {
            continue;
        }
        let mut code = line.to_owned();
        // An attribute, which may take several lines.
        if code.starts_with("#[") || depth > 0 {
            depth += code.matches('[').count() as i32 - code.matches(']').count() as i32;
            code.clear();
        }
        text.push_str(&code);
        text.push(' ');
    }
    for visibility in ["pub(crate) ", "pub(super) ", "pub "] {
        text = text.replace(visibility, "");
    }
    // An attribute in front of a tuple's field.
    while let (Some(start), Some(end)) = (text.find("#["), text.find(")]")) {
        text.replace_range(start..end + 2, "");
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What follows the derivation of an encoding: the type's name and how it is declared.
fn declared(code: &str) -> Option<(String, String)> {
    let start = code.lines().scan(0, |at, line| {
        let here = *at;
        *at += line.len() + 1;
        Some((
            here,
            line.trim_start_matches("pub(super) ").trim_start_matches("pub(crate) ").trim_start_matches("pub "),
        ))
    });
    let (at, line) = start.into_iter().find(|(_, line)| line.starts_with("struct ") || line.starts_with("enum "))?;
    let name: String = line.split(' ').nth(1)?.chars().take_while(|c| c.is_alphanumeric() || *c == '$').collect();
    let rest = code.get(at..)?;
    let end = if line.contains('{') { rest.find("\n}")? + 2 } else { rest.find(");")? + 1 };
    let body = rest.get(rest.find(name.as_str())? + name.len()..end)?;
    Some((name, fields(body)))
}

fn types() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, code) in sources() {
        for (at, _) in
            code.match_indices("BorshSerialize, BorshDeserialize)]").chain(code.match_indices("BorshSerialize)]"))
        {
            let (name, fields) = declared(&code[at..]).unwrap_or_else(|| panic!("{path}: what is encoded here?"));
            if name != "$name" {
                found.entry(name).or_default().insert(fields);
            }
        }
        for (at, what) in
            code.match_indices("impl BorshSerialize for ").chain(code.match_indices("impl Canonical for "))
        {
            let name: String = code[at + what.len()..].chars().take_while(|c| c.is_alphanumeric()).collect();
            found.entry(name).or_default();
        }
    }
    found
}

/// The table, with the sections that the document names now.
fn table_of_types(shown: &str) -> String {
    let section = |name: &str| {
        let row = shown.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        row.and_then(|row| row.split('|').nth(2)).map_or("?", str::trim).to_owned()
    };
    let mut table = "\n| type | section | fields, in the order in which they are encoded |\n|---|---|---|\n".to_owned();
    for (name, fields) in types() {
        let section = section(&name);
        let fields: Vec<String> = fields.iter().map(|fields| format!("`{fields}`")).collect();
        let fields = if fields.is_empty() { "encoded by hand".to_owned() } else { fields.join(" or ") };
        let _ = writeln!(table, "| `{name}` | {section} | {} |", fields.replace('|', "\\|"));
    }
    table + "\n"
}

#[test]
fn every_type_that_is_encoded_is_declared_as_the_document_last_saw_it() {
    let document = document();
    let shown = part(&document, "types");
    let expected = table_of_types(shown);
    let changed: Vec<&str> = expected.lines().filter(|line| !shown.lines().any(|other| other == *line)).collect();
    assert!(shown == expected, "declared otherwise than docs/FORMAT.md says; {REMEDY}\n{}", changed.join("\n"));
    assert!(!shown.contains("| ? |"), "docs/FORMAT.md does not say where a type is described:\n{shown}");
}

#[test]
fn every_domain_of_derivation_stands_in_the_document() {
    let document = document();
    let mut count = 0;
    for (path, code) in sources() {
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for (_, rest) in line.match_indices("\"ouroborosdb v1 ").map(|(at, start)| line.split_at(at + start.len()))
            {
                let name = rest.split('"').next().unwrap_or_default();
                let simulated = ["simulator stream", "engine stream"].contains(&name);
                // One of the keys `K_x` that are derived alike, or by its own name.
                let named = [format!("… {name}\""), format!("… {name}`"), format!("K_{name}")];
                count += 1;
                let stands = named.iter().any(|name| document.contains(name));
                assert!(stands || simulated, "{path}: \"… {name}\" is not in docs/FORMAT.md");
            }
        }
    }
    assert!(count > 40, "{count} domains were found: where are the others?");
}

const REMEDY: &str = "correct the section, then run `cargo test -p ouroboros-tests --test format_document -- --ignored \
                      write_format_tables`";

/// Rewrites the last two tables of `docs/FORMAT.md`.
#[test]
#[ignore = "writes the tables of docs/FORMAT.md anew, after its sections were corrected"]
fn write_format_tables() {
    let mut document = document();
    for name in ["examples", "types"] {
        let shown = part(&document, name).to_owned();
        let table = if name == "examples" { table_of_examples() } else { table_of_types(&shown) };
        document = document.replace(&format!("<!-- {name} -->\n{shown}"), &format!("<!-- {name} -->\n{table}"));
    }
    std::fs::write(root().join("docs/FORMAT.md"), document).expect("docs/FORMAT.md can be written");
}
