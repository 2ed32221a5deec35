//! How a run ends: the exit codes, and errors that say what to do next.

use crate::store::{Error, LockError, OpenError, Refusal, is_full};
use std::fmt::Display;
use std::path::Path;

/// The exit codes. They are an interface: scripts branch on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Damaged = 4,
    InUse = 5,
    Keys = 6,
    Interrupted = 130,
}

/// Why a command did not do what it was asked, and what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) advice: Option<String>,
}

/// What a command returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure without advice.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), advice: None }
    }

    /// Something went wrong with a file or directory of the user's.
    pub(crate) fn file(what: &str, path: &Path, error: impl Display) -> Self {
        Self::new(Exit::Failed, format!("cannot {what} {}: {error}", path.display()))
    }

    /// What was asked makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The user stopped us.
    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Exit::Interrupted, message)
    }

    /// Adds what to do next.
    #[must_use]
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// The exit code of an error of the library. The only place that knows.
pub(crate) fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Request(refusal) => match refusal {
            Refusal::NoSuchKey(_) | Refusal::Gone { .. } | Refusal::NoSuchVersion(_) | Refusal::OtherKey { .. } => {
                Exit::NotFound
            }
            Refusal::Damaged { .. } => Exit::Damaged,
            Refusal::NoKeys => Exit::Keys,
            Refusal::TooLarge { .. } => Exit::Usage,
            Refusal::Full
            | Refusal::Index(_)
            | Refusal::Disk(_)
            | Refusal::Exhausted(_)
            | Refusal::Busy
            | Refusal::Invalid(_)
            | Refusal::WouldReturn { .. }
            | Refusal::Closed => Exit::Failed,
        },
        Error::InUse(LockError::InUse { .. } | LockError::Shared { .. }) => Exit::InUse,
        Error::Open(OpenError::WrongKeys { .. }) | Error::NoKeyring => Exit::Keys,
        Error::Open(OpenError::Config(_)) => Exit::Damaged,
        Error::KeyName(_) => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn advice_for(error: &Error) -> Option<&'static str> {
    Some(match exit_of(error) {
        Exit::NotFound => match error {
            Error::Request(Refusal::Gone { .. }) => {
                "`ouroboros log KEY` shows the versions before, `ouroboros restore KEY ID` brings one back"
            }
            _ => "`ouroboros ls --recursive` lists the keys, `ouroboros log KEY` the versions of one",
        },
        Exit::Damaged => {
            "`ouroboros scrub --repair` heals what can be healed and names the rest; `ouroboros log KEY` shows older \
             versions"
        }
        Exit::InUse => "wait for the other process or end it, or use another --store",
        Exit::Keys => "pass the store's own keyring with --keyring, or make it anew: `ouroboros keys recover`",
        _ if is_full(error) => {
            "reading goes on; free some space there. Then `ouroboros purge` and `ouroboros compact` can free more"
        }
        _ => match error {
            Error::Conflict(_) => {
                "look at the heads (`ouroboros heads KEY`, `ouroboros get KEY --version ID`), then put the merged value \
                 with one --based-on for each head; or choose another --resolver"
            }
            Error::Request(Refusal::Disk(_)) | Error::Disk(_) => {
                "look at the disk and the system's log, then run the command again; everything acknowledged is kept"
            }
            Error::Open(_) => {
                "`ouroboros doctor` may say more; the blocks directory holds everything, the index is a cache"
            }
            _ => return None,
        },
    })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { exit: exit_of(&error), message: error.to_string(), advice: advice_for(&error).map(Into::into) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        use crate::store::KeyName;
        use ouroboros_engine::id::{BlobId, RealmId};
        let key = KeyName::new("k").unwrap();
        let version = BlobId::from_bytes([1; 32]);
        let realm = RealmId::from_bytes([1; 32]);
        let cases: [(Error, u8); 13] = [
            (Refusal::WouldReturn { removal: version, version }.into(), 1),
            (Refusal::NoSuchKey(key.clone()).into(), 3),
            (Refusal::Gone { key: key.clone(), version }.into(), 3),
            (Refusal::NoSuchVersion(version).into(), 3),
            (Refusal::OtherKey { version, key }.into(), 3),
            (Refusal::Damaged { place: String::new() }.into(), 4),
            (LockError::InUse { store: "/s".into(), process: None }.into(), 5),
            (OpenError::WrongKeys { found: realm, expected: realm }.into(), 6),
            (Error::NoKeyring, 6),
            (KeyName::new("").unwrap_err().into(), 2),
            (Refusal::Full.into(), 1),
            (Error::NoStore("/s".into()), 1),
            (Error::Closed, 1),
        ];
        for (error, code) in cases {
            assert_eq!(exit_of(&error) as u8, code, "{error:?}");
        }
        assert!(Failure::from(Error::from(Refusal::Full)).advice.unwrap().contains("compact"));
    }
}
