//! The secrets of successive epochs.

use crate::codec::DecodeError;
use crate::id::{Epoch, Secret};
use std::collections::BTreeMap;

/// How many epochs after the first a keyring keeps, of realm secrets and of group keys each.
pub const MAX_EPOCHS: usize = 1024;

/// A keyring holds no secret of this epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this keyring has no {what} of epoch {}; use a keyring that was brought up to date since", .epoch.0)]
pub struct UnknownEpoch {
    /// What was asked for.
    pub what: &'static str,
    /// The epoch.
    pub epoch: Epoch,
}

/// Why a secret was not added to a keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddEpochError {
    /// Another secret has that epoch already. Nothing was replaced: data may be sealed under it.
    #[error("this keyring already has another {what} of epoch {}; the two keyrings do not belong together", .epoch.0)]
    Taken {
        /// What was to be added.
        what: &'static str,
        /// The epoch.
        epoch: Epoch,
    },
    /// No room.
    #[error("this keyring already has {what}s of {MAX_EPOCHS} later epochs, which is the most it may hold")]
    Full {
        /// What was to be added.
        what: &'static str,
    },
}

/// One secret per epoch. Epoch 0 is always there and follows from the master secret; the rest is kept as it was given.
#[derive(Clone)]
pub(super) struct Epochs {
    what: &'static str,
    first: Secret,
    later: BTreeMap<Epoch, Secret>,
}

impl Epochs {
    pub(super) const fn new(what: &'static str, first: Secret) -> Self {
        Self { what, first, later: BTreeMap::new() }
    }

    pub(super) fn get(&self, epoch: Epoch) -> Result<&Secret, UnknownEpoch> {
        if epoch == Epoch(0) {
            return Ok(&self.first);
        }
        self.later.get(&epoch).ok_or(UnknownEpoch { what: self.what, epoch })
    }

    pub(super) const fn first(&self) -> &Secret {
        &self.first
    }

    pub(super) fn newest(&self) -> (Epoch, &Secret) {
        self.later.last_key_value().map_or((Epoch(0), &self.first), |(epoch, secret)| (*epoch, secret))
    }

    /// Adding what is already there changes nothing.
    pub(super) fn add(&mut self, epoch: Epoch, secret: Secret) -> Result<(), AddEpochError> {
        // PA
        if let Ok(known) = self.get(epoch) {
            let same = *known == secret;
            return if same { Ok(()) } else { Err(AddEpochError::Taken { what: self.what, epoch }) };
        }
        if self.later.len() >= MAX_EPOCHS {
            return Err(AddEpochError::Full { what: self.what });
        }
        self.later.insert(epoch, secret);
        Ok(())
    }

    pub(super) const fn later(&self) -> &BTreeMap<Epoch, Secret> {
        &self.later
    }

    /// Takes over what was stored.
    pub(super) fn restore(&mut self, later: BTreeMap<Epoch, Secret>) {
        self.later = later;
    }
}

/// Checks stored later epochs.
pub(super) fn validate(what: &'static str, later: &BTreeMap<Epoch, Secret>) -> Result<(), DecodeError> {
    if later.len() > MAX_EPOCHS {
        return Err(DecodeError::malformed(what, format!("{} epochs, more than {MAX_EPOCHS}", later.len())));
    }
    if later.contains_key(&Epoch(0)) {
        return Err(DecodeError::malformed(what, "epoch 0 is stored, but follows from the master secret"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::golden::secret;

    #[test]
    fn a_known_epoch_is_never_replaced() {
        let mut epochs = Epochs::new("realm secret", secret(0));
        assert_eq!(epochs.add(Epoch(0), secret(0)), Ok(()));
        assert_eq!(epochs.add(Epoch(2), secret(2)), Ok(()));
        assert_eq!(epochs.add(Epoch(2), secret(2)), Ok(()));
        for epoch in [Epoch(0), Epoch(2)] {
            let taken = AddEpochError::Taken { what: "realm secret", epoch };
            assert_eq!(epochs.add(epoch, secret(9)), Err(taken));
        }
        assert_eq!(epochs.get(Epoch(2)), Ok(&secret(2)));
        assert_eq!(epochs.get(Epoch(1)), Err(UnknownEpoch { what: "realm secret", epoch: Epoch(1) }));
        assert_eq!(epochs.newest(), (Epoch(2), &secret(2)));
    }

    #[test]
    fn the_number_of_epochs_is_limited() {
        let mut epochs = Epochs::new("group key", secret(0));
        for epoch in 1..=MAX_EPOCHS as u32 {
            epochs.add(Epoch(epoch), secret(1)).unwrap();
        }
        assert_eq!(epochs.add(Epoch(u32::MAX), secret(1)), Err(AddEpochError::Full { what: "group key" }));
        assert_eq!(epochs.add(Epoch(5), secret(1)), Ok(()));
    }
}
