//! How contents are sealed, against what was asked for: by which coding, and shared with whom.

use super::records::Holdings;
use super::{Broken, Oracle, demand};
use crate::workload::ToSeal;
use bytes::Bytes;
use ouroboros_engine::blob::ScopeTag;
use ouroboros_engine::id::{Epoch, SealId};
use ouroboros_engine::keys::DedupScope;
use ouroboros_engine::node::Reply;
use ouroboros_engine::seal::{Coding, Layout};
use std::collections::{BTreeMap, BTreeSet};

/// Contents that begin alike for so many bytes may share seals; the workload makes no others that do.
const BEGINNING_LEN: usize = 1024;

/// What became of a recoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recoding {
    /// Everything is coded anew.
    All,
    /// It is how the store codes now. What was on its way in may be coded otherwise, and so may what could not be read.
    InForce,
    /// Nobody was told.
    Unknown,
}

impl Recoding {
    /// By the answer. `sound`: nothing kept a seal from being read, and nothing was on its way in.
    pub(crate) fn of(reply: Option<&Reply>, sound: bool) -> Self {
        match reply {
            Some(Reply::Recoded(report)) if sound && report.damaged.is_empty() => Self::All,
            Some(Reply::Recoded(_)) => Self::InForce,
            _ => Self::Unknown,
        }
    }
}

/// The codings that were asked for, whatever came of it: what is sealed for one put may be shared by the next, whose coding is
/// another.
#[derive(Clone, Debug)]
pub(crate) struct AskedCodings {
    /// How the store codes what asks for nothing else, since everything was coded by that.
    own: Coding,
    /// Of contents, by how they begin, what was asked for since. None stands for the store's own.
    of_contents: BTreeMap<Bytes, BTreeSet<Option<Coding>>>,
    /// Of everything, since then.
    of_all: BTreeSet<Coding>,
}

fn beginning(content: &Bytes) -> Bytes {
    content.slice(..content.len().min(BEGINNING_LEN))
}

impl AskedCodings {
    /// Of a store that was made with that coding.
    pub(super) fn new(own: Coding) -> Self {
        Self { own, of_contents: BTreeMap::new(), of_all: BTreeSet::new() }
    }

    /// Somebody puts a value.
    pub(crate) fn put(&mut self, value: &ToSeal) {
        self.of_contents.entry(beginning(&value.content)).or_default().insert(value.coding);
    }

    /// Somebody has everything coded anew, and it is not known how far that has come.
    pub(super) fn recode(&mut self, coding: Coding) {
        self.of_all.insert(coding);
    }

    /// Everything was coded anew.
    pub(super) fn recoded(&mut self, coding: Coding) {
        self.own = coding;
        self.of_all.clear();
        self.of_contents.values_mut().for_each(|asked| *asked = BTreeSet::from([None]));
    }

    /// Whether a seal of that content may lie like this. A short one has fewer slices than were asked for.
    fn permit(&self, content: &Bytes, found: Layout) -> bool {
        let is_asked = |asked: Coding| Layout::plan(found.ciphertext_len(), asked) == found;
        let mut of_content = match self.of_contents.get(&beginning(content)) {
            Some(asked) => asked.iter().map(|coding| coding.unwrap_or(self.own)),
            None => return false,
        };
        of_content.any(is_asked) || self.of_all.iter().any(|coding| is_asked(*coding))
    }
}

/// Who may share what with a version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scopes {
    /// As its put asked.
    pub(super) own: DedupScope,
    /// Who may share its seals: of a copy, those of what it copies; none where that is not known.
    pub(super) of_seals: Option<DedupScope>,
}

impl Oracle {
    /// Holds the seals in a log that was compacted against how they were to be made.
    ///
    /// # Errors
    /// P1, with a seal of which more or fewer slices may be lost than anybody asked for; P8, with one that is shared beyond the
    /// scope of a value, and with a version of another scope than was asked for.
    pub(crate) fn check_sealing(&self, log: &Holdings, epoch: Epoch) -> Result<(), Broken> {
        let layouts = log.layouts();
        let mut shared: BTreeMap<SealId, DedupScope> = BTreeMap::new();
        for (id, header) in log.versions() {
            let Some(version) = self.model.live(id) else { continue };
            let scopes = self.scopes.get(&id);
            if let Some(Scopes { own, .. }) = scopes {
                let right = header.scope == ScopeTag::of(epoch, &own.to_bytes());
                demand!(P8, right, "version {id} is not of the scope {own:?}");
            }
            let Some(content) = version.content.as_ref() else { continue };
            for seal in log.seals_of(header) {
                for layout in layouts.get(&seal).into_iter().flatten() {
                    let permitted = self.asked.permit(content, *layout);
                    let coding = layout.coding();
                    demand!(
                        P1,
                        permitted,
                        "seal {seal} of version {id} is coded by {coding:?}, and nobody asked for that"
                    );
                }
                if let Some(scope) = scopes.and_then(|scopes| scopes.of_seals) {
                    let other = shared.entry(seal).or_insert(scope);
                    demand!(P8, *other == scope, "values of {other:?} and of {scope:?} share seal {seal}");
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coding_is_permitted_to_those_contents_that_it_was_asked_for() {
        let coding = |data, parity| Coding::new(data, parity).unwrap();
        let (own, asked_for, other) = (coding(2, 1), coding(4, 2), coding(3, 2));
        let (one, two) = (Bytes::from(vec![1; 5000]), Bytes::from(vec![2; 5000]));
        let put = |asked: &mut AskedCodings, content: &Bytes, coding| {
            asked.put(&ToSeal { content: content.clone(), coding });
        };
        let mut asked = AskedCodings::new(own);
        put(&mut asked, &one, Some(asked_for));
        put(&mut asked, &two, None);
        let permitted = |asked: &AskedCodings, content, found| asked.permit(content, Layout::plan(60_000, found));
        assert!(permitted(&asked, &one, asked_for) && !permitted(&asked, &one, own));
        assert!(permitted(&asked, &two, own) && !permitted(&asked, &two, asked_for));
        // What begins alike may have been sealed for either.
        put(&mut asked, &Bytes::from(vec![1; 9000]), None);
        assert!(permitted(&asked, &one, own) && !permitted(&asked, &one, other));
        asked.recode(other);
        assert!(permitted(&asked, &one, other) && permitted(&asked, &two, other));
        assert!(permitted(&asked, &two, own));
        // Once all of it is done nothing else is left.
        asked.recoded(other);
        assert!(permitted(&asked, &one, other) && !permitted(&asked, &one, asked_for) && !permitted(&asked, &two, own));
    }
}
