//! What every decoder is put through.

use crate::codec::Canonical;

/// The bytes of a value that no writer makes, in the canonical encoding: they are refused.
pub(crate) fn is_refused<T: Canonical + core::fmt::Debug>(value: &T) {
    let mut bytes = vec![T::VERSION];
    value.serialize(&mut bytes).unwrap();
    assert!(T::decode(&bytes).is_err(), "{value:?} was accepted");
}

/// Whatever the bytes: refused, or the one spelling of what they say. Never a panic.
pub(crate) fn is_refused_or_canonical<T: Canonical>(bytes: &[u8]) {
    if let Ok(value) = T::decode(bytes) {
        assert_eq!(value.encode(), bytes, "two spellings of one {}", T::WHAT);
    }
    let mut versioned = bytes.to_vec();
    if let Some(first) = versioned.first_mut() {
        *first = T::VERSION;
    }
    if let Ok(value) = T::decode(&versioned) {
        assert_eq!(value.encode(), versioned, "two spellings of one {}", T::WHAT);
    }
}

/// Takes the canonical bytes of a value and cuts, extends, mutates and bombs them.
pub(crate) fn has_one_spelling<T: Canonical>(bytes: &[u8]) {
    assert!(T::decode(bytes).is_ok());
    for cut in 0..bytes.len() {
        assert!(T::decode(&bytes[..cut]).is_err(), "a {} cut to {cut} bytes was accepted", T::WHAT);
    }
    for more in [0u8, 1, 0xff] {
        let mut longer = bytes.to_vec();
        longer.push(more);
        assert!(T::decode(&longer).is_err(), "a {} with a byte too many was accepted", T::WHAT);
    }
    for version in 0..=255u8 {
        let mut other = bytes.to_vec();
        other[0] = version;
        assert_eq!(T::decode(&other).is_ok(), version == T::VERSION);
    }
    for at in 1..bytes.len() {
        for change in [1u8, 0x80, 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] ^= change;
            is_refused_or_canonical::<T>(&changed);
        }
        // A length field may stand anywhere: overwrite every place with the greatest one.
        let mut bombed = bytes.to_vec();
        for byte in bombed.iter_mut().skip(at).take(4) {
            *byte = 0xff;
        }
        is_refused_or_canonical::<T>(&bombed);
    }
}
