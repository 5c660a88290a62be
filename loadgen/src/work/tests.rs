//! The workload as the engine uses it: against a model of a server, honest or not.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use ringmain::protocol::binary::body::read_list;
use ringmain::protocol::binary::{FrameLimits, Frames, Next, Opcode, RequestFrame, RequestHead};
use ringmain::protocol::client::read_element;
use ringmain::protocol::{Limits, Parsed, Parser};
use ringmain::types::key_slot;

use super::{Op, Reply, Source, Tally, TraceOptions, Verdict, Work, WorkOptions};

fn options(mix: &str) -> WorkOptions {
    WorkOptions { mix: vec![mix.to_owned()], keys: 1_000, ..WorkOptions::default() }
}

fn work(options: &WorkOptions) -> Arc<Work> {
    let work = Arc::new(Work::new(options).unwrap());
    work.begin().unwrap();
    work
}

fn error(options: &WorkOptions) -> String {
    Work::new(options).err().unwrap()
}

/// A server of `GET`, `SET`, `MGET`, `DEL` and `INCR`; TTLs are noted, time stands still.
#[derive(Default)]
struct Model {
    store: HashMap<Vec<u8>, Vec<u8>>,
    /// What each key held before.
    before: HashMap<Vec<u8>, Vec<u8>>,
    /// Requests by name and number of arguments.
    seen: BTreeMap<String, usize>,
    requests: usize,
    /// What is done wrong, to every so-and-so-many-th request.
    fault: Option<(Fault, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A write is acknowledged and forgotten.
    Forgets,
    /// A write is acknowledged and the key removed.
    Removes,
    /// A read shows the value before.
    ShowsOld,
    /// A read shows another key's value.
    Confuses,
    /// A read shows a value with a bit turned.
    Damages,
    /// A read is answered with a number.
    Mistypes,
    /// Anything is answered with an error.
    Fails,
}

impl Model {
    /// Answers one request.
    fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        let mut parser = Parser::default();
        let parsed = parser.parse(request, &Limits::authenticated());
        assert!(
            matches!(parsed, Ok(Parsed::Request { consumed }) if consumed == request.len()),
            "{}",
            String::from_utf8_lossy(request)
        );
        let args: Vec<Vec<u8>> = parser.args(request).from(0).map(<[u8]>::to_vec).collect();
        self.requests += 1;
        let name = String::from_utf8_lossy(&args[0]).to_ascii_uppercase();
        *self.seen.entry(format!("{name}/{}", args.len() - 1)).or_default() += 1;
        let fault = self.fault.filter(|(_, each)| self.requests.is_multiple_of(*each));
        match (name.as_str(), fault.map(|(fault, _)| fault)) {
            (_, Some(Fault::Fails)) => b"-LOADING still loading\r\n".to_vec(),
            ("GET", fault) => self.get(&args[1], fault),
            ("MGET", _) => {
                let mut reply = format!("*{}\r\n", args.len() - 1).into_bytes();
                args[1..].iter().for_each(|key| reply.extend(bulk(self.store.get(key))));
                reply
            }
            ("SET", fault) => self.set(&args, fault),
            ("DEL", _) => {
                format!(":{}\r\n", u8::from(self.store.remove(&args[1]).is_some())).into()
            }
            ("INCR", _) => {
                let number: i64 = self
                    .store
                    .get(&args[1])
                    .map_or(0, |value| str::from_utf8(value).unwrap().parse().unwrap());
                self.store.insert(args[1].clone(), (number + 1).to_string().into_bytes());
                format!(":{}\r\n", number + 1).into()
            }
            _ => b"+OK\r\n".to_vec(),
        }
    }

    fn get(&self, key: &[u8], fault: Option<Fault>) -> Vec<u8> {
        let value = self.store.get(key);
        match fault {
            Some(Fault::ShowsOld) => bulk(self.before.get(key).or(value)),
            Some(Fault::Confuses) => {
                bulk(self.store.iter().find(|(other, _)| *other != key).map(|(_, value)| value))
            }
            Some(Fault::Damages) => {
                let mut value = value.cloned();
                if let Some(value) = &mut value {
                    value[30] ^= 4;
                }
                bulk(value.as_ref())
            }
            Some(Fault::Mistypes) => b":7\r\n".to_vec(),
            _ => bulk(value),
        }
    }

    fn set(&mut self, args: &[Vec<u8>], fault: Option<Fault>) -> Vec<u8> {
        match fault {
            Some(Fault::Forgets) => {}
            Some(Fault::Removes) => drop(self.store.remove(&args[1])),
            _ => {
                if let Some(before) = self.store.insert(args[1].clone(), args[2].clone()) {
                    self.before.insert(args[1].clone(), before);
                }
            }
        }
        b"+OK\r\n".to_vec()
    }
}

fn bulk(value: Option<&Vec<u8>>) -> Vec<u8> {
    match value {
        Some(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
        None => b"$-1\r\n".to_vec(),
    }
}

/// How often each verdict was given.
type Verdicts = BTreeMap<String, usize>;

fn judge(source: &mut Source, op: &Op, reply: &[u8]) -> String {
    let (first, _) = read_element(reply).unwrap().unwrap();
    match source.judge(op, &Reply::resp(first, reply)) {
        Verdict::Error(code) => format!("Error({})", String::from_utf8_lossy(code)),
        verdict => format!("{verdict:?}"),
    }
}

/// Takes up to `count` requests from each source in turn, with `depth` of them on the way at a time.
fn run(model: &mut Model, sources: &mut [Source], count: usize, depth: usize) -> Verdicts {
    let mut verdicts = Verdicts::new();
    let mut on_the_way: Vec<VecDeque<(Op, Vec<u8>)>> =
        sources.iter().map(|_| VecDeque::new()).collect();
    let mut sent = 0;
    loop {
        let mut is_idle = true;
        for (source, queue) in sources.iter_mut().zip(&mut on_the_way) {
            if let Some(op) = (sent < count && queue.len() < depth).then(|| source.next()).flatten()
            {
                let mut request = Vec::new();
                source.write_resp(&op, &mut request);
                queue.push_back((op, model.answer(&request)));
                sent += 1;
                is_idle = false;
            } else if let Some((op, reply)) = queue.pop_front() {
                *verdicts.entry(judge(source, &op, &reply)).or_default() += 1;
                is_idle = false;
            }
        }
        if is_idle {
            return verdicts;
        }
    }
}

fn sources(work: &Arc<Work>, connections: usize) -> Vec<Source> {
    (0..connections).map(|connection| work.source(connection, connections)).collect()
}

fn fill(work: &Arc<Work>, model: &mut Model, connections: usize) -> Verdicts {
    let mut sources: Vec<Source> =
        (0..connections).map(|connection| work.fill(connection, connections)).collect();
    run(model, &mut sources, usize::MAX, 3)
}

/// The first `count` requests of a connection, as bytes.
fn bytes(options: &WorkOptions, connection: usize, count: usize) -> Vec<u8> {
    let mut source = work(options).source(connection, 4);
    let mut out = Vec::new();
    for _ in 0..count {
        let op = source.next().unwrap();
        source.write_resp(&op, &mut out);
    }
    out
}

#[test]
fn a_run_follows_from_its_seed_and_the_connection() {
    let mix = "get=3,set=2,mget,hset user:{n} f {random}";
    for key_dist in ["uniform", "zipfian:1.1", "hotspot:0.1:0.8", "sequential", "latest"] {
        let options = WorkOptions {
            key_dist: key_dist.to_owned(),
            value_bytes: "lognormal:100:1".to_owned(),
            ttl: Some("1-60s".to_owned()),
            ..options(mix)
        };
        let run = bytes(&options, 1, 500);
        assert_eq!(run, bytes(&options, 1, 500), "{key_dist}");
        assert_ne!(run, bytes(&options, 2, 500), "{key_dist}");
        assert_ne!(run, bytes(&WorkOptions { seed: 2, ..options.clone() }, 1, 500), "{key_dist}");
    }
}

#[test]
fn a_mix_has_the_asked_shares_and_is_understood() {
    let work = work(&options("get=70,set=20,mget {key} {key} {key}=10"));
    let mut model = Model::default();
    assert_eq!(fill(&work, &mut model, 3), Verdicts::from([("Done".to_owned(), 1_000)]));
    assert_eq!((model.store.len(), model.requests), (1_000, 1_000));
    model.seen.clear();
    let verdicts = run(&mut model, &mut sources(&work, 3), 20_000, 4);
    assert_eq!(verdicts.keys().collect::<Vec<_>>(), ["Done", "Hit"]);
    for (name, expected) in [("GET/1", 14_000), ("SET/2", 4_000), ("MGET/3", 2_000)] {
        let count = model.seen[name];
        assert!(count.abs_diff(expected) < 300, "{name}: {count}");
    }
    assert_eq!(model.store.len(), 1_000, "all keys are within the key space");
    assert!(model.store.values().all(|value| value.len() == 64));
}

#[test]
fn the_usual_mix_writes_with_a_ttl_if_there_is_one() {
    let options = WorkOptions { ttl: Some("5".to_owned()), ..options("set") };
    let work = work(&options);
    let mut model = Model::default();
    fill(&work, &mut model, 1);
    run(&mut model, &mut sources(&work, 1), 10, 1);
    assert_eq!(model.seen, BTreeMap::from([("SET/4".to_owned(), 1_010)]));
}

#[test]
fn an_honest_server_passes_verification() {
    for (key_dist, connections, depth) in
        [("uniform", 1, 1), ("zipfian:1.2", 7, 16), ("sequential", 3, 4), ("latest", 5, 2)]
    {
        let options = WorkOptions {
            verify: true,
            key_dist: key_dist.to_owned(),
            value_bytes: "uniform:24-300".to_owned(),
            connections: connections as u64,
            started_at_unix_s: 1_000,
            ..options("get=6,set=3,mget=1,incr=1")
        };
        let work = work(&options);
        let mut model = Model::default();
        let verdicts = run(&mut model, &mut sources(&work, connections), 5_000, depth);
        assert!(verdicts.contains_key("Miss"), "not everything is written yet: {verdicts:?}");
        fill(&work, &mut model, connections);
        let verdicts = run(&mut model, &mut sources(&work, connections), 20_000, depth);
        assert_eq!(verdicts.keys().collect::<Vec<_>>(), ["Done", "Hit"], "{key_dist}");
        // A later run finds what this one left, and takes it for what it is.
        let later = self::work(&WorkOptions { started_at_unix_s: 1_001, seed: 9, ..options });
        let verdicts = run(&mut model, &mut sources(&later, connections), 20_000, depth);
        assert_eq!(verdicts.keys().collect::<Vec<_>>(), ["Done", "Hit"], "{key_dist}");
    }
}

#[test]
fn verification_finds_each_fault_of_a_server() {
    for (fault, expected) in [
        (Fault::Forgets, "Stale"),
        (Fault::Removes, "Lost"),
        (Fault::ShowsOld, "Stale"),
        (Fault::Confuses, "Foreign"),
        (Fault::Damages, "Wrong"),
        (Fault::Mistypes, "Wrong"),
        (Fault::Fails, "Error(LOADING)"),
    ] {
        let options = WorkOptions { verify: true, connections: 4, ..options("get=1,set=1") };
        let work = work(&options);
        let mut model = Model::default();
        fill(&work, &mut model, 4);
        model.fault = Some((fault, 50));
        let verdicts = run(&mut model, &mut sources(&work, 4), 10_000, 4);
        let faults: Vec<&String> =
            verdicts.keys().filter(|verdict| !matches!(verdict.as_str(), "Done" | "Hit")).collect();
        assert_eq!(faults, [expected], "{fault:?}: {verdicts:?}");
        assert!(verdicts[expected] >= 20, "{fault:?}: {verdicts:?}");
    }
}

#[test]
fn nothing_is_lost_where_keys_may_vanish() {
    for (mix, ttl) in [("get=5,set=3,del=2", None), ("get,set", Some("1".to_owned()))] {
        let work = work(&WorkOptions { verify: true, ttl, ..options(mix) });
        let mut model = Model { fault: Some((Fault::Removes, 10)), ..Model::default() };
        let verdicts = run(&mut model, &mut sources(&work, 1), 10_000, 1);
        assert_eq!(verdicts.keys().collect::<Vec<_>>(), ["Done", "Hit", "Miss"], "{mix}");
    }
}

#[test]
fn a_request_sent_again_has_a_version_of_now() {
    let work = work(&WorkOptions { verify: true, keys: 1, ..options("set") });
    let mut source = work.source(0, 1);
    let (first, second) = (source.next().unwrap(), source.next().unwrap());
    let again = source.again(&first);
    assert!(first.version < second.version && second.version < again.version);
    assert_eq!(again.key, first.key);
}

#[test]
fn misses_are_counted_and_filled_if_asked() {
    let options = WorkOptions {
        value_bytes: "100=1,200=1".to_owned(),
        fill_on_miss: true,
        ..options("get=9,mget {key} {key}=1")
    };
    let fills = work(&options);
    let mut model = Model::default();
    let mut all = sources(&fills, 1);
    run(&mut model, &mut all, 30_000, 1);
    let tally = all[0].tally();
    assert_eq!(model.seen["SET/2"] as u64, tally.misses, "every miss was followed by a write");
    assert_eq!(tally.hits + tally.misses, (model.seen["GET/1"] + 2 * model.seen["MGET/2"]) as u64);
    assert!((950..1_000 + 20).contains(&tally.misses), "each key once: {tally:?}");
    let held: usize = model.store.values().map(Vec::len).sum();
    assert!(tally.miss_bytes >= held as u64 && tally.miss_bytes < held as u64 + 4_000, "{tally:?}");
    assert!(tally.hit_bytes / tally.hits > 140 && tally.hit_bytes / tally.hits < 160, "{tally:?}");

    let does_not = work(&WorkOptions { fill_on_miss: false, ..options });
    let mut all = sources(&does_not, 1);
    let mut model = Model::default();
    run(&mut model, &mut all, 100, 1);
    assert!(model.store.is_empty());
    assert_eq!((all[0].tally().hits, all[0].tally().hit_bytes), (0, 0));
    assert!(all[0].tally().miss_bytes >= 100 * all[0].tally().misses);
}

fn trace(
    content: &str,
    change: impl FnOnce(&mut WorkOptions),
) -> (Arc<Work>, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    let (path, format) = (file.path().to_owned(), "auto".to_owned());
    let trace = Some(TraceOptions { path, format, speed: None });
    let mut options = WorkOptions { trace, ..WorkOptions::default() };
    change(&mut options);
    (work(&options), file)
}

#[test]
fn a_trace_is_replayed_through_all_connections() {
    let lines = "1,set,a,5,0\n1,get,a,5,0\n2,set,b,30,60\n2,get,b,30\n3,incr,a\n3,delete,b\n4,get,b,30\n\
                 5,add,c,3,9\n5,replace,c,4\n6,append,c,2\n7,touch,c\n7,touch,c,,5\n";
    let (work, _file) = trace(lines, |_| {});
    let names: Vec<&str> = work.commands().iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(
        names,
        ["get", "set", "add", "replace", "append", "delete", "incr", "decr", "touch", "fill"]
    );
    let mut model = Model::default();
    let mut all = sources(&work, 3);
    run(&mut model, &mut all, usize::MAX, 1);
    let seen: Vec<(&str, usize)> =
        model.seen.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(
        seen,
        [
            ("APPEND/2", 1),
            ("DEL/1", 1),
            ("GET/1", 3),
            ("INCR/1", 1),
            ("PEXPIRE/2", 1),
            ("SET/2", 1),
            ("SET/3", 1),
            ("SET/4", 1),
            ("SET/5", 1),
            ("TOUCH/1", 1),
        ]
    );
    assert_eq!(all.iter().map(|source| source.tally().hits).sum::<u64>(), 2);
    assert_eq!(work.remarks(), [""; 0]);
}

#[test]
fn a_replay_fills_what_it_misses_with_the_traces_sizes() {
    let lines =
        "0,k1,20,100,1,get,0\n1,k2,20,200,1,get,0\n2,k1,20,100,1,get,0\n3,k3,40,0,1,get,0\n";
    let (work, _file) = trace(lines, |options| {
        options.fill_on_miss = true;
        options.value_bytes = "7".to_owned();
        options.key_prefix = Some(String::new());
    });
    let mut model = Model::default();
    let mut all = sources(&work, 1);
    run(&mut model, &mut all, usize::MAX, 1);
    let tally = Tally { hits: 1, misses: 3, hit_bytes: 100, miss_bytes: 307 };
    assert_eq!(all[0].tally(), tally);
    let mut lengths: Vec<_> =
        model.store.iter().map(|(key, value)| (key.len(), value.len())).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [(20, 100), (20, 200), (40, 7)]);
}

#[test]
fn a_timed_replay_says_when_each_request_is_due() {
    let (work, _file) = trace("0.5,get,a\n1.5,get,b\n3.5,get,c\n", |options| {
        options.trace.as_mut().unwrap().speed = Some(2.0);
        options.fill_on_miss = true;
    });
    let mut source = work.source(0, 1);
    assert_eq!(source.due(), Some(Duration::ZERO));
    let first = source.next().unwrap();
    assert_eq!(source.due(), Some(Duration::from_millis(500)));
    assert_eq!(judge(&mut source, &first, b"$-1\r\n"), "Miss");
    assert_eq!(source.due(), None, "the write that follows a miss does not wait");
    assert_eq!(source.next().map(|op| op.key), Some(first.key));
    assert!(source.next().is_some());
    assert_eq!(source.due(), Some(Duration::from_millis(1_500)));
    assert!(source.next().is_some());
    assert_eq!((source.due(), source.next()), (None, None));
}

#[test]
fn slots_are_those_of_the_keys_that_are_sent() {
    for (mix, prefix) in
        [("get", "key:"), ("get", "{tag}:"), ("set user:{{{n}}}:x {value}", ""), ("lpop", "")]
    {
        let options = WorkOptions { key_prefix: Some(prefix.to_owned()), ..options(mix) };
        let mut source = work(&options).source(0, 1);
        for _ in 0..100 {
            let op = source.next().unwrap();
            let mut request = Vec::new();
            source.write_resp(&op, &mut request);
            let mut parser = Parser::default();
            parser.parse(&request, &Limits::authenticated()).unwrap();
            let key = parser.args(&request).at(1);
            assert_eq!(source.slot(&op), key_slot(key).0, "{mix}");
        }
    }
    let mut pings = work(&options("ping")).source(0, 1);
    let slots: std::collections::HashSet<u16> =
        (0..100).map(|key| pings.slot(&Op { key, ..Op::default() })).collect();
    assert!(slots.len() > 80, "requests without a key go anywhere: {slots:?}");
}

/// The same keys and values, whichever protocol is spoken.
#[test]
fn the_binary_protocol_asks_what_resp_asks() {
    for mix in ["get", "set", "mget", "mset", "append", "strlen", "set x{n} a{value}b px 5"] {
        let options = WorkOptions { binary: true, ..options(mix) };
        let (mut as_resp, mut as_binary) =
            (work(&options).source(0, 1), work(&options).source(0, 1));
        let mut frame = RequestFrame::default();
        for id in 0..100 {
            let (op, same) = (as_resp.next().unwrap(), as_binary.next().unwrap());
            assert_eq!(op, same);
            let (mut request, mut out) = (Vec::new(), Vec::new());
            as_resp.write_resp(&op, &mut request);
            as_binary.write_binary(&op, id, &mut frame).unwrap();
            frame.finish(&mut out);
            let mut parser = Parser::default();
            parser.parse(&request, &Limits::authenticated()).unwrap();
            let args = parser.args(&request);
            let mut frames = Frames::<RequestHead>::default();
            let next = frames.next(&out, 0, &FrameLimits::WIDEST);
            let Ok(Next::Item(item)) = next else { panic!("{mix}: {next:?}") };
            assert_eq!((item.head.id, item.end), (id, out.len()));
            let body = &out[item.start + item.head.flags.extras_bytes()..];
            let opcode = Opcode::from_number(item.head.opcode).unwrap();
            let sent: Vec<&[u8]> = match opcode {
                Opcode::GetMany | Opcode::SetMany | Opcode::Command => read_list(body).unwrap(),
                _ => {
                    let (key, value) = body.split_at(usize::from(item.head.key_bytes));
                    [key, value].into_iter().filter(|part| !part.is_empty()).collect()
                }
            };
            let skipped = usize::from(opcode != Opcode::Command);
            let asked: Vec<&[u8]> = args.from(skipped).take(sent.len()).collect();
            assert_eq!(sent, asked, "{mix}");
            if opcode != Opcode::Command {
                assert_eq!(item.head.slot, key_slot(args.at(1)), "{mix}");
            }
        }
    }
}

#[test]
fn a_request_that_no_frame_takes_is_refused() {
    let huge =
        |mix| WorkOptions { binary: true, value_bytes: "500000000".to_owned(), ..options(mix) };
    assert!(Work::new(&huge("set")).is_ok());
    let said = error(&huge("mset"));
    assert!(said.contains("--mix `mset`") && said.contains("frame"), "{said}");
}

#[test]
fn nonsense_is_refused_in_a_sentence() {
    let base = || options("get,set");
    for (options, part) in [
        (WorkOptions { keys: 0, ..base() }, "--keys 0"),
        (WorkOptions { key_dist: "x".to_owned(), ..base() }, "--key-dist x"),
        (WorkOptions { value_bytes: "-1".to_owned(), ..base() }, "--value-bytes -1"),
        (WorkOptions { ttl: Some("0".to_owned()), ..base() }, "--ttl 0"),
        (WorkOptions { key_prefix: Some("x".repeat(257)), ..base() }, "--key-prefix is longer"),
        (
            WorkOptions { verify: true, value_bytes: "8".to_owned(), ..base() },
            "values need at least 24 bytes with --verify",
        ),
        (
            WorkOptions { verify: true, keys: 3, connections: 4, ..base() },
            "at least one for each of 4",
        ),
        (WorkOptions { verify: true, fill_on_miss: true, ..base() }, "exclude each other"),
        (
            WorkOptions { verify: true, keys: 1 << 30, ..base() },
            "--verify can follow 67108864 keys",
        ),
        (
            WorkOptions {
                trace: Some(TraceOptions {
                    path: "/nonexistent".into(),
                    format: "auto".to_owned(),
                    speed: None,
                }),
                ..base()
            },
            "--trace /nonexistent: No such file",
        ),
    ] {
        let error = error(&options);
        assert!(error.contains(part), "{part}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

/// What drawing and writing a request costs: `cargo test --release -p loadgen -- --ignored --nocapture cost`.
#[test]
#[ignore = "a measurement, for a quiet machine and a release build"]
fn cost_of_a_request() {
    const COUNT: u32 = 3_000_000;
    println!("{:<44}{:>8}{:>8}{:>8}", "ns a request", "next", "write", "judge");
    for (name, mix, key_dist, value_bytes, verify) in [
        ("get, uniform", "get", "uniform", "64", false),
        ("get, zipfian:0.99", "get", "zipfian:0.99", "64", false),
        ("get, zipfian:1.3", "get", "zipfian:1.3", "64", false),
        ("set 64 B, uniform", "set", "uniform", "64", false),
        ("set 64 B, length drawn, uniform", "set", "uniform", "uniform:64-64", false),
        ("set 1 KiB, uniform", "set", "uniform", "1024", false),
        ("get=90,set=10, 64 B, uniform", "get=90,set=10", "uniform", "64", false),
        (
            "get=90,set=10, log-normal 300, zipfian",
            "get=90,set=10",
            "zipfian",
            "lognormal:300:1.2",
            false,
        ),
        ("get=90,set=10, 64 B, uniform, --verify", "get=90,set=10", "uniform", "64", true),
        ("mget of ten, uniform", "mget", "uniform", "64", false),
    ] {
        let work = work(&WorkOptions {
            verify,
            keys: 1_000_000,
            key_dist: key_dist.to_owned(),
            value_bytes: value_bytes.to_owned(),
            ..options(mix)
        });
        let mut source = work.source(0, 1);
        let (mut out, mut bytes) = (Vec::with_capacity(1 << 20), 0);
        let mut model = Vec::new();
        work.values.append(1, 1, 64, &mut model);
        let hit = bulk(Some(&model));
        let mut spent = [Duration::ZERO; 3];
        let mut ops = Vec::with_capacity(1_000);
        for _ in 0..COUNT / 1_000 {
            let start = std::time::Instant::now();
            ops.extend((0..1_000).map_while(|_| source.next()));
            spent[0] += start.elapsed();
            let start = std::time::Instant::now();
            for op in &ops {
                if out.len() > 1 << 18 {
                    out.clear();
                }
                source.write_resp(op, &mut out);
                bytes += out.len();
            }
            spent[1] += start.elapsed();
            let start = std::time::Instant::now();
            for op in &ops {
                let is_set = work.command(op).template.has_value;
                let reply: &[u8] = if is_set { b"+OK\r\n" } else { &hit };
                let (first, _) = read_element(reply).unwrap().unwrap();
                std::hint::black_box(source.judge(op, &Reply::resp(first, reply)));
            }
            spent[2] += start.elapsed();
            ops.clear();
        }
        assert!(bytes > 0);
        let ns = spent.map(|spent| spent.as_nanos() as f64 / f64::from(COUNT));
        println!("{name:<44}{:>8.1}{:>8.1}{:>8.1}", ns[0], ns[1], ns[2]);
    }
}
