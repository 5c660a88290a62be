//! `loadgen`: load on a server that speaks RESP, and the latencies it answers with.
//!
//! A closed loop: every connection keeps one batch of `--depth` requests on the way and sends the next
//! when the last reply is in. One thread drives all connections ([`run`]); each checks what it is
//! answered ([`connection`]); latencies go to HDR histograms ([`report`]).
//!
//! What a closed loop can't show: a server that stalls also stalls the load, so the requests that
//! would have come meanwhile are missing from the histogram ("coordinated omission", Gil Tene).

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

use clap::Parser;

mod connection;
mod report;
mod run;
mod workload;

use workload::Workload;

/// Put load on a server that speaks Redis's protocol and report its latencies.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// The server's name or address.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The server's port.
    #[arg(long, default_value_t = 6379)]
    port: u16,
    /// Connections at once.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Requests that each connection has on the way.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    depth: u32,
    /// Requests in all.
    #[arg(long, default_value_t = 200_000)]
    requests: u64,
    /// Keys to choose from, each as likely as the others.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Length of values.
    #[arg(long, default_value_t = 64)]
    value_bytes: usize,
    /// How many requests of a hundred are `GET`; the others are `SET`.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    get_percent: u8,
    /// Where the choice of keys and commands starts from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match load(&options) {
        Ok(report) => {
            println!("{report}");
            if report.has_faults() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn load(options: &Options) -> io::Result<report::Report> {
    let workload = Workload::new(options.keys, options.value_bytes, options.get_percent);
    let shape = run::Shape {
        connections: options.connections as usize,
        depth: options.depth as usize,
        requests: options.requests,
        seed: options.seed,
    };
    let address = address(&options.host, options.port)?;
    run::run(address, &shape, &workload)
        .map_err(|error| io::Error::other(format!("{address}: {error}")))
}

fn address(host: &str, port: u16) -> io::Result<SocketAddr> {
    let no_address = |why: String| io::Error::other(format!("{host}: {why}"));
    let mut addresses = (host, port).to_socket_addrs().map_err(|e| no_address(e.to_string()))?;
    addresses.next().ok_or_else(|| no_address("no address".to_owned()))
}
