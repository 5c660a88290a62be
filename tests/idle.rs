//! A server that nobody talks to leaves the processors alone.

mod harness;

use harness::client::Client;
use harness::server::Launch;
use std::time::{Duration, Instant};

/// Clock ticks that count as 1 % of one processor over `time`; a tick is 10 ms.
fn ticks_of_one_percent(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / 1_000).expect("a short time")
}

#[test]
fn an_idle_server_uses_less_than_one_percent_of_a_processor() {
    const WATCHED: Duration = Duration::from_secs(6);
    for idle_clients in [0, 100] {
        let server = Launch::shards(2).start();
        let mut clients: Vec<Client> = (0..idle_clients).map(|_| server.client()).collect();
        for client in &mut clients {
            client.ok("SET k v");
        }
        let started = Instant::now();
        let before = server.cpu_ticks();
        // The one place where the time itself is what the test is about.
        std::thread::sleep(WATCHED);
        let used = server.cpu_ticks() - before;
        println!("{used} ticks of 10 ms in {:?} with {idle_clients} clients", started.elapsed());
        assert!(used <= ticks_of_one_percent(WATCHED), "{used} ticks in {WATCHED:?}");
    }
}
