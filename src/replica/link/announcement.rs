//! What a node tells others of itself: where clients find it, and which of its cores runs which shard.

use bytes::Bytes;

use crate::limits::SHARDS_MAX;
use crate::replica::Fault;
use crate::replica::fields::Fields;
use crate::types::CoreId;

/// What a node tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// Another one at every start of the node.
    pub incarnation: u64,
    /// The common port.
    pub port: u16,
    /// Core i takes links on this port + i.
    pub cluster_port: u16,
    /// How many cores there are.
    pub cores: u16,
    /// The ports of the cores; none if they have none.
    pub core_ports: Vec<u16>,
    /// Which core runs which shard, indexed by shard.
    pub owners: Vec<CoreId>,
}

impl Announcement {
    /// Shards of the cluster as that node has it.
    pub fn shards(&self) -> usize {
        self.owners.len()
    }

    /// Appends the bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        debug_assert!(self.is_possible(), "{self:?}");
        let count = |length: usize| u16::try_from(length).expect("a count below 2^16");
        let numbers = [
            self.port,
            self.cluster_port,
            self.cores,
            count(self.core_ports.len()),
            count(self.owners.len()),
        ];
        let owners = self.owners.iter().map(|core| core.0);
        out.extend(self.incarnation.to_le_bytes());
        let numbers = numbers.into_iter().chain(self.core_ports.iter().copied()).chain(owners);
        out.extend(numbers.flat_map(u16::to_le_bytes));
    }

    /// Reads all of `bytes`.
    pub(super) fn decode(bytes: &Bytes) -> Result<Self, Fault> {
        let mut fields = Fields::new(bytes);
        let incarnation = fields.u64()?;
        let (port, cluster_port, cores) = (fields.u16()?, fields.u16()?, fields.u16()?);
        let (ports, owners) = (usize::from(fields.u16()?), usize::from(fields.u16()?));
        if (ports + owners) * size_of::<u16>() != fields.left() {
            return Err(Fault::Length);
        }
        let core_ports = (0..ports).map(|_| fields.u16()).collect::<Result<_, _>>()?;
        let owners = (0..owners).map(|_| fields.u16().map(CoreId)).collect::<Result<_, _>>()?;
        let announcement = Self { incarnation, port, cluster_port, cores, core_ports, owners };
        if announcement.is_possible() { Ok(announcement) } else { Err(Fault::Field) }
    }

    /// Whether a node could be so.
    fn is_possible(&self) -> bool {
        let cores = self.cores;
        let ports = self.core_ports.len();
        self.incarnation != 0
            && self.port != 0
            && self.cluster_port != 0
            && (1..=SHARDS_MAX).contains(&cores)
            && self.cluster_port.checked_add(cores - 1).is_some()
            && (ports == 0 || ports == usize::from(cores))
            && (1..=usize::from(SHARDS_MAX)).contains(&self.owners.len())
            && self.owners.iter().all(|owner| owner.0 < cores)
    }
}
