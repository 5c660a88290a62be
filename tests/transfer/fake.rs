//! A server that answers each request as its test says.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use crate::harness::value::Value;

/// A request's arguments to the reply, or to the end of the connection.
type Answer = dyn Fn(&[String]) -> Option<Vec<u8>> + Send + Sync;

/// The server. Its threads end with their connections, and the last with the process.
pub(crate) struct Fake {
    port: u16,
}

impl Fake {
    /// Listens on a free port.
    pub(crate) fn start(
        answer: impl Fn(&[String]) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let answer: Arc<Answer> = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || serve(stream, &*answer));
            }
        });
        Self { port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

fn serve(mut stream: TcpStream, answer: &Answer) {
    let (mut received, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(count) => received.extend_from_slice(&chunk[..count]),
        }
        while let Some((request, length)) = Value::parse(&received) {
            received.drain(..length);
            let args: Vec<String> = request.elements().iter().map(Value::text).collect();
            let Some(reply) = answer(&args) else { return };
            if stream.write_all(&reply).is_err() {
                return;
            }
        }
    }
}

/// A bulk string.
pub(crate) fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

/// An error.
pub(crate) fn error(text: &str) -> Vec<u8> {
    format!("-{text}\r\n").into_bytes()
}
