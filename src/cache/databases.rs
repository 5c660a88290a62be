//! The shard's databases: which table each one is, and the tables that have been flushed.
//!
//! Exchanging two databases exchanges two numbers. Flushing one gives it a new, empty table; the old
//! one is *retired*: its entries stay linked and counted until `reclaim` has taken them out.

use std::collections::VecDeque;

use super::entry::Store;
use super::index::Table;
use crate::limits::DATABASES;
use crate::types::DbIndex;

/// Table numbers; 255 marks free objects of the slab.
const TABLES_MAX: usize = 255;

const _: () = assert!((DATABASES as usize) < TABLES_MAX);

/// How far a retired table has been cleared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    pub(super) table: u8,
    pub(super) slot: usize,
    /// Where a slot has a directory: the segment that is being cleared.
    pub(super) prefix: u32,
    pub(super) chunk: usize,
}

/// All tables of a shard.
#[derive(Debug)]
pub(super) struct Databases {
    table_of: [u8; DATABASES as usize],
    /// By number.
    tables: Vec<Table>,
    free: Vec<u8>,
    slots: usize,
    /// Retired tables, the first one being cleared.
    pub(super) retired: VecDeque<Sweep>,
}

impl Databases {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            table_of: std::array::from_fn(|db| u8::try_from(db).expect("few databases")),
            tables: (0..DATABASES).map(|number| Table::new(number, slots)).collect(),
            free: Vec::new(),
            slots,
            retired: VecDeque::new(),
        }
    }

    /// The number of a database's table.
    #[inline]
    pub(super) fn number(&self, db: DbIndex) -> u8 {
        self.table_of[usize::from(db.0)]
    }

    /// The table of a database.
    #[inline]
    pub(super) fn of(&self, db: DbIndex) -> &Table {
        self.table(self.number(db))
    }

    #[inline]
    pub(super) fn table(&self, number: u8) -> &Table {
        &self.tables[usize::from(number)]
    }

    #[inline]
    pub(super) fn table_mut(&mut self, number: u8) -> &mut Table {
        &mut self.tables[usize::from(number)]
    }

    /// The database whose table it is; none if the table has been flushed.
    pub(super) fn db_of(&self, number: u8) -> Option<DbIndex> {
        let db = self.table_of.iter().position(|of| *of == number)?;
        u8::try_from(db).ok().map(DbIndex)
    }

    /// The tables of all databases.
    pub(super) fn live(&self) -> impl Iterator<Item = &Table> {
        self.table_of.iter().map(|number| self.table(*number))
    }

    /// All tables, retired ones too.
    pub(super) fn all(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter()
    }

    pub(super) fn swap(&mut self, a: DbIndex, b: DbIndex) {
        self.table_of.swap(usize::from(a.0), usize::from(b.0));
    }

    /// Whether there is a number for one table more.
    pub(super) fn can_retire(&self) -> bool {
        !self.free.is_empty() || self.tables.len() < TABLES_MAX
    }

    /// Gives a database a new, empty table. There is a number for it: see `can_retire`.
    pub(super) fn retire(&mut self, db: DbIndex) {
        let number = self.free.pop().unwrap_or_else(|| {
            let number = u8::try_from(self.tables.len()).expect("asked before");
            self.tables.push(Table::new(number, self.slots));
            number
        });
        let old = std::mem::replace(&mut self.table_of[usize::from(db.0)], number);
        self.table_mut(old).retired = true;
        self.retired.push_back(Sweep { table: old, slot: 0, prefix: 0, chunk: 0 });
    }

    /// The first retired table has been cleared: its number is free again.
    pub(super) fn drop_retired(&mut self, store: &mut Store) {
        if let Some(Sweep { table, .. }) = self.retired.pop_front() {
            debug_assert_eq!(self.table(table).len, 0);
            store.tables_bytes -= self.table(table).heads_bytes();
            *self.table_mut(table) = Table::new(table, self.slots);
            self.free.push(table);
        }
    }
}
