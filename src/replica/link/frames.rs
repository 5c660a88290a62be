//! Frames: what a link carries, cut into pieces with a code each.
//!
//! ```text
//! frame:   length u32 │ content │ code        the code is of the frame's number, the length and the content
//! content of all frames, one behind the other:
//! item:    length u32 │ kind u8 │ a message, an announcement, a list of nodes, news, or news of a shard channel
//! ```
//!
//! Frames are cut anywhere, so a long item takes several; a frame may be empty, and then says no more than
//! that the other is there. An item that lies in one frame is read where it was received.

use bytes::{Buf, Bytes, BytesMut};

use super::LinkFault;
use super::announcement::Announcement;
use super::keys::{CODE_BYTES, Key};
use super::news::News;
use super::node_list::NodeList;
use crate::limits::{LINK_FIRST_FRAME_BYTES_MAX, LINK_FRAME_BYTES_MAX, LINK_MESSAGE_BYTES_MAX};
use crate::replica::{Fault, ShardMessage};

const LENGTH_BYTES: usize = 4;
const MESSAGE: u8 = 1;
const ANNOUNCEMENT: u8 = 2;
const NODE_LIST: u8 = 3;
const NEWS: u8 = 4;
const SHARD_NEWS: u8 = 5;

/// What a link carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A message for a shard.
    Message(ShardMessage),
    /// The sender tells of itself.
    Announcement(Announcement),
    /// The sender tells of all nodes that it knows of.
    Nodes(NodeList),
    /// A client of the sender has published something.
    News(News),
    /// The same on a shard channel.
    ShardNews(News),
}

/// Makes the frames of one link.
#[derive(Debug)]
pub struct FrameWriter {
    key: Key,
    /// Frames made so far.
    frames: u64,
    out: Vec<u8>,
    /// Where the frame begins that is not closed yet, if there is one.
    open: Option<usize>,
}

impl FrameWriter {
    pub(super) fn new(key: Key) -> Self {
        Self { key, frames: 0, out: Vec::new(), open: None }
    }

    /// Bytes that wait to be taken.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Bytes of memory held for it.
    pub fn memory_bytes(&self) -> usize {
        self.out.capacity()
    }

    /// Gives memory back beyond so many bytes, and what is needed.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.out.shrink_to(bytes);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Adds a message.
    pub fn message(&mut self, message: &ShardMessage) {
        self.item(MESSAGE, |out| message.encode(out));
    }

    /// Adds an announcement, and ends the frame with it: the first may not be long.
    pub fn announcement(&mut self, announcement: &Announcement) {
        self.item(ANNOUNCEMENT, |out| announcement.encode(out));
        self.close();
    }

    /// Adds a list of nodes.
    pub fn nodes(&mut self, nodes: &NodeList) {
        self.item(NODE_LIST, |out| nodes.encode(out));
    }

    /// Adds what was published on a channel.
    pub fn news(&mut self, channel: &[u8], text: &[u8]) {
        self.item(NEWS, |out| News::encode(channel, text, out));
    }

    /// The same of a shard channel.
    pub fn shard_news(&mut self, channel: &[u8], text: &[u8]) {
        self.item(SHARD_NEWS, |out| News::encode(channel, text, out));
    }

    /// Adds a frame without content, unless something is there already that shows as well that we are.
    pub fn ping(&mut self) {
        if self.out.is_empty() {
            self.open();
        }
    }

    /// Exchanges all that has been added for `empty`, whose memory is used on.
    pub fn take(&mut self, empty: &mut Vec<u8>) {
        self.close();
        empty.clear();
        std::mem::swap(&mut self.out, empty);
    }

    fn item(&mut self, kind: u8, encode: impl FnOnce(&mut Vec<u8>)) {
        self.open();
        let at = self.out.len();
        self.out.extend([0, 0, 0, 0, kind]);
        encode(&mut self.out);
        let length = self.out.len() - at - LENGTH_BYTES;
        self.put_length(at, length);
        let content = self.out.len() - self.open.map_or(0, |open| open + LENGTH_BYTES);
        if content > LINK_FRAME_BYTES_MAX {
            self.cut(at);
        }
    }

    /// Closes the frame before the item at `at`, and moves that to frames of its own.
    #[cold]
    fn cut(&mut self, at: usize) {
        let item = self.out.split_off(at);
        if self.open.is_some_and(|open| open + LENGTH_BYTES < at) {
            self.close();
        }
        for piece in item.chunks(LINK_FRAME_BYTES_MAX) {
            self.open();
            self.out.extend_from_slice(piece);
            if piece.len() == LINK_FRAME_BYTES_MAX {
                self.close();
            }
        }
    }

    fn open(&mut self) {
        if self.open.is_none() {
            self.open = Some(self.out.len());
            self.out.extend([0; LENGTH_BYTES]);
        }
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.put_length(open, self.out.len() - open - LENGTH_BYTES);
        let code = self.key.code(&[&self.frames.to_le_bytes(), &self.out[open..]]);
        self.out.extend_from_slice(&code);
        self.frames += 1;
    }

    fn put_length(&mut self, at: usize, length: usize) {
        let length = u32::try_from(length).expect("a length below 2^32");
        self.out[at..at + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    }
}

/// Reads the frames of one link.
#[derive(Debug)]
pub struct FrameReader {
    key: Key,
    /// Frames read so far.
    frames: u64,
    /// What is left of the last frame.
    content: Bytes,
    /// The start of an item that goes on in the next.
    begun: BytesMut,
}

impl FrameReader {
    pub(super) fn new(key: Key) -> Self {
        Self { key, frames: 0, content: Bytes::new(), begun: BytesMut::new() }
    }

    /// Whether a frame has been read: the other side is there, and knows the secret.
    pub fn is_confirmed(&self) -> bool {
        self.frames > 0
    }

    /// Bytes kept of items that have not ended yet.
    pub fn memory_bytes(&self) -> usize {
        self.begun.capacity()
    }

    /// Takes the next item out of what has been received; none if it is not whole yet.
    ///
    /// # Errors
    /// If a frame is not what the other side sent next, or an item can't be understood.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Item>, LinkFault> {
        loop {
            if let Some(item) = self.next_item()? {
                return self.decode(item).map(Some);
            }
            // All of the content has been taken.
            let Some(content) = self.next_frame(input)? else { return Ok(None) };
            self.content = content;
        }
    }

    /// Takes one frame, which must be empty, out of what has been received, and nothing behind it. False if it is
    /// not whole yet.
    ///
    /// # Errors
    /// If it is not what the other side sent, or not empty.
    pub fn confirm(&mut self, input: &mut BytesMut) -> Result<bool, LinkFault> {
        match self.next_frame(input)? {
            Some(content) if content.is_empty() => Ok(true),
            Some(content) => Err(LinkFault::Length(content.len() as u64)),
            None => Ok(false),
        }
    }

    /// The content of the next frame.
    fn next_frame(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, LinkFault> {
        let Some(length) = length_at_start(input) else { return Ok(None) };
        let most =
            if self.is_confirmed() { LINK_FRAME_BYTES_MAX } else { LINK_FIRST_FRAME_BYTES_MAX };
        if length > most {
            return Err(LinkFault::Length(length as u64));
        }
        let whole = LENGTH_BYTES + length;
        if input.len() < whole + CODE_BYTES {
            if self.is_confirmed() {
                input.reserve(whole + CODE_BYTES - input.len());
            }
            return Ok(None);
        }
        let (said, code) = input[..whole + CODE_BYTES].split_at(whole);
        if !self.key.is_code(&[&self.frames.to_le_bytes(), said], code) {
            return Err(LinkFault::Code);
        }
        self.frames += 1;
        let mut frame = input.split_to(whole + CODE_BYTES);
        frame.truncate(whole);
        frame.advance(LENGTH_BYTES);
        Ok(Some(frame.freeze()))
    }

    /// The next item's bytes, if they are all there; else all of the content has been taken.
    fn next_item(&mut self) -> Result<Option<Bytes>, LinkFault> {
        if self.begun.is_empty()
            && let Some(length) = length_at_start(&self.content)
            && length <= self.content.len() - LENGTH_BYTES
        {
            self.content.advance(LENGTH_BYTES);
            return Ok(Some(self.content.split_to(length)));
        }
        if self.content.is_empty() {
            return Ok(None);
        }
        self.take_until(LENGTH_BYTES);
        let Some(length) = length_at_start(&self.begun) else { return Ok(None) };
        if length > LINK_MESSAGE_BYTES_MAX {
            return Err(LinkFault::Length(length as u64));
        }
        self.take_until(LENGTH_BYTES + length);
        if self.begun.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        let mut item = std::mem::take(&mut self.begun);
        item.advance(LENGTH_BYTES);
        Ok(Some(item.freeze()))
    }

    /// Moves content to what has begun until that has so many bytes, as far as there are.
    fn take_until(&mut self, length: usize) {
        let missing = length.saturating_sub(self.begun.len()).min(self.content.len());
        self.begun.extend_from_slice(&self.content.split_to(missing));
    }

    fn decode(&self, mut item: Bytes) -> Result<Item, LinkFault> {
        let kind = item.first().copied().ok_or(Fault::Length)?;
        item.advance(1);
        match kind {
            MESSAGE => Ok(Item::Message(ShardMessage::decode(&item)?)),
            ANNOUNCEMENT => Ok(Item::Announcement(Announcement::decode(&item)?)),
            NODE_LIST => Ok(Item::Nodes(NodeList::decode(&item)?)),
            NEWS => Ok(Item::News(News::decode(&item)?)),
            SHARD_NEWS => Ok(Item::ShardNews(News::decode(&item)?)),
            _ => Err(Fault::Field.into()),
        }
    }
}

fn length_at_start(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().map(|length| u32::from_le_bytes(*length) as usize)
}
