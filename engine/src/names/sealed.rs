//! Names as they stand on disk: deterministically sealed, component by component.
//!
//! The construction is SIV (Rogaway and Shrimpton, "A Provable-Security Treatment of the Key-Wrap Problem", EUROCRYPT
//! 2006) with keyed BLAKE3 as both the pseudorandom function and the key stream:
//!
//! ```text
//! root        = derive("ouroborosdb v1 directory")
//! iv          = keyed(component-iv, directory || component)[..16]
//! text        = (component || NUL to the next 16 bytes) xor keyed-xof(component-key, iv)
//! directory'  = derive("ouroborosdb v1 directory", directory, iv || text)
//! ```
//!
//! A component holds no NUL, so the padding is unambiguous; opening demands the shortest one.

use super::name::{KeyName, NameError};
use crate::codec::Canonical;
use crate::id::{DirectoryId, Domain};
use crate::keys::NameKeys;
use borsh::io::{Error, ErrorKind, Read, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;
use subtle::ConstantTimeEq;

const DIRECTORY: Domain = Domain::new("ouroborosdb v1 directory");

/// Components are padded to a multiple of this, in bytes.
const BLOCK_LEN: usize = 16;
/// The most blocks of one component. Their number less one fills a byte, so that no other number can be written.
const MAX_BLOCKS: usize = KeyName::MAX_LEN / BLOCK_LEN;
const _: () = assert!(MAX_BLOCKS == 256);
/// The most components of one path: one byte each, with separators between them.
const MAX_COMPONENTS: usize = KeyName::MAX_LEN / 2;

/// One component of a name, sealed under its directory. Shown as its 32 hexadecimal digits of IV.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealedComponent {
    iv: [u8; 16],
    text: Vec<u8>,
}

/// A name, sealed. Equal names of one realm seal to equal bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealedPath(Vec<SealedComponent>);

/// Why a sealed path did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenPathError {
    /// A component is not what was sealed with these keys in this place.
    #[error("component {component} of a sealed name does not open: it is damaged, or sealed in another realm")]
    Component {
        /// Which one; the first is 1.
        component: usize,
    },
    /// It opens to what cannot be a name: a holder of the keys sealed nonsense.
    #[error("a sealed name opens to no valid name")]
    Name(#[from] NameError),
}

/// Seals a name.
#[must_use]
pub fn seal_path(keys: &NameKeys, name: &KeyName) -> SealedPath {
    // PA
    let mut directory = SealedPath::root();
    let seal = |component: &[u8]| {
        let sealed = seal_component(keys, &directory, component);
        directory = sealed.within(&directory);
        sealed
    };
    SealedPath(name.components().map(seal).collect())
}

/// Gives back a name, after checking every component.
///
/// # Errors
/// [`OpenPathError`].
pub fn open_path(keys: &NameKeys, path: &SealedPath) -> Result<KeyName, OpenPathError> {
    // PA
    let mut bytes = Vec::new();
    for (index, (directory, sealed)) in path.entries().enumerate() {
        let component =
            open_component(keys, &directory, sealed).ok_or(OpenPathError::Component { component: index + 1 })?;
        if index > 0 {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(&component);
    }
    Ok(KeyName::new(bytes)?)
}

/// Seals one component of the directory `directory`; the rules of [`KeyName`] hold for it already.
fn seal_component(keys: &NameKeys, directory: &DirectoryId, component: &[u8]) -> SealedComponent {
    // PA
    let iv = synthetic_iv(keys, directory, component);
    let mut text = component.to_vec();
    text.resize(component.len().next_multiple_of(BLOCK_LEN), 0);
    apply_stream(keys, &iv, &mut text);
    SealedComponent { iv, text }
}

/// Gives back one component of the directory `directory`; `None` when it is damaged, from elsewhere, or under other
/// keys.
#[must_use]
pub fn open_component(keys: &NameKeys, directory: &DirectoryId, sealed: &SealedComponent) -> Option<Vec<u8>> {
    // PA
    let mut text = sealed.text.clone();
    apply_stream(keys, &sealed.iv, &mut text);
    let len = text.iter().rposition(|byte| *byte != 0)? + 1;
    let shortest = len.next_multiple_of(BLOCK_LEN) == text.len();
    text.truncate(len);
    let genuine: bool = synthetic_iv(keys, directory, &text).ct_eq(&sealed.iv).into();
    // A separator inside a component would let it pass for two.
    (shortest && genuine && !text.iter().any(|byte| matches!(byte, 0 | b'/'))).then_some(text)
}

fn synthetic_iv(keys: &NameKeys, directory: &DirectoryId, component: &[u8]) -> [u8; 16] {
    let hash =
        blake3::Hasher::new_keyed(keys.component_iv.expose()).update(directory.as_bytes()).update(component).finalize();
    let mut iv = [0; 16];
    iv.copy_from_slice(&hash.as_bytes()[..16]);
    iv
}

fn apply_stream(keys: &NameKeys, iv: &[u8; 16], text: &mut [u8]) {
    let mut stream = blake3::Hasher::new_keyed(keys.component_key.expose()).update(iv).finalize_xof();
    let mut block = [0; 64];
    for part in text.chunks_mut(block.len()) {
        stream.fill(&mut block);
        for (byte, key) in part.iter_mut().zip(block) {
            *byte ^= key;
        }
    }
}

impl SealedComponent {
    /// The id of the directory that this component names inside `directory`. Needs no key.
    #[must_use]
    pub fn within(&self, directory: &DirectoryId) -> DirectoryId {
        let mut sealed = Vec::with_capacity(self.iv.len() + self.text.len());
        sealed.extend_from_slice(&self.iv);
        sealed.extend_from_slice(&self.text);
        DirectoryId::from_bytes(DIRECTORY.hash(&[directory.as_bytes(), &sealed]))
    }

    /// Length of the padded component, in bytes: a multiple of 16.
    #[must_use]
    pub fn padded_len(&self) -> usize {
        self.text.len()
    }
}

impl SealedPath {
    /// The id of the directory in which every path starts.
    #[must_use]
    pub fn root() -> DirectoryId {
        DirectoryId::from_bytes(DIRECTORY.hash(&[]))
    }

    /// The components in order, each with the directory it stands in: what a holder without keys can list.
    pub fn entries(&self) -> impl Iterator<Item = (DirectoryId, &SealedComponent)> {
        let mut directory = Self::root();
        self.0.iter().map(move |component| {
            let here = directory;
            directory = component.within(&here);
            (here, component)
        })
    }

    /// The directories that the path leads through, from the root to the one in which its last component stands.
    pub fn directories(&self) -> impl Iterator<Item = DirectoryId> {
        self.entries().map(|(directory, _)| directory)
    }

    /// The id that the whole path has as a directory: the one in which names below it stand.
    #[must_use]
    pub fn as_directory(&self) -> DirectoryId {
        self.0.iter().fold(Self::root(), |directory, component| component.within(&directory))
    }

    /// How many components there are: at least one.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for SealedComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iv.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SealedComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedComponent({self}, {} bytes)", self.text.len())
    }
}

impl fmt::Display for SealedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, component) in self.0.iter().enumerate() {
            write!(f, "{}{component}", if index == 0 { "" } else { "/" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for SealedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedPath({self})")
    }
}

/// IV, number of blocks less one as `u8`, blocks.
impl BorshSerialize for SealedComponent {
    fn serialize<W: Write>(&self, writer: &mut W) -> borsh::io::Result<()> {
        writer.write_all(&self.iv)?;
        writer.write_all(&[(self.text.len() / BLOCK_LEN - 1) as u8])?;
        writer.write_all(&self.text)
    }
}

impl BorshDeserialize for SealedComponent {
    fn deserialize_reader<R: Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let iv = <[u8; 16]>::deserialize_reader(reader)?;
        let blocks = usize::from(u8::deserialize_reader(reader)?) + 1;
        let mut text = vec![0; blocks * BLOCK_LEN];
        reader.read_exact(&mut text)?;
        Ok(Self { iv, text })
    }
}

/// Number of components as `u16`, components.
impl BorshSerialize for SealedPath {
    fn serialize<W: Write>(&self, writer: &mut W) -> borsh::io::Result<()> {
        writer.write_all(&(self.0.len() as u16).to_le_bytes())?;
        self.0.iter().try_for_each(|component| component.serialize(writer))
    }
}

impl BorshDeserialize for SealedPath {
    fn deserialize_reader<R: Read>(reader: &mut R) -> borsh::io::Result<Self> {
        // PA
        let refuse = |why: String| Error::new(ErrorKind::InvalidData, why);
        let count = usize::from(u16::deserialize_reader(reader)?);
        if count == 0 || count > MAX_COMPONENTS {
            return Err(refuse(format!("a sealed path has 1 to {MAX_COMPONENTS} components, not {count}")));
        }
        let mut components = Vec::new();
        // The length of the shortest name that these components could be, with a separator after each.
        let mut shortest = 0;
        for _ in 0..count {
            let component = SealedComponent::deserialize_reader(reader)?;
            shortest += component.text.len() - (BLOCK_LEN - 1) + 1;
            if shortest > KeyName::MAX_LEN + 1 {
                return Err(refuse(format!("a sealed path is longer than any name of {} bytes", KeyName::MAX_LEN)));
            }
            components.push(component);
        }
        Ok(Self(components))
    }
}

impl Canonical for SealedPath {
    const WHAT: &'static str = "sealed path";
    /// Reached by 2,048 components of one byte each.
    const MAX_LEN: usize = 1 + 2 + MAX_COMPONENTS * (16 + 1 + BLOCK_LEN);
}

#[cfg(test)]
mod tests;
