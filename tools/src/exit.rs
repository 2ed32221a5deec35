//! How a run ends: the exit codes, and errors that say what to do next.

use crate::store::Error;
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
        Error::NotFound(_) => Exit::NotFound,
        Error::Damaged(_) => Exit::Damaged,
        Error::InUse(_) => Exit::InUse,
        Error::WrongKeys(_) => Exit::Keys,
        Error::Usage(_) => Exit::Usage,
        Error::Full(_) | Error::Io(_) => Exit::Failed,
    }
}

fn advice_for(error: &Error) -> Option<&'static str> {
    match error {
        Error::NotFound(_) => {
            Some("`ouroboros ls --recursive` lists the keys, `ouroboros log KEY` the versions of one")
        }
        Error::Damaged(_) => Some(
            "`ouroboros scrub --repair` heals what can be healed and names the rest; `ouroboros log KEY` shows older versions",
        ),
        Error::InUse(_) => Some("wait for the other process or end it, or use another --store"),
        Error::WrongKeys(_) => {
            Some("pass the store's own keyring with --keyring, or make it anew: `ouroboros keys recover`")
        }
        Error::Full(_) => Some(
            "nothing that was acknowledged is lost and reading works; free space on the disk, or `ouroboros purge` and `ouroboros compact`",
        ),
        Error::Usage(_) | Error::Io(_) => None,
    }
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
        let cases: [(Error, u8); 6] = [
            (Error::NotFound(String::new()), 3),
            (Error::Damaged(String::new()), 4),
            (Error::InUse(String::new()), 5),
            (Error::WrongKeys(String::new()), 6),
            (Error::Usage(String::new()), 2),
            (Error::Full(String::new()), 1),
        ];
        for (error, code) in cases {
            assert_eq!(exit_of(&error) as u8, code, "{error:?}");
        }
    }
}
