//! Which server, and who we are to it.

use crate::config::Secret;

/// A server, and the flags that named it: sentences tell the user to change those.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) flags: EndpointFlags,
}

/// How the command line names a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndpointFlags {
    /// For its address.
    pub(super) address: &'static str,
    /// For its password.
    pub(super) password: &'static str,
}

/// `--host` and what belongs to it.
pub(super) const HOST_FLAGS: EndpointFlags =
    EndpointFlags { address: "--host and --port", password: "with --password or in REDISCLI_AUTH" };
/// `--from` and what belongs to it.
pub(super) const FROM_FLAGS: EndpointFlags =
    EndpointFlags { address: "--from", password: "with --from-password or in RINGMAIN_FROM_AUTH" };

impl Endpoint {
    /// The server, as sentences name it.
    pub(super) fn name(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}
