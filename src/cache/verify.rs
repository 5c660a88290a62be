//! A walk over everything that panics where two parts of a keyspace disagree. For tests.

use super::Keyspace;
use super::index::{Root, Segment, Table};

impl Keyspace {
    /// Checks every count, link and note. Takes time that grows with the data.
    ///
    /// # Panics
    /// If anything is not as it should be.
    pub fn check(&self) {
        let (mut entries, mut expiring, mut segments, mut structures, mut bytes) = (0, 0, 0, 0, 0);
        for table in self.databases.all() {
            bytes += table.heads_bytes() + table.directories_bytes();
            let found = self.check_table(table);
            assert_eq!(found.0, table.len, "entries of table {}", table.number);
            assert_eq!(found.1, table.expiring, "expiring of table {}", table.number);
            entries += found.0;
            expiring += found.1;
            segments += found.2;
            structures += found.3;
        }
        assert_eq!(self.store.tables_bytes, bytes, "bytes of tables");
        assert_eq!(self.lru.check(&self.store), entries, "entries in LRU order");
        assert_eq!(self.wheel.check(&self.store), expiring, "entries in the wheel");
        assert_eq!(self.store.heap.check(), structures, "structures of entries");
        self.outcomes.check();
        assert_eq!(self.store.slab.check(), (entries, segments), "objects of the slab");
    }

    /// Entries, entries that expire, segments and structures of a table.
    fn check_table(&self, table: &Table) -> (usize, usize, usize, usize) {
        let (mut len, mut expiring, mut segments, mut structures) = (0, 0, 0, 0);
        for slot in 0..table.heads.len() {
            let before = len;
            for segment in self.segments_of(table, slot) {
                segments += 1;
                for entry in self.entries_of(segment) {
                    let spot = self.spot_of(entry);
                    assert_eq!((spot.table, spot.slot), (table.number, slot));
                    let key = self.store.key(entry);
                    let found =
                        table.find(&self.store, slot, spot.hash, |e| self.store.key(e) == key);
                    let found = found.map(|position| position.entry);
                    assert_eq!(found, Some(entry), "{key:?}");
                    len += 1;
                    expiring += usize::from(self.store.expires(entry));
                    structures += usize::from(self.store.heap_id(entry).is_some());
                }
            }
            assert_eq!(len - before, table.heads[slot].len as usize, "slot {slot}");
        }
        let summed: usize = table.sums.iter().map(|sum| *sum as usize).sum();
        assert_eq!(summed, len);
        (len, expiring, segments, structures)
    }

    fn segments_of(&self, table: &Table, slot: usize) -> Vec<Segment> {
        match table.root(slot) {
            Root::Empty => Vec::new(),
            Root::Segment(segment) => vec![segment],
            Root::Directory(number) => {
                let directory = table.directory(number);
                if !table.retired {
                    directory.check(&self.store);
                }
                directory.leaves(&self.store).iter().map(|leaf| leaf.segment).collect()
            }
        }
    }

    fn entries_of(&self, segment: Segment) -> impl Iterator<Item = super::Handle> {
        let chunks = segment.chunks(&self.store);
        chunks.iter().flat_map(|chunk| chunk.occupied().map(|place| chunk.handle(place)))
    }
}
