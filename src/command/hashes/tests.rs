//! Scripts for the commands on hashes. The replies of the first are those of Redis 7.0.15, of the second those
//! that Redis 7.4 documents.

use crate::command::replay::{Peer, Shards, bulks, check};
use crate::protocol::Proto;

pub(crate) const SCRIPT: &[(&str, &str)] = &[
    // Arity.
    ("HSET a b", "-ERR wrong number of arguments for 'hset' command"),
    ("HSET a b 1 c", "-ERR wrong number of arguments for 'hset' command"),
    ("HMSET a b 1 c", "-ERR wrong number of arguments for 'hmset' command"),
    ("HSETNX a b", "-ERR wrong number of arguments for 'hsetnx' command"),
    ("HGET a", "-ERR wrong number of arguments for 'hget' command"),
    ("HGET a b c", "-ERR wrong number of arguments for 'hget' command"),
    ("HMGET a", "-ERR wrong number of arguments for 'hmget' command"),
    ("HGETALL a b", "-ERR wrong number of arguments for 'hgetall' command"),
    ("HDEL a", "-ERR wrong number of arguments for 'hdel' command"),
    ("HSCAN a", "-ERR wrong number of arguments for 'hscan' command"),
    ("HRANDFIELD", "-ERR wrong number of arguments for 'hrandfield' command"),
    // What is missing.
    ("HGET a b", "$-1"),
    ("HMGET a b c", "*2⏎$-1⏎$-1"),
    ("HGETALL a", "*0"),
    ("HKEYS a", "*0"),
    ("HVALS a", "*0"),
    ("HLEN a", ":0"),
    ("HSTRLEN a b", ":0"),
    ("HEXISTS a b", ":0"),
    ("HDEL a b c", ":0"),
    ("HRANDFIELD a", "$-1"),
    ("HRANDFIELD a 5", "*0"),
    ("HSCAN a 0", "*2⏎$1⏎0⏎*0"),
    ("HSCAN a 0 FOO", "*2⏎$1⏎0⏎*0"),
    ("HSCAN a x", "-ERR invalid cursor"),
    ("EXISTS a", ":0"),
    // Fields set, read and removed.
    ("HSET a f 1", ":1"),
    ("TYPE a", "+hash"),
    ("OBJECT ENCODING a", "$8⏎listpack"),
    ("HSET a f 2 g 3 h 4 g 5", ":2"),
    ("HGETALL a", "*6⏎$1⏎f⏎$1⏎2⏎$1⏎g⏎$1⏎5⏎$1⏎h⏎$1⏎4"),
    ("HMSET a f 7 i 8", "+OK"),
    ("HKEYS a", "*4⏎$1⏎f⏎$1⏎g⏎$1⏎h⏎$1⏎i"),
    ("HVALS a", "*4⏎$1⏎7⏎$1⏎5⏎$1⏎4⏎$1⏎8"),
    ("HMGET a i none f i", "*4⏎$1⏎8⏎$-1⏎$1⏎7⏎$1⏎8"),
    ("HGET a g", "$1⏎5"),
    ("HGET a G", "$-1"),
    ("HLEN a", ":4"),
    ("HEXISTS a f", ":1"),
    ("HEXISTS a none", ":0"),
    ("HSETNX a f 9", ":0"),
    ("HSETNX a j 9", ":1"),
    ("HMGET a f j", "*2⏎$1⏎7⏎$1⏎9"),
    ("HDEL a f none f g", ":2"),
    ("HKEYS a", "*3⏎$1⏎h⏎$1⏎i⏎$1⏎j"),
    ("HDEL a h i j", ":3"),
    ("EXISTS a", ":0"),
    ("HSETNX a f 1", ":1"),
    ("DEL a", ":1"),
    (r#"HSET a "" "" 12 -3 x\x00y "a\x0d\x0ab""#, ":3"),
    (r#"HMGET a "" 12 x\x00y 012"#, r#"*4⏎$0⏎⏎$2⏎-3⏎$4⏎a⏎b⏎$-1"#),
    ("HSTRLEN a 12", ":2"),
    (r#"HSTRLEN a "x\x00y""#, ":4"),
    ("HSTRLEN a none", ":0"),
    // Numbers.
    ("DEL a", ":1"),
    ("HINCRBY a n 5", ":5"),
    ("HINCRBY a n -8", ":-3"),
    ("HINCRBY a n x", "-ERR value is not an integer or out of range"),
    ("HINCRBY a n 1.5", "-ERR value is not an integer or out of range"),
    ("HSET a max 9223372036854775807 min -9223372036854775808 text abc float 1.5", ":4"),
    ("HINCRBY a max 1", "-ERR increment or decrement would overflow"),
    ("HINCRBY a min -1", "-ERR increment or decrement would overflow"),
    ("HINCRBY a max -1", ":9223372036854775806"),
    ("HINCRBY a text 1", "-ERR hash value is not an integer"),
    ("HINCRBY a float 1", "-ERR hash value is not an integer"),
    ("HSET a n 01", ":0"),
    ("HINCRBY a n 1", "-ERR hash value is not an integer"),
    ("HINCRBY none n x", "-ERR value is not an integer or out of range"),
    ("HINCRBYFLOAT a float 1.25", "$4⏎2.75"),
    ("HGET a float", "$4⏎2.75"),
    ("HINCRBYFLOAT a new 0.1", "$3⏎0.1"),
    ("HINCRBYFLOAT a new 0.2", "$3⏎0.3"),
    ("HINCRBYFLOAT a new -0.3", "$1⏎0"),
    ("HINCRBYFLOAT a new 5.0e3", "$4⏎5000"),
    ("HINCRBYFLOAT a text 1", "-ERR hash value is not a float"),
    ("HINCRBYFLOAT a text x", "-ERR value is not a valid float"),
    ("HINCRBYFLOAT a new nan", "-ERR value is not a valid float"),
    ("HINCRBYFLOAT a new inf", "-ERR value is NaN or Infinity"),
    ("HINCRBYFLOAT none new -inf", "-ERR value is NaN or Infinity"),
    ("HSET a new inf", ":0"),
    ("HINCRBYFLOAT a new 1", "-ERR increment would produce NaN or Infinity"),
    ("EXISTS none", ":0"),
    // Fields at random.
    ("DEL a", ":1"),
    ("HSET a f 1", ":1"),
    ("HRANDFIELD a", "$1⏎f"),
    ("HRANDFIELD a 0", "*0"),
    ("HRANDFIELD a 7", "*1⏎$1⏎f"),
    ("HRANDFIELD a -3", "*3⏎$1⏎f⏎$1⏎f⏎$1⏎f"),
    ("HRANDFIELD a 7 WITHVALUES", "*2⏎$1⏎f⏎$1⏎1"),
    ("HRANDFIELD a -2 withvalues", "*4⏎$1⏎f⏎$1⏎1⏎$1⏎f⏎$1⏎1"),
    ("HSET a g 2 h 3", ":2"),
    ("HRANDFIELD a 3", "*3⏎$1⏎f⏎$1⏎g⏎$1⏎h"),
    ("HRANDFIELD a 4 WITHVALUES", "*6⏎$1⏎f⏎$1⏎1⏎$1⏎g⏎$1⏎2⏎$1⏎h⏎$1⏎3"),
    ("HRANDFIELD a x", "-ERR value is not an integer or out of range"),
    ("HRANDFIELD none x", "-ERR value is not an integer or out of range"),
    ("HRANDFIELD a 1 foo", "-ERR syntax error"),
    ("HRANDFIELD none 1 foo", "-ERR syntax error"),
    ("HRANDFIELD a 1 WITHVALUES foo", "-ERR syntax error"),
    (
        "HRANDFIELD a -9223372036854775808",
        "-ERR value is out of range, value must between -9223372036854775807 and \
         9223372036854775807",
    ),
    ("HRANDFIELD a -9223372036854775807 WITHVALUES", "-ERR value is out of range"),
    ("HRANDFIELD a 4611686018427387904 WITHVALUES", "-ERR value is out of range"),
    ("HRANDFIELD a 9223372036854775808", "-ERR value is not an integer or out of range"),
    ("HRANDFIELD a 9223372036854775807", "*3⏎$1⏎f⏎$1⏎g⏎$1⏎h"),
    // Walks.
    ("HSCAN a 0", "*2⏎$1⏎0⏎*6⏎$1⏎f⏎$1⏎1⏎$1⏎g⏎$1⏎2⏎$1⏎h⏎$1⏎3"),
    ("HSCAN a 17 COUNT 1", "*2⏎$1⏎0⏎*6⏎$1⏎f⏎$1⏎1⏎$1⏎g⏎$1⏎2⏎$1⏎h⏎$1⏎3"),
    ("HSCAN a 0 MATCH [fh] count 100", "*2⏎$1⏎0⏎*4⏎$1⏎f⏎$1⏎1⏎$1⏎h⏎$1⏎3"),
    ("HSCAN a 0 MATCH none", "*2⏎$1⏎0⏎*0"),
    ("HSCAN a x", "-ERR invalid cursor"),
    ("HSCAN a 0 MATCH", "-ERR syntax error"),
    ("HSCAN a 0 COUNT 0", "-ERR syntax error"),
    ("HSCAN a 0 COUNT x", "-ERR value is not an integer or out of range"),
    ("HSCAN a 0 TYPE hash", "-ERR syntax error"),
    ("HSCAN a 0 FOO 1", "-ERR syntax error"),
    // Values and fields that are too long for a listpack.
    ("HSET a long 0123456789012345678901234567890123456789012345678901234567890123", ":1"),
    ("OBJECT ENCODING a", "$8⏎listpack"),
    ("HSET a long 01234567890123456789012345678901234567890123456789012345678901234", ":0"),
    ("OBJECT ENCODING a", "$9⏎hashtable"),
    ("HSTRLEN a long", ":65"),
    ("HMGET a f g h none", "*4⏎$1⏎1⏎$1⏎2⏎$1⏎3⏎$-1"),
    ("HINCRBY a f 41", ":42"),
    ("HINCRBYFLOAT a f 0.5", "$4⏎42.5"),
    ("HINCRBY a f 1", "-ERR hash value is not an integer"),
    ("HINCRBY a long 1", "-ERR hash value is not an integer"),
    ("HDEL a long none", ":1"),
    ("~HKEYS a", "f g h"),
    ("~HRANDFIELD a 9", "f g h"),
    ("~HSCAN a 0 MATCH [^g]", "0 3 42.5 f h"),
    ("OBJECT ENCODING a", "$9⏎hashtable"),
    ("HDEL a f g h", ":3"),
    ("EXISTS a", ":0"),
    // Other types.
    ("SET s 1", "+OK"),
    ("HSET s f 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("HSET s f 1 g", "-ERR wrong number of arguments for 'hset' command"),
    ("HSETNX s f 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("HGET s f", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("HMGET s f", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("HGETALL s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("HLEN s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("HDEL s f", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("HINCRBY s f 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("HINCRBY s f x", "-ERR value is not an integer or out of range"),
    ("HINCRBYFLOAT s f 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("HRANDFIELD s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("HRANDFIELD s 0", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("HSCAN s 0 FOO", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("HSET a f 1", ":1"),
    ("GET a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
];

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const NO_FIELDS: &str = "-ERR Mandatory argument FIELDS is missing or not at the right position";
const NOT_AS_MANY: &str = "-ERR The `numfields` parameter must match the number of arguments";
const WRITES_NONE: &str = "-ERR Parameter `numFields` should be greater than 0";
const READS_NONE: &str = "-ERR Number of fields must be a positive integer";

/// What came with Redis 7.4.
const SCRIPT_7_4: &[(&str, &str)] = &[
    ("HEXPIRE a 10 FIELDS 1", "-ERR wrong number of arguments for 'hexpire' command"),
    ("HTTL a FIELDS 1", "-ERR wrong number of arguments for 'httl' command"),
    ("HPERSIST a FIELDS 1", "-ERR wrong number of arguments for 'hpersist' command"),
    // Without a key, arguments are looked at all the same.
    ("HEXPIRE a 10 FIELDS 2 f g", "*2⏎:-2⏎:-2"),
    ("HPERSIST a FIELDS 1 f", "*1⏎:-2"),
    ("HTTL a FIELDS 2 f g", "*2⏎:-2⏎:-2"),
    ("HPEXPIRETIME a FIELDS 1 f", "*1⏎:-2"),
    ("HEXPIRE a x FIELDS 1 f", "-ERR value is not an integer or out of range"),
    ("EXISTS a", ":0"),
    // Arguments, in the order in which they are looked at.
    ("HSET a f 1 g 2 h 3", ":3"),
    ("HEXPIRE a x NOFIELDS 1 f", "-ERR value is not an integer or out of range"),
    ("HEXPIRE a -1 NOFIELDS 1 f", "-ERR invalid expire time, must be >= 0"),
    ("HEXPIRE a 70368744178 FIELDS 1 f", "-ERR invalid expire time in 'hexpire' command"),
    ("HEXPIREAT a 70368744178 FIELDS 1 f", "-ERR invalid expire time in 'hexpireat' command"),
    ("HPEXPIREAT a 70368744177664 FIELDS 1 f", "-ERR invalid expire time in 'hpexpireat' command"),
    ("HPEXPIRE a 70368744177663 FIELDS 1 f", "-ERR invalid expire time in 'hpexpire' command"),
    ("HEXPIRE a 9223372036854775807 FIELDS 1 f", "-ERR invalid expire time in 'hexpire' command"),
    ("HEXPIRE a 10 NOFIELDS 1 f", NO_FIELDS),
    ("HEXPIRE a 10 ZZ FIELDS 1 f", NO_FIELDS),
    ("HEXPIRE a 10 NX XX FIELDS 1 f", NO_FIELDS),
    ("HEXPIRE a 10 NX 1 f g", NO_FIELDS),
    ("HEXPIRE a 10 FIELDS 0 f", WRITES_NONE),
    ("HEXPIRE a 10 FIELDS -1 f", WRITES_NONE),
    ("HEXPIRE a 10 FIELDS x f", WRITES_NONE),
    ("HEXPIRE a 10 FIELDS 2 f", NOT_AS_MANY),
    ("HEXPIRE a 10 FIELDS 1 f g", NOT_AS_MANY),
    ("HEXPIRE a 10 NX FIELDS 1", NOT_AS_MANY),
    ("HTTL a NOFIELDS 1 f", NO_FIELDS),
    ("HTTL a FIELDS 0 f", READS_NONE),
    ("HTTL a FIELDS x f", READS_NONE),
    ("HTTL a FIELDS 2 f", NOT_AS_MANY),
    ("HPERSIST a FIELDS 0 f", READS_NONE),
    ("HPERSIST a FIELDS 1 f g", NOT_AS_MANY),
    ("HPERSIST a NOFIELDS 1 f", NO_FIELDS),
    ("OBJECT ENCODING a", "$8⏎listpack"),
    // Times set, told and taken away.
    ("HTTL a FIELDS 2 f none", "*2⏎:-1⏎:-2"),
    ("HPERSIST a FIELDS 2 f none", "*2⏎:-1⏎:-2"),
    ("HEXPIRE a 100 FIELDS 2 f none", "*2⏎:1⏎:-2"),
    ("OBJECT ENCODING a", "$10⏎listpackex"),
    ("HTTL a FIELDS 2 f g", "*2⏎:100⏎:-1"),
    ("HPTTL a FIELDS 1 f", "*1⏎:100000"),
    ("HPEXPIRE a 1001 fields 1 f", "*1⏎:1"),
    ("HTTL a FIELDS 1 f", "*1⏎:2"),
    ("HEXPIREAT a 33177117420 FIELDS 1 f", "*1⏎:1"),
    ("HEXPIRETIME a FIELDS 1 f", "*1⏎:33177117420"),
    ("HPEXPIRETIME a FIELDS 1 f", "*1⏎:33177117420000"),
    ("HPEXPIREAT a 33177117420001 FIELDS 1 f", "*1⏎:1"),
    ("HEXPIRETIME a FIELDS 1 f", "*1⏎:33177117421"),
    ("HPEXPIREAT a 70368744177663 FIELDS 1 f", "*1⏎:1"),
    ("HPERSIST a FIELDS 1 f", "*1⏎:1"),
    ("HPERSIST a FIELDS 1 f", "*1⏎:-1"),
    ("HTTL a FIELDS 1 f", "*1⏎:-1"),
    // Conditions. No expiry is later than any.
    ("HEXPIRE a 100 XX FIELDS 1 f", "*1⏎:0"),
    ("HEXPIRE a 100 GT FIELDS 1 f", "*1⏎:0"),
    ("HEXPIRE a 100 NX FIELDS 1 f", "*1⏎:1"),
    ("HEXPIRE a 200 nx FIELDS 2 f g", "*2⏎:0⏎:1"),
    ("HEXPIRE a 100 gt FIELDS 1 f", "*1⏎:0"),
    ("HEXPIRE a 100 lt FIELDS 1 f", "*1⏎:0"),
    ("HEXPIRE a 101 GT FIELDS 1 f", "*1⏎:1"),
    ("HEXPIRE a 100 LT FIELDS 2 f h", "*2⏎:1⏎:1"),
    ("HEXPIRE a 300 XX FIELDS 2 f none", "*2⏎:1⏎:-2"),
    ("HTTL a FIELDS 3 f g h", "*3⏎:300⏎:200⏎:100"),
    ("HKEYS a", "*3⏎$1⏎h⏎$1⏎g⏎$1⏎f"),
    // A time that has passed removes the field, if the condition holds.
    ("HEXPIRE a 0 NX FIELDS 1 f", "*1⏎:0"),
    ("HEXPIRE a 0 FIELDS 2 f f", "*2⏎:2⏎:-2"),
    ("HPEXPIREAT a 1 LT FIELDS 1 g", "*1⏎:2"),
    ("HGETALL a", "*2⏎$1⏎h⏎$1⏎3"),
    ("HEXPIREAT a 0 FIELDS 1 h", "*1⏎:2"),
    ("EXISTS a", ":0"),
    // Setting a field takes its expiry away, counting does not.
    ("HSET a f 1 g 2 h 3", ":3"),
    ("HEXPIRE a 100 FIELDS 3 f g h", "*3⏎:1⏎:1⏎:1"),
    ("HSET a f 2", ":0"),
    ("HINCRBY a g 2", ":4"),
    ("HINCRBYFLOAT a h 0.5", "$3⏎3.5"),
    ("HSETNX a g 7", ":0"),
    ("HTTL a FIELDS 3 f g h", "*3⏎:-1⏎:100⏎:100"),
    ("HMSET a g 2", "+OK"),
    ("HTTL a FIELDS 1 g", "*1⏎:-1"),
    // Time passes.
    ("HPEXPIRE a 50 FIELDS 2 f g", "*2⏎:1⏎:1"),
    ("@sleep 49", ""),
    ("HGET a f", "$1⏎2"),
    ("@sleep 1", ""),
    ("HGET a f", "$-1"),
    ("HMGET a f g h", "*3⏎$-1⏎$-1⏎$3⏎3.5"),
    ("HGETALL a", "*2⏎$1⏎h⏎$3⏎3.5"),
    ("HKEYS a", "*1⏎$1⏎h"),
    ("HVALS a", "*1⏎$3⏎3.5"),
    ("HEXISTS a f", ":0"),
    ("HSTRLEN a f", ":0"),
    ("HLEN a", ":3"),
    ("HSCAN a 0", "*2⏎$1⏎0⏎*2⏎$1⏎h⏎$3⏎3.5"),
    ("HRANDFIELD a", "$1⏎h"),
    ("HRANDFIELD a 5", "*1⏎$1⏎h"),
    ("HRANDFIELD a -2", "*2⏎$1⏎h⏎$1⏎h"),
    ("HTTL a FIELDS 2 f h", "*2⏎:-2⏎:100"),
    ("HPERSIST a FIELDS 1 f", "*1⏎:-2"),
    ("HEXPIRE a 10 FIELDS 1 f", "*1⏎:-2"),
    ("HDEL a f", ":0"),
    ("HLEN a", ":2"),
    ("HINCRBY a g 1", ":1"),
    ("HTTL a FIELDS 1 g", "*1⏎:-1"),
    ("HPEXPIRE a 50 FIELDS 1 g", "*1⏎:1"),
    ("@sleep 60", ""),
    ("HSETNX a g 5", ":1"),
    ("HPEXPIRE a 50 FIELDS 1 g", "*1⏎:1"),
    ("@sleep 60", ""),
    ("HSET a g 6", ":1"),
    ("HGETALL a", "*4⏎$1⏎h⏎$3⏎3.5⏎$1⏎g⏎$1⏎6"),
    // A hash of which nothing is left but what has expired.
    ("HPEXPIRE a 50 FIELDS 2 g h", "*2⏎:1⏎:1"),
    ("@sleep 60", ""),
    ("HGETALL a", "*0"),
    ("HRANDFIELD a", "$-1"),
    ("HRANDFIELD a -5", "*0"),
    ("HDEL a g h", ":0"),
    ("EXISTS a", ":0"),
    // The same in a table.
    ("HSET a long 01234567890123456789012345678901234567890123456789012345678901234", ":1"),
    ("HSET a f 1 g 2", ":2"),
    ("HEXPIRE a 100 FIELDS 2 f none", "*2⏎:1⏎:-2"),
    ("OBJECT ENCODING a", "$9⏎hashtable"),
    ("HTTL a FIELDS 3 f g none", "*3⏎:100⏎:-1⏎:-2"),
    ("HINCRBY a f 1", ":2"),
    ("HTTL a FIELDS 1 f", "*1⏎:100"),
    ("HSET a f 3", ":0"),
    ("HTTL a FIELDS 1 f", "*1⏎:-1"),
    ("HPEXPIRE a 50 FIELDS 2 f long", "*2⏎:1⏎:1"),
    ("HPERSIST a FIELDS 1 long", "*1⏎:1"),
    ("@sleep 60", ""),
    ("HGET a f", "$-1"),
    ("HLEN a", ":3"),
    ("HDEL a long", ":1"),
    ("HGETALL a", "*2⏎$1⏎g⏎$1⏎2"),
    ("HSCAN a 0", "*2⏎$1⏎0⏎*2⏎$1⏎g⏎$1⏎2"),
    ("HSET a f 3", ":1"),
    ("HEXPIRE a 0 FIELDS 2 f g", "*2⏎:2⏎:2"),
    ("EXISTS a", ":0"),
    // HSCAN's new option.
    ("HSET a f 1 g 2", ":2"),
    ("HSCAN a 0 NOVALUES", "*2⏎$1⏎0⏎*2⏎$1⏎f⏎$1⏎g"),
    ("HSCAN a 0 COUNT 5 novalues MATCH g", "*2⏎$1⏎0⏎*1⏎$1⏎g"),
    // Other types.
    ("SET s 1", "+OK"),
    ("HEXPIRE s x FIELDS 0 f", WRONG_TYPE),
    ("HTTL s FIELDS 0 f", WRONG_TYPE),
    ("HPERSIST s FIELDS 0 f", WRONG_TYPE),
];

#[test]
fn replies_are_those_of_redis() {
    check(SCRIPT);
    check(SCRIPT_7_4);
}

#[test]
fn resp3_has_maps_and_pairs() {
    let mut shards = Shards::new(2);
    shards.proto = Proto::Resp3;
    for (line, expect) in [
        ("HGETALL a", "%0"),
        ("HGET a f", "_"),
        ("HRANDFIELD a", "_"),
        ("HSET a f 1 g 2", ":2"),
        ("HGETALL a", "%2⏎$1⏎f⏎$1⏎1⏎$1⏎g⏎$1⏎2"),
        ("HRANDFIELD a 5 WITHVALUES", "*2⏎*2⏎$1⏎f⏎$1⏎1⏎*2⏎$1⏎g⏎$1⏎2"),
        ("HDEL a g", ":1"),
        ("HRANDFIELD a -2 WITHVALUES", "*2⏎*2⏎$1⏎f⏎$1⏎1⏎*2⏎$1⏎f⏎$1⏎1"),
        ("HRANDFIELD a -2", "*2⏎$1⏎f⏎$1⏎f"),
        ("HSCAN a 0", "*2⏎$1⏎0⏎*2⏎$1⏎f⏎$1⏎1"),
        ("HINCRBYFLOAT a f 0.5", "$3⏎1.5"),
    ] {
        assert_eq!(shards.line(line), expect, "{line}");
    }
}

/// Distinct fields are distinct however many are asked for, and every field has its turn.
#[test]
fn random_fields_are_fields_and_distinct() {
    let mut shards = Shards::new(1);
    for fields in [10, 1_000] {
        (0..fields).for_each(|n| drop(shards.line(&format!("HSET h{fields} f{n} {n}"))));
        let mut seen = std::collections::BTreeSet::new();
        for count in [1, 2, fields / 10, fields / 2, fields - 1] {
            for _ in 0..20 {
                let line = format!("HRANDFIELD h{fields} {count} WITHVALUES");
                let answered = bulks(&shards.send(&words(&line)));
                let mut chosen: Vec<_> = answered.chunks(2).map(|pair| pair[0].clone()).collect();
                assert!(answered.chunks(2).all(|pair| pair[0][1..] == pair[1][..]), "{line}");
                chosen.sort();
                chosen.dedup();
                assert_eq!(chosen.len(), count, "{line}");
                seen.extend(chosen);
            }
        }
        assert_eq!(seen.len(), fields);
        let line = format!("HRANDFIELD h{fields} -50");
        assert_eq!(bulks(&shards.send(&words(&line))).len(), 50);
    }
}

/// A walk over a large hash meets every field that stays, whatever comes and goes meanwhile.
#[test]
fn a_walk_meets_every_field_that_stays() {
    let mut shards = Shards::new(1);
    (0..2_000).for_each(|n| drop(shards.line(&format!("HSET h stays{n} v"))));
    let (mut cursor, mut met, mut round) = ("0".to_owned(), std::collections::BTreeSet::new(), 0);
    loop {
        let reply =
            shards.send(&words(&format!("HSCAN h {cursor} NOVALUES COUNT 50 MATCH stays*")));
        let mut answered = bulks(&reply).into_iter();
        cursor = String::from_utf8(answered.next().expect("a cursor")).expect("digits");
        met.extend(answered);
        if cursor == "0" {
            break;
        }
        for n in 0..100 {
            let line = if round % 2 == 0 { "HSET h goes" } else { "HDEL h goes" };
            shards.line(&format!("{line}{n} {n}"));
        }
        round += 1;
    }
    assert!(round > 10 && met.len() == 2_000, "{round} {}", met.len());
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// Changes, hits and misses, each as `INFO` of Redis counts them.
#[test]
fn reads_are_counted_and_writes_that_change_nothing_are_not() {
    let mut shards = Shards::new(2);
    for (line, has_changed, hits, misses) in [
        ("HSET a f 1", true, 0, 0),
        ("HSETNX a f 2", false, 0, 0),
        ("HGET a f", false, 1, 0),
        ("HGET a g", false, 1, 0),
        ("HMGET b f g", false, 0, 1),
        ("HLEN b", false, 0, 1),
        ("HDEL a g", false, 0, 0),
        ("HINCRBY a f 1", true, 0, 0),
        ("HEXPIRE a 100 XX FIELDS 1 f", false, 0, 0),
        ("HEXPIRE a 100 FIELDS 1 f", true, 0, 0),
        ("HTTL a FIELDS 1 f", false, 1, 0),
        ("HPERSIST a FIELDS 1 g", false, 0, 0),
        ("HDEL a f", true, 0, 0),
    ] {
        let [changes, hits_now, misses_now] = shards.counted(line);
        assert_eq!((changes > 0, hits_now, misses_now), (has_changed, hits, misses), "{line}");
    }
}
