//! Jobs: everything that costs CPU, as pure functions of their input.
//!
//! The driver runs a job wherever it likes and feeds the outcome back. No job touches the disk, the index or the clock,
//! so the engine thread never hashes a payload and a worker never waits for the disk.

use super::facts::BodySummary;
use super::gather::INLINE_LEN;
use crate::blob::{
    Attributes, BlobKind, BlobRecord, Body, Content, ContentKind, Header, ScopeTag, SignedHeader, open_body, seal_body,
};
use crate::codec::{Canonical as _, DecodeError};
use crate::id::{BlobId, EngineRng, Hlc, KeyHash, RefPageId, SealId, Secret};
use crate::keys::{GroupWrap, Keyring, NameKeys};
use crate::names::{KeyName, SealedComponent, SealedPath, seal_path};
use crate::planted::{Bug, planted};
use crate::seal::{
    AssembleError, Chunker, Coding, Compression, Form, Identified, ScopeKeys, Scratch, Sealed, SealedSlice, SliceError,
    SliceIndex, assemble, compress, identify, open_with, pack, recode, seal, seal_as, unpack,
};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// Shorter contents are not worth the time to compress, in bytes.
const PACK_FROM: usize = 1024;
/// A content is stored compressed if that saves one part in this many.
const PACK_GAIN: usize = 8;

/// Versions that share a signature. Each carries a path of 32 bytes for each doubling, while what a signature costs is
/// halved: at eight it is no longer what a put costs most.
const SIGNED_TOGETHER: usize = 8;

/// So many bodies are opened in less time than it takes to wake a thread and be woken by it,
const LIGHT_COUNT: usize = 2;
/// if they are no longer than this together, in bytes.
const LIGHT_LEN: usize = 8 << 10;

/// Names one job until its outcome arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// What cutting and sealing need to know of a scope.
#[derive(Debug)]
pub struct ScopeContext {
    /// The scope's keys.
    pub keys: ScopeKeys,
    /// The chunker under those keys.
    pub chunker: Chunker,
    /// The scope's canonical bytes.
    pub name: Vec<u8>,
    /// Its public tag.
    pub tag: ScopeTag,
}

/// A version that is ready but for its encryption and signature.
#[derive(Debug)]
pub struct BlobDraft {
    /// The key.
    pub key: KeyName,
    /// Its keyed hash.
    pub key_hash: KeyHash,
    /// Who may share its chunks.
    pub scope: Arc<ScopeContext>,
    /// Child, Merger or VersionVector.
    pub kind: BlobKind,
    /// What it follows, sorted.
    pub parents: Vec<BlobId>,
    /// Its stamp.
    pub created: Hlc,
    /// Metadata.
    pub attributes: Attributes,
    /// The content or the references to it.
    pub content: Content,
    /// The seals referenced directly, sorted.
    pub seals: Vec<SealId>,
    /// The pages of further seal references, sorted.
    pub ref_pages: Vec<RefPageId>,
    /// Seeds the body's key and the salts.
    pub seed: [u8; 32],
}

/// A version that is ready to be logged.
#[derive(Debug)]
pub struct MadeBlob {
    /// Its id.
    pub id: BlobId,
    /// The public part.
    pub header: SignedHeader,
    /// The body key, wrapped for the realm's group.
    pub wrap: GroupWrap,
    /// The sealed body.
    pub body: Bytes,
    /// What the index learns of it.
    pub summary: BodySummary,
}

/// A pure computation.
#[derive(Debug)]
pub enum Job {
    /// Cuts the next chunks of a stream and names them.
    Cut {
        /// Keys and chunker.
        scope: Arc<ScopeContext>,
        /// Bytes left over from the pieces before.
        carry: Bytes,
        /// The next piece.
        piece: Bytes,
        /// Nothing follows.
        end: bool,
    },
    /// Compresses a value that may be small enough for a body then; if it is not, cuts it.
    Pack {
        /// Keys and chunker.
        scope: Arc<ScopeContext>,
        /// The whole value.
        plain: Bytes,
        /// How to compress.
        compression: Compression,
    },
    /// Seals one chunk.
    Seal {
        /// Keys.
        scope: Arc<ScopeContext>,
        /// The chunk's name and root.
        identified: Identified,
        /// The chunk.
        plain: Bytes,
        /// Its compressed form, if that is known already.
        form: Option<Form>,
        /// How to compress.
        compression: Compression,
        /// How to code.
        coding: Coding,
    },
    /// Seals and signs versions.
    MakeBlobs {
        /// The keys.
        keys: Arc<Keyring>,
        /// The keys of names.
        names: Arc<NameKeys>,
        /// How to compress contents.
        compression: Compression,
        /// The versions.
        drafts: Vec<BlobDraft>,
    },
    /// Opens the bodies of versions.
    OpenBodies {
        /// The keys.
        keys: Arc<Keyring>,
        /// The versions.
        records: Vec<BlobRecord>,
    },
    /// Opens one chunk.
    OpenChunk {
        /// The seal.
        seal: SealId,
        /// The chunk's secret.
        secret: Secret,
        /// What slices there are.
        slices: Vec<SealedSlice>,
    },
    /// Checks all slices of a seal, and makes those that are bad or missing anew.
    Mend {
        /// The seal.
        seal: SealId,
        /// What slices there are.
        slices: Vec<SealedSlice>,
        /// How many there should be.
        expected: usize,
    },
    /// Checks slices that are to be written elsewhere.
    Verify {
        /// The slices, as they were read.
        slices: Vec<SealedSlice>,
    },
    /// Codes a seal in another way.
    Recode {
        /// The seal.
        seal: SealId,
        /// What slices there are.
        slices: Vec<SealedSlice>,
        /// The new coding.
        coding: Coding,
    },
}

/// A chunk that was cut and named.
#[derive(Debug)]
pub struct CutChunk {
    /// The bytes.
    pub plain: Bytes,
    /// Their name and root.
    pub identified: Identified,
    /// Their compressed form, if that is known already.
    pub form: Option<Form>,
}

/// Result of [`Job::Mend`].
#[derive(Debug)]
pub struct Mended {
    /// The slices that were bad or missing, as they must stand on disk.
    pub slices: Vec<SealedSlice>,
}

/// What a job computed.
#[derive(Debug)]
pub enum JobOutcome {
    /// Of [`Job::Pack`], when the value fits into a body.
    Packed {
        /// What the body holds.
        content: Content,
        /// By how many bytes that is less.
        saved: usize,
    },
    /// Of [`Job::Cut`], and of [`Job::Pack`] when the value does not fit into a body.
    Cut {
        /// The chunks.
        chunks: Vec<CutChunk>,
        /// What is left over.
        carry: Bytes,
    },
    /// Of [`Job::Seal`].
    Sealed(Box<Sealed>),
    /// Of [`Job::MakeBlobs`].
    Made(Vec<Result<MadeBlob, DecodeError>>),
    /// Of [`Job::OpenBodies`].
    Opened(Vec<Result<Body, String>>),
    /// Of [`Job::OpenChunk`]: the bytes and the slices that were bad, or why not.
    Chunk(Result<(Bytes, Vec<SliceIndex>), String>),
    /// Of [`Job::Mend`].
    Mended(Result<Mended, AssembleError>),
    /// Of [`Job::Verify`]: each slice, in the same order, or why it must not be written.
    Verified(Vec<Result<SealedSlice, SliceError>>),
    /// The job panicked: a defect. What it was for is given up.
    Panicked(String),
    /// Of [`Job::Recode`].
    Recoded(Result<Vec<SealedSlice>, AssembleError>),
}

/// A finished job.
#[derive(Debug)]
pub struct JobDone {
    /// Which.
    pub id: JobId,
    /// What came of it.
    pub outcome: JobOutcome,
}

impl Job {
    /// Whether the job costs less than handing it to another thread does: a driver may as well run it at once.
    #[must_use]
    pub fn is_light(&self) -> bool {
        match self {
            Self::OpenBodies { records, .. } => {
                records.len() <= LIGHT_COUNT
                    && records.iter().map(|record| record.body.len()).sum::<usize>() <= LIGHT_LEN
            }
            _ => false,
        }
    }

    /// Computes. `scratch` holds buffers and tables that are worth keeping; it has no influence on the result.
    #[must_use]
    pub fn run(self, scratch: &mut Scratch) -> JobOutcome {
        match self {
            Self::Cut { scope, carry, piece, end } => cut(&scope, carry, piece, end),
            Self::Pack { scope, plain, compression } => pack_or_cut(&scope, plain, compression, scratch),
            Self::Seal { scope, identified, plain, form, compression, coding } => {
                JobOutcome::Sealed(Box::new(match form {
                    Some(form) => seal_as(&scope.keys, &identified, &plain, &form, coding, scratch),
                    None => seal(&scope.keys, &identified, &plain, compression, coding, scratch),
                }))
            }
            Self::MakeBlobs { keys, names, compression, mut drafts } => {
                for draft in &mut drafts {
                    pack_content(&mut draft.content, compression, scratch);
                }
                JobOutcome::Made(make_blobs(&keys, &names, drafts))
            }
            Self::OpenBodies { keys, records } => {
                let open = |record| open_record(&keys, record).and_then(|body| unpack_content(body, scratch));
                JobOutcome::Opened(records.iter().map(open).collect())
            }
            Self::OpenChunk { seal, secret, slices } => JobOutcome::Chunk(open_chunk(seal, &secret, slices, scratch)),
            Self::Mend { seal, slices, expected } => JobOutcome::Mended(mend(seal, slices, expected)),
            Self::Verify { slices } => {
                let verified = |slice: SealedSlice| match slice.verify() {
                    Err(error) if !planted(Bug::SlicesMovedUnverified) => Err(error),
                    _ => Ok(slice),
                };
                JobOutcome::Verified(slices.into_iter().map(verified).collect())
            }
            Self::Recode { seal, slices, coding } => {
                JobOutcome::Recoded(assemble(seal, slices).map(|whole| recode(&whole, coding)))
            }
        }
    }
}

/// Opens the body of a version of this realm.
pub(super) fn open_record(keys: &Keyring, record: &BlobRecord) -> Result<Body, String> {
    // PA
    let binding = record.header.header().body_binding();
    let group = keys.group_key(record.wrap.epoch).map_err(|error| error.to_string())?;
    let body_key = record.wrap.open(group, &binding).map_err(|error| error.to_string())?;
    open_body(&record.body, &body_key, &binding).map_err(|error| error.to_string())
}

fn cut(scope: &ScopeContext, carry: Bytes, piece: Bytes, end: bool) -> JobOutcome {
    let mut chunks = Vec::new();
    let mut name = |plain: Bytes| {
        let identified = identify(&scope.keys, &plain);
        chunks.push(CutChunk { plain, identified, form: None });
    };
    // Only the chunk that straddles two pieces is copied; all others are slices of the piece.
    let mut piece = piece;
    let mut carry = carry;
    while !carry.is_empty() {
        let take = piece.len().min(scope.chunker.max_len());
        let mut joined = BytesMut::with_capacity(carry.len() + take);
        joined.extend_from_slice(&carry);
        joined.extend_from_slice(&piece[..take]);
        let joined = joined.freeze();
        let Some(len) = scope.chunker.cut(&joined, end && take == piece.len()) else {
            debug_assert_eq!(take, piece.len(), "a longest chunk was there and no cut was found");
            return JobOutcome::Cut { chunks, carry: joined };
        };
        name(joined.slice(..len));
        if len < carry.len() {
            carry = carry.slice(len..);
        } else {
            piece = piece.slice(len - carry.len()..);
            carry = Bytes::new();
        }
    }
    while !piece.is_empty() {
        let Some(len) = scope.chunker.cut(&piece, end) else { break };
        name(piece.split_to(len));
    }
    JobOutcome::Cut { chunks, carry: piece }
}

fn pack_or_cut(scope: &ScopeContext, plain: Bytes, compression: Compression, scratch: &mut Scratch) -> JobOutcome {
    let form = compress(&plain, compression, scratch);
    if let Form::Zstd(frame) = &form
        && frame.len() <= INLINE_LEN
    {
        let (len, saved) = (plain.len() as u32, plain.len() - frame.len());
        return JobOutcome::Packed { content: Content::Packed { len, frame: frame.clone() }, saved };
    }
    let mut outcome = cut(scope, Bytes::new(), plain, true);
    if let JobOutcome::Cut { chunks, .. } = &mut outcome
        && let [whole] = chunks.as_mut_slice()
    {
        whole.form = Some(form);
    }
    outcome
}

/// Compresses a content that a body holds, where that pays.
fn pack_content(content: &mut Content, compression: Compression, scratch: &mut Scratch) {
    if let Content::Inline(bytes) = content
        && bytes.len() >= PACK_FROM
        && let Some(frame) = pack(bytes, bytes.len() - bytes.len() / PACK_GAIN, compression, scratch)
    {
        *content = Content::Packed { len: bytes.len() as u32, frame };
    }
}

/// The content as its reader wants it.
fn unpack_content(mut body: Body, scratch: &mut Scratch) -> Result<Body, String> {
    // PA
    if let Content::Packed { len, frame } = &body.content {
        let bytes = unpack(frame, *len, scratch).ok_or("its content does not unpack: a faulty program wrote it")?;
        body.content = Content::Inline(bytes);
    }
    Ok(body)
}

/// Seals the body of a draft; what remains is the signature.
fn seal_draft(keys: &Keyring, names: &NameKeys, draft: BlobDraft) -> Result<(Header, Unsigned), DecodeError> {
    // PA
    let mut rng = EngineRng::from_seed(draft.seed);
    let body_key = Secret::new(rng.bytes());
    let kind = match draft.kind {
        BlobKind::VersionVector => ContentKind::Snapshot,
        BlobKind::Child | BlobKind::Merger => ContentKind::Bytes,
    };
    let body = Body {
        name: draft.key.as_bytes().to_vec(),
        scope: draft.scope.name.clone(),
        attributes: draft.attributes,
        kind,
        content: draft.content,
    };
    let mut header = Header {
        kind: draft.kind,
        realm: keys.realm_id(),
        epoch: keys.realm_epoch(),
        key_hash: draft.key_hash,
        path: match planted(Bug::NameInClear) {
            true => vec![draft.key.as_bytes().to_vec()],
            false => sealed_components(&seal_path(names, &draft.key)),
        },
        parents: draft.parents,
        created: draft.created,
        author: keys.author(),
        scope: draft.scope.tag,
        seals: draft.seals,
        ref_pages: draft.ref_pages,
        body_hash: [0; 32],
        body_len: 0,
    };
    let binding = header.body_binding();
    let sealed = seal_body(&body, &body_key, &binding)?;
    header.body_hash = Header::hash_body(&sealed);
    header.body_len = sealed.len() as u32;
    header.validate()?;
    let epoch = keys.group_epoch();
    let group = match keys.group_key(epoch) {
        Ok(group) => group,
        Err(error) => unreachable!("a keyring holds its newest epoch: {error}"),
    };
    let wrap = GroupWrap::seal(group, epoch, &binding, &body_key, &mut rng);
    Ok((header, Unsigned { wrap, body: sealed, summary: BodySummary::of(&body) }))
}

/// A version but for its signed header.
struct Unsigned {
    wrap: GroupWrap,
    body: Bytes,
    summary: BodySummary,
}

/// Makes versions of drafts, several with one signature.
fn make_blobs(keys: &Keyring, names: &NameKeys, drafts: Vec<BlobDraft>) -> Vec<Result<MadeBlob, DecodeError>> {
    // PA
    let mut made = Vec::with_capacity(drafts.len());
    let mut drafts = drafts.into_iter().peekable();
    while drafts.peek().is_some() {
        let (mut headers, mut together) = (Vec::new(), Vec::new());
        for draft in drafts.by_ref().take(SIGNED_TOGETHER) {
            together.push(seal_draft(keys, names, draft).map(|(header, unsigned)| {
                headers.push(header);
                unsigned
            }));
        }
        let signed = SignedHeader::sign_all(headers, keys.signer());
        let mut signed = signed.map(IntoIterator::into_iter);
        made.extend(together.into_iter().map(|unsigned| {
            let Unsigned { wrap, body, summary } = unsigned?;
            match signed.as_mut().map(Iterator::next) {
                Ok(Some(header)) => Ok(MadeBlob { id: header.id(), header, wrap, body, summary }),
                Ok(None) => unreachable!("one signature for each header"),
                Err(error) => Err(error.clone()),
            }
        }));
    }
    made
}

/// The path as the header carries it: each component's own encoding.
fn sealed_components(path: &SealedPath) -> Vec<Vec<u8>> {
    let encode = |component: &SealedComponent| match borsh::to_vec(component) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("encoding to memory: {error}"),
    };
    path.entries().map(|(_, component)| encode(component)).collect()
}

fn open_chunk(
    seal: SealId,
    secret: &Secret,
    slices: Vec<SealedSlice>,
    scratch: &mut Scratch,
) -> Result<(Bytes, Vec<SliceIndex>), String> {
    // PA
    let whole = assemble(seal, slices).map_err(|error| error.to_string())?;
    let bad = whole.damaged().to_vec();
    let plain = open_with(secret, &whole, scratch).map_err(|error| error.to_string())?;
    Ok((plain, bad))
}

fn mend(seal: SealId, slices: Vec<SealedSlice>, expected: usize) -> Result<Mended, AssembleError> {
    // PA
    let whole: Vec<SliceIndex> =
        slices.iter().filter(|slice| slice.verify().is_ok()).map(|slice| slice.header.index()).collect();
    let bad: Vec<SliceIndex> =
        (0..expected).map(|index| SliceIndex(index as u8)).filter(|index| !whole.contains(index)).collect();
    let ciphertext = assemble(seal, slices)?;
    let slices = ciphertext.rebuild(&bad).ok_or(AssembleError::Forged { seal_id: seal })?;
    Ok(Mended { slices })
}
