//! Where clients reach the server: one common port, and one port for each core.

use std::net::IpAddr;

use crate::types::CoreId;

/// Addresses and ports, as they were bound, and as others are told to reach them.
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
    /// The common port as others are told it; `None`: as it was bound.
    pub announce_port: Option<u16>,
    /// The ports of the cores as others are told them, if that is not how they were bound.
    pub announce_core_ports: Vec<u16>,
}

impl Topology {
    /// The common port, as others reach it.
    pub fn announced_port(&self) -> u16 {
        self.announce_port.unwrap_or(self.common_port)
    }

    /// The ports of the cores, as others reach them.
    pub fn announced_core_ports(&self) -> &[u16] {
        match self.announce_core_ports.is_empty() {
            true => &self.core_ports,
            false => &self.announce_core_ports,
        }
    }

    /// The port by which others reach `core`: its own, or the common one if cores have none.
    pub fn port_of(&self, core: CoreId) -> u16 {
        let own = self.announced_core_ports().get(usize::from(core.0)).copied();
        own.unwrap_or(self.announced_port())
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
