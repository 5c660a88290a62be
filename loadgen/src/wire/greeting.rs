//! What a connection says first: which protocol, and who is there.

use ringmain::limits::BINARY_FRAME_ITEMS_MAX;
use ringmain::protocol::binary::body::write_list;
use ringmain::protocol::binary::{Extras, Hello, Opcode, RequestFrame, RequestHead};
use ringmain::protocol::client::{Element, write_request};

use crate::engine::dialogue::OWN_ID;
use crate::engine::plan::{Auth, Protocol};

/// The user that a password without a name belongs to.
const DEFAULT_USER: &str = "default";

/// The first requests of every connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Greeting {
    /// As they are sent.
    pub(crate) bytes: Vec<u8>,
    /// How many replies they have.
    pub(crate) replies: usize,
    pub(crate) dialect: Dialect,
}

/// What is spoken after the greeting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    #[default]
    Resp,
    Binary {
        /// Most requests that the server takes in a frame.
        items_max: usize,
    },
}

/// The ids of the binary greeting's requests.
pub(crate) const HELLO_ID: u32 = OWN_ID;
const SELECT_ID: u32 = OWN_ID + 1;

impl Greeting {
    /// What RESP wants to hear: nothing at all, unless there is a password or RESP3 to speak.
    pub(crate) fn resp(protocol: Protocol, auth: Option<&Auth>, db: u32) -> Self {
        let mut args: Vec<&[u8]> = Vec::new();
        if protocol == Protocol::Resp3 {
            args.extend([&b"HELLO"[..], b"3"]);
        }
        if let Some(auth) = auth {
            args.push(b"AUTH");
            // HELLO always wants a name; AUTH of old servers has none.
            match (&auth.user, protocol) {
                (Some(user), _) => args.push(user.as_bytes()),
                (None, Protocol::Resp3) => args.push(DEFAULT_USER.as_bytes()),
                (None, Protocol::Resp2 | Protocol::Binary) => {}
            }
            args.push(auth.password.as_bytes());
        }
        let mut greeting = Self::default();
        if !args.is_empty() {
            write_request(&mut greeting.bytes, &args);
            greeting.replies += 1;
        }
        if db > 0 {
            write_request(&mut greeting.bytes, &[b"SELECT", db.to_string().as_bytes()]);
            greeting.replies += 1;
        }
        greeting
    }

    /// What the binary protocol wants to hear: `hello`, and which database.
    pub(crate) fn binary(auth: Option<&Auth>, db: u32) -> Self {
        let mut hello = Hello::this_version();
        "loadgen".clone_into(&mut hello.name);
        if let Some(auth) = auth {
            hello.user = auth.user.clone().unwrap_or_default();
            hello.password.clone_from(&auth.password);
        }
        let mut requests = vec![(HELLO_ID, Opcode::Hello, Vec::new())];
        hello.write(&mut requests[0].2);
        if db > 0 {
            let mut select = Vec::new();
            write_list(&mut select, &[&b"SELECT"[..], db.to_string().as_bytes()]);
            requests.push((SELECT_ID, Opcode::Command, select));
        }
        let mut frame = RequestFrame::default();
        for (id, opcode, value) in &requests {
            let head = RequestHead::new(*id, *opcode);
            frame.push(head, &Extras::default(), &[], value).expect("a frame takes two requests");
        }
        let dialect = Dialect::Binary { items_max: BINARY_FRAME_ITEMS_MAX };
        let mut greeting = Self { bytes: Vec::new(), replies: requests.len(), dialect };
        frame.finish(&mut greeting.bytes);
        greeting
    }

    /// The same, and a `PING`, so that there is an answer in any case: for the first connection.
    pub(crate) fn and_ping(mut self) -> Self {
        write_request(&mut self.bytes, &[b"PING"]);
        self.replies += 1;
        self
    }
}

/// What the server has against us, if it answers a greeting with an error.
pub(crate) fn refusal(reply: Element<'_>) -> Option<String> {
    let Element::Error(text) = reply else { return None };
    Some(text.escape_ascii().to_string())
}

#[cfg(test)]
mod tests {
    use super::{Greeting, refusal};
    use crate::engine::plan::{Auth, Protocol};
    use ringmain::protocol::client::Element;

    #[test]
    fn greetings() {
        let auth =
            |user: Option<&str>| Auth { user: user.map(str::to_owned), password: "pw".to_owned() };
        let (plain, named) = (auth(None), auth(Some("me")));
        for (protocol, auth, bytes) in [
            (Protocol::Resp2, None, ""),
            (Protocol::Resp2, Some(&plain), "*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n"),
            (Protocol::Resp2, Some(&named), "*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$2\r\npw\r\n"),
            (Protocol::Resp3, None, "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"),
            (
                Protocol::Resp3,
                Some(&plain),
                "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$2\r\npw\r\n",
            ),
        ] {
            let greeting = Greeting::resp(protocol, auth, 0);
            assert_eq!(greeting.bytes, bytes.as_bytes());
            assert_eq!(greeting.replies, usize::from(!bytes.is_empty()));
            let greeting = greeting.and_ping();
            assert!(greeting.bytes.ends_with(b"*1\r\n$4\r\nPING\r\n"));
            assert_eq!(greeting.replies, 1 + usize::from(!bytes.is_empty()));
        }
    }

    #[test]
    fn a_database_is_selected_last() {
        let greeting = Greeting::resp(Protocol::Resp3, None, 12);
        assert!(greeting.bytes.ends_with(b"*2\r\n$6\r\nSELECT\r\n$2\r\n12\r\n"));
        assert_eq!(greeting.replies, 2);
    }

    #[test]
    fn only_errors_are_refusals() {
        assert_eq!(refusal(Element::Simple(b"OK")), None);
        let text = refusal(Element::Error(b"WRONGPASS \xff"));
        assert_eq!(text.as_deref(), Some("WRONGPASS \\xff"));
    }
}
