//! Kinds of requests: what each may touch, in one place.

use super::request::Request;

/// What a request is to the store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Answered from what is stored, with the keys.
    Question,
    /// Answered from what is stored, without any.
    Figures,
    /// Adds to the history, or takes from it.
    Change,
    /// Serves the store itself.
    Service,
}

impl Request {
    const fn kind(&self) -> Kind {
        match self {
            Self::Get(_)
            | Self::GetVersion(_)
            | Self::Exist(_)
            | Self::Read { .. }
            | Self::Heads(_)
            | Self::Log { .. }
            | Self::MergeBases(_)
            | Self::Diff { .. }
            | Self::List(_) => Kind::Question,
            Self::Stats => Kind::Figures,
            Self::Put(_) | Self::PutOpen(_) | Self::PutData { .. } | Self::PutEnd { .. } | Self::Purge(_) => {
                Kind::Change
            }
            // Without keys there is no stream to forget.
            Self::PutAbort { .. } | Self::Scrub { .. } | Self::Recode(_) | Self::Compact | Self::Close => Kind::Service,
        }
    }

    /// Whether it changes nothing and is answered from what is stored: such a question can be asked again.
    #[must_use]
    pub const fn only_reads(&self) -> bool {
        matches!(self.kind(), Kind::Question | Kind::Figures)
    }

    /// Whether memory is held for it until it is answered: of these no more than [`Limits::requests`](super::Limits::requests)
    /// are taken at once.
    #[must_use]
    pub const fn holds_memory(&self) -> bool {
        matches!(self, Self::Get(_) | Self::GetVersion(_) | Self::Read { .. } | Self::Diff { .. })
    }

    /// Whether a node without keys cannot do it.
    pub(super) const fn needs_keys(&self) -> bool {
        matches!(self.kind(), Kind::Question | Kind::Change)
    }
}
