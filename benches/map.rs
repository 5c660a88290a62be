//! The map of one shard: keys of 16 bytes, values of 64, in random order.
//!
//! `cargo bench --bench map`. The sizes are what fits the second-level cache, the benchmark
//! programs' usual 100,000 keys, and a million.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringmain::cache::{Access, Expiry, Keyspace, KeyspaceOptions};
use ringmain::types::{DbIndex, Key, SLOT_COUNT, Slot, UnixMs, key_slot};

const DB: DbIndex = DbIndex(0);
const NOW: UnixMs = UnixMs(1_700_000_000_000);
const VALUE: [u8; 64] = [7; 64];
const SIZES: [usize; 3] = [10_000, 100_000, 1_000_000];
/// Keys that a pipeline brings at once.
const BATCH: usize = 16;
/// Lookups prepared ahead, so that only the map is measured.
const LOOKUPS: usize = 1 << 18;

/// A key with its slot, as it comes from the router.
#[derive(Clone, Copy)]
struct Name {
    bytes: [u8; 16],
    slot: Slot,
}

impl Name {
    fn new(prefix: &str, number: usize) -> Self {
        let text = format!("{prefix}:{number:012}");
        let bytes = text.as_bytes().try_into().expect("16 bytes");
        Self { bytes, slot: key_slot(&bytes) }
    }

    fn key(&self) -> Key<'_> {
        Key { db: DB, slot: self.slot, bytes: &self.bytes }
    }
}

fn empty() -> Keyspace {
    Keyspace::new(KeyspaceOptions { slots: 0..SLOT_COUNT, seed: 1, sequence: 0 })
}

fn filled(keys: usize, expiry: Expiry) -> Keyspace {
    let mut keyspace = empty();
    for number in 0..keys {
        keyspace.set(Name::new("key", number).key(), &VALUE, expiry, NOW);
    }
    keyspace
}

/// Names in an order that no prefetcher guesses.
fn lookups(prefix: &str, keys: usize) -> Vec<Name> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).expect("31 bits") % keys
    };
    (0..LOOKUPS).map(|_| Name::new(prefix, next())).collect()
}

fn get(criterion: &mut Criterion) {
    for (name, prefix) in [("get hit", "key"), ("get miss", "yek")] {
        let mut group = criterion.benchmark_group(name);
        for keys in SIZES {
            let mut keyspace = filled(keys, Expiry::Clear);
            let names = lookups(prefix, keys);
            let mut names = names.iter().cycle();
            group.bench_function(BenchmarkId::from_parameter(keys), |bencher| {
                bencher.iter(|| {
                    let name = names.next().expect("a cycle");
                    let entry = keyspace.get(name.key(), NOW, Access::Read);
                    black_box(entry.map(|entry| entry.string().expect("a string")[0]))
                });
            });
        }
    }
}

fn get_batch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("get hit, 16 looked ahead");
    group.throughput(Throughput::Elements(BATCH as u64));
    for keys in SIZES {
        let mut keyspace = filled(keys, Expiry::Clear);
        let names = lookups("key", keys);
        let mut batches = names.chunks(BATCH).cycle();
        group.bench_function(BenchmarkId::from_parameter(keys), |bencher| {
            bencher.iter(|| {
                let batch = batches.next().expect("a cycle");
                keyspace.prefetch_all(batch.iter().map(Name::key));
                for name in batch {
                    let entry = keyspace.get(name.key(), NOW, Access::Read);
                    black_box(entry.map(|entry| entry.string().expect("a string")[0]));
                }
            });
        });
    }
}

fn set(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("set overwrite");
    for keys in SIZES {
        let mut keyspace = filled(keys, Expiry::Clear);
        let names = lookups("key", keys);
        let mut names = names.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(keys), |bencher| {
            bencher.iter(|| {
                let name = names.next().expect("a cycle");
                keyspace.set(name.key(), &VALUE, Expiry::Clear, NOW);
            });
        });
    }
}

fn insert(criterion: &mut Criterion) {
    const KEYS: usize = 100_000;
    let names: Vec<Name> = (0..KEYS).map(|number| Name::new("key", number)).collect();
    let mut group = criterion.benchmark_group("set insert");
    group.sample_size(10).throughput(Throughput::Elements(KEYS as u64));
    group.bench_function(BenchmarkId::from_parameter(KEYS), |bencher| {
        bencher.iter_batched_ref(
            empty,
            |keyspace| {
                for name in &names {
                    keyspace.set(name.key(), &VALUE, Expiry::Clear, NOW);
                }
            },
            BatchSize::PerIteration,
        );
    });
}

fn expire(criterion: &mut Criterion) {
    const KEYS: usize = 100_000;
    let due = UnixMs(NOW.0 + 10_000);
    let mut group = criterion.benchmark_group("expire");
    group.sample_size(10).throughput(Throughput::Elements(KEYS as u64));
    group.bench_function(BenchmarkId::from_parameter(KEYS), |bencher| {
        bencher.iter_batched_ref(
            || filled(KEYS, Expiry::At(UnixMs(NOW.0 + 1000))),
            |keyspace| while keyspace.expire_due(due, 200) {},
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, get, get_batch, set, insert, expire);
criterion_main!(benches);
