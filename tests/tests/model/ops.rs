//! What may be asked of a node, as data that proptest draws, shrinks and prints.

use bytes::Bytes;
use ouroboros_engine::names::KeyName;
use ouroboros_engine::node::Limits;
use ouroboros_engine::seal::{ChunkerKind, ChunkerParams};
use proptest::prelude::*;
use proptest::sample::select;

/// Keys that stand in each other's way: one the other's prefix, or next to a separator, or at the end of all bytes.
pub(crate) const KEYS: [&[u8]; 8] = [b"a", b"a/b", b"a/b/c", b"a-b", b"a/b-c", b"b/\x01", b"\xff", b"\xff\xff/\xff"];

/// Where listings begin.
pub(crate) const PREFIXES: [&[u8]; 9] = [b"", b"a", b"a/", b"a/b", b"a/b/", b"b", b"\xff", b"\xff\xff", b"zz"];

pub(crate) fn key(number: u8) -> KeyName {
    KeyName::new(KEYS[usize::from(number) % KEYS.len()]).unwrap()
}

/// What the bytes of a value are like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Texture {
    Noise,
    Text,
    Zeros,
}

/// A value: a head and a tail, each the same for the same seed, so that values share beginnings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    pub(crate) texture: Texture,
    pub(crate) head: (u8, usize),
    pub(crate) tail: (u8, usize),
}

impl Value {
    pub(crate) fn bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.head.1 + self.tail.1);
        for (seed, len) in [self.head, self.tail] {
            let start = out.len();
            out.resize(start + len, 0);
            let part = &mut out[start..];
            match self.texture {
                Texture::Zeros => part.fill(seed),
                Texture::Noise => blake3::Hasher::new().update(&[seed]).finalize_xof().fill(part),
                Texture::Text => {
                    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(part);
                    part.iter_mut().for_each(|byte| *byte = b"abc\n"[usize::from(*byte & 3)]);
                }
            }
        }
        out.into()
    }
}

/// What a new version follows.
#[derive(Clone, Debug)]
pub(crate) enum Follow {
    Winner,
    Heads,
    /// Some live versions of the key, or none: another root.
    Some(Vec<u16>),
    /// Any version there ever was, of any key, purged or not.
    Any(u16),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope {
    Realm,
    User,
    None(u8),
}

#[derive(Clone, Debug)]
pub(crate) struct How {
    pub(crate) follow: Follow,
    pub(crate) coding: Option<(u8, u8)>,
    pub(crate) scope: Scope,
    /// An attribute's value; 0 for no attribute.
    pub(crate) attribute: u8,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    Winner,
    Version(u16),
    /// The time of a version, moved by some stamps.
    At(u16, i8),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Reopening {
    Close,
    Drop,
    CloseAndLoseIndex,
    DropAndLoseIndex,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Put(u8, Value, How),
    /// One request for many versions.
    PutMany(Vec<(u8, Value)>),
    Stream {
        key: u8,
        value: Value,
        how: How,
        /// Where the pieces end, in 65536ths of the length.
        cuts: Vec<u16>,
        /// Waits for each piece to be taken.
        patient: bool,
        /// Gives up after so many pieces.
        abort: Option<u8>,
    },
    Copy(u8, u16, How),
    Remove(u8, How),
    PurgeKey(u8),
    PurgeVersion(u16),
    Get(Vec<(u8, Which)>),
    GetVersion(u16),
    /// From and to, in 65536ths of a little more than the length.
    Read(u16, u16, u16),
    Log(u8, u8),
    Bases(Vec<u16>),
    Diff(u16, u16),
    List {
        prefix: u8,
        recursive: bool,
        gone: bool,
        limit: u8,
        after: Option<u8>,
    },
    Scrub(bool),
    Compact,
    Recode(u8, u8),
    Stats,
    /// The wall clock jumps, in milliseconds.
    Jump(i32),
    /// All at once.
    Together(Vec<Op>),
    Reopen(Reopening, u8),
    /// All at once, and the process is gone some steps later.
    Kill(Vec<Op>, u8, u8),
}

/// A store and the circumstances of its node.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) chunker: u8,
    pub(crate) coding: (u8, u8),
    pub(crate) limits: u8,
    /// Jobs come back in an order that this seeds; in order if none.
    pub(crate) disorder: Option<u64>,
    /// So many jobs of a thousand panic.
    pub(crate) panics: u16,
}

pub(crate) fn chunker(number: u8) -> ChunkerParams {
    let (kind, min_len, avg_len, max_len) = match number % 3 {
        0 => (ChunkerKind::Cdc1, 1024, 2048, 4096),
        1 => (ChunkerKind::Cdc1, 2048, 8192, 32768),
        _ => (ChunkerKind::FastCdc, 1024, 4096, 16384),
    };
    ChunkerParams { kind, min_len, avg_len, max_len }
}

/// Budgets so small that every flush, roll, stall and eviction is common; each digit of the number chooses one.
pub(crate) fn limits(number: u8) -> Limits {
    let pick = |shift: u8, values: [usize; 4]| values[usize::from(number.rotate_left(u32::from(shift)) & 3)];
    Limits {
        inflight_len: pick(0, [1, 5000, 100_000, 48 << 20]),
        read_len: pick(1, [700, 10_000, 1 << 20, 1 << 20]) as u64,
        batch_len: pick(2, [1, 30_000, 1 << 20, 256 << 20]) as u64,
        window_len: pick(3, [1, 40_000, 300_000, 8 << 20]),
        body_cache_len: pick(4, [0, 2000, 50_000, 1 << 20]),
        index_overlay_len: pick(5, [1, 4000, 60_000, 1 << 20]),
        replay_len: pick(6, [1, 50_000, 1 << 30, 1 << 30]) as u64,
        segment_len: pick(7, [64 << 10, 96 << 10, 256 << 10, 4 << 20]) as u32,
        upkeep_step_len: pick(1, [1, 9000, 1 << 20, 1 << 20]) as u64,
        index_cache_len: 1 << 20,
        ..Limits::default()
    }
}

fn len() -> impl Strategy<Value = usize> {
    let edges = vec![
        0, 1, 2, 1023, 1024, 1025, 2047, 2048, 4095, 4096, 4097, 4098, 8192, 8193, 16_383, 16_384, 16_385, 32_767,
        32_768, 32_769, 65_537,
    ];
    prop_oneof![
        3 => Just(0usize),
        4 => 0usize..200,
        6 => select(edges),
        3 => 4000usize..20_000,
        1 => 20_000usize..150_000,
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let texture = prop_oneof![4 => Just(Texture::Noise), 2 => Just(Texture::Text), 1 => Just(Texture::Zeros)];
    (texture, 0u8..3, len(), 0u8..4, len()).prop_map(|(texture, head, head_len, tail, tail_len)| Value {
        texture,
        head: (head, head_len),
        tail: (tail + 10, tail_len),
    })
}

fn how() -> impl Strategy<Value = How> {
    let follow = prop_oneof![
        8 => Just(Follow::Winner),
        2 => Just(Follow::Heads),
        4 => prop::collection::vec(any::<u16>(), 0..4).prop_map(Follow::Some),
        1 => any::<u16>().prop_map(Follow::Any),
    ];
    let coding = prop_oneof![5 => Just(None), 1 => coding().prop_map(Some)];
    let scope = prop_oneof![6 => Just(Scope::Realm), 1 => Just(Scope::User), 1 => (0u8..2).prop_map(Scope::None)];
    let attribute = prop_oneof![3 => Just(0u8), 1 => 1u8..4];
    (follow, coding, scope, attribute).prop_map(|(follow, coding, scope, attribute)| How {
        follow,
        coding,
        scope,
        attribute,
    })
}

fn coding() -> impl Strategy<Value = (u8, u8)> {
    select(vec![(8u8, 1u8), (1, 0), (1, 1), (4, 2), (2, 3), (10, 4)])
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        2 => Just(Which::Winner),
        1 => any::<u16>().prop_map(Which::Version),
        2 => (any::<u16>(), -1i8..2).prop_map(|(pick, by)| Which::At(pick, by)),
    ]
}

const ANY_KEY: core::ops::Range<u8> = 0..KEYS.len() as u8;

/// What can be under way together with others.
fn request() -> impl Strategy<Value = Op> {
    let stream = (ANY_KEY, value(), how(), prop::collection::vec(any::<u16>(), 0..5), any::<bool>());
    let stream = (stream, prop::option::weighted(0.2, 0u8..4))
        .prop_map(|((key, value, how, cuts, patient), abort)| Op::Stream { key, value, how, cuts, patient, abort });
    let list = (0..PREFIXES.len() as u8, any::<bool>(), any::<bool>(), 0u8..6, prop::option::weighted(0.3, ANY_KEY));
    prop_oneof![
        10 => (ANY_KEY, value(), how()).prop_map(|(key, value, how)| Op::Put(key, value, how)),
        2 => prop::collection::vec((ANY_KEY, value()), 0..6).prop_map(Op::PutMany),
        6 => stream,
        3 => (ANY_KEY, any::<u16>(), how()).prop_map(|(key, from, how)| Op::Copy(key, from, how)),
        2 => (ANY_KEY, how()).prop_map(|(key, how)| Op::Remove(key, how)),
        2 => ANY_KEY.prop_map(Op::PurgeKey),
        4 => any::<u16>().prop_map(Op::PurgeVersion),
        3 => prop::collection::vec((ANY_KEY, which()), 0..4).prop_map(Op::Get),
        1 => any::<u16>().prop_map(Op::GetVersion),
        4 => (any::<u16>(), any::<u16>(), any::<u16>()).prop_map(|(pick, from, to)| Op::Read(pick, from, to)),
        1 => (ANY_KEY, 0u8..4).prop_map(|(key, limit)| Op::Log(key, limit)),
        2 => prop::collection::vec(any::<u16>(), 0..4).prop_map(Op::Bases),
        2 => (any::<u16>(), any::<u16>()).prop_map(|(from, to)| Op::Diff(from, to)),
        2 => list.prop_map(|(prefix, recursive, gone, limit, after)| Op::List { prefix, recursive, gone, limit, after }),
        1 => any::<bool>().prop_map(Op::Scrub),
        2 => Just(Op::Compact),
        1 => coding().prop_map(|(data, parity)| Op::Recode(data, parity)),
        1 => Just(Op::Stats),
    ]
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let reopening = select(vec![
        Reopening::Close,
        Reopening::Drop,
        Reopening::Drop,
        Reopening::CloseAndLoseIndex,
        Reopening::DropAndLoseIndex,
    ]);
    prop_oneof![
        24 => request(),
        8 => prop::collection::vec(request(), 2..7).prop_map(Op::Together),
        2 => prop_oneof![-100_000i32..100_000, Just(i32::MIN), Just(i32::MAX)].prop_map(Op::Jump),
        2 => (reopening, any::<u8>()).prop_map(|(how, limits)| Op::Reopen(how, limits)),
        1 => (prop::collection::vec(request(), 1..5), 0u8..12, any::<u8>())
            .prop_map(|(ops, steps, limits)| Op::Kill(ops, steps, limits)),
    ]
}

pub(crate) fn setting(panics: u16) -> impl Strategy<Value = Setting> {
    (0u8..3, coding(), any::<u8>(), prop::option::weighted(0.6, any::<u64>())).prop_map(
        move |(chunker, coding, limits, disorder)| Setting {
            chunker,
            coding,
            limits,
            disorder: if panics > 0 { Some(disorder.unwrap_or(1)) } else { disorder },
            panics,
        },
    )
}
