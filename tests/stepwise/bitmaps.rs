//! Long strings whose bits are counted, searched and combined.

use super::harness::server::{Launch, skip_on_other_server};
use super::harness::value::Value;
use super::interrupted;

const BYTES: usize = 16 * 1024 * 1024;

#[test]
fn the_bits_of_long_strings_are_looked_at_in_steps() {
    if skip_on_other_server() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let launch = Launch::shards(1).durable("async").dir(dir.path());
    let server = launch.start();
    let [mut client, mut other, mut listener] = [server.client(), server.client(), server.client()];
    let last = i64::try_from(BYTES * 8 - 1).expect("few enough");
    // One bit in the middle and the last; of the other, the first, and it is shorter.
    for line in [
        format!("SETBIT a {} 1", last / 2),
        format!("SETBIT a {last} 1"),
        format!("SETBIT b {} 1", last / 3),
        "SETBIT b 0 1".to_owned(),
    ] {
        assert_eq!(client.words(&line), Value::Integer(0));
    }
    client.ok("CONFIG SET notify-keyspace-events EA");
    listener.words("PSUBSCRIBE __keyevent@0__:*");
    let length = BYTES as i64;
    for (line, answer) in [
        ("BITCOUNT a".to_owned(), 2),
        (format!("BITCOUNT a 1 {} BIT", last - 1), 1),
        ("BITPOS a 1".to_owned(), last / 2),
        (format!("BITPOS a 1 {} -1 BIT", last / 2 + 1), last),
        ("BITOP NOT none a".to_owned(), length),
        ("BITPOS none 0 1".to_owned(), last / 2),
        ("BITCOUNT none".to_owned(), last + 1 - 2),
        ("BITPOS none 1 -1 -1 BYTE".to_owned(), last - 7),
        ("BITOP OR either a b".to_owned(), length),
        ("BITCOUNT either".to_owned(), 4),
        ("BITOP AND both none either".to_owned(), length),
        ("BITCOUNT both".to_owned(), 2),
        ("BITOP XOR a a none".to_owned(), length),
        ("BITCOUNT a".to_owned(), last + 1),
        ("BITPOS a 0".to_owned(), last + 1),
        ("BITPOS a 0 0 -1".to_owned(), -1),
    ] {
        let is_short = line.starts_with("BITPOS none 1");
        // What it combines it may not combine again.
        let reply = if is_short || line.starts_with("BITOP") {
            client.words(&line)
        } else {
            interrupted(&mut client, &mut other, &line)
        };
        assert_eq!(reply, Value::Integer(answer), "{line}");
        if line.starts_with("BITOP") {
            let event = listener.read().expect("an event").elements()[2].text();
            assert_eq!(event, "__keyevent@0__:set", "{line}");
        }
    }
    interrupted(&mut client, &mut other, "BITOP OR again either b");
    client.ok("MULTI");
    for line in ["BITOP AND within again either", "BITCOUNT within"] {
        client.words(line);
    }
    assert_eq!(client.words("EXEC"), Value::Array(vec![Value::Integer(length), Value::Integer(4)]));
    server.stop();
    let server = launch.start();
    let mut client = server.client();
    for (key, count) in [("a", last + 1), ("both", 2), ("again", 4), ("within", 4)] {
        assert_eq!(client.words(&format!("BITCOUNT {key}")), Value::Integer(count), "{key}");
    }
}
