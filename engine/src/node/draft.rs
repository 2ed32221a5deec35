//! Drafts: from an upload whose content is there to a version whose header is made and signed.

use super::job::{BlobDraft, Job, MadeBlob};
use super::request::{Base, Failure};
use super::upload::{Stage, UploadId};
use super::whims::Whims;
use super::{Engine, JobContext};
use crate::blob::{BlobKind, Content, SealReferences};
use crate::codec::DecodeError;
use crate::env::{Disk, Now};
use crate::id::KeyHash;
use crate::planted::{Bug, planted};
use std::collections::VecDeque;

/// Versions made by one job.
const DRAFTS_PER_JOB: usize = 32;

impl<D: Disk> Engine<D> {
    /// Versions that follow the winner are made one after the other; those that name their parents are free to diverge.
    pub(super) fn queue_for_key(&mut self, id: UploadId) {
        let Some(upload) = self.puts.uploads.get_mut(&id) else { return };
        upload.stage = Stage::Queued;
        if matches!(upload.put.options.base, Base::Winner) {
            match self.puts.busy_keys.get_mut(&upload.key_hash) {
                Some(queue) => return queue.push_back(id),
                None => {
                    self.puts.busy_keys.insert(upload.key_hash, VecDeque::new());
                }
            }
        }
        self.puts.drafts.push(id);
    }

    pub(super) fn release_key(&mut self, key_hash: KeyHash) {
        let next = match self.puts.busy_keys.get_mut(&key_hash) {
            Some(queue) => queue.pop_front(),
            None => return,
        };
        match next {
            Some(id) => self.puts.drafts.push(id),
            None => {
                self.puts.busy_keys.remove(&key_hash);
            }
        }
    }

    /// Whether [`Self::make_drafts`] has something to do.
    pub(super) fn has_drafts(&self) -> bool {
        !self.puts.drafts.is_empty()
    }

    /// Gives out a job as soon as it is full. The others wait until all inputs of a turn are handled: versions that are
    /// made together share a signature.
    pub(super) fn make_full_drafts(&mut self, now: Now) {
        if self.puts.drafts.len() >= DRAFTS_PER_JOB {
            self.make_drafts(now);
        }
    }

    /// Gives out jobs for all headers that can be made.
    pub(super) fn make_drafts(&mut self, now: Now) {
        let (Some(keys), Some(names)) = (self.keys.clone(), self.name_keys.clone()) else { return };
        let ids = std::mem::take(&mut self.puts.drafts);
        let compression = self.config.compression;
        let mut drafts = Vec::new();
        let mut members = Vec::new();
        for id in ids {
            match self.draft(now, id) {
                Ok(Some(draft)) => {
                    drafts.push(draft);
                    members.push(id);
                }
                Ok(None) => {}
                Err(failure) => self.fail_upload(id, failure),
            }
            if drafts.len() == DRAFTS_PER_JOB {
                let (keys, names, drafts) = (keys.clone(), names.clone(), std::mem::take(&mut drafts));
                let job = Job::MakeBlobs { keys, names, compression, drafts };
                self.run(JobContext::Make(std::mem::take(&mut members)), job);
            }
        }
        if !drafts.is_empty() {
            self.run(JobContext::Make(members), Job::MakeBlobs { keys, names, compression, drafts });
        }
    }

    fn draft(&mut self, now: Now, id: UploadId) -> Result<Option<BlobDraft>, Failure> {
        // PA
        let Some(upload) = self.puts.uploads.get(&id) else { return Ok(None) };
        let mut parents = match &upload.put.options.base {
            Base::Versions(parents) => parents.clone(),
            Base::Winner => self.winner(upload.key_hash)?.into_iter().collect(),
        };
        parents.sort_unstable();
        parents.dedup();
        if planted(Bug::ForgottenParent) {
            parents.pop();
        }
        let seed = self.rng.bytes();
        let created = self.clock.issue(now.wall);
        let Some(upload) = self.puts.uploads.get_mut(&id) else { return Ok(None) };
        upload.stage = Stage::Making;
        upload.parents.clone_from(&parents);
        let content = upload.content.clone().unwrap_or(Content::Gone);
        let Whims { header_seals, page_seals, .. } = self.humour.whims;
        let references = SealReferences::lay_out_within(upload.seals.iter().copied(), header_seals, page_seals)
            .map_err(|error| Failure::Invalid(error.to_string()))?;
        let mut ref_pages = upload.ref_pages.clone();
        ref_pages.extend(references.page_ids());
        ref_pages.sort_unstable();
        ref_pages.dedup();
        upload.ref_pages.clone_from(&ref_pages);
        let SealReferences { seals, pages } = references;
        let scope = upload.scope.clone();
        let draft = BlobDraft {
            key: upload.put.key.clone(),
            key_hash: upload.key_hash,
            scope,
            kind: match upload.put.options.kind {
                BlobKind::Child if parents.len() > 1 => BlobKind::Merger,
                kind => kind,
            },
            parents,
            created,
            attributes: upload.put.options.attributes.clone(),
            content,
            seals,
            ref_pages,
            seed,
        };
        for page in pages {
            self.stage_ref_page(&page)?;
        }
        Ok(Some(draft))
    }

    pub(super) fn made(&mut self, mut ids: Vec<UploadId>, blobs: Vec<Result<MadeBlob, DecodeError>>) {
        if planted(Bug::OutcomesSwapped) {
            ids.reverse();
        }
        for (id, blob) in ids.into_iter().zip(blobs) {
            match blob {
                Ok(blob) => self.batch.ready.push((id, blob)),
                Err(error) => self.fail_upload(id, Failure::Invalid(error.to_string())),
            }
        }
    }
}
