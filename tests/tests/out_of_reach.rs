//! A stretch of the log cannot be read for a while, longer than any parity reaches, and then it can be again: nothing was
//! destroyed, so nothing may be lost, and nothing that was deleted may come back, whatever was done meanwhile.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod node;

use bytes::Bytes;
use node::{key, noise, value};
use ouroboros_engine::env::{Disk, DiskFile, FileName, OpenMode, Volume};
use ouroboros_engine::id::{BlobId, EngineRng};
use ouroboros_engine::node::{DamageOutcome, Failure, Limits, PurgeTarget, PutSource, Reply, Request};
use ouroboros_engine::seal::Coding;
use ouroboros_sim::disk::{CrashVariant, Damage, Fault, FaultPlan, FaultyDisk};
use ouroboros_sim::local::{Local, config, keyring};
use std::collections::{BTreeMap, BTreeSet};

/// Length of a sector, in bytes.
const SECTOR: u64 = 512;

/// A store, and what a client was told of it.
struct World {
    rng: EngineRng,
    disk: FaultyDisk,
    limits: Limits,
    node: Option<Local<FaultyDisk>>,
    /// What each version holds that was acknowledged and not purged.
    alive: BTreeMap<BlobId, (String, Bytes)>,
    purged: BTreeSet<BlobId>,
    opened: u64,
    /// For people: what was asked and answered.
    told: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut start = [0; 32];
        start[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = EngineRng::from_seed(start);
        let disk = FaultyDisk::new(FaultPlan::new(seed));
        let limits = Limits {
            segment_len: 64 << 10,
            window_len: [1, 40_000][(rng.next_u64() % 2) as usize],
            damaged_places: [1, 3, 4096][(rng.next_u64() % 3) as usize],
            index_in_memory: rng.next_u64().is_multiple_of(2),
            replay_len: [1, 50_000, 1 << 30][(rng.next_u64() % 3) as usize],
            ..node::tight()
        };
        let config = config(&keyring(1), Coding::new(2, 1).unwrap(), node::CHUNKER);
        let node = Local::create(disk.clone(), config, keyring(1), limits.clone(), seed).unwrap();
        let (alive, purged) = (BTreeMap::new(), BTreeSet::new());
        Self { rng, disk, limits, node: Some(node), alive, purged, opened: seed, told: Vec::new() }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn ask(&mut self, request: Request) -> Result<Reply, Failure> {
        let text: String = format!("{request:?}").chars().take(50).collect();
        let reply = self.node.as_mut().unwrap().ask(request);
        self.told.push(format!("{text:.60} -> {reply:.200?}"));
        if self.disk.is_powered() {
            return reply;
        }
        // The power has failed meanwhile. Whether it opens now is for the next to see.
        self.node = None;
        let variant = CrashVariant::Torn(self.rng.next_u64());
        self.disk.crash(variant);
        self.reopen(true);
        reply
    }

    fn put(&mut self) {
        let name = format!("k{}", self.below(6));
        let len = [10, 3000, 20_000, 60_000][self.below(4) as usize];
        let content = noise(self.below(40) as u8, len);
        let put = value(&name, PutSource::Value(content.clone()));
        if let Ok(Reply::Put(results)) = self.ask(Request::Put(vec![put])) {
            for written in results.into_iter().flatten() {
                self.alive.insert(written.id, (name.clone(), content.clone()));
            }
        }
    }

    fn purge(&mut self) {
        let number = self.below(self.alive.len().max(1) as u64) as usize;
        let Some((id, (name, _))) = self.alive.iter().nth(number).map(|(id, row)| (*id, row.clone())) else { return };
        let (target, gone) = if self.below(2) == 0 {
            (PurgeTarget::Version(id), vec![id])
        } else {
            let all = self.alive.iter().filter(|(_, (other, _))| *other == name).map(|(id, _)| *id).collect();
            (PurgeTarget::Key(key(&name)), all)
        };
        let lives = self.opened;
        let is_done = self.ask(Request::Purge(target)).is_ok();
        // If the power failed before the answer, nobody can say.
        if is_done || self.opened > lives {
            gone.iter().for_each(|id| drop(self.alive.remove(id)));
        }
        if is_done {
            self.purged.extend(gone);
        }
    }

    fn reopen_somehow(&mut self) -> bool {
        let way = self.below(3);
        if way == 2 {
            self.disk.crash(CrashVariant::Torn(self.rng.next_u64()));
        }
        self.reopen(way > 0)
    }

    fn reopen(&mut self, kills: bool) -> bool {
        if let Some(node) = self.node.take().filter(|_| !kills) {
            let _ = node.close();
        }
        self.disk = self.disk.restart();
        if self.below(2) == 0 {
            for name in self.disk.list(Volume::Index).unwrap() {
                self.disk.remove(Volume::Index, &name).unwrap();
            }
        }
        self.opened += 1;
        match Local::open(self.disk.clone(), keyring(1), self.limits.clone(), self.opened) {
            Ok((node, opened)) => {
                self.told.push(format!("open: {:.300?}", opened));
                self.node = Some(node);
                true
            }
            Err(error) => {
                self.told.push(format!("open: {error}"));
                false
            }
        }
    }

    fn step(&mut self) {
        if self.node.is_none() {
            return;
        }
        match self.below(12) {
            0..=4 => self.put(),
            5..=6 => self.purge(),
            7 => drop(self.ask(Request::Compact)),
            10 => drop(self.ask(Request::Scrub { repair: false })),
            11 => {
                let coding = [(2, 1), (1, 1), (2, 2)][self.below(3) as usize];
                drop(self.ask(Request::Recode(Coding::new(coding.0, coding.1).unwrap())));
            }
            8 => {
                self.node.as_mut().unwrap().settle();
            }
            _ => {
                let number = self.below(self.alive.len().max(1) as u64) as usize;
                if let Some(id) = self.alive.keys().nth(number).copied() {
                    drop(self.ask(Request::Read { blob: id, range: 0..100_000 }));
                }
            }
        }
    }

    /// Some stretches cannot be read from now on.
    fn refuse(&mut self) -> Vec<(FileName, u64, Vec<u8>)> {
        let mut refused = Vec::new();
        let few = self.below(3) == 0;
        for _ in 0..1 + self.below(if few { 6 } else { 3 }) {
            let files = self.disk.files(Volume::Blocks);
            let newest = if few { files.len() as u64 - self.below(2).min(files.len() as u64 - 1) - 1 } else { 0 };
            let chosen = if few { newest } else { self.below(files.len() as u64) };
            let (name, len) = files[chosen as usize].clone();
            let whole = self.disk.contents(Volume::Blocks, &name).unwrap();
            let sectors = len / SECTOR;
            // The headers say to which store it belongs.
            let headers = if self.below(6) == 0 { 0 } else { 16 };
            let (from, most) = match few {
                // What decides stands at the ends.
                true => (sectors.saturating_sub(1 + self.below(16)).max(headers), 2),
                false => (headers + self.below(sectors.max(17) - headers), 80),
            };
            let to = (from + 1 + self.below(most)).min(sectors);
            for sector in from..to {
                let range = (sector * SECTOR) as usize..((sector + 1) * SECTOR) as usize;
                let bytes = whole[range].to_vec();
                if self.disk.damage(Volume::Blocks, &name, sector, Damage::Unreadable) {
                    refused.push((name.clone(), sector, bytes));
                }
            }
        }
        let places: Vec<_> = refused.iter().map(|(name, sector, _)| format!("{name}:{sector}")).collect();
        self.told.push(format!("refused: {places:?}"));
        refused
    }

    /// The disk gives again what it refused and nobody has written since.
    fn give_again(&mut self, refused: &[(FileName, u64, Vec<u8>)]) {
        let still: BTreeSet<_> = self.disk.damaged_sectors().into_iter().collect();
        for (name, sector, bytes) in refused {
            if still.contains(&(Volume::Blocks, name.clone(), *sector)) {
                let file = self.disk.open(Volume::Blocks, name, OpenMode::Write).unwrap();
                file.write_at(sector * SECTOR, &[bytes]).unwrap();
                file.sync().unwrap();
            }
        }
    }

    fn check(&mut self, when: &str) -> Result<(), String> {
        for (id, (name, content)) in self.alive.clone() {
            let mut out = Vec::new();
            while out.len() < content.len() {
                let at = out.len() as u64;
                match self.ask(Request::Read { blob: id, range: at..at + 100_000 }) {
                    Ok(Reply::Data(pieces)) => pieces.iter().for_each(|piece| out.extend_from_slice(piece)),
                    other => return Err(format!("{when}: {id} of {name}, {} B: {other:?}", content.len())),
                }
            }
            if content != out {
                return Err(format!("{when}: {id} of {name} holds other bytes"));
            }
        }
        for id in self.purged.clone() {
            if let Ok(read) = self.ask(Request::Read { blob: id, range: 0..10 }) {
                return Err(format!("{when}: {id} was purged, and is back: {read:?}"));
            }
        }
        Ok(())
    }
}

fn run(seed: u64) -> Result<World, String> {
    let mut world = World::new(seed);
    let outcome = play(&mut world);
    if outcome.is_err() {
        world.told.iter().for_each(|line| println!("    {line}"));
    }
    outcome.map(|()| world)
}

fn play(world: &mut World) -> Result<(), String> {
    for _ in 0..6 + world.below(14) {
        world.step();
    }
    if let Some(node) = world.node.as_mut().filter(|_| world.rng.next_u64().is_multiple_of(2)) {
        node.settle();
    }
    if world.below(2) == 0 && !world.reopen(false) {
        return Err("a sound store does not open".to_owned());
    }
    let refused = world.refuse();
    if world.below(3) == 0 {
        // What it refuses by chance it gives the next time.
        world.disk.set_rate(Fault::ShortRead, 20_000);
    }
    if world.below(3) == 0 {
        world.disk.crash_at_sync(world.rng.next_u64() % 8);
    }
    let opens = world.below(4) == 0 || world.reopen_somehow();
    if opens {
        for _ in 0..world.below(14) {
            world.step();
        }
        if world.below(2) == 0 {
            world.reopen_somehow();
        }
    }
    world.disk.calm();
    world.disk.forget_injections();
    if !world.disk.is_powered() {
        world.node = None;
        world.disk = world.disk.restart();
    }
    world.give_again(&refused);
    if (world.node.is_none() || world.below(2) == 0) && !world.reopen(false) {
        return Err(format!("everything can be read again, and it does not open: {:?}", world.told.last()));
    }
    match world.ask(Request::Scrub { repair: true }) {
        Ok(Reply::Scrubbed(_)) => {}
        other => return Err(format!("a scrub: {other:?}")),
    }
    world.check("after a scrub")?;
    world.ask(Request::Compact).map_err(|failure| failure.to_string())?;
    if !world.reopen(false) {
        return Err("it does not open after all".to_owned());
    }
    world.check("after a compaction")?;
    match world.ask(Request::Scrub { repair: true }) {
        Ok(Reply::Scrubbed(report)) if report.damage.iter().all(|damage| damage.outcome != DamageOutcome::Lost) => {
            Ok(())
        }
        other => Err(format!("the last scrub: {other:?}")),
    }
}

#[test]
fn what_could_not_be_read_for_a_while_is_there_afterwards() {
    // More of them: SEEDS=A..B.
    let seeds = std::env::var("SEEDS").ok().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse::<u64>().ok()?..to.parse().ok()?)
    });
    let (mut failed, mut unnamed) = (Vec::new(), 0);
    // In four of the last a segment could be read again of which a scrub said that it was lost; in the very last the commit of the
    // checkpoint was refused at one look, by chance.
    let chosen: Vec<u64> =
        seeds.map_or_else(|| (0..80).chain([1815, 2660, 2835, 2852, 43_995]).collect(), Iterator::collect);
    for seed in chosen {
        match run(seed) {
            Ok(world) => {
                unnamed += u32::from(world.told.iter().any(|line| line.contains("than is named one by one")));
            }
            Err(why) => {
                println!("seed {seed}: {why:.600}");
                failed.push(seed);
            }
        }
    }
    println!("in {unnamed} stores there was more than is named one by one");
    assert!(failed.is_empty() && unnamed > 0, "{failed:?}");
}
