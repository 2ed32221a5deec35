//! `--json` of every command against JSON.md: each object is documented, with each of its fields, and each documented object
//! and field is seen.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Home, lines, noise, text};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Output, Stdio};

struct Field {
    kind: String,
    optional: bool,
}

/// What JSON.md says: fields by object.
fn documented() -> BTreeMap<String, BTreeMap<String, Field>> {
    let page = include_str!("../JSON.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let object = cells[0].trim().trim_matches('`').to_owned();
        (object, fields(cells[2]))
    })
    .collect()
}

/// Reads `` `name` kind, `other`? kind (a remark) ``.
fn fields(cell: &str) -> BTreeMap<String, Field> {
    let mut plain = String::new();
    let mut depth = 0;
    for letter in cell.chars() {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        if depth == 0 && letter != ')' {
            plain.push(letter);
        }
    }
    let mut fields = BTreeMap::new();
    let mut rest = plain.as_str();
    while let Some((_, after)) = rest.split_once('`') {
        let (name, after) = after.split_once('`').unwrap();
        let (kind, next) = after.split_once('`').map_or((after, ""), |(kind, _)| (kind, &after[kind.len()..]));
        let kind = kind.split(',').next().unwrap().trim();
        let (optional, kind) = kind.strip_prefix('?').map_or((false, kind), |kind| (true, kind.trim()));
        fields.insert(name.to_owned(), Field { kind: kind.to_owned(), optional });
        rest = next;
    }
    fields
}

fn is_of(kind: &str, value: &Value) -> bool {
    if let Some(one) = kind.strip_prefix("list of ") {
        return value.as_array().is_some_and(|values| values.iter().all(|value| is_of(one, value)));
    }
    let of_text = |holds: fn(&str) -> bool| value.as_str().is_some_and(holds);
    match kind {
        "text" => value.is_string(),
        "key" => of_text(|key| key.bytes().all(|byte| byte >= b' ' && byte != 0x7f)),
        "id" => of_text(|id| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())),
        "time" => of_text(|time| time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T'),
        "count" => value.is_u64(),
        "number" => value.is_number(),
        "flag" => value.is_boolean(),
        "object" => value.is_object(),
        _ => panic!("JSON.md knows no {kind}"),
    }
}

struct Checker {
    documented: BTreeMap<String, BTreeMap<String, Field>>,
    seen: BTreeSet<(String, String)>,
}

impl Checker {
    fn object(&mut self, name: &str, object: &Map<String, Value>) {
        let fields = self.documented.get(name).unwrap_or_else(|| panic!("JSON.md has no `{name}`"));
        for (field, value) in object.iter().filter(|(field, _)| *field != "type") {
            let known = fields.get(field).unwrap_or_else(|| panic!("`{name}` has no documented `{field}`"));
            assert!(is_of(&known.kind, value), "`{name}`: `{field}` is no {}: {value}", known.kind);
            self.seen.insert((name.to_owned(), field.clone()));
        }
        for (field, _) in fields.iter().filter(|(_, known)| !known.optional) {
            assert!(object.contains_key(field), "`{name}` lacks `{field}`");
        }
        for (field, value) in object {
            if let Value::Object(inner) = value {
                self.object(&format!("{name}.{field}"), inner);
            }
        }
    }

    /// Both streams of a run.
    fn check(&mut self, output: &Output) -> Vec<Value> {
        for line in lines(&output.stdout).into_iter().chain(lines(&output.stderr)) {
            self.object(text(&line["type"]), line.as_object().unwrap());
        }
        lines(&output.stdout)
    }
}

#[test]
fn every_command_prints_what_the_page_says() {
    let mut checker = Checker { documented: documented(), seen: BTreeSet::new() };
    assert!(checker.documented.len() > 20, "the page was read");
    let home = Home::new();
    let mut types: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut run = |command: &'static str, more: &[&str], input: &[u8]| {
        let words: Vec<&str> = ["--json"].into_iter().chain(command.split(' ')).chain(more.iter().copied()).collect();
        let found = checker.check(&home.fed(&words, input));
        types.entry(command).or_default().extend(found.iter().map(|line| text(&line["type"]).to_owned()));
        found
    };
    run("init", &["--kdf", "testing"], b"");
    let first = text(&run("put", &["k"], b"one\n")[0]["version"]).to_owned();
    let second = text(&run("put", &["k", "--based-on", &first], b"one\ntwo\n")[0]["version"]).to_owned();
    run("put", &["k", "--based-on", &first], b"one\nthree\n");
    run("put", &["\u{7}bell\\"], b"odd name");
    run("get", &["k"], b"");
    run("get", &["k", "-o", "out", "--range", "1..2"], b"");
    run("at", &["now", "k"], b"");
    run("heads", &["k"], b"");
    run("log", &["k"], b"");
    run("diff", &["k", &first, &second], b"");
    run("merge", &["k", "--resolver", "union"], b"");
    run("merge", &["k"], b"");
    run("restore", &["k", &first], b"");
    home.write("tree/file", noise(1, 200_000));
    std::os::unix::fs::symlink("file", home.path("tree/link")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(home.path("tree/socket")).unwrap());
    run("import", &["tree"], b"");
    run("snapshots", &[], b"");
    run("ls", &["--long"], b"");
    run("get", &["tree/link"], b"");
    run("export", &["latest", "exported"], b"");
    run("rm", &["k"], b"");
    run("log", &["k"], b"");
    run("purge", &["k"], b"");
    run("export", &["latest", "other", "--prefix", "nothing/here"], b"");
    run("stats", &[], b"");
    run("recode", &["1+1"], b"");
    run("compact", &[], b"");
    run("doctor", &[], b"");
    run("keys show", &[], b"");
    home.write("new", "another\n");
    let phrase = text(&run("keys phrase", &[], b"")[0]["phrase"]).to_owned();
    run("keys passphrase", &["--new-passphrase-file", "new"], b"");
    run("keys recover", &["--force"], phrase.as_bytes());
    run("bench", &["--size", "16", "--values", "100", "--dir", "bench"], b"");
    run("bench", &["--stages", "--size", "16", "--dir", "bench"], b"");

    // Both slices of what was imported: damaged, with names.
    assert!(home.damage_noise() > 40, "two times 200,000 bytes");
    run("doctor", &[], b"");
    run("scrub", &[], b"");
    run("scrub", &["--repair"], b"");
    run("export", &["latest", "damaged"], b"");
    run("get", &["tree/file", "-o", "damaged/file"], b"");
    run("get", &["k"], b"");

    let of = |command: &str| types[command].iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    for (command, expected) in [
        ("init", "init"),
        ("put", "written"),
        ("get", "value"),
        ("at", "value"),
        ("ls", "entry"),
        ("log", "version"),
        ("heads", "version"),
        ("diff", "differs"),
        ("merge", "version written"),
        ("restore", "written"),
        ("rm", "written"),
        ("purge", "purged"),
        ("import", "import left_out"),
        ("snapshots", "snapshot"),
        ("export", "export left_out"),
        ("scrub", "damage lost scrub"),
        ("recode", "recode"),
        ("compact", "compact"),
        ("stats", "stats"),
        ("doctor", "finding"),
        ("keys show", "keys"),
        ("keys phrase", "phrase"),
        ("keys passphrase", "keys"),
        ("keys recover", "keys"),
        ("bench", "bench"),
    ] {
        assert_eq!(of(command), expected, "{command}");
    }
    for (object, fields) in &checker.documented {
        for field in fields.keys() {
            assert!(checker.seen.contains(&(object.clone(), field.clone())), "`{object}`: `{field}` was never seen");
        }
    }
}

#[test]
fn messages_are_objects_too_and_a_value_is_never_mixed_with_them() {
    let home = Home::with_store();
    home.put("k", b"bytes");
    let output = home.command(&["--json", "get", "k"]).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(lines(&output.stdout).len(), 1);
    assert!(output.stderr.is_empty());
}
