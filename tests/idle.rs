//! A server that nobody talks to leaves the processors alone.

mod harness;

use harness::client::Client;
use harness::server::Launch;
use std::time::{Duration, Instant};

/// Clock ticks, of 10 ms, that a server may use in a second: a tenth of one processor. A core that spins uses all of
/// one; what a core that sleeps uses is for benches to tell, of builds that are optimized.
const TICKS_A_SECOND_MAX: u64 = 10;
/// How often a core may wake up in a second: ten times for its tick, and once more behind each.
const WAKE_UPS_A_SECOND_MAX: u64 = 25;

#[test]
fn an_idle_server_sleeps() {
    const WATCHED: Duration = Duration::from_secs(6);
    const CORES: u64 = 2;
    for idle_clients in [0, 100] {
        let server = Launch::shards(2).start();
        let mut clients: Vec<Client> = (0..idle_clients).map(|_| server.client()).collect();
        for client in &mut clients {
            client.ok("SET k v");
        }
        let started = Instant::now();
        let before = (server.cpu_ticks(), server.wake_ups());
        // The one place where the time itself is what the test is about.
        std::thread::sleep(WATCHED);
        let (ticks, wake_ups) = (server.cpu_ticks() - before.0, server.wake_ups() - before.1);
        let seconds = started.elapsed().as_secs() + 1;
        println!("{ticks} ticks, {wake_ups} wake-ups in {seconds} s with {idle_clients} clients");
        assert!(ticks <= seconds * TICKS_A_SECOND_MAX, "{ticks} ticks");
        assert!(wake_ups <= seconds * CORES * WAKE_UPS_A_SECOND_MAX, "{wake_ups} wake-ups");
    }
}
