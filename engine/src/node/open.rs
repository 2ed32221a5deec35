//! Creating and opening: the log is the truth, the index is brought up to it.

use super::access::{Access, IndexPlace, clear_passing_index, needed};
use super::batch::Batch;
use super::checkpoint::Checkpoint;
use super::heal::{Heal, Looks};
use super::losses::Losses;
use super::policy::Policy;
use super::put::Puts;
use super::questions::Questions;
use super::reader::Reads;
use super::replay::Replay;
use super::request::{Damage, DamageOutcome, Event, Failure};
use super::unread::{Unseen, may_disown, untold};
use super::upkeep::Upkeep;
use super::whims::{Humour, Whim};
use super::window::Window;
use super::{Engine, Health, Limits, Note, Output, StoreConfig};
use crate::codec::{Canonical, DecodeError};
use crate::env::{Disk, DiskFailure, Now};
use crate::id::{EngineRng, Epoch, Hlc, HlcClock, Incarnation, NodeId, RealmId, SealId};
use crate::planted::{Bug, planted};
use crate::seal::SealedSlice;
use crate::store::SegmentId;
use crate::store::index::{Index, IndexError, IndexName};
use crate::store::log::{Log, LogError, LogOptions, LogPosition, RecordKind, Recovery, StoreId};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// How to open a store.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The keys of the realm, or none.
    pub access: Access,
    /// What the node may use.
    pub limits: Limits,
    /// Seeds all randomness of this node. Fresh from the operating system in production.
    pub seed: [u8; 32],
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The index was not usable and was made anew from the whole log.
    pub index_rebuilt: bool,
    /// Records of the log that the index had not seen.
    pub replayed: u64,
    /// The log ended in a write that is not whole, and is gone: a crash tore it before anybody was told of it, or the very
    /// end of the log, that no parity covered yet, has rotted since. Nothing on disk tells one from the other.
    pub torn: bool,
    /// There was no room to copy the last batch, so it was made durable where it stands.
    pub kept_in_place: bool,
    /// What is damaged in what was replayed.
    pub damaged: Vec<String>,
}

/// Why a store could not be opened or created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There is no store.
    #[error("there is no store here")]
    NoStore,
    /// There is one already.
    #[error("there is a store here already")]
    Exists,
    /// The keyring belongs to another realm.
    #[error(
        "this keyring belongs to realm {found}, and the store to realm {expected}: use the keyring that was made with the store, or its recovery phrase"
    )]
    WrongKeys {
        /// The keyring's realm.
        found: RealmId,
        /// The store's realm.
        expected: RealmId,
    },
    /// A store is made with keys.
    #[error("a store cannot be made without its keyring")]
    NoKeys,
    /// The store's configuration is not understood.
    #[error(transparent)]
    Config(#[from] DecodeError),
    /// The log refused.
    #[error(transparent)]
    Log(LogError),
    /// The index could not be made.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::NoLog => Self::NoStore,
            LogError::AlreadyExists(_) => Self::Exists,
            error => Self::Log(error),
        }
    }
}

impl Limits {
    fn log_options(&self, access: &Access) -> LogOptions {
        // The checkpoint of those with keys stands in an index that cannot be read without.
        let leave_end = access.keys().is_none();
        LogOptions {
            segment_len: self.segment_len,
            damaged_places: self.damaged_places,
            leave_end,
            ..LogOptions::default()
        }
    }
}

/// Shows whether a record that verifies itself is whole.
fn verify(kind: RecordKind, payload: &[u8]) -> bool {
    // PA
    match kind {
        RecordKind::Slice => {
            SealedSlice::from_record(Bytes::copy_from_slice(payload)).is_ok_and(|slice| slice.verify().is_ok())
        }
        _ => true,
    }
}

impl<D: Disk> Engine<D> {
    /// Makes a store in an empty directory.
    ///
    /// # Errors
    /// [`OpenError::Exists`] and others.
    pub fn create(disk: D, config: StoreConfig, options: OpenOptions, now: Now) -> Result<Self, OpenError> {
        // PA
        config.validate()?;
        needed(&options.access)?;
        let mut rng = EngineRng::from_seed(options.seed);
        let store = StoreId(rng.bytes());
        let log = Log::create(
            disk.clone(),
            options.limits.log_options(&options.access),
            store,
            &config.encode(),
            &mut rng,
            verify,
        )?;
        drop(log);
        // An index without a log is a left-over.
        Index::destroy(&disk, IndexName::Lasting)?;
        let seed = rng.bytes();
        Ok(Self::open(disk, OpenOptions { seed, ..options }, now)?.0)
    }

    /// Opens a store: reads what the index has not yet seen of the log, or, if there is no usable index, all of it.
    ///
    /// # Errors
    /// [`OpenError`]. Damage is no error here: what is damaged is reported, and everything else is there.
    pub fn open(disk: D, options: OpenOptions, now: Now) -> Result<(Self, Opened), OpenError> {
        // PA
        let mut rng = EngineRng::from_seed(options.seed);
        let keys = options.access.keys();
        let place = IndexPlace::new(keys.map(AsRef::as_ref), &options.limits, &mut rng);
        let mut index_rebuilt = false;
        let mut learnt = Learnt::default();
        // Before the index is touched, which the keys of another realm could not open.
        let config = StoreConfig::decode(&Log::stored_config(&disk)?)?;
        if let Some(found) = keys.map(|keys| keys.realm_id())
            && found != config.realm
        {
            return Err(OpenError::WrongKeys { found, expected: config.realm });
        }
        clear_passing_index(&disk);
        let mut found = place.open(&disk, &mut rng);
        if let Err(error) = &found
            && !matches!(error, IndexError::Missing)
        {
            // What the disk refused, or gave otherwise, by chance it gives the next time; and not to have been asked says
            // nothing of it.
            if let IndexError::Disk(refusal) = error
                && refusal.failure.says_nothing()
            {
                return Err(OpenError::Index(error.clone()));
            }
            found = place.open(&disk, &mut rng);
        }
        let mut index = match found {
            Ok(index) if !index.checkpoint().is_empty() => index,
            // Who made it anew was killed on the way, and nothing says what was removed since.
            Ok(_) => {
                tracing::info!("an index was never finished: it is made anew from the log");
                index_rebuilt = true;
                place.make(&disk, &mut rng)?
            }
            Err(error) => {
                tracing::info!(%error, "the index is made anew from the log");
                index_rebuilt = true;
                place.make(&disk, &mut rng)?
            }
        };
        loop {
            match Self::open_with(&disk, index, &options, &config, &mut rng, now, &mut learnt) {
                Ok((engine, mut opened)) => {
                    // Without keys, or in memory, it always is, and that says nothing of the store.
                    let lasts = engine.keys.is_some() && !engine.limits.index_in_memory;
                    opened.index_rebuilt = index_rebuilt && lasts;
                    return Ok((engine, opened));
                }
                // Whatever is wrong with the index, there is the log.
                Err(OpenFailure::StaleIndex(why)) if !index_rebuilt => {
                    tracing::info!(why, "the index is made anew from the log");
                    index_rebuilt = true;
                    index = place.make(&disk, &mut rng)?;
                }
                Err(OpenFailure::Misled) => {
                    tracing::info!("the log is read again, into another index");
                    index_rebuilt = true;
                    index = place.make(&disk, &mut rng)?;
                }
                Err(OpenFailure::StaleIndex(why)) => {
                    return Err(OpenError::Index(IndexError::Damaged(why)));
                }
                Err(OpenFailure::Open(error)) => return Err(error),
            }
        }
    }

    fn open_with(
        disk: &D,
        mut index: Index<D>,
        options: &OpenOptions,
        config: &StoreConfig,
        rng: &mut EngineRng,
        now: Now,
        Learnt { looks, remembered }: &mut Learnt,
    ) -> Result<(Self, Opened), OpenFailure> {
        // PA
        let keys = options.access.keys();
        let stored = index.checkpoint().to_vec();
        let checkpoint = match stored.as_slice() {
            [] => None,
            bytes => Some(
                borsh::from_slice::<Checkpoint>(bytes).map_err(|error| OpenFailure::StaleIndex(error.to_string()))?,
            ),
        };
        let from = checkpoint.as_ref().map(|checkpoint| checkpoint.position);
        if let (None, Some(known)) = (remembered.as_ref(), &checkpoint) {
            *remembered = Some(Remembered {
                lost: known.lost.clone(),
                doubted: known.doubted.clone(),
                position: Some(known.position),
                policy: known.policy.clone(),
                clock: known.clock,
            });
        }
        // What it says of such versions is no more than their headers say: no removal would be known for one.
        let opens_now = |epoch: &Epoch| keys.is_some_and(|keys| keys.group_key(*epoch).is_ok());
        if let Some(epoch) = checkpoint.as_ref().and_then(|known| known.unopened.iter().copied().find(opens_now)) {
            return Err(OpenFailure::StaleIndex(format!("it was made without the group key of epoch {}", epoch.0)));
        }
        // Rows that a commit behind the checkpoint may yet disown reach the index's file before it says so.
        let interim = checkpoint.clone().map(|mut known| {
            known.unseen.doubt_behind(known.position.segment);
            borsh::to_vec(&known).unwrap_or_default()
        });
        let (mut log, recovery, replay) = loop {
            let mut replay = Replay::new(&mut index, keys.map(AsRef::as_ref), interim.clone().unwrap_or_default());
            let proven = remembered.as_ref().and_then(|known| known.position);
            if let Some(known) = remembered.as_ref() {
                replay.policy.clone_from(&known.policy);
                replay.clock = known.clock;
            }
            if let Some(known) = &checkpoint {
                replay.content.clone_from(&known.content);
            }
            let opened = Log::open(
                disk.clone(),
                LogOptions { proven, ..options.limits.log_options(&options.access) },
                from,
                rng,
                verify,
                &mut |record| replay.take(record),
            );
            let (mut log, recovery) = match opened {
                Ok(opened) => opened,
                // Its segment has gone since: what stands behind was committed later.
                Err(LogError::CheckpointAhead(at)) if from != Some(at) => {
                    if let Some(known) = remembered.as_mut() {
                        known.position = None;
                    }
                    continue;
                }
                Err(error @ (LogError::CheckpointAhead(_) | LogError::Visitor(_))) => {
                    // A log that is older than the checkpoint has another history.
                    if let (LogError::CheckpointAhead(_), Some(known)) = (&error, remembered.as_mut()) {
                        (known.position, known.policy) = (None, None);
                    }
                    return Err(OpenFailure::StaleIndex(error.to_string()));
                }
                Err(error) => return Err(OpenFailure::Open(error.into())),
            };
            let settled = replay.settle(&|segment| log.has(segment));
            settled.map_err(|error| OpenFailure::StaleIndex(error.to_string()))?;
            looks.healed.extend(recovery.mended.iter().copied());
            looks.cut |= is_cut(&recovery);
            // What a crash tore of the parity alone is no damage to speak of.
            if !recovery.damaged.is_empty() {
                looks.healed.extend(recovery.healed.iter().copied());
            }
            // A record that could not be shown is shown once its place is repaired: to say where in history it stands is
            // the log's affair, so it is opened once more.
            if looks.again(&mut log, &recovery.damaged) {
                // A commit that could not be read may have disowned what the index was shown.
                if recovery.untold.is_some() || recovery.damaged.iter().any(may_disown) {
                    return Err(OpenFailure::Misled);
                }
                continue;
            }
            break (log, recovery, replay);
        };
        let Replay { clock, policy, mut content, replayed, mut damaged, mut undecoded, mut unopened, purges, .. } =
            replay;
        unopened.extend(checkpoint.iter().flat_map(|known| &known.unopened));
        let before = checkpoint.iter().flat_map(|known| &known.undecoded).copied();
        undecoded.extend(before.filter(|segment| log.has(*segment) || log.absent().any(|absent| absent == *segment)));
        for (segment, bytes) in &recovery.dead_bytes {
            *content.entry(*segment).or_default() += bytes;
        }
        let note = Note::decode(&recovery.note).ok();
        // Where the last commit has rotted, which the checkpoint proves, the note is an older one.
        let known = checkpoint.as_ref().map_or(0, |known| known.removals);
        let removals = note.as_ref().map_or(0, |note| note.removals).max(known);
        if checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.removals < removals) {
            return Err(OpenFailure::StaleIndex("it knows segments that were removed since".into()));
        }
        // What could not be healed when the index was made may be by now: a history that lacks a version does not say so.
        if let Some(known) = &checkpoint {
            looks.healed.extend(known.unseen.repair(&mut log));
        }
        if let Some(place) = checkpoint.as_ref().and_then(|known| known.unseen.readable_again(&log)) {
            return Err(OpenFailure::StaleIndex(format!("it lacks what can be read by now: {place}")));
        }
        damaged.extend(recovery.damaged.iter().map(ToString::to_string));
        damaged.extend(recovery.untold.map(untold));
        let missing = recovery.missing.iter().map(|id| (*id, format!("segment {id}: its file is missing")));
        let unreadable = recovery.unreadable.iter().map(|id| (*id, format!("segment {id}: unreadable as a whole")));
        let absent: Vec<(SegmentId, String)> = missing.chain(unreadable).collect();
        let gone: BTreeMap<SegmentId, String> = absent.iter().cloned().collect();
        damaged.extend(gone.values().cloned());
        let mut unseen = checkpoint.as_ref().map(|known| known.unseen.clone()).unwrap_or_default();
        unseen.append(Unseen::of(&recovery.damaged, recovery.untold), options.limits.damaged_places);
        let Remembered { lost, doubted, .. } = remembered.clone().unwrap_or_default();
        // What stands in a segment behind the checkpoint's the index was not told of; nor one that was made just now.
        for (segment, what) in absent.into_iter().filter(|(id, _)| from.is_none_or(|from| from.segment <= *id)) {
            unseen.add_whole(segment, what);
        }

        // Sequence numbers go on only where all of them are known, in a log that ends where they were written down; else a
        // new life begins. Without keys nothing is given a name.
        let position = log.position();
        let (incarnation, sequences) = match (&checkpoint, &note) {
            (Some(known), _) if planted(Bug::DotsReused) => (known.incarnation, known.sequences.clone()),
            (Some(known), _) if replayed == 0 && !looks.cut && known.position == position => {
                (known.incarnation, known.sequences.clone())
            }
            (None, Some(note)) if keys.is_none() => (note.incarnation, BTreeMap::new()),
            _ => (Incarnation(rng.next_u64()), BTreeMap::new()),
        };
        let last_writer = note.as_ref().map_or(NodeId::from_bytes([0; 32]), |note| note.node);
        let mut hlc = HlcClock::after(clock);
        if planted(Bug::ClockNotRecovered) {
            hlc = HlcClock::default();
        } else {
            [note.as_ref().map(|note| note.clock), checkpoint.as_ref().map(|known| known.clock)]
                .into_iter()
                .flatten()
                .for_each(|clock| hlc.recover(clock));
        }
        let node = keys.map_or(last_writer, |keys| keys.node_id());
        let note = Note { node, incarnation, clock: hlc.last(), removals };
        let mut config = config.clone();
        if let Some(policy) = policy.as_ref().filter(|_| !planted(Bug::PolicyForgotten)) {
            config.coding = policy.coding;
        }
        let mut engine = Self {
            config,
            limits: options.limits.clone().sane(),
            humour: Humour::default(),
            name_keys: keys.map(|keys| Arc::new(keys.name_keys())),
            keys: keys.cloned(),
            rng: EngineRng::from_seed(rng.bytes()),
            clock: hlc,
            note,
            durable_removals: removals,
            sequences,
            policy,
            content,
            log,
            index,
            since_checkpoint: 0,
            health: Health::Good,
            heal: Heal::new(unseen, gone, undecoded, &recovery.damaged, lost),
            window: Window::default(),
            batch: Batch::default(),
            puts: Puts::default(),
            reads: Reads::default(),
            questions: Questions::default(),
            comparisons: BTreeMap::new(),
            upkeep: Upkeep::default(),
            jobs: BTreeMap::new(),
            next_job: 0,
            outputs: VecDeque::new(),
            active: now.instant,
        };
        engine.heal.unopened = unopened;
        engine.upkeep.sweep_later(purges || checkpoint.as_ref().is_some_and(|known| known.to_sweep));
        for seal in doubted {
            engine.upkeep.doubt(seal);
        }
        if replayed > 0 || from != Some(position) {
            match engine.write_checkpoint_firmly(position) {
                Err(Failure::Full) => {
                    engine.index.excuse_backlog();
                    tracing::warn!("no checkpoint: the disk is full");
                }
                written => written.map_err(|failure| OpenFailure::StaleIndex(failure.to_string()))?,
            }
        }
        let found = damaged.iter().map(|place| (place.clone(), DamageOutcome::Healable));
        let mended = looks.healed.iter().map(|range| (range.to_string(), DamageOutcome::Healed));
        for (place, outcome) in mended.chain(found) {
            engine.outputs.push_back(Output::Event(Event::Integrity(Damage { place, outcome })));
        }
        let opened =
            Opened { index_rebuilt: false, replayed, torn: looks.cut, kept_in_place: recovery.kept_in_place, damaged };
        Ok((engine, opened))
    }

    /// Brings the index's file up to the log.
    pub(super) fn write_checkpoint(&mut self, position: LogPosition) -> Result<(), Failure> {
        // PA
        let checkpoint = Checkpoint {
            position,
            removals: self.durable_removals,
            incarnation: self.note.incarnation,
            clock: self.clock.last(),
            sequences: self.sequences.clone(),
            policy: self.policy.clone(),
            content: self.content.clone(),
            unseen: self.heal.unseen.clone(),
            lost: self.heal.lost.clone(),
            doubted: self.upkeep.doubted().clone(),
            to_sweep: self.upkeep_is_behind(),
            undecoded: self.heal.undecoded.clone(),
            unopened: self.heal.unopened.clone(),
        };
        let bytes = match borsh::to_vec(&checkpoint) {
            Ok(bytes) => bytes,
            Err(error) => unreachable!("encoding a checkpoint to memory: {error}"),
        };
        self.index.flush(&bytes).map_err(|error| self.index_failure(error))?;
        self.heal.lost.told();
        self.since_checkpoint = 0;
        Ok(())
    }

    /// Takes a checkpoint when enough has come together. That it fails loses nothing: the log is the truth.
    pub(super) fn checkpoint_if_due(&mut self, position: LogPosition) {
        let whim = self.humour.is_due(Whim::Checkpoint);
        if (self.index.needs_flush() || self.since_checkpoint >= self.limits.replay_len || whim)
            && let Err(failure) = self.bring_index_up(position)
        {
            tracing::warn!(%failure, "no checkpoint");
        }
    }

    /// Ends in an orderly way: what the next opening needs is on disk.
    ///
    /// # Errors
    /// [`Failure`]; the store is as after a crash then, and nothing is lost.
    pub fn shut_down(self) -> Result<(), Failure> {
        // PA
        let disk = self.log.disk().clone();
        self.log.close().map_err(|error| Failure::Disk(error.to_string()))?;
        if self.keys.is_none() {
            drop(self.index);
            clear_passing_index(&disk);
            return Ok(());
        }
        self.index.close().map_err(|error| match error {
            IndexError::Disk(error) if error.failure == DiskFailure::Full => Failure::Full,
            error => Failure::Disk(error.to_string()),
        })
    }
}

fn is_cut(recovery: &Recovery) -> bool {
    recovery.torn.is_some() || recovery.uncommitted_bytes > 0
}

/// What an opening has learnt so far, from whichever index.
#[derive(Default)]
struct Learnt {
    looks: Looks,
    remembered: Option<Remembered>,
}

/// What a checkpoint says and the log may not, or not be able to by now: an index made anew in place of one that is stale goes
/// on with it.
#[derive(Clone, Default)]
struct Remembered {
    lost: Losses,
    doubted: BTreeSet<SealId>,
    /// Up to here the log was durable.
    position: Option<LogPosition>,
    policy: Option<Policy>,
    clock: Hlc,
}

enum OpenFailure {
    /// The index contradicts the log.
    StaleIndex(String),
    /// The index was told what may have been disowned.
    Misled,
    Open(OpenError),
}
