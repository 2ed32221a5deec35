//! The laws that every resolver here keeps, and examples of each.

use super::*;
use crate::blob::sample::blob;
use proptest::prelude::*;

fn side(id: u32, created: u64, text: Option<&[u8]>) -> Side {
    let value = text.map_or(Value::Gone, |text| Value::Bytes(Bytes::copy_from_slice(text)));
    let content = match &value {
        Value::Bytes(bytes) => *blake3::hash(bytes).as_bytes(),
        _ => [0; 32],
    };
    Side { id: blob(id), created: Hlc(created), content, value }
}

fn content(input: &MergeInput, resolution: &Resolution) -> Value {
    match resolution {
        Resolution::Gone => Value::Gone,
        Resolution::Write(bytes) => Value::Bytes(bytes.clone()),
        Resolution::Take(id) => input.sides().iter().find(|side| side.id == *id).unwrap().value.clone(),
    }
}

fn merge(resolver: &dyn Resolver, bases: &[Side], sides: &[Side]) -> Result<Value, Why> {
    let input = MergeInput::new(bases.to_vec(), sides.to_vec());
    resolver.resolve(&input).map(|resolution| content(&input, &resolution)).map_err(|conflict| conflict.why)
}

const ALL: [&dyn Resolver; 4] = [&Lww, &UnionLines, &Text3, &Bytes3];

fn any_text() -> impl Strategy<Value = Option<Vec<u8>>> {
    let line = prop_oneof![Just("a"), Just("b"), Just("c"), Just(""), Just("d\r"), Just("\u{e4}")];
    let text = (prop::collection::vec(line, 0..7), any::<bool>()).prop_map(|(lines, ended)| {
        let mut text = lines.join("\n").into_bytes();
        if ended {
            text.push(b'\n');
        }
        text
    });
    prop::option::weighted(0.9, text)
}

prop_compose! {
    fn any_sides(count: core::ops::Range<usize>)(parts in prop::collection::vec((any_text(), 0u64..4), count), first in 0u32..1000) -> Vec<Side> {
        parts.iter().enumerate().map(|(n, (text, created))| side(first + n as u32, *created, text.as_deref())).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]
    #[test]
    fn the_order_of_sides_and_bases_does_not_matter(bases in any_sides(0..3), sides in any_sides(1..5), turn in 0usize..5) {
        let mut turned: Vec<Side> = sides.iter().rev().cloned().collect();
        turned.rotate_left(turn % sides.len());
        turned.push(sides[0].clone());
        let turned_bases: Vec<Side> = bases.iter().rev().cloned().collect();
        for resolver in ALL {
            prop_assert_eq!(merge(resolver, &bases, &sides), merge(resolver, &turned_bases, &turned), "{}", resolver.name());
        }
    }

    #[test]
    fn joining_equal_contents_gives_that_content(bases in any_sides(0..3), one in any_sides(1..2), copies in 1u32..4) {
        let sides: Vec<Side> = (0..copies).map(|n| Side { id: blob(5_000 + n), created: Hlc(u64::from(n)), ..one[0].clone() }).collect();
        for resolver in ALL {
            prop_assert_eq!(merge(resolver, &bases, &sides), Ok(one[0].value.clone()), "{}", resolver.name());
        }
    }

    #[test]
    fn a_side_that_changed_nothing_has_no_say(base in any_sides(1..2), mut other in any_sides(1..2)) {
        other[0].id = blob(6_000);
        let unchanged = Side { id: blob(6_001), ..base[0].clone() };
        for resolver in [&Text3 as &dyn Resolver, &Bytes3] {
            let merged = merge(resolver, &base, &[unchanged.clone(), other[0].clone()]);
            prop_assert_eq!(merged, Ok(other[0].value.clone()), "{}", resolver.name());
        }
    }

    #[test]
    fn a_union_keeps_every_line_of_every_side_and_invents_none(sides in any_sides(1..4)) {
        let lines = |value: &Value| -> Vec<Vec<u8>> {
            let Value::Bytes(text) = value else { return Vec::new() };
            text.split_inclusive(|b| *b == b'\n').map(|l| l.strip_suffix(b"\n").unwrap_or(l).to_vec()).collect()
        };
        let merged = lines(&merge(&UnionLines, &[], &sides).unwrap());
        for line in sides.iter().flat_map(|side| lines(&side.value)).chain(merged.clone()) {
            let most = sides.iter().map(|side| lines(&side.value).iter().filter(|l| **l == line).count()).max();
            prop_assert_eq!(Some(merged.iter().filter(|l| **l == line).count()), most);
        }
    }

    #[test]
    fn a_clean_text_merge_holds_only_lines_of_its_sides(bases in any_sides(1..2), sides in any_sides(2..4)) {
        if let Ok(Value::Bytes(text)) = merge(&Text3, &bases, &sides) {
            for line in text.split_inclusive(|b| *b == b'\n') {
                let has = |side: &Side| matches!(&side.value, Value::Bytes(t) if t.split_inclusive(|b| *b == b'\n').any(|l| l == line));
                prop_assert!(sides.iter().any(has), "{:?} is from nowhere", line);
            }
        }
    }

    #[test]
    fn resolvers_never_panic_on_any_bytes(base in prop::collection::vec(any::<u8>(), 0..80), a in prop::collection::vec(any::<u8>(), 0..80), b in prop::collection::vec(any::<u8>(), 0..80)) {
        for resolver in ALL {
            let _ = merge(resolver, &[side(1, 1, Some(&base))], &[side(2, 2, Some(&a)), side(3, 3, Some(&b))]);
        }
    }
}

#[test]
fn the_last_writer_wins_and_of_two_at_once_the_higher_id() {
    let sides = [side(9, 1, Some(b"old")), side(2, 3, Some(b"new")), side(5, 3, Some(b"as new")), side(7, 2, None)];
    assert_eq!(merge(&Lww, &[], &sides), Ok(sides[2].value.clone()));
    assert_eq!(merge(&Lww, &[], &sides[..2]), Ok(sides[1].value.clone()));
    assert_eq!(merge(&Lww, &[sides[1].clone()], &[sides[0].clone(), sides[3].clone()]), Ok(Value::Gone));
}

#[test]
fn changes_to_different_lines_are_joined() {
    let base = side(1, 1, Some(b"one\ntwo\nthree\nfour\nfive\n"));
    let a = side(2, 2, Some(b"ONE\ntwo\nthree\nfour\nfive\n"));
    let b = side(3, 3, Some(b"one\ntwo\nthree\nfour\nFIVE\n"));
    let c = side(4, 4, Some(b"one\ntwo\nTHREE\nfour\nfive\n"));
    let merged = Value::Bytes(Bytes::from_static(b"ONE\ntwo\nTHREE\nfour\nFIVE\n"));
    assert_eq!(merge(&Text3, &[base], &[a, b, c]), Ok(merged));
}

#[test]
fn a_clash_is_shown_with_markers() {
    let base = side(1, 1, Some(b"one\ntwo\nthree\n"));
    let a = side(2, 2, Some(b"one\n2\nthree\n"));
    let b = side(3, 3, Some(b"one\nzwei\nthree\n"));
    let conflict = Text3.resolve(&MergeInput::new(vec![base], vec![b, a])).unwrap_err();
    assert_eq!(conflict.why, Why::Overlap);
    assert_eq!((conflict.bases.as_slice(), conflict.sides.as_slice()), (&[blob(1)][..], &[blob(2), blob(3)][..]));
    let marked = conflict.marked.unwrap();
    assert_eq!((marked.ours, marked.theirs), (blob(2), blob(3)));
    let text = "one\n<<<<<<< ours\n2\n||||||| original\ntwo\n=======\nzwei\n>>>>>>> theirs\nthree\n";
    assert_eq!(marked.text, text);
}

#[test]
fn a_removal_against_a_change_is_for_people_to_decide() {
    let base = side(1, 1, Some(b"x\n"));
    let gone = side(2, 2, None);
    let changed = side(3, 3, Some(b"y\n"));
    let same = side(4, 4, Some(b"x\n"));
    for resolver in [&Text3 as &dyn Resolver, &Bytes3] {
        let base = std::slice::from_ref(&base);
        assert_eq!(merge(resolver, base, &[gone.clone(), changed.clone()]), Err(Why::RemovedAndChanged));
        assert_eq!(merge(resolver, base, &[gone.clone(), same.clone()]), Ok(Value::Gone));
    }
}

#[test]
fn crossed_histories_whose_bases_disagree_are_for_people_to_decide() {
    let one = side(1, 1, Some(b"x\n"));
    let two = side(2, 2, Some(b"y\n"));
    let sides = [side(3, 3, Some(b"x\n")), side(4, 4, Some(b"y\n"))];
    for resolver in [&Text3 as &dyn Resolver, &Bytes3] {
        assert_eq!(
            merge(resolver, &[one.clone(), two.clone()], &sides),
            Err(Why::BasesDisagree),
            "{}",
            resolver.name()
        );
    }
}

#[test]
fn values_that_are_no_text_or_too_long_are_refused_unless_one_side_is_enough() {
    let base = side(1, 1, Some(b"x\n"));
    let binary = side(2, 2, Some(b"x\n\0"));
    let other = side(3, 3, Some(b"y\n"));
    let unread = Side { id: blob(5), value: Value::Unread, content: [9; 32], ..other.clone() };
    let long = side(4, 4, Some(&b"\n".repeat(MAX_TEXT_LINES)));
    let base = std::slice::from_ref(&base);
    assert_eq!(merge(&Text3, base, &[binary.clone(), other.clone()]), Err(Why::NotText));
    assert_eq!(merge(&Text3, base, &[binary, unread.clone()]), Err(Why::NotText));
    assert_eq!(merge(&Text3, base, &[other.clone(), unread.clone()]), Err(Why::TooLong));
    assert_eq!(merge(&Text3, base, &[other, long]), Err(Why::TooLong));
    assert_eq!(merge(&Text3, base, &[base[0].clone(), unread]), Ok(Value::Unread));
}

#[test]
fn the_callers_own_resolver_is_asked() {
    let longest = Custom::new("longest", Needs::Sides, |input: &MergeInput| {
        let len = |side: &&Side| matches!(&side.value, Value::Bytes(bytes) if bytes.len() > 2);
        let found = input.sides().iter().find(len);
        found.map(|side| Resolution::Take(side.id)).ok_or_else(|| input.conflict(Why::Refused("all are short".into())))
    });
    assert_eq!((longest.name(), longest.needs()), ("longest", Needs::Sides));
    let sides = [side(1, 1, Some(b"a")), side(2, 2, Some(b"abc"))];
    assert_eq!(merge(&longest, &[], &sides), Ok(sides[1].value.clone()));
    assert_eq!(merge(&longest, &[], &sides[..1]), Err(Why::Refused("all are short".into())));
}
