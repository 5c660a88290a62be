//! The `redis` crate's cluster client, the asynchronous one: the other does not look for a new leader when the old one
//! is gone, whatever cluster it is.

use std::time::Duration;

use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use tokio::runtime::Runtime;

/// A client that waits for its replies.
pub(crate) struct Client {
    runtime: Runtime,
    connection: ClusterConnection,
}

impl Client {
    /// A client that knows one port.
    pub(crate) fn new(port: u16) -> Self {
        let runtime = Runtime::new().expect("threads");
        let client = ClusterClient::builder([format!("redis://127.0.0.1:{port}")])
            .connection_timeout(Duration::from_secs(2))
            .response_timeout(Duration::from_secs(2))
            .build()
            .expect("it is an address");
        let connection = runtime.block_on(client.get_async_connection()).expect("connect");
        Self { runtime, connection }
    }

    pub(crate) fn get(&mut self, key: &str) -> redis::RedisResult<Option<String>> {
        self.runtime.block_on(redis::cmd("GET").arg(key).query_async(&mut self.connection))
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) -> redis::RedisResult<()> {
        let command = redis::cmd("SET").arg(key).arg(value).to_owned();
        self.runtime.block_on(command.query_async(&mut self.connection))
    }
}
