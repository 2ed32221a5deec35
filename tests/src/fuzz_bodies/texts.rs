//! Text that people or systems give: what is accepted reads back as it is shown.

use ouroboros_engine::env::FileName;
use ouroboros_engine::id::BlobId;
use ouroboros_engine::keys::MasterSecret;
use ouroboros_engine::names::{KeyName, unescape};
use ouroboros_engine::seal::{ChunkerKind, Coding, Compression};

pub(super) fn blob_id_hex(bytes: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(bytes) else { return false };
    let Some(id) = BlobId::from_hex(text) else { return false };
    assert_eq!(id.to_string(), text.to_lowercase(), "an id accepts text that it would not print");
    true
}

pub(super) fn file_name(bytes: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(bytes) else { return false };
    let Ok(name) = FileName::new(text) else { return false };
    assert_eq!(name.as_str(), text);
    assert!(!text.contains('/') && !text.starts_with('.'), "{text:?} leaves its directory");
    true
}

pub(super) fn chunker(bytes: &[u8]) -> bool {
    let Some(chunker) = parsed::<ChunkerKind>(bytes) else { return false };
    assert_eq!(chunker.to_string().as_bytes(), bytes);
    true
}

pub(super) fn coding(bytes: &[u8]) -> bool {
    let Some(coding) = parsed::<Coding>(bytes) else { return false };
    assert_eq!(coding.to_string().parse(), Ok(coding));
    true
}

pub(super) fn compression(bytes: &[u8]) -> bool {
    let Some(compression) = parsed::<Compression>(bytes) else { return false };
    assert_eq!(compression.to_string().parse(), Ok(compression));
    true
}

fn parsed<T: core::str::FromStr>(bytes: &[u8]) -> Option<T> {
    core::str::from_utf8(bytes).ok()?.parse().ok()
}

/// A name as bytes, and the same bytes as text that shows a name.
pub(super) fn key_name(bytes: &[u8]) -> bool {
    if let Ok(name) = KeyName::new(bytes) {
        assert_eq!(name.as_bytes(), bytes);
    }
    let Ok(text) = core::str::from_utf8(bytes) else { return false };
    let Ok(name) = KeyName::parse_display(text) else { return false };
    assert_eq!(KeyName::parse_display(&name.to_string()), Ok(name.clone()));
    assert_eq!(unescape(text).as_deref(), Ok(name.as_bytes()));
    true
}

pub(super) fn recovery_phrase(bytes: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(bytes) else { return false };
    let Ok(master) = MasterSecret::from_phrase(text) else { return false };
    assert!(MasterSecret::from_phrase(master.phrase().as_str()) == Ok(master), "a phrase leads to another secret");
    true
}
