//! The worked examples in `docs/FORMAT.md` are what this build writes and reads.
#![allow(clippy::expect_used)]

use ouroboros_tests::fuzz_bodies::DECODERS;
use std::collections::BTreeMap;
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/FORMAT.md");
    let examples = examples(&std::fs::read_to_string(path).expect("docs/FORMAT.md"));
    assert!(!examples.is_empty(), "docs/FORMAT.md shows no example");
    for (name, bytes) in examples {
        let decoder = DECODERS.iter().find(|decoder| decoder.name == name);
        let decoder = decoder.unwrap_or_else(|| panic!("the example {name} names no decoder of fuzz_bodies::DECODERS"));
        assert_eq!((decoder.example)(), bytes, "the example {name} is not what this build writes");
        assert!((decoder.accepts)(&bytes), "the example {name} is refused");
    }
}
