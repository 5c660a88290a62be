//! Who owns which slot, as `CLUSTER SLOTS` and redirects tell, or the topology of the binary protocol.

use ringmain::protocol::binary::Topology;
use ringmain::protocol::client::{Element, read_element};

/// Slots of a Redis Cluster.
const SLOTS: usize = 16_384;
/// Most nodes told apart: more than a Redis Cluster can have.
const NODES_MAX: usize = 4096;

/// A node's name for us: the index of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node(pub(crate) u16);

/// Which node each slot belongs to. Nodes are only ever added, so that a [`Node`] stays good.
#[derive(Clone, Debug)]
pub(crate) struct SlotMap {
    nodes: Vec<(String, u16)>,
    owners: Box<[Node]>,
    /// The topology that it is as of: the server's life and the epoch in it; 0 if it is of none.
    life: u64,
    epoch: u64,
}

impl SlotMap {
    /// Everything belongs to one node: no cluster, or nothing known yet.
    pub(crate) fn single(host: &str, port: u16) -> Self {
        let owners = vec![Node(0); SLOTS].into_boxed_slice();
        Self { nodes: vec![(host.to_owned(), port)], owners, life: 0, epoch: 0 }
    }

    /// What a reply to `CLUSTER SLOTS` says. `host` stands where it leaves the name out.
    ///
    /// # Errors
    /// One sentence if it says nothing that makes sense.
    pub(crate) fn from_reply(reply: &[u8], host: &str) -> Result<Self, String> {
        let mut map = Self { nodes: Vec::new(), owners: Box::default(), life: 0, epoch: 0 };
        map.update(reply, host)?;
        Ok(map)
    }

    /// Takes over what a reply to `CLUSTER SLOTS` says.
    ///
    /// # Errors
    /// As [`SlotMap::from_reply`]; then nothing has changed.
    pub(crate) fn update(&mut self, reply: &[u8], host: &str) -> Result<(), String> {
        let ranges = ranges(reply)?;
        let first = ranges.first().ok_or("the cluster serves no slot")?;
        let mut owners = std::mem::take(&mut self.owners);
        if owners.is_empty() {
            let node = self.node(&first.host, first.port, host)?;
            owners = vec![node; SLOTS].into_boxed_slice();
        }
        for range in &ranges {
            match self.node(&range.host, range.port, host) {
                Ok(node) => owners[range.first..=range.last].fill(node),
                Err(error) => {
                    self.owners = owners;
                    return Err(error);
                }
            }
        }
        self.owners = owners;
        Ok(())
    }

    /// What a topology says; `host` stands where it leaves the name out.
    ///
    /// # Errors
    /// One sentence if it says nothing that makes sense.
    pub(crate) fn from_topology(
        life: u64,
        topology: &Topology,
        host: &str,
    ) -> Result<Self, String> {
        let owners = vec![Node(0); SLOTS].into_boxed_slice();
        let mut map = Self { nodes: Vec::new(), owners, life, epoch: 0 };
        map.take_over(topology, host)?;
        Ok(map)
    }

    /// Takes over what a topology says, if it is newer than what is known, or of another life of the
    /// server.
    ///
    /// # Errors
    /// As [`SlotMap::from_topology`]; then nothing has changed.
    pub(crate) fn follow(
        &mut self,
        life: Option<u64>,
        topology: &Topology,
        host: &str,
    ) -> Result<(), String> {
        let life = life.unwrap_or(self.life);
        if life == self.life && topology.epoch <= self.epoch {
            return Ok(());
        }
        self.take_over(topology, host)?;
        self.life = life;
        Ok(())
    }

    fn take_over(&mut self, topology: &Topology, host: &str) -> Result<(), String> {
        let mut owners = self.owners.clone();
        let mut next = 0;
        for range in &topology.ranges {
            let (first, last) = (usize::from(range.first), usize::from(range.last));
            let core = topology.cores.iter().find(|core| core.core == range.core);
            let core = core.filter(|_| first == next && first <= last && last < SLOTS);
            let core = core.ok_or("the topology makes no sense")?;
            owners[first..=last].fill(self.node(&core.host, core.port, host)?);
            next = last + 1;
        }
        if next != SLOTS {
            return Err("the topology makes no sense".to_owned());
        }
        (self.owners, self.epoch) = (owners, topology.epoch);
        Ok(())
    }

    /// Whether there is a newer topology, if the lowest 32 bits of its epoch are these.
    #[expect(clippy::cast_possible_truncation, reason = "the lowest bits are meant")]
    pub(crate) fn is_older_than(&self, epoch: u32) -> bool {
        // Half of all numbers are ahead: an epoch that a core tells that is behind is none.
        epoch.wrapping_sub(self.epoch as u32).wrapping_sub(1) < u32::MAX / 2
    }

    /// Takes over what a `MOVED` says.
    pub(crate) fn moved(&mut self, redirect: &Redirect<'_>, host: &str) -> Result<Node, String> {
        let node = self.node(redirect.host, redirect.port, host)?;
        if !redirect.is_ask {
            self.owners[usize::from(redirect.slot)] = node;
        }
        Ok(node)
    }

    /// The node that owns a slot.
    pub(crate) fn owner(&self, slot: u16) -> Node {
        self.owners[usize::from(slot) % SLOTS]
    }

    /// Host and port of a node.
    pub(crate) fn address(&self, node: Node) -> (&str, u16) {
        let (host, port) = &self.nodes[usize::from(node.0)];
        (host, *port)
    }

    /// All nodes there ever were.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = Node> + use<> {
        (0..u16::try_from(self.nodes.len()).unwrap_or(u16::MAX)).map(Node)
    }

    fn node(&mut self, host: &str, port: u16, default: &str) -> Result<Node, String> {
        // These all stand for the address that was asked.
        let host = if matches!(host, "" | "?" | "0.0.0.0" | "::") { default } else { host };
        let known = self.nodes.iter().position(|(h, p)| h == host && *p == port);
        let index = known.unwrap_or_else(|| {
            self.nodes.push((host.to_owned(), port));
            self.nodes.len() - 1
        });
        if index >= NODES_MAX {
            self.nodes.truncate(NODES_MAX);
            return Err(format!("the cluster has named more than {NODES_MAX} nodes"));
        }
        u16::try_from(index).map(Node).map_err(|error| error.to_string())
    }
}

/// An error reply that says who else to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Redirect<'a> {
    /// Only for this request, and after `ASKING`.
    pub(crate) is_ask: bool,
    pub(crate) slot: u16,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
}

impl<'a> Redirect<'a> {
    /// What `MOVED 3999 127.0.0.1:6381` and `ASK ...` say; nothing for other errors.
    pub(crate) fn of(error: &'a [u8]) -> Option<Self> {
        let mut words = str::from_utf8(error).ok()?.split(' ');
        let is_ask = match words.next()? {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        let slot = words.next()?.parse().ok().filter(|&slot| usize::from(slot) < SLOTS)?;
        let (host, port) = words.next()?.rsplit_once(':')?;
        Some(Self { is_ask, slot, host, port: port.parse().ok()? })
    }
}

struct Range {
    first: usize,
    last: usize,
    host: String,
    port: u16,
}

fn ranges(reply: &[u8]) -> Result<Vec<Range>, String> {
    let mut reader = Reader { rest: reply };
    match reader.element() {
        Some(Element::Aggregate { count, .. }) => {
            let ranges = (0..count).map(|_| reader.range());
            ranges.collect::<Option<_>>().ok_or_else(|| "CLUSTER SLOTS makes no sense".to_owned())
        }
        Some(Element::Error(text)) => {
            Err(format!("the server answers CLUSTER SLOTS with {}", text.escape_ascii()))
        }
        _ => Err("CLUSTER SLOTS makes no sense".to_owned()),
    }
}

/// Reads a whole reply's elements one by one.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn element(&mut self) -> Option<Element<'a>> {
        let (element, length) = read_element(self.rest).ok()??;
        self.rest = &self.rest[length..];
        Some(element)
    }

    fn integer<T: TryFrom<i64>>(&mut self) -> Option<T> {
        let Element::Integer(number) = self.element()? else { return None };
        T::try_from(number).ok()
    }

    fn count(&mut self) -> Option<usize> {
        let Element::Aggregate { count, .. } = self.element()? else { return None };
        Some(count)
    }

    fn skip(&mut self, values: usize) -> Option<()> {
        let mut left = values;
        while left > 0 {
            left -= 1;
            if let Element::Aggregate { count, .. } = self.element()? {
                left = left.checked_add(count)?;
            }
        }
        Some(())
    }

    /// `[first, last, [host, port, ...], replicas...]`.
    fn range(&mut self) -> Option<Range> {
        let parts = self.count()?;
        let (first, last) = (self.integer()?, self.integer()?);
        let node_parts = self.count()?;
        let host = match self.element()? {
            Element::Bulk(host) | Element::Simple(host) => str::from_utf8(host).ok()?.to_owned(),
            Element::Null => String::new(),
            _ => return None,
        };
        let port = self.integer()?;
        self.skip(node_parts.checked_sub(2)?)?;
        self.skip(parts.checked_sub(3)?)?;
        (first <= last && last < SLOTS).then_some(Range { first, last, host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::{Node, Redirect, SlotMap};
    use ringmain::protocol::binary::Topology;
    use ringmain::protocol::binary::body::{Address, SlotRange};
    use ringmain::types::{CoreId, ShardId};

    const REPLY: &[u8] = b"*3\r\n\
        *4\r\n:0\r\n:5460\r\n*4\r\n$9\r\n127.0.0.1\r\n:7001\r\n$2\r\nid\r\n*0\r\n*2\r\n$1\r\nr\r\n:9\r\n\
        *3\r\n:5461\r\n:10922\r\n*3\r\n$0\r\n\r\n:7002\r\n$2\r\nid\r\n\
        *3\r\n:10923\r\n:16383\r\n*2\r\n_\r\n:7003\r\n";

    fn owner(map: &SlotMap, slot: u16) -> (&str, u16) {
        map.address(map.owner(slot))
    }

    #[test]
    fn slots_have_owners() {
        let map = SlotMap::from_reply(REPLY, "home").expect("three ranges");
        assert_eq!(owner(&map, 0), ("127.0.0.1", 7001));
        assert_eq!(owner(&map, 5460), ("127.0.0.1", 7001));
        assert_eq!(owner(&map, 5461), ("home", 7002));
        assert_eq!(owner(&map, 16_383), ("home", 7003));
        assert_eq!(map.nodes().count(), 3);
    }

    #[test]
    fn redirects_and_updates_change_owners_and_keep_nodes() {
        let mut map = SlotMap::from_reply(REPLY, "home").expect("three ranges");
        let moved = Redirect::of(b"MOVED 16000 10.0.0.1:7001").expect("a redirect");
        assert_eq!(map.moved(&moved, "home"), Ok(Node(3)));
        let ask = Redirect::of(b"ASK 15999 :7002").expect("a redirect");
        assert_eq!(map.moved(&ask, "home"), Ok(Node(1)));
        assert_eq!(owner(&map, 16_000), ("10.0.0.1", 7001));
        assert_eq!(owner(&map, 15_999), ("home", 7003));
        map.update(REPLY, "home").expect("three ranges");
        assert_eq!(owner(&map, 16_000), ("home", 7003));
        assert_eq!(map.nodes().count(), 4);
    }

    /// Cores at ports 7001 and up, each of which has the slots up to the one given.
    fn topology(epoch: u64, last_slots: &[u16]) -> Topology {
        let numbers = || 0..u16::try_from(last_slots.len()).expect("a few");
        let address = |core| Address { core: CoreId(core), port: 7001 + core, host: String::new() };
        let mut next = 0;
        let range = |(core, &last): (u16, &u16)| {
            let first = std::mem::replace(&mut next, last + 1);
            SlotRange { first, last, shard: ShardId(core), core: CoreId(core) }
        };
        Topology {
            epoch,
            shard_count: 2,
            cores: numbers().map(address).collect(),
            ranges: numbers().zip(last_slots).map(range).collect(),
        }
    }

    #[test]
    fn a_newer_topology_is_followed_and_an_older_one_is_not() {
        let mut map = SlotMap::from_topology(7, &topology(5, &[99, 16_383]), "h").expect("two");
        assert_eq!((owner(&map, 99), owner(&map, 100)), (("h", 7001), ("h", 7002)));
        assert!(map.is_older_than(6) && !map.is_older_than(5) && !map.is_older_than(4));
        map.follow(None, &topology(4, &[16_383]), "h").expect("not looked at");
        assert_eq!(owner(&map, 100), ("h", 7002));
        map.follow(None, &topology(6, &[199, 16_383]), "h").expect("newer");
        assert_eq!((owner(&map, 100), map.is_older_than(6)), (("h", 7001), false));
        map.follow(Some(8), &topology(1, &[16_383]), "h").expect("of another life");
        assert_eq!((owner(&map, 16_383), map.is_older_than(2)), (("h", 7001), true));
        let at_the_wrap = SlotMap::from_topology(7, &topology((1 << 33) - 1, &[16_383]), "h");
        assert!(at_the_wrap.expect("one").is_older_than(0));
    }

    #[test]
    fn a_topology_that_makes_no_sense_changes_nothing() {
        let mut map = SlotMap::from_topology(7, &topology(1, &[16_383]), "h").expect("one");
        let mut nobody = topology(2, &[99, 16_383]);
        nobody.cores.pop();
        let mut gap = topology(2, &[99, 16_383]);
        gap.ranges[1].first = 101;
        for bad in [topology(2, &[]), topology(2, &[99]), topology(2, &[16_384]), nobody, gap] {
            assert!(map.follow(None, &bad, "h").is_err(), "{bad:?}");
            assert!(SlotMap::from_topology(7, &bad, "h").is_err());
        }
        assert_eq!((owner(&map, 16_383), map.is_older_than(2)), (("h", 7001), true));
    }

    #[test]
    fn other_errors_redirect_nowhere() {
        for error in [
            &b"ERR no"[..],
            b"MOVED",
            b"MOVED 16384 h:1",
            b"MOVED 1 h",
            b"MOVED 1 h:70000",
            b"ASK x h:1",
            b"\xff",
        ] {
            assert_eq!(Redirect::of(error), None);
        }
        let v6 = Redirect::of(b"MOVED 1 ::1:7000").expect("an address with colons");
        assert_eq!((v6.host, v6.port), ("::1", 7000));
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        for reply in [
            &b"*0\r\n"[..],
            b"-ERR This instance has cluster support disabled\r\n",
            b"+OK\r\n",
            b"*1\r\n*2\r\n:0\r\n:1\r\n",
            b"*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\nh\r\n:1\r\n",
            b"*1\r\n*3\r\n:2\r\n:1\r\n*2\r\n$1\r\nh\r\n:1\r\n",
            b"*1\r\n*3\r\n:-1\r\n:1\r\n*2\r\n$1\r\nh\r\n:1\r\n",
            b"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\nh\r\n:70000\r\n",
        ] {
            assert!(SlotMap::from_reply(reply, "h").is_err(), "{}", reply.escape_ascii());
        }
    }
}
