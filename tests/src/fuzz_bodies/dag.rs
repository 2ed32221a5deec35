//! The graph of one key's versions, grown step by step, against its definition: reachability, spelt out over all pairs.

use arbitrary::Arbitrary;
use core::convert::Infallible;
use ouroboros_engine::dag::{
    Ancestry, LogWalk, MemoryAncestry, Parents, add_to_heads, heads, is_ancestor, merge_bases, remove_from_heads,
    version_at, winner,
};
use ouroboros_engine::id::{BlobId, Hlc};

/// Versions in one graph, at most: a set of them fits a word.
const MAX_VERSIONS: usize = 64;
const MAX_STEPS: usize = 96;

/// A graph and what is asked of it.
#[derive(Debug, Arbitrary)]
pub struct History {
    /// Which names the versions get, and so which of two that were made at the same time wins.
    salt: u8,
    /// Every version is stamped after its parents.
    orderly: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Arbitrary)]
enum Step {
    /// A version is made, of some of the last eight and one from anywhere. It may be known at once or only later.
    Make {
        recent: u8,
        far: Option<u8>,
        stamp: u8,
        known: bool,
    },
    /// A version that others may name already becomes known.
    Arrive(u8),
    /// A version becomes a hole.
    Purge(u8),
    Bases(Vec<u8>),
    IsAncestor(u8, u8),
    /// What a reader would have got then.
    At(u8),
    /// The log down from some versions (from the heads, if none), in pages.
    Log {
        from: Vec<u8>,
        page: u8,
    },
    /// The maximal ones of some versions.
    HeadsOf(Vec<u8>),
}

/// Stamps that are good and not trusted: the cost differs, the answer must not.
struct Doubting<'a>(&'a MemoryAncestry);

impl Ancestry for Doubting<'_> {
    type Error = Infallible;

    fn parents(&self, id: BlobId) -> Result<Option<Parents>, Infallible> {
        self.0.parents(id)
    }
}

#[derive(Debug)]
struct Version {
    id: BlobId,
    created: Hlc,
    parents: Vec<usize>,
    known: bool,
    purged: bool,
}

/// The definitions, without any thought of cost. A set of versions is a word.
#[derive(Debug, Default)]
struct Model(Vec<Version>);

impl Model {
    /// Of each version, itself and what it descends from. Nothing is known of where an unknown one comes from.
    fn closures(&self) -> Vec<u64> {
        let mut closures = Vec::<u64>::with_capacity(self.0.len());
        for (n, version) in self.0.iter().enumerate() {
            let below = version.parents.iter().filter(|_| version.known).map(|parent| closures[*parent]);
            closures.push(below.fold(1 << n, |all, closure| all | closure));
        }
        closures
    }

    fn members(&self, set: u64) -> impl Iterator<Item = (usize, &Version)> {
        self.0.iter().enumerate().filter(move |(n, _)| set >> n & 1 == 1)
    }

    fn live(&self) -> u64 {
        let live = self.0.iter().enumerate().filter(|(_, version)| version.known && !version.purged);
        live.fold(0, |set, (n, _)| set | 1 << n)
    }

    /// The live ones of a set that no other live one of it descends from, highest first.
    fn maximal(&self, set: u64) -> Vec<(Hlc, BlobId)> {
        let closures = self.closures();
        let set = set & self.live();
        let is_below = |n: usize| self.members(set).any(|(other, _)| other != n && closures[other] >> n & 1 == 1);
        let mut found: Vec<(Hlc, BlobId)> = self
            .members(set)
            .filter(|(n, _)| !is_below(*n))
            .map(|(_, version)| (version.created, version.id))
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }

    fn bases(&self, sides: &[usize]) -> Vec<(Hlc, BlobId)> {
        let closures = self.closures();
        let Some(common) = sides.iter().map(|side| closures[*side]).reduce(|a, b| a & b) else { return Vec::new() };
        self.maximal(common)
    }

    fn by(&self, time: Hlc) -> u64 {
        self.0.iter().enumerate().filter(|(_, version)| version.created <= time).fold(0, |set, (n, _)| set | 1 << n)
    }

    /// Always the highest of those whose child was given, from `start` on.
    fn log(&self, start: u64) -> Vec<BlobId> {
        let (mut ready, mut given, mut order) = (start, 0u64, Vec::new());
        loop {
            let next = self.members(ready & !given).filter(|(_, version)| version.known);
            let Some((n, version)) = next.max_by_key(|(_, version)| (version.created, version.id)) else {
                return order;
            };
            given |= 1 << n;
            order.push(version.id);
            ready = version.parents.iter().fold(ready, |ready, parent| ready | 1 << parent);
        }
    }
}

struct Graph {
    model: Model,
    ancestry: MemoryAncestry,
    /// Kept up to date by steps, as the index does.
    heads: Vec<(Hlc, BlobId)>,
}

/// What in-memory ancestry gives.
fn sure<T, E: core::fmt::Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("ancestry in memory failed: {error:?}"),
    }
}

/// The body of the target `dag`.
pub fn dag(history: &History) {
    let mut graph = Graph { model: Model::default(), ancestry: MemoryAncestry::new(), heads: Vec::new() };
    for step in history.steps.iter().take(MAX_STEPS) {
        graph.step(history, step);
    }
    let sides: Vec<usize> = (0..graph.model.0.len()).rev().take(4).collect();
    graph.check_bases(&sides);
    graph.check_log(0, usize::MAX);
}

impl Graph {
    fn pick(&self, number: u8) -> Option<usize> {
        usize::from(number).checked_rem(self.model.0.len())
    }

    fn picks(&self, numbers: &[u8]) -> Vec<usize> {
        numbers.iter().take(8).filter_map(|number| self.pick(*number)).collect()
    }

    fn id(&self, n: usize) -> BlobId {
        self.model.0[n].id
    }

    fn set(picks: &[usize]) -> u64 {
        picks.iter().fold(0, |set, n| set | 1 << n)
    }

    fn step(&mut self, history: &History, step: &Step) {
        match step {
            Step::Make { recent, far, stamp, known } => self.make(history, *recent, *far, *stamp, *known),
            Step::Arrive(n) => {
                if let Some(n) = self.pick(*n)
                    && !self.model.0[n].known
                {
                    self.arrive(n);
                }
            }
            Step::Purge(n) => {
                if let Some(n) = self.pick(*n)
                    && self.model.0[n].known
                {
                    self.model.0[n].purged = true;
                    self.ancestry.purge(self.id(n));
                    self.heads = sure(remove_from_heads(&self.ancestry, &self.heads, self.id(n)));
                    self.check_heads();
                }
            }
            Step::Bases(numbers) => self.check_bases(&self.picks(numbers)),
            Step::IsAncestor(a, b) => {
                if let (Some(a), Some(b)) = (self.pick(*a), self.pick(*b)) {
                    let expected = self.model.closures()[b] >> a & 1 == 1;
                    assert_eq!(sure(is_ancestor(&self.ancestry, self.id(a), self.id(b))), expected);
                    assert_eq!(sure(is_ancestor(&Doubting(&self.ancestry), self.id(a), self.id(b))), expected);
                }
            }
            Step::At(time) => {
                let time = Hlc(u64::from(*time));
                let expected = self.model.maximal(self.model.by(time)).first().map(|(_, id)| *id);
                let tips = || self.heads.iter().map(|(_, id)| *id);
                assert_eq!(sure(version_at(&self.ancestry, tips(), time)), expected, "at {time:?}");
                assert_eq!(sure(version_at(&Doubting(&self.ancestry), tips(), time)), expected, "at {time:?}");
            }
            Step::Log { from, page } => {
                self.check_log(Self::set(&self.picks(from)), usize::from(*page).max(1));
            }
            Step::HeadsOf(numbers) => {
                let picks = self.picks(numbers);
                let ids = || picks.iter().map(|n| self.id(*n));
                let expected = self.model.maximal(Self::set(&picks));
                assert_eq!(sure(heads(&self.ancestry, ids())), expected);
                assert_eq!(sure(heads(&Doubting(&self.ancestry), ids())), expected);
            }
        }
    }

    fn make(&mut self, history: &History, recent: u8, far: Option<u8>, stamp: u8, known: bool) {
        let n = self.model.0.len();
        if n >= MAX_VERSIONS {
            return;
        }
        let mut parents: Vec<usize> =
            (0..8).filter(|bit| recent >> bit & 1 == 1).filter_map(|bit| n.checked_sub(1 + bit)).collect();
        parents.extend(far.and_then(|far| self.pick(far)));
        parents.sort_unstable();
        parents.dedup();
        let created = if history.orderly {
            let newest = parents.iter().map(|parent| self.model.0[*parent].created.0).max();
            Hlc(newest.map_or(u64::from(stamp % 16), |newest| newest + 1 + u64::from(stamp % 4)))
        } else {
            Hlc(u64::from(stamp))
        };
        let id = BlobId::from_bytes(*blake3::hash(&[history.salt, n as u8]).as_bytes());
        self.model.0.push(Version { id, created, parents, known: false, purged: false });
        if known {
            self.arrive(n);
        }
    }

    fn arrive(&mut self, n: usize) {
        let has_children = self.model.0.iter().any(|version| version.known && version.parents.contains(&n));
        self.model.0[n].known = true;
        let Version { id, created, ref parents, .. } = self.model.0[n];
        let mut ids: Vec<BlobId> = parents.iter().map(|parent| self.id(*parent)).collect();
        ids.sort_unstable();
        self.ancestry.insert(id, Parents { created, ids, purged: false });
        let exact = sure(add_to_heads(&self.ancestry, &self.heads, id, has_children));
        // Who does not count children says that there may be some.
        assert_eq!(sure(add_to_heads(&self.ancestry, &self.heads, id, true)), exact);
        self.heads = exact;
        self.check_heads();
    }

    fn check_heads(&self) {
        let expected = self.model.maximal(self.model.live());
        assert_eq!(self.heads, expected, "heads kept up to date");
        assert_eq!(sure(heads(&self.ancestry, self.ancestry.live())), expected, "heads of all versions");
        assert_eq!(winner(&self.heads), expected.first().map(|(_, id)| *id));
    }

    fn check_bases(&self, picks: &[usize]) {
        let sides: Vec<BlobId> = picks.iter().map(|n| self.id(*n)).collect();
        let unknown = picks.iter().any(|n| !self.model.0[*n].known);
        let expected = if unknown { Vec::new() } else { self.model.bases(picks) };
        assert_eq!(sure(merge_bases(&self.ancestry, &sides)), expected);
        assert_eq!(sure(merge_bases(&Doubting(&self.ancestry), &sides)), expected);
    }

    fn check_log(&self, from: u64, page: usize) {
        let tips =
            self.model.0.iter().enumerate().filter(|(_, version)| self.heads.iter().any(|(_, id)| *id == version.id));
        let start = if from == 0 { tips.fold(0, |set, (n, _)| set | 1 << n) } else { from };
        let mut walk = LogWalk::from(self.model.members(start).map(|(_, version)| version.id));
        let mut given = Vec::new();
        loop {
            let logged = sure(walk.next_page(&self.ancestry, page));
            let last = logged.len() < page;
            given.extend(logged.into_iter().map(|logged| logged.id));
            if last {
                break;
            }
        }
        assert_eq!(given, self.model.log(start), "the log");
    }
}
