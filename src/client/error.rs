//! What can go wrong, told so that an application knows what happened, where, and what to do next.
//!
//! The one question that matters after a failed write is whether it was done. [`Error::UnknownFate`] is
//! the only answer that leaves it open; with every other error nothing was done.

use std::time::Duration;

use crate::protocol::binary::Status;

/// Why a connection was lost, or could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The operating system says so.
    #[error("{0}")]
    Io(String),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The server owed replies and sent nothing for so long.
    #[error("the server owed replies and sent nothing for {0:?}")]
    Silent(Duration),
    /// No connection in this time.
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// What the server sent is not the protocol.
    #[error("the server sent what is not the binary protocol: {0}")]
    Protocol(String),
    /// The server refused the connection, in its own words.
    #[error("the server refused the connection: {message}")]
    Refused {
        /// As a number of the protocol.
        status: Status,
        /// The server's text.
        message: String,
    },
    /// The topology no longer names this address.
    #[error("the topology no longer names it")]
    Retired,
    /// The request's time was up.
    #[error("no reply within {0:?}")]
    NoReply(Duration),
    /// The condition no longer holds, and it can't be told whether this write or another's changed it.
    #[error("the connection was lost, and when the write was repeated the key had changed")]
    Changed,
    /// The task that served the connection is gone: the runtime shuts down.
    #[error("the runtime shuts down")]
    Shutdown,
}

impl Cause {
    /// Whether trying again is of no use: what the server was told is wrong.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Refused { status: Status::AuthFailed | Status::AuthRequired, .. })
    }
}

impl From<std::io::Error> for Cause {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// What a request, or a connect, came to when it failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting, an argument or an address makes no sense. Nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// No server could be reached when the client was made.
    #[error(
        "no server at {address}: {cause}; is it running, and is this its binary or common port?"
    )]
    Connect {
        /// The address, or the last of several.
        address: String,
        /// What went wrong.
        cause: Cause,
    },
    /// There was no connection to send the request on. It was not done and can be repeated.
    #[error("{operation} was not done: no connection to {address} in {waited:?} ({cause})")]
    Unavailable {
        /// What was asked for.
        operation: &'static str,
        /// Where it would have been sent.
        address: String,
        /// How long it was tried.
        waited: Duration,
        /// The last thing that went wrong.
        cause: Cause,
    },
    /// The time was up before the work was begun, or a read was not answered in time. It was not done
    /// and can be repeated; if it happens often, give it more time or the server less work.
    #[error("{operation} was not done in time: {address} did not answer within {waited:?}")]
    TimedOut {
        /// What was asked for.
        operation: &'static str,
        /// Where it was sent.
        address: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A write was sent and no reply came: it may have been done or not. Read the key to find out; what
    /// can be done twice without harm can be sent with [`repeatable`](super::Request::repeatable).
    #[error("it is unknown whether {operation} was done at {address}: {cause}; read to find out")]
    UnknownFate {
        /// What was asked for.
        operation: &'static str,
        /// Where it was sent.
        address: String,
        /// Why there is no reply.
        cause: Cause,
    },
    /// The server answered that it did not do it, and why.
    #[error("{operation} was not done: {address} answered: {message}")]
    Rejected {
        /// What was asked for.
        operation: &'static str,
        /// Who answered.
        address: String,
        /// As a number of the protocol.
        status: Status,
        /// The server's text, which starts with a code in capitals.
        message: String,
    },
    /// A key or value is longer than the server takes. Nothing was sent.
    #[error("a {what} of {bytes} bytes is too long: the server takes {bytes_max}")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// Its bytes.
        bytes: usize,
        /// Most bytes.
        bytes_max: usize,
    },
    /// The server answered, but not as the protocol says. What was asked for has been done.
    #[error("{operation} was done, but the reply of {address} is not as it should be: {problem}")]
    BadReply {
        /// What was asked for.
        operation: &'static str,
        /// Who answered.
        address: String,
        /// What is wrong with the reply.
        problem: String,
    },
}

impl Error {
    /// Whether it is certain that nothing was done, so that the same request can be made again.
    pub fn is_not_done(&self) -> bool {
        match self {
            Self::UnknownFate { .. } | Self::BadReply { .. } => false,
            Self::Invalid(_)
            | Self::Connect { .. }
            | Self::Unavailable { .. }
            | Self::TimedOut { .. }
            | Self::Rejected { .. }
            | Self::TooLong { .. } => true,
        }
    }

    /// Whether the request failed for want of time or connection, not for what it asked: the same may
    /// succeed later. Whether it *may* be made again is what [`Error::is_not_done`] tells.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Unavailable { .. }
            | Self::TimedOut { .. }
            | Self::UnknownFate { .. } => true,
            Self::Rejected { status, .. } => {
                matches!(
                    status,
                    Status::OutOfMemory
                        | Status::TokenNotReached
                        | Status::Moved
                        | Status::NoLeader
                )
            }
            Self::Invalid(_) | Self::TooLong { .. } | Self::BadReply { .. } => false,
        }
    }

    /// The status that the server answered with, if it did.
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Rejected { status, .. } => Some(*status),
            _ => None,
        }
    }
}
