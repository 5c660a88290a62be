//! What parsing requests and writing replies costs: `cargo bench --bench protocol`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringmain::protocol::{Limits, Parsed, Parser, Proto, Reply};

/// As many requests as one read brings at pipeline depth 64.
const DEPTH: usize = 64;
const KEY: &[u8] = b"key:000000012345";
const VALUE: &[u8] = &[b'x'; 64];

fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Reply::new(&mut out, Proto::Resp2);
    writer.array(args.len());
    for arg in args {
        writer.bulk(arg);
    }
    out
}

/// Parses all of `input` and returns the number of arguments seen.
fn parse_all(parser: &mut Parser, input: &[u8], limits: &Limits) -> usize {
    let mut rest = input;
    let mut count = 0;
    while !rest.is_empty() {
        let Ok(Parsed::Request { consumed }) = parser.parse(rest, limits) else {
            panic!("the input is whole requests");
        };
        count += parser.args(rest).len();
        rest = &rest[consumed..];
    }
    count
}

fn parse(criterion: &mut Criterion) {
    let get = request(&[b"GET", KEY]);
    let set = request(&[b"SET", KEY, VALUE]);
    let mset = request(&[&[&b"MSET"[..]], &[KEY, VALUE].repeat(100)[..]].concat());
    let mixed = [&get[..], &set].concat().repeat(DEPTH / 2);
    let mut group = criterion.benchmark_group("parse");
    for (name, input, requests) in [
        ("get", get, 1),
        ("set_64_bytes", set.clone(), 1),
        ("mset_100", mset, 1),
        ("inline_get", b"GET key:000000012345\r\n".to_vec(), 1),
        ("inline_quoted", b"SET \"key:000000012345\" 'a b c'\r\n".to_vec(), 1),
        ("pipeline_64_set", set.repeat(DEPTH), DEPTH),
        ("pipeline_64_get_set", mixed, DEPTH),
    ] {
        let limits = Limits::authenticated();
        let mut parser = Parser::default();
        group.throughput(Throughput::Elements(requests as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| parse_all(&mut parser, black_box(&input), &limits));
        });
    }
    group.finish();
}

type Write = fn(&mut Reply<'_>);

fn reply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reply_64_times");
    let cases: [(&str, Write); 9] = [
        ("ok", |reply| reply.ok()),
        ("null", |reply| reply.null()),
        ("bulk_16_bytes", |reply| reply.bulk(black_box(KEY))),
        ("bulk_64_bytes", |reply| reply.bulk(black_box(VALUE))),
        ("bulk_1000_bytes", |reply| reply.bulk(black_box(&[b'x'; 1000]))),
        ("integer_1_digit", |reply| reply.integer(black_box(1))),
        ("integer_6_digits", |reply| reply.integer(black_box(123_456))),
        ("array_of_3_bulks", |reply| {
            reply.array(black_box(3));
            for _ in 0..3 {
                reply.bulk(black_box(KEY));
            }
        }),
        ("double", |reply| reply.double(black_box(0.1))),
    ];
    for (name, write) in cases {
        let mut out = Vec::with_capacity(128 * 1024);
        group.throughput(Throughput::Elements(DEPTH as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                let mut reply = Reply::new(&mut out, Proto::Resp2);
                for _ in 0..DEPTH {
                    write(&mut reply);
                }
                black_box(out.len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parse, reply);
criterion_main!(benches);
