//! What clients are told while data is being recovered.

use ringmain::protocol::binary::Status;

use crate::harness::binary::BinaryClient;
use crate::harness::client::{Client, encode, info};
use crate::harness::server::skip_on_other_server;
use crate::harness::value::Value;
use crate::harness::wait_until;
use crate::server::{data_dir, launch_plain, start, stop};

const KEYS: usize = 500_000;
const BATCH: usize = 1000;

fn key(index: usize) -> String {
    format!("key:{index:08}")
}

fn value(index: usize) -> String {
    format!("value:{index}:{}", "x".repeat(80))
}

fn fill(client: &mut Client) {
    for batch in 0..KEYS / BATCH {
        let mut words = vec!["MSET".to_owned()];
        for index in batch * BATCH..(batch + 1) * BATCH {
            words.extend([key(index), value(index)]);
        }
        client.send(encode(&words));
    }
    (0..KEYS / BATCH).for_each(|_| assert_eq!(client.read(), Ok(Value::ok())));
}

fn is_loading(reply: &Value) -> bool {
    *reply == Value::Error("LOADING Redis is loading the dataset in memory".into())
}

#[test]
fn clients_are_told_that_data_is_loading_and_never_anything_wrong() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    // In one segment, and in no snapshot: the slower way.
    let launch =
        launch_plain(dir.path(), 2, "async").flag("--auto-aof-rewrite-percentage", "0").binary();
    let server = start(&launch);
    fill(&mut server.client());
    stop(server);

    let server = launch.start();
    let mut client = server.client();
    let mut binary = BinaryClient::connect(server.binary_address());
    let (mut refused, mut index) = (0, 0);
    wait_until("the data is loaded", || {
        index = (index + 7919) % KEYS;
        let fields = info(&mut client, "persistence");
        let info_says_so = fields["loading"] == "1";
        if info_says_so {
            let number = |field: &str| fields[field].parse::<f64>().expect("a number");
            assert!(number("loading_loaded_bytes") <= number("loading_total_bytes"), "{fields:?}");
            assert!((0.0..=100.0).contains(&number("loading_loaded_perc")), "{fields:?}");
            assert!(number("loading_start_time") > 0.0);
        }
        // Commands that look at no data are answered.
        client.ok("CLIENT DURABILITY sync");
        assert!(client.words("LASTSAVE").integer() > 0);
        assert_eq!(client.words("CONFIG GET durability").elements()[1], Value::bulk("async"));
        let write = client.words("SETNX key:00000000 another");
        assert!(is_loading(&write) || write == Value::Integer(0), "{write:?}");
        let size = client.words("DBSIZE");
        assert!(is_loading(&size) || size == Value::Integer(KEYS as i64), "{size:?}");
        let reply = binary.get(&key(index));
        match reply.status() {
            Status::Ok => assert_eq!(reply.text(), value(index)),
            status => assert!(
                status == Status::Error && reply.text().starts_with("LOADING "),
                "{status:?} {}",
                reply.text()
            ),
        }
        let reply = client.words(&format!("GET {}", key(index)));
        if is_loading(&reply) {
            refused += 1;
            return false;
        }
        assert_eq!(reply, Value::bulk(value(index)), "{index}");
        true
    });
    if refused == 0 {
        crate::harness::skip("this machine recovers so fast that no client saw it");
    }
    for index in (0..KEYS).step_by(997) {
        assert_eq!(client.words(&format!("GET {}", key(index))), Value::bulk(value(index)));
    }
    assert_eq!(client.words("DBSIZE"), Value::Integer(KEYS as i64));
    assert!(server.output().contains("recovered"), "{}", server.output());
}
