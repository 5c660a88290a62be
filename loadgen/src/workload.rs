//! What is asked and what may be answered. A value follows from its key, so every `GET` can be checked.

use ringmain::protocol::client::{Element, write_request};

/// The commands asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Set,
    Get,
}

/// One request: its command and its key's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) verb: Verb,
    pub(crate) key: u64,
}

/// What a reply says about its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    Right,
    /// An error reply: its code, the first word.
    Error(&'a [u8]),
    /// A reply that no server that works would give.
    Wrong,
}

/// Which requests are made.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    keys: u64,
    value_bytes: usize,
    get_percent: u8,
}

impl Workload {
    pub(crate) fn new(keys: u64, value_bytes: usize, get_percent: u8) -> Self {
        Self { keys, value_bytes, get_percent }
    }

    /// The request that `random` chooses.
    pub(crate) fn request(&self, random: &mut Random) -> Request {
        let is_get = random.below(100) < u64::from(self.get_percent);
        Request { verb: if is_get { Verb::Get } else { Verb::Set }, key: random.below(self.keys) }
    }

    /// Appends `request` to `out`.
    pub(crate) fn write(&self, request: Request, out: &mut Vec<u8>) {
        let key = self.key(request.key);
        match request.verb {
            Verb::Get => write_request(out, &[b"GET", key.as_bytes()]),
            Verb::Set => {
                let value: Vec<u8> = self.value(request.key).collect();
                write_request(out, &[b"SET", key.as_bytes(), &value]);
            }
        }
    }

    /// Judges the reply to `request`.
    pub(crate) fn judge<'a>(&self, request: Request, reply: Element<'a>) -> Verdict<'a> {
        let is_right = match (request.verb, reply) {
            (_, Element::Error(text)) => {
                return Verdict::Error(text.split(|&byte| byte == b' ').next().unwrap_or(text));
            }
            (Verb::Set, Element::Simple(text)) => text == b"OK",
            (Verb::Get, Element::Null) => true,
            (Verb::Get, Element::Bulk(value)) => value.iter().copied().eq(self.value(request.key)),
            _ => false,
        };
        if is_right { Verdict::Right } else { Verdict::Wrong }
    }

    /// The length of values is part of the key, so that runs with other lengths don't look wrong.
    fn key(&self, number: u64) -> String {
        format!("loadgen:{}:{number:012}", self.value_bytes)
    }

    /// The bytes of the key's number, over and over.
    fn value(&self, number: u64) -> impl Iterator<Item = u8> + use<> {
        number.to_le_bytes().into_iter().cycle().take(self.value_bytes)
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, fast, and even enough to choose keys by.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, by multiplying rather than dividing (Lemire, 2019); its bias is below
    /// one in 2^64 / `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let high = (u128::from(mixed ^ (mixed >> 31)) * u128::from(bound)) >> 64;
        u64::try_from(high).unwrap_or(bound - 1)
    }
}

#[cfg(test)]
mod tests {
    use ringmain::protocol::client::Element;

    use super::{Random, Request, Verb, Verdict, Workload};

    #[test]
    fn requests_follow_the_share_and_the_range() {
        let workload = Workload::new(10, 8, 25);
        let mut random = Random::new(7);
        let requests: Vec<_> = (0..10_000).map(|_| workload.request(&mut random)).collect();
        let gets = requests.iter().filter(|request| request.verb == Verb::Get).count();
        assert!((2_300..2_700).contains(&gets), "{gets} of 10,000");
        for key in 0..10 {
            let count = requests.iter().filter(|request| request.key == key).count();
            assert!((850..1_150).contains(&count), "key {key}: {count} of 10,000");
        }
        assert!(requests.iter().all(|request| request.key < 10));
    }

    #[test]
    fn a_request_is_written_as_a_client_writes_it() {
        let mut out = Vec::new();
        let workload = Workload::new(1_000, 10, 50);
        workload.write(Request { verb: Verb::Get, key: 7 }, &mut out);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$23\r\nloadgen:10:000000000007\r\n");
        out.clear();
        workload.write(Request { verb: Verb::Set, key: 0x4142 }, &mut out);
        assert_eq!(
            out,
            b"*3\r\n$3\r\nSET\r\n$23\r\nloadgen:10:000000016706\r\n$10\r\nBA\0\0\0\0\0\0BA\r\n"
        );
    }

    #[test]
    fn replies_are_judged() {
        let workload = Workload::new(1_000, 10, 50);
        let value = b"BA\0\0\0\0\0\0BA";
        let (set, get) =
            (Request { verb: Verb::Set, key: 0x4142 }, Request { verb: Verb::Get, key: 0x4142 });
        for (request, reply, verdict) in [
            (set, Element::Simple(b"OK"), Verdict::Right),
            (get, Element::Bulk(value), Verdict::Right),
            (get, Element::Null, Verdict::Right),
            (get, Element::Bulk(&value[1..]), Verdict::Wrong),
            (get, Element::Bulk(b"BB\0\0\0\0\0\0BA"), Verdict::Wrong),
            (get, Element::Simple(b"OK"), Verdict::Wrong),
            (set, Element::Null, Verdict::Wrong),
            (set, Element::Integer(1), Verdict::Wrong),
            (set, Element::Error(b"OOM command not allowed"), Verdict::Error(b"OOM")),
            (get, Element::Error(b""), Verdict::Error(b"")),
        ] {
            assert_eq!(workload.judge(request, reply), verdict, "{request:?} {reply:?}");
        }
    }
}
