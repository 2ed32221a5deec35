//! What clients ask without changing anything but how it lies: questions and upkeep, drawn from the tape.

use super::{Field, Kind, PREFIXES, Slot, Workload, marked};
use crate::oracle::Model;
use crate::swarm::Swarm;
use ouroboros_engine::id::{BlobId, Hlc};
use ouroboros_engine::node::{ListRequest, Request, Select};
use ouroboros_engine::seal::Coding;

impl Workload {
    pub(super) fn question(&self, kind: Kind, slot: &Slot<'_>, swarm: &Swarm, model: &Model) -> Option<Request> {
        let pick = |draw: &dyn Fn(u64) -> u64| {
            let count = model.order.len() as u64;
            (count > 0).then(|| model.order[(count - 1 - draw(count)) as usize])
        };
        let first = || pick(&|bound| slot.below(Field::First, bound));
        let second = || pick(&|bound| slot.below(Field::Second, bound));
        let many = |count: u64| -> Vec<BlobId> {
            (0..count).filter_map(|part| pick(&|bound| slot.part(part, bound))).collect()
        };
        Some(match kind {
            Kind::Get => {
                let mut wanted = Vec::new();
                for part in 0..=slot.below(Field::Count, 3) {
                    let key = self.keys[(slot.part(part * 4, swarm.keys) as usize).min(self.keys.len() - 1)].clone();
                    let version = || pick(&|bound| slot.part(part * 4 + 1, bound));
                    let select = match slot.part(part * 4 + 2, 5) {
                        0..=2 => Select::Winner,
                        3 => version().map_or(Select::Winner, Select::Version),
                        _ => version().map_or(Select::Winner, |id| {
                            let created = model.versions.get(&id).map_or(0, |version| version.created.0);
                            Select::At(Hlc((created + slot.part(part * 4 + 3, 3)).saturating_sub(1)))
                        }),
                    };
                    wanted.push((key, select));
                }
                Request::Get(wanted)
            }
            Kind::GetVersion => Request::GetVersion(first()?),
            Kind::Exist => Request::Exist(many(1 + slot.below(Field::Count, 4))),
            Kind::Read => {
                let blob = first()?;
                let content = model.versions.get(&blob).and_then(|version| version.content.as_ref());
                let len = content.map_or(0, |content| content.len() as u64);
                let start = slot.below(Field::Second, len + 2);
                let wanted = slot.below(Field::Third, (len + 2).min(swarm.limits.read_len + 1));
                // Seldom more than is read at once, or an end before the beginning.
                let end = match slot.below(Field::Count, 16) {
                    14 => start + wanted + swarm.limits.read_len,
                    15 => start.saturating_sub(wanted),
                    _ => start + wanted,
                };
                Request::Read { blob, range: start..end }
            }
            Kind::Heads => Request::Heads(self.key(slot, swarm)),
            Kind::Log => {
                let (key, limit) = (self.key(slot, swarm), slot.below(Field::Count, 5) as usize);
                let history = model.history(&key);
                let on = history.get(slot.below(Field::Second, history.len() as u64) as usize).copied();
                Request::Log { after: on.filter(|_| slot.below(Field::First, 3) == 2), key, limit }
            }
            Kind::Bases => {
                let mut ids = many(slot.below(Field::Count, 4));
                let key = ids.first().and_then(|id| model.versions.get(id)).map(|version| version.key.clone());
                ids.retain(|id| model.versions.get(id).map(|version| &version.key) == key.as_ref());
                Request::MergeBases(ids)
            }
            Kind::Diff => Request::Diff { from: first()?, to: second()? },
            Kind::List => {
                let prefix = PREFIXES[slot.below(Field::First, PREFIXES.len() as u64) as usize];
                let (bytes, len) = marked(prefix);
                Request::List(ListRequest {
                    prefix: bytes[..len].to_vec(),
                    after: (slot.below(Field::Second, 4) == 3).then(|| self.key(slot, swarm).into_bytes()),
                    recursive: slot.below(Field::Scope, 2) == 1,
                    include_gone: slot.below(Field::Attribute, 2) == 1,
                    limit: slot.below(Field::Count, 6) as usize,
                })
            }
            Kind::Scrub => Request::Scrub { repair: slot.below(Field::First, 2) == 1 },
            Kind::Compact => Request::Compact,
            Kind::Recode => {
                let (data, parity) = swarm.codings[slot.below(Field::Coding, swarm.codings.len() as u64) as usize];
                Request::Recode(Coding::new(data, parity).ok()?)
            }
            Kind::Stats => Request::Stats,
            _ => return None,
        })
    }
}
