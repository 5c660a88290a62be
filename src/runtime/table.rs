//! The connections of one core, by token.

use super::connection::Connection;
use super::ring::Token;

/// A table whose tokens outlive their connections without ever meaning another one (within 2^24
/// reuses of an index).
#[derive(Debug, Default)]
pub(crate) struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    token: Token,
    connection: Option<Box<Connection>>,
}

impl Connections {
    /// A token for a connection about to be inserted.
    pub(crate) fn reserve(&mut self) -> Token {
        if let Some(index) = self.free.pop() {
            return self.slots[index as usize].token;
        }
        let index = u32::try_from(self.slots.len()).expect("maxclients is below 2^32");
        let token = Token { index, generation: 0 };
        self.slots.push(Slot { token, connection: None });
        token
    }

    /// Puts a connection at its token.
    pub(crate) fn put(&mut self, connection: Box<Connection>) {
        let slot = &mut self.slots[connection.token.index as usize];
        debug_assert!(slot.token == connection.token && slot.connection.is_none());
        slot.connection = Some(connection);
    }

    /// Takes the connection of `token` out, to be put back or released.
    pub(crate) fn take(&mut self, token: Token) -> Option<Box<Connection>> {
        let slot = self.slots.get_mut(token.index as usize)?;
        if slot.token == token { slot.connection.take() } else { None }
    }

    /// The connection of `token`.
    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(token.index as usize)?;
        if slot.token == token { slot.connection.as_deref_mut() } else { None }
    }

    /// Whether a token is that of a connection, in the table or taken out of it.
    pub(crate) fn is_current(&self, token: Token) -> bool {
        self.slots.get(token.index as usize).is_some_and(|slot| slot.token == token)
    }

    /// Ends the use of a token whose connection was taken out for good.
    pub(crate) fn release(&mut self, token: Token) {
        let slot = &mut self.slots[token.index as usize];
        debug_assert!(slot.token == token && slot.connection.is_none());
        slot.token = token.next();
        self.free.push(token.index);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Tokens of all connections.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = Token> + '_ {
        self.iter().map(|connection| connection.token)
    }

    /// All connections.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().filter_map(|slot| slot.connection.as_deref())
    }
}
