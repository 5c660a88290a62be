//! Who is served what: scripts that hold on one shard and over several.

use super::harness::client::encode_words;
use super::harness::server::Launch;
use super::harness::slots::keys_over_shards;
use super::harness::value::Value;
use super::harness::wait_until;
use super::{Player, check, is_blocked, show};

#[test]
fn what_is_there_is_answered_at_once_from_the_first_key_that_has_any() {
    check(
        "0: RPUSH K1 a b c d e f => :6
         0: BLPOP K0 K1 0 => [K1 a]
         0: BRPOP K0 K1 K2 0 => [K1 f]
         0: BLMPOP 0 2 K0 K1 RIGHT COUNT 2 => [K1 [e d]]
         0: BLMOVE K1 K2 LEFT RIGHT 0 => b
         0: BRPOPLPUSH K1 K2 0 => c
         0: LRANGE K2 0 -1 => [c b]
         0: EXISTS K1 => :0
         0: ZADD K3 1 a 2 b 3 c 4 d => :4
         0: BZPOPMIN K4 K3 0 => [K3 a 1]
         0: BZPOPMAX K3 0 => [K3 d 4]
         0: BZMPOP 0 2 K0 K3 MAX COUNT 9 => [K3 [[c 3] [b 2]]]",
    );
}

#[test]
fn who_waits_is_served_by_who_comes() {
    check(
        "0~ BLPOP K0 K0 K0 0
         1: RPUSH K0 x y => :2
         0= [K0 x]
         1: DEL K0 => :1
         0~ BLPOP K0 K1 K2 0
         1: RPUSH K1 x y => :2
         0= [K1 x]
         1: LRANGE K1 0 -1 => [y]
         1: DEL K1 => :1
         0~ BRPOP K0 0
         1: RPUSH K0 x y => :2
         0= [K0 y]
         1: DEL K0 => :1
         0~ BLMPOP 0 2 K3 K0 LEFT COUNT 2
         1: RPUSH K0 x y z => :3
         0= [K0 [x y]]
         1: LRANGE K0 0 -1 => [z]
         0~ BZPOPMIN K4 K5 0
         1: ZADD K5 1 a 2 b => :2
         0= [K5 a 1]
         0~ BZPOPMAX K4 0
         1: ZADD K4 1 a 2 b => :2
         0= [K4 b 2]
         0~ BZMPOP 0 2 K6 K7 MIN COUNT 2
         1: ZADD K7 1 a 2 b => :2
         0= [K7 [[a 1] [b 2]]]
         1: EXISTS K7 => :0",
    );
}

#[test]
fn first_come_first_served() {
    check(
        "0~ BLPOP K0 0
         1~ BLPOP K1 K0 0
         2~ BRPOP K0 0
         3: RPUSH K0 a => :1
         0= [K0 a]
         1~
         3: RPUSH K0 b c d => :3
         1= [K0 b]
         2= [K0 d]
         3: LRANGE K0 0 -1 => [c]
         3: DEL K0 => :1
         0~ BLPOP K0 0
         0> PING
         1~ BLPOP K0 0
         3: RPUSH K0 a => :1
         0= [K0 a]
         0= +PONG
         0~ BLPOP K0 0
         3: RPUSH K0 b => :1
         1= [K0 b]
         3: RPUSH K0 c => :1
         0= [K0 c]",
    );
}

#[test]
fn a_client_that_waits_for_several_keys_is_served_once() {
    for shards in [1, 4] {
        let server = Launch::shards(shards).start();
        let keys = keys_over_shards("k", shards, 3);
        let (mut one, mut other) = (Player::of(server.client()), server.client());
        one.client.request(&["BLPOP", &keys[0], &keys[1], &keys[2], "0"]);
        wait_until("it waits", || is_blocked(&mut other, one.id));
        let pushes: Vec<u8> =
            keys.iter().flat_map(|key| encode_words(&format!("RPUSH {key} x"))).collect();
        other.send(pushes);
        let replies: Vec<i64> = (0..3).map(|_| other.read().unwrap().integer()).collect();
        assert_eq!(replies, [1, 1, 1]);
        let served = one.client.read().expect("it is served");
        assert_eq!(served, Value::Array(vec![Value::bulk(&keys[0]), Value::bulk("x")]));
        let left: i64 = keys.iter().map(|key| other.words(&format!("LLEN {key}")).integer()).sum();
        assert_eq!(left, 2);
    }
}

#[test]
fn a_key_of_another_type_serves_nobody() {
    check(
        "0~ BLPOP K0 0
         1: SET K0 x => +OK
         0~
         1: DEL K0 => :1
         1: ZADD K0 1 m => :1
         0~
         2~ BZPOPMIN K1 0
         1: RENAME K0 K1 => +OK
         2= [K1 m 1]
         0~
         2~ BZPOPMIN K0 0
         1: ZADD K0 1 m => :1
         2= [K0 m 1]
         0~
         2~ BZPOPMIN K0 0
         1: RPUSH K0 x => :1
         0= [K0 x]
         2~
         1: ZADD K0 1 m => :1
         2= [K0 m 1]",
    );
}

#[test]
fn a_transaction_is_looked_at_as_a_whole() {
    check(
        "0~ BLPOP K0 0
         1: MULTI => +OK
         1: RPUSH K0 a => +QUEUED
         1: DEL K0 => +QUEUED
         1: EXEC => [:1 :1]
         0~
         1: MULTI => +OK
         1: RPUSH K0 a => +QUEUED
         1: SET K0 s => +QUEUED
         1: EXEC => [:1 +OK]
         0~
         1: DEL K0 => :1
         1: MULTI => +OK
         1: RPUSH K0 a b => +QUEUED
         1: LPUSH K0 z => +QUEUED
         1: LLEN K0 => +QUEUED
         1: EXEC => [:2 :3 :3]
         0= [K0 z]
         1: LRANGE K0 0 -1 => [a b]
         1: DEL K0 => :1
         0~ BLPOP K0 K1 K2 0
         1: MULTI => +OK
         1: RPUSH K2 c => +QUEUED
         1: RPUSH K0 a => +QUEUED
         1: RPUSH K1 b => +QUEUED
         1: EXEC => [:1 :1 :1]
         0= [K2 c]",
    );
}

#[test]
fn nothing_blocks_inside_a_transaction() {
    check(
        "0: MULTI => +OK
         0: BLPOP K0 K1 0 => +QUEUED
         0: BRPOP K0 0 => +QUEUED
         0: BLMPOP 0 1 K0 LEFT => +QUEUED
         0: BLMOVE K0 K1 LEFT LEFT 0 => +QUEUED
         0: BRPOPLPUSH K0 K1 0 => +QUEUED
         0: BZPOPMIN K0 0 => +QUEUED
         0: BZPOPMAX K0 0 => +QUEUED
         0: BZMPOP 0 1 K0 MIN => +QUEUED
         0: WAIT 1 0 => +QUEUED
         0: RPUSH K0 x => +QUEUED
         0: BLPOP K1 K0 0 => +QUEUED
         0: EXEC => [*-1 *-1 *-1 $-1 $-1 *-1 *-1 *-1 :0 :1 [K0 x]]",
    );
}

#[test]
fn elements_move_on() {
    check(
        "0~ BLMOVE K0 K1 LEFT RIGHT 0
         1~ BLPOP K1 0
         2: RPUSH K0 x => :1
         0= x
         1= [K1 x]
         2: EXISTS K0 K1 => :0
         0~ BRPOPLPUSH K0 K1 0
         1~ BLMOVE K1 K2 LEFT LEFT 0
         2~ BLMOVE K2 K3 LEFT LEFT 0
         3~ BLMPOP 0 1 K3 LEFT
         4: RPUSH K0 y => :1
         0= y
         1= y
         2= y
         3= [K3 [y]]
         0~ BLMOVE K0 K0 LEFT RIGHT 0
         1~ BLPOP K0 0
         2: RPUSH K0 a b => :2
         0= a
         1= [K0 b]
         2: LRANGE K0 0 -1 => [a]
         2: DEL K0 => :1
         0~ BLMOVE K0 K1 LEFT RIGHT 0
         1~ BLMOVE K1 K0 LEFT RIGHT 0
         2~ BLPOP K0 0
         4: RPUSH K1 c => :1
         1= c
         0= c
         2~
         4: LRANGE K1 0 -1 => [c]",
    );
}

#[test]
fn the_first_in_line_goes_first_even_if_its_element_goes_to_another_shard() {
    check(
        "0~ BLMOVE K0 K1 LEFT RIGHT 0
         1~ BLPOP K0 0
         2~ BLMOVE K0 K2 LEFT RIGHT 0
         3: RPUSH K0 a b c d => :4
         0= a
         1= [K0 b]
         2= c
         3: LRANGE K0 0 -1 => [d]
         3: LRANGE K1 0 -1 => [a]
         3: LRANGE K2 0 -1 => [c]",
    );
}

#[test]
fn a_destination_of_another_type_ends_the_wait_with_an_error() {
    check(
        "1: SET K1 s => +OK
         0~ BLMOVE K0 K1 LEFT RIGHT 0
         2~ BLPOP K0 0
         1: RPUSH K0 a => :1
         0= -WRONGTYPE Operation against a key holding the wrong kind of value
         2= [K0 a]
         1: EXISTS K0 => :0",
    );
}

#[test]
fn whatever_makes_a_key_serves() {
    check(
        "0~ BLPOP K0 0
         1: RPUSH K1 a b => :2
         1: RENAME K1 K0 => +OK
         0= [K0 a]
         0~ BRPOP K2 0
         1: COPY K0 K2 => :1
         0= [K2 b]
         0~ BLPOP K3 0
         1: SORT K0 ALPHA STORE K3 => :1
         0= [K3 b]
         0~ BLPOP K4 0
         1: LMOVE K0 K4 LEFT LEFT => b
         0= [K4 b]
         0~ BLPOP K4 0
         1: RPUSH K0 c => :1
         1: RPOPLPUSH K0 K4 => c
         0= [K4 c]
         0~ BLPOP K4 0
         1: LPUSHX K4 c => :0
         1: LPUSH K4 d => :1
         0= [K4 d]
         0~ BZPOPMIN K5 0
         1: ZADD K6 1 a 2 b => :2
         1: ZUNIONSTORE K5 1 K6 => :2
         0= [K5 a 1]
         0~ BZPOPMAX K7 0
         1: ZRANGESTORE K7 K6 0 -1 => :2
         0= [K7 b 2]
         1: DEL K7 K5 => :2
         0~ BZPOPMAX K7 0
         1: ZINCRBY K7 5 m => 5
         0= [K7 m 5]
         0~ BZPOPMIN K7 0
         1: SADD K0 s => :1
         1: ZINTERSTORE K7 1 K0 => :1
         0= [K7 s 1]
         1: SELECT 1 => +OK
         1: RPUSH K1 moved => :1
         0~ BLPOP K1 0
         1: MOVE K1 0 => :1
         0= [K1 moved]
         1: RPUSH K1 swapped => :1
         0~ BLPOP K1 0
         1: SWAPDB 0 1 => +OK
         0= [K1 swapped]",
    );
}

#[test]
fn what_is_restored_serves() {
    for shards in [1, 4] {
        let server = Launch::shards(shards).start();
        let (mut one, mut other) = (Player::of(server.client()), server.client());
        other.words("RPUSH from x");
        let Value::Bulk(dump) = other.words("DUMP from") else { panic!("a dump") };
        one.client.request(&["BLPOP", "to", "0"]);
        wait_until("it waits", || is_blocked(&mut other, one.id));
        assert_eq!(other.command(&[b"RESTORE".as_slice(), b"to", b"0", &dump]), Value::ok());
        assert_eq!(show(&one.client.read().expect("it is served")), "[to x]");
    }
}

#[test]
fn databases_are_apart() {
    check(
        "0: SELECT 3 => +OK
         0~ BLPOP K0 0
         1: RPUSH K0 x => :1
         0~
         1: SELECT 3 => +OK
         1: RPUSH K0 y => :1
         0= [K0 y]",
    );
}

#[test]
fn replies_are_in_the_protocol_of_who_waits() {
    for shards in [1, 4] {
        let server = Launch::shards(shards).start();
        let (mut three, mut two) = (Player::of(server.client_resp3()), server.client());
        for (request, makes, reply) in [
            ("BZPOPMIN z 0", "ZADD z 1.5 m", "[z m ,1.5]"),
            ("BZMPOP 0 1 z MAX", "ZADD z 1.5 m", "[z [[m ,1.5]]]"),
            ("BLPOP l 0", "RPUSH l x", "[l x]"),
        ] {
            three.client.send(encode_words(request));
            wait_until("it waits", || is_blocked(&mut two, three.id));
            two.words(makes);
            assert_eq!(show(&three.client.read().expect("it is served")), reply);
        }
        for request in ["BLPOP l 0.01", "BLMOVE l m LEFT LEFT 0.01", "BZMPOP 0.01 1 z MIN"] {
            assert_eq!(three.client.words(request), Value::Null, "{request}");
            assert_eq!(two.words(request), Value::NullArray, "{request}");
        }
    }
}
