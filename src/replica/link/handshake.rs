//! How a link begins: see the module above. The acceptor does next to nothing for a stranger: it looks at 80
//! bytes. A hello that somebody has recorded is answered, but leads nowhere, because who recorded it can't make
//! the frame that has to follow.

use bytes::Bytes;

use super::announcement::Announcement;
use super::frames::{FrameReader, FrameWriter};
use super::keys::{CODE_BYTES, ClusterSecret, Key};
use super::{LinkFault, VERSION};
use crate::types::{CoreId, NodeId};

const MAGIC: &[u8; 8] = b"RINGLINK";
/// Bytes that a hello and a welcome begin with.
const HEAD_BYTES: usize = 64;
/// Bytes of a hello.
pub const HELLO_BYTES: usize = HEAD_BYTES + CODE_BYTES;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 32;
/// Random bytes that are used once.
pub type Nonce = [u8; NONCE_BYTES];
/// In the place of the announcement's length, where another process has the number of the node that dialed.
const DOUBLE: u16 = u16::MAX;

const WELCOME_PURPOSE: &str = "ringmain link welcome 1";
const FRAMES_PURPOSE: &str = "ringmain link frames 1";

/// The nonce of a hello: it begins with the number of the start of the node, so that another process with the same id is
/// known at once. The rest of `random` stays.
pub fn hello_nonce(incarnation: u64, random: Nonce) -> Nonce {
    let mut nonce = random;
    nonce[..8].copy_from_slice(&incarnation.to_le_bytes());
    nonce
}

/// What a connection to the port for links is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A link: frames with messages between replicas.
    Messages,
    /// Behind the first frame, which is empty, requests of one client of the dialing node, and the replies to them.
    Commands,
}

impl Purpose {
    const fn number(self) -> u32 {
        match self {
            Self::Messages => 0,
            Self::Commands => 1,
        }
    }
}

/// What both sides say first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    /// Of a hello the core that dials, of a welcome the bytes of the announcement, or what stands in their place.
    detail: u16,
    purpose: Purpose,
    from: NodeId,
    to: NodeId,
    nonce: Nonce,
}

impl Head {
    fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.detail.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.purpose.number().to_le_bytes());
        bytes[16..24].copy_from_slice(&self.from.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.to.0.to_le_bytes());
        bytes[32..].copy_from_slice(&self.nonce);
        bytes
    }

    /// The head at the start of `bytes`, if it is all there. A stranger is known by his first bytes.
    fn decode(bytes: &[u8]) -> Result<Option<Self>, LinkFault> {
        let magic = bytes.len().min(MAGIC.len());
        if bytes[..magic] != MAGIC[..magic] {
            return Err(LinkFault::Magic);
        }
        let Some(bytes) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let number = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let id = |at: usize| {
            let mut id = [0; 8];
            id.copy_from_slice(&bytes[at..at + 8]);
            NodeId(u64::from_le_bytes(id))
        };
        if number(8) != VERSION {
            return Err(LinkFault::Version(number(8)));
        }
        let is_meant = |purpose: &Purpose| bytes[12..16] == purpose.number().to_le_bytes();
        let purpose = [Purpose::Messages, Purpose::Commands].into_iter().find(is_meant);
        let purpose = purpose.ok_or(LinkFault::Magic)?;
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&bytes[32..]);
        Ok(Some(Self { detail: number(10), purpose, from: id(16), to: id(24), nonce }))
    }
}

/// A link that has been begun by this node.
#[derive(Debug)]
pub struct Dialing {
    secret: ClusterSecret,
    hello: Head,
}

/// A link that has been accepted by another.
#[derive(Debug)]
pub struct Welcomed {
    /// Who that is.
    pub from: NodeId,
    /// What the other tells of itself.
    pub announcement: Announcement,
    /// Makes the frames.
    pub writer: FrameWriter,
    /// Bytes that its welcome took.
    pub length: usize,
}

impl Dialing {
    /// Core `core` of node `from` wants a link to node `to`, or to whichever node is there if that is 0. `nonce` is
    /// random.
    pub fn new(
        secret: &ClusterSecret,
        (from, core): (NodeId, CoreId),
        to: NodeId,
        nonce: Nonce,
    ) -> Self {
        let hello = Head { detail: core.0, purpose: Purpose::Messages, from, to, nonce };
        Self { secret: secret.clone(), hello }
    }

    /// The same for what is no link.
    pub fn with_purpose(mut self, purpose: Purpose) -> Self {
        self.hello.purpose = purpose;
        self
    }

    /// What to send.
    pub fn hello(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        let head = self.hello.encode();
        bytes[..HEAD_BYTES].copy_from_slice(&head);
        bytes[HEAD_BYTES..].copy_from_slice(&self.secret.hello_key().code(&[&head]));
        bytes
    }

    /// Looks at what came back; nothing while it is not whole.
    ///
    /// # Errors
    /// If it is not from the node that was dialed, or this node was removed, or another process is this node.
    pub fn read(&self, bytes: &[u8]) -> Result<Option<Welcomed>, LinkFault> {
        let Some(head) = Head::decode(bytes)? else { return Ok(None) };
        if head.purpose != self.hello.purpose {
            return Err(LinkFault::Magic);
        }
        let is_meant = match self.hello.to {
            NodeId(0) => head.from != NodeId(0) && head.from != self.hello.from,
            to => head.from == to,
        };
        if !is_meant || head.to != self.hello.from {
            return Err(LinkFault::Node { from: head.from.0, to: head.to.0 });
        }
        let announced = if head.detail == DOUBLE { 0 } else { usize::from(head.detail) };
        let told = HEAD_BYTES + announced;
        let length = told + CODE_BYTES;
        if bytes.len() < length {
            return Ok(None);
        }
        let key = link_key(&self.secret, &self.hello, &head);
        if !key.derive(WELCOME_PURPOSE).is_code(&[&bytes[..told]], &bytes[told..length]) {
            return Err(LinkFault::Code);
        }
        match head.detail {
            0 => return Err(LinkFault::Removed),
            DOUBLE => return Err(LinkFault::Double),
            _ => {}
        }
        let announcement = Bytes::copy_from_slice(&bytes[HEAD_BYTES..told]);
        let announcement = Announcement::decode(&announcement)?;
        let writer = FrameWriter::new(key.derive(FRAMES_PURPOSE));
        Ok(Some(Welcomed { from: head.from, announcement, writer, length }))
    }
}

/// What somebody said who wants a link to this node, and knows the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    head: Head,
}

impl Hello {
    /// Looks at what came; nothing while it is not whole, which is [`HELLO_BYTES`].
    ///
    /// # Errors
    /// If it is not from another node to node `me`, or to whichever node this is.
    pub fn read(
        secret: &ClusterSecret,
        me: NodeId,
        bytes: &[u8],
    ) -> Result<Option<Self>, LinkFault> {
        let head = Head::decode(bytes)?;
        let (Some(head), Some(bytes)) = (head, bytes.first_chunk::<HELLO_BYTES>()) else {
            return Ok(None);
        };
        let (said, code) = bytes.split_at(HEAD_BYTES);
        if !secret.hello_key().is_code(&[said], code) {
            return Err(LinkFault::Code);
        }
        if (head.to != me && head.to != NodeId(0)) || head.from == me || head.from == NodeId(0) {
            return Err(LinkFault::Node { from: head.from.0, to: head.to.0 });
        }
        Ok(Some(Self { head }))
    }

    /// The node that wants it.
    pub fn from(&self) -> NodeId {
        self.head.from
    }

    /// Whether it does not know who this is.
    pub fn is_to_anyone(&self) -> bool {
        self.head.to == NodeId(0)
    }

    /// Its core that does.
    pub fn core(&self) -> CoreId {
        CoreId(self.head.detail)
    }

    /// Which start of that node.
    pub fn incarnation(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.head.nonce[..8]);
        u64::from_le_bytes(bytes)
    }

    /// What for.
    pub fn purpose(&self) -> Purpose {
        self.head.purpose
    }
}

/// Node `me` accepts a link: appends what to send to `out`, and answers what reads the frames. `nonce` is random. Who
/// said `hello` has not been there for sure before a frame is read.
pub fn welcome(
    secret: &ClusterSecret,
    (me, hello): (NodeId, &Hello),
    nonce: Nonce,
    own: &Announcement,
    out: &mut Vec<u8>,
) -> FrameReader {
    let mut announcement = Vec::new();
    own.encode(&mut announcement);
    let detail = u16::try_from(announcement.len()).expect("an announcement is short");
    let key = answer(secret, (me, hello), (nonce, detail), announcement, out);
    FrameReader::new(key.derive(FRAMES_PURPOSE))
}

/// Why a node is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// It was removed from the cluster.
    Removed,
    /// Another process has its number, and is heard from.
    Double,
}

/// Node `me` tells who said `hello` why he is not let in. `nonce` is random.
pub fn farewell(
    secret: &ClusterSecret,
    (me, hello): (NodeId, &Hello),
    nonce: Nonce,
    why: Farewell,
    out: &mut Vec<u8>,
) {
    let detail = match why {
        Farewell::Removed => 0,
        Farewell::Double => DOUBLE,
    };
    answer(secret, (me, hello), (nonce, detail), Vec::new(), out);
}

/// Answers a hello; the key of the link.
fn answer(
    secret: &ClusterSecret,
    (me, hello): (NodeId, &Hello),
    (nonce, detail): (Nonce, u16),
    mut announcement: Vec<u8>,
    out: &mut Vec<u8>,
) -> Key {
    let (purpose, to) = (hello.head.purpose, hello.head.from);
    let head = Head { detail, purpose, from: me, to, nonce };
    let key = link_key(secret, &hello.head, &head);
    let said = head.encode();
    let code = key.derive(WELCOME_PURPOSE).code(&[&said, &announcement]);
    out.extend_from_slice(&said);
    out.append(&mut announcement);
    out.extend_from_slice(&code);
    key
}

fn link_key(secret: &ClusterSecret, hello: &Head, welcome: &Head) -> Key {
    secret.link_key(&[&hello.encode(), &welcome.encode()])
}
