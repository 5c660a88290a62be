//! Where clients reach the server: one common port, and one port for each core.

use std::net::IpAddr;

use crate::types::CoreId;

/// Addresses and ports, as they were bound.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// The port on which a connection starts on any core.
    pub common_port: u16,
    /// The port of each core, indexed by core; empty if there are none.
    pub core_ports: Vec<u16>,
    /// The port of the binary protocol, if there is one.
    pub binary_port: Option<u16>,
    /// The address that `CLUSTER` names; `None`: the one the client connected to.
    pub announce_ip: Option<IpAddr>,
}

impl Topology {
    /// The port that leads to `core`: its own, or the common one if cores have none.
    pub fn port_of(&self, core: CoreId) -> u16 {
        self.core_ports.get(usize::from(core.0)).copied().unwrap_or(self.common_port)
    }

    /// The core whose own port this is.
    pub fn core_of_port(&self, port: u16) -> Option<CoreId> {
        let index = self.core_ports.iter().position(|own| *own == port)?;
        u16::try_from(index).ok().map(CoreId)
    }

    /// Whether cores have ports of their own.
    pub fn has_core_ports(&self) -> bool {
        !self.core_ports.is_empty()
    }
}
