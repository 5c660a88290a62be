//! One shard's log without a disk: writing changes down, making records of them, and reading them again.
//! Changes are SETs of keys of 16 bytes to values of 64.
//!
//! `cargo bench --bench log`. The disk's share is in `cargo bench --bench compare -- --only durable`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringmain::cache::{Expiry, Keyspace, KeyspaceOptions};
use ringmain::log::{Directory, Effect, Manifest, Recovery, Stream, StreamOptions, create};
use ringmain::shard::Shard;
use ringmain::types::{DbIndex, Key, MonoUs, Now, SLOT_COUNT, ShardId};

#[path = "../tests/feed/memory.rs"]
mod memory;

use memory::Memory;

const VALUE: [u8; 64] = [7; 64];
const ID: [u8; 16] = [3; 16];
/// Changes of one record: what a turn under load brings.
const CHANGES: usize = 64;
const RECORDS: usize = 1 << 13;
const OPTIONS: StreamOptions =
    StreamOptions { segment_bytes: 64 << 20, align_bytes: 512, fill: false };

fn keyspace() -> Keyspace {
    let mut keyspace =
        Keyspace::new(KeyspaceOptions { slots: 0..SLOT_COUNT, seed: 1, sequence: 0 });
    keyspace.set_journal(true);
    keyspace
}

fn now(turn: usize) -> Now {
    let mono = MonoUs(turn as u64 * 10_000);
    Now::new(
        std::time::Duration::from_secs(1_700_000_000) + std::time::Duration::from_micros(mono.0),
        mono,
    )
}

fn change(keyspace: &mut Keyspace, number: usize) {
    let name = format!("key:{number:012}");
    keyspace.set(Key::new(DbIndex(0), name.as_bytes()), &VALUE, Expiry::Clear, now(0).unix);
}

fn open(memory: &mut Memory) -> Recovery<Vec<u8>> {
    Recovery::open(memory, ShardId(0), 1, ID).expect("an undamaged log")
}

/// Steps a stream and performs what it asks for, until it asks for nothing more.
fn perform(memory: &mut Memory, stream: &mut Stream, now: Now, effects: Vec<Effect>) {
    perform_with(memory, stream, now, effects, true);
}

/// The same; what is written is kept or not.
fn perform_with(
    memory: &mut Memory,
    stream: &mut Stream,
    now: Now,
    mut effects: Vec<Effect>,
    keep: bool,
) {
    while !effects.is_empty() {
        for effect in std::mem::take(&mut effects) {
            match effect {
                Effect::Write { file, offset, buffer, .. } => {
                    if keep {
                        memory.write(&file.name(), offset.0, buffer.bytes()).expect("memory");
                    }
                    stream.written(file, buffer, Ok(()), now, &mut effects);
                }
                Effect::Sync(file) => stream.synced(file, Ok(()), &mut effects),
                Effect::Job(job) => {
                    if keep {
                        job.perform(memory).expect("memory");
                    }
                    stream.done(Ok(()), now, &mut effects);
                }
                Effect::Close(_)
                | Effect::SaveHardState(_)
                | Effect::StartOver(..)
                | Effect::ReadAgain(_) => {}
            }
        }
    }
}

/// A new log.
fn started(memory: &mut Memory) -> Stream {
    create(memory, &Manifest::new(ShardId(0), 1, ID)).expect("memory does not fail");
    let mut recovery = open(memory);
    while recovery.step(|_| Some(0)).expect("an undamaged log") {}
    let mut stream = Stream::new(recovery.finish(), OPTIONS);
    let mut effects = Vec::new();
    stream.step(now(0), 0, false, &mut effects);
    perform(memory, &mut stream, now(0), effects);
    stream
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("log/encode");
    group.throughput(Throughput::Elements(CHANGES as u64));
    for on in [false, true] {
        let mut keyspace = keyspace();
        keyspace.set_journal(on);
        group.bench_function(if on { "set, noted" } else { "set" }, |b| {
            b.iter(|| {
                (0..CHANGES).for_each(|number| change(&mut keyspace, number));
                black_box(keyspace.changes(now(0).unix));
                keyspace.clear_changes();
            });
        });
    }
    group.finish();
}

fn append_plan(c: &mut Criterion) {
    let mut keyspace = keyspace();
    (0..CHANGES).for_each(|number| change(&mut keyspace, number));
    let payload = keyspace.changes(now(0).unix).expect("short changes").to_vec();
    let mut group = c.benchmark_group("log/append plan");
    group.throughput(Throughput::Bytes(payload.len() as u64));
    let (mut memory, mut turn) = (Memory::default(), 0);
    let mut stream = started(&mut memory);
    group.bench_function("record of 64 changes", |b| {
        b.iter(|| {
            turn += 1;
            let mut effects = Vec::new();
            assert!(stream.step(now(turn), payload.len(), true, &mut effects));
            stream.write(now(turn), &payload, true, &mut effects);
            perform_with(&mut memory, &mut stream, now(turn), effects, false);
        });
    });
    group.finish();
}

/// A log of half a million changes to as many keys.
fn filled() -> Memory {
    let (mut memory, mut keyspace) = (Memory::default(), keyspace());
    let mut stream = started(&mut memory);
    for turn in 0..RECORDS {
        (0..CHANGES).for_each(|number| change(&mut keyspace, turn * CHANGES + number));
        let mut effects = Vec::new();
        let length = keyspace.changes_len();
        while !stream.step(now(turn), length, true, &mut effects) {
            perform(&mut memory, &mut stream, now(turn), std::mem::take(&mut effects));
        }
        let changes = keyspace.changes(now(turn).unix).expect("short changes");
        stream.write(now(turn), changes, true, &mut effects);
        perform(&mut memory, &mut stream, now(turn), effects);
        keyspace.clear_changes();
    }
    memory
}

fn recovery(c: &mut Criterion) {
    let mut memory = filled();
    let mut group = c.benchmark_group("log/recovery");
    group.sample_size(10).throughput(Throughput::Elements((RECORDS * CHANGES) as u64));
    group.bench_function("scan", |b| {
        b.iter_batched(
            || open(&mut memory),
            |mut recovery| while recovery.step(|_| Some(1)).expect("an undamaged log") {},
            criterion::BatchSize::PerIteration,
        );
    });
    group.bench_function("scan and replay", |b| {
        b.iter_batched(
            || {
                let options = KeyspaceOptions { slots: 0..SLOT_COUNT, seed: 1, sequence: 0 };
                (open(&mut memory), Shard::new(ShardId(0), options))
            },
            |(mut recovery, mut shard)| {
                while recovery.step(|item| shard.recover(item)).expect("an undamaged log") {}
                assert_eq!(shard.keyspace().len(DbIndex(0)), RECORDS * CHANGES);
                shard
            },
            criterion::BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, encode, append_plan, recovery);
criterion_main!(benches);
