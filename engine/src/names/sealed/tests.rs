use super::*;
use crate::id::{Epoch, Secret};
use proptest::prelude::*;

fn keys(fill: u8) -> NameKeys {
    NameKeys::derive(&Secret::new([fill; 32]), Epoch(0), &[0])
}

fn name(text: &str) -> KeyName {
    KeyName::try_from(text).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn equal_components_of_different_directories_look_different() {
    let path = seal_path(&keys(1), &name("same/same/same"));
    let components: Vec<_> = path.entries().map(|(_, component)| component.clone()).collect();
    for (index, one) in components.iter().enumerate() {
        for other in &components[index + 1..] {
            assert_ne!(one.iv, other.iv);
            assert_ne!(one.text, other.text);
        }
    }
}

#[test]
fn siblings_share_their_directory_and_nothing_else() {
    let keys = keys(1);
    let (one, two) = (seal_path(&keys, &name("a/b/one")), seal_path(&keys, &name("a/b/two")));
    assert!(one.directories().eq(two.directories()));
    assert_ne!(one.entries().last().unwrap().1, two.entries().last().unwrap().1);
    let elsewhere = seal_path(&keys, &name("a/c/one"));
    assert_ne!(one.directories().last(), elsewhere.directories().last());
    assert_ne!(one.entries().last().unwrap().1, elsewhere.entries().last().unwrap().1);
}

#[test]
fn the_tree_can_be_walked_without_a_key() {
    let keys = keys(1);
    let path = seal_path(&keys, &name("a/b/c"));
    let directories: Vec<_> = path.directories().collect();
    let expected = [
        SealedPath::root(),
        seal_path(&keys, &name("a")).as_directory(),
        seal_path(&keys, &name("a/b")).as_directory(),
    ];
    assert_eq!(directories, expected);
    assert_eq!(path.depth(), 3);
    let (last_directory, last) = path.entries().last().unwrap();
    assert_eq!(last.within(&last_directory), path.as_directory());
}

#[test]
fn realms_seal_the_same_name_differently() {
    assert_ne!(seal_path(&keys(1), &name("a")), seal_path(&keys(2), &name("a")));
    let foreign = seal_path(&keys(2), &name("a"));
    assert_eq!(open_path(&keys(1), &foreign), Err(OpenPathError::Component { component: 1 }));
}

#[test]
fn lengths_show_in_steps_of_sixteen() {
    for (len, padded) in [(1, 16), (15, 16), (16, 16), (17, 32), (32, 32), (33, 48), (4096, 4096)] {
        let path = seal_path(&keys(1), &KeyName::new(vec![b'x'; len]).unwrap());
        assert_eq!(path.0[0].padded_len(), padded);
    }
}

#[test]
fn the_longest_names_survive() {
    let deep = KeyName::new(vec![b"x".as_slice(); 2048].join(&b'/')).unwrap();
    let long = KeyName::new(vec![0xff; 4096]).unwrap();
    let mixed = KeyName::new([vec![b'x'; 4094], b"/x".to_vec()].concat()).unwrap();
    for name in [deep.clone(), long, mixed] {
        let sealed = seal_path(&keys(1), &name);
        let decoded = SealedPath::decode(&sealed.encode()).unwrap();
        assert_eq!(open_path(&keys(1), &decoded), Ok(name));
    }
    assert_eq!(seal_path(&keys(1), &deep).encode().len(), SealedPath::MAX_LEN);
}

#[test]
fn a_component_moved_elsewhere_does_not_open() {
    let keys = keys(1);
    let mut swapped = seal_path(&keys, &name("a/b"));
    swapped.0.swap(0, 1);
    assert_eq!(open_path(&keys, &swapped), Err(OpenPathError::Component { component: 1 }));
    let mut grafted = seal_path(&keys, &name("a/b"));
    grafted.0[0] = seal_path(&keys, &name("c/b")).0[0].clone();
    assert_eq!(open_path(&keys, &grafted), Err(OpenPathError::Component { component: 2 }));
}

/// What a dishonest member of the realm could write: sealed with the right keys, but no name.
#[test]
fn nonsense_sealed_with_the_right_keys_is_refused() {
    let (keys, root) = (keys(1), SealedPath::root());
    let forge = |plain: &[u8], padded: usize| {
        let iv = synthetic_iv(&keys, &root, plain);
        let mut text = plain.to_vec();
        text.resize(padded, 0);
        apply_stream(&keys, &iv, &mut text);
        SealedPath(vec![SealedComponent { iv, text }])
    };
    assert_eq!(open_path(&keys, &forge(b"fine", 16)), Ok(name("fine")));
    for (plain, padded) in [(&b"a/b"[..], 16), (b"", 16), (b"a", 32), (b"a\0b", 16), (b"a\0", 16), (b"/", 16)] {
        assert_eq!(
            open_path(&keys, &forge(plain, padded)),
            Err(OpenPathError::Component { component: 1 }),
            "{plain:?}"
        );
    }
    for dots in [&b"."[..], b".."] {
        let refused = OpenPathError::Name(NameError::DotComponent { at: 0 });
        assert_eq!(open_path(&keys, &forge(dots, 16)), Err(refused));
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let keys = keys(1);
    let sealed = seal_path(&keys, &name("photos/a name of more than one block/a.jpg"));
    let bytes = sealed.encode();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(path) = SealedPath::decode(&changed) {
            assert!(open_path(&keys, &path).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn hostile_lengths_are_refused() {
    assert!(SealedPath::decode(&[1, 0, 0]).is_err(), "no components");
    assert!(SealedPath::decode(&[1, 0xff, 0xff]).is_err(), "too many components");
    let mut cut = vec![1, 1, 0];
    cut.extend_from_slice(&[0; 16]);
    cut.push(255);
    assert!(SealedPath::decode(&cut).is_err(), "4,096 bytes promised, none there");
    let mut two_long = vec![1, 2, 0];
    for _ in 0..2 {
        two_long.extend_from_slice(&[0; 16]);
        two_long.push(128);
        two_long.extend_from_slice(&[0; 129 * 16]);
    }
    assert!(SealedPath::decode(&two_long).is_err(), "no name is that long");
}

#[test]
fn the_sealed_path_is_the_one_in_the_format() {
    let path = seal_path(&keys(1), &name("photos/2024/a.jpg"));
    assert_eq!(
        hex(&path.encode()),
        "01030080180bb2657a2233018c820bb5bb429800f45e4aca85e0ec5ec8112f71a85199ac31eac67cc8dc1fd56822840f\
            b8bde96f005e04cd861305702b15739b053d68d6bcfbb7dce6c0d0b0edd4383a5cf26941ab004316bdcdcff14cb54691\
            9303bee698e9"
    );
    assert_eq!(SealedPath::root().to_string(), "57116c274bee0e40a2073dc13cc27ed89c22ce9d892060ae9cf58836d760cfb2");
    assert_eq!(path.as_directory().to_string(), "eec0e6074bc25eed6aa2bc3b97f800471c1692fe05d8c58503a0fbef12b0c492");
    assert_eq!(
        path.to_string(),
        "80180bb2657a2233018c820bb5bb4298/31eac67cc8dc1fd56822840fb8bde96f/fbb7dce6c0d0b0edd4383a5cf26941ab"
    );
}

fn any_name() -> impl Strategy<Value = KeyName> {
    let component = prop::collection::vec(any::<u8>(), 1..40);
    prop::collection::vec(component, 1..6)
        .prop_filter_map("not a name", |components| KeyName::new(components.join(&b'/')).ok())
}

proptest! {
    #[test]
    fn names_survive_sealing(name in any_name()) {
        let keys = keys(1);
        let sealed = seal_path(&keys, &name);
        prop_assert_eq!(&seal_path(&keys, &name), &sealed);
        prop_assert_eq!(sealed.depth(), name.components().count());
        let bytes = sealed.encode();
        let decoded = SealedPath::decode(&bytes).unwrap();
        prop_assert_eq!(&decoded, &sealed);
        prop_assert_eq!(decoded.encode(), bytes);
        prop_assert_eq!(open_path(&keys, &decoded), Ok(name));
    }

    #[test]
    fn different_names_seal_differently(one in any_name(), two in any_name()) {
        let keys = keys(1);
        prop_assert_eq!(seal_path(&keys, &one) == seal_path(&keys, &two), one == two);
    }

    #[test]
    fn the_shape_is_that_of_the_names(one in "[ab](/[ab]){0,3}", two in "[ab](/[ab]){0,3}") {
        let keys = keys(1);
        let (one, two) = (name(&one), name(&two));
        let common = one.components().zip(two.components()).take_while(|(left, right)| left == right).count();
        let (left, right) = (seal_path(&keys, &one), seal_path(&keys, &two));
        let seen = left.entries().zip(right.entries()).take_while(|(left, right)| left == right).count();
        prop_assert_eq!(seen, common);
        prop_assert_eq!(left.directories().any(|it| it == right.as_directory()), one.is_within(&two));
    }

    #[test]
    fn changed_bytes_never_open(name in any_name(), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let keys = keys(1);
        let mut bytes = seal_path(&keys, &name).encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(path) = SealedPath::decode(&bytes) {
            prop_assert!(open_path(&keys, &path).is_err());
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..128), count in 0..4u8) {
        let bytes = [vec![1, count, 0], bytes].concat();
        if let Ok(path) = SealedPath::decode(&bytes) {
            prop_assert_eq!(path.encode(), bytes);
            prop_assert!(open_path(&keys(1), &path).is_err());
        }
    }
}
