//! How a client is set up.

use std::time::Duration;

use super::Client;
use super::connection::{Address, open};
use super::error::{Cause, Error};
use super::hub::Hub;
use crate::limits::{
    BINARY_REPLY_BODY_BYTES_MAX, BULK_BYTES_MAX_BEFORE_AUTH, CLIENT_CONNECTIONS_PER_CORE_MAX,
    CLIENT_IN_FLIGHT, CLIENT_IN_FLIGHT_MAX,
};
use crate::protocol::binary::Durability;

/// A client's settings, in the form its parts use them.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) silence_max: Duration,
    pub(super) keep_alive: Duration,
    pub(super) backoff_min: Duration,
    pub(super) backoff_max: Duration,
    pub(super) connections_per_core: usize,
    pub(super) in_flight: usize,
    pub(super) reply_bytes_max: usize,
    pub(super) durability: Durability,
    pub(super) once: bool,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) name: String,
    /// Where requests that say so read.
    followers: Vec<String>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password is nobody's business.
        f.debug_struct("Settings")
            .field("user", &self.user)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Sets up a [`Client`]. Every setting has a default that suits a cache in the same data centre.
///
/// ```no_run
/// use std::time::Duration;
/// use ringmain::client::Client;
///
/// # async fn example() -> Result<(), ringmain::client::Error> {
/// let client = Client::builder()
///     .timeout(Duration::from_millis(500))
///     .connections_per_core(2)
///     .password("secret")
///     .name("billing")
///     .connect("10.0.0.5:6380")
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder connects when `connect` is called"]
pub struct Builder {
    settings: Settings,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            settings: Settings {
                connect_timeout: Duration::from_secs(1),
                timeout: Duration::from_secs(2),
                silence_max: Duration::from_secs(5),
                keep_alive: Duration::from_secs(15),
                backoff_min: Duration::from_millis(10),
                backoff_max: Duration::from_secs(1),
                connections_per_core: 1,
                in_flight: CLIENT_IN_FLIGHT,
                reply_bytes_max: BINARY_REPLY_BODY_BYTES_MAX,
                durability: Durability::Default,
                once: true,
                user: String::new(),
                password: String::new(),
                name: String::new(),
                followers: Vec::new(),
            },
        }
    }
}

impl Builder {
    /// The time that a request has, waiting, sending again and all, unless it is given its own: 2 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// The time that opening a connection may take, the handshake included: 1 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// How long a server may owe replies and send nothing at all before its connection is given up for a
    /// new one: 5 s. It should be longer than the longest command that is sent.
    pub fn silence_max(mut self, silence: Duration) -> Self {
        self.settings.silence_max = silence;
        self
    }

    /// How long a connection may be idle before the client looks whether it still is one: 15 s.
    pub fn keep_alive(mut self, idle: Duration) -> Self {
        self.settings.keep_alive = idle;
        self
    }

    /// The pauses between attempts to reach a server that is gone: 10 ms, twice as long each time, at
    /// most 1 s.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.settings.backoff_min = min;
        self.settings.backoff_max = max;
        self
    }

    /// Connections to each core: 1. More are of use when single values are large.
    pub fn connections_per_core(mut self, count: usize) -> Self {
        self.settings.connections_per_core = count;
        self
    }

    /// Requests that may be under way on each connection: 1,024. Further ones wait for their turn, as
    /// long as their time allows. A request that its caller has dropped counts until it is answered.
    pub fn in_flight(mut self, count: usize) -> Self {
        self.settings.in_flight = count;
        self
    }

    /// Longest reply that is taken, in bytes: 1 GiB.
    pub fn reply_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.reply_bytes_max = bytes;
        self
    }

    /// What writes must have survived when they are acknowledged, unless they say otherwise: what the
    /// server is configured for.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.settings.durability = durability;
        self
    }

    /// Whether writes to single keys are numbered, so that they can be sent again without being done twice, where the server
    /// knows of that: they are. A server remembers the latest writes of each client; it costs it some memory, and each
    /// write some bytes. Clocks should agree: a number is the time of its write.
    pub fn once(mut self, once: bool) -> Self {
        self.settings.once = once;
        self
    }

    /// The user to authenticate as: `default`.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.settings.user = user.into();
        self
    }

    /// The password. Without one the client does not authenticate.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.settings.password = password.into();
        self
    }

    /// The name that `CLIENT LIST` shows.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Nodes of a cluster, `host:port` each, from which requests read that say so
    /// ([`from_follower`](super::Request::from_follower)): the first of them that answers. A node has a copy of what it
    /// does not lead, so any that is near will do.
    pub fn followers<A: Into<String>>(mut self, addresses: impl IntoIterator<Item = A>) -> Self {
        self.settings.followers = addresses.into_iter().map(Into::into).collect();
        self
    }

    /// Connects to the server at `address`, `host:port`: its binary port, or its common port.
    ///
    /// # Errors
    /// [`Error::Connect`] if there is no server, or it does not let the client in; [`Error::Invalid`] if
    /// a setting makes no sense.
    pub async fn connect(self, address: &str) -> Result<Client, Error> {
        self.connect_any(&[address]).await
    }

    /// Connects to the first of `addresses` that answers; the others are turned to when it is lost. All
    /// must be of the same server.
    ///
    /// # Errors
    /// As [`Builder::connect`], about the last address.
    pub async fn connect_any(self, addresses: &[&str]) -> Result<Client, Error> {
        let settings = self.settings;
        settings.check()?;
        let mut parsed = parse(addresses)?;
        let followers = parse(&settings.followers)?;
        let mut failure = Error::Invalid("no address to connect to was given".into());
        for first in 0..parsed.len() {
            let address = parsed[first].to_string();
            let failed = |cause| Error::Connect { address: address.clone(), cause };
            let opened = match open(&parsed[first], &settings).await {
                Ok(opened) => opened,
                Err(cause) => {
                    failure = failed(cause);
                    continue;
                }
            };
            parsed.rotate_left(first);
            let hub = Hub::new(settings, (parsed, followers), opened);
            return hub
                .map(|hub| Client { hub })
                .map_err(|problem| failed(Cause::Protocol(problem)));
        }
        Err(failure)
    }
}

fn parse(addresses: &[impl AsRef<str>]) -> Result<Vec<Address>, Error> {
    let parse = |text: &str| {
        Address::parse(text).ok_or_else(|| {
            Error::Invalid(format!("\"{text}\" is no address: it should be host:port"))
        })
    };
    addresses.iter().map(|text| parse(text.as_ref())).collect()
}

impl Settings {
    /// Refuses what can't work, in one sentence.
    fn check(&self) -> Result<(), Error> {
        let invalid = |problem: String| Err(Error::Invalid(problem));
        for (name, duration) in [
            ("timeout", self.timeout),
            ("connect_timeout", self.connect_timeout),
            ("silence_max", self.silence_max),
            ("keep_alive", self.keep_alive),
            ("backoff", self.backoff_min),
        ] {
            if duration < Duration::from_millis(1) {
                return invalid(format!("{name} must be a millisecond or more"));
            }
        }
        if self.backoff_max < self.backoff_min {
            return invalid("the longest back-off is shorter than the shortest".into());
        }
        for (name, count, most) in [
            ("connections_per_core", self.connections_per_core, CLIENT_CONNECTIONS_PER_CORE_MAX),
            ("in_flight", self.in_flight, CLIENT_IN_FLIGHT_MAX),
        ] {
            if count == 0 || count > most {
                return invalid(format!("{name} is {count}: it must be 1 to {most}"));
            }
        }
        let credentials = self.user.len() + self.password.len() + self.name.len();
        if credentials > BULK_BYTES_MAX_BEFORE_AUTH / 2 {
            return invalid("user, password and name are too long".into());
        }
        if self.password.is_empty() && !self.user.is_empty() {
            return invalid("a user was given without a password".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Builder;
    use crate::client::Error;
    use std::time::Duration;

    #[test]
    fn nonsense_is_refused_before_anything_is_sent() {
        let ms = Duration::from_millis;
        let long = "x".repeat(10_000);
        for (builder, address, problem) in [
            (Builder::default(), "localhost", "\"localhost\" is no address"),
            (Builder::default(), "a:0", "no address"),
            (Builder::default().timeout(Duration::ZERO), "a:1", "timeout must be"),
            (Builder::default().keep_alive(Duration::ZERO), "a:1", "keep_alive must be"),
            (Builder::default().backoff(ms(5), ms(4)), "a:1", "back-off"),
            (Builder::default().in_flight(0), "a:1", "in_flight is 0"),
            (Builder::default().in_flight(70_000), "a:1", "1 to 65535"),
            (Builder::default().connections_per_core(65), "a:1", "1 to 64"),
            (Builder::default().password(long), "a:1", "too long"),
            (Builder::default().user("me"), "a:1", "without a password"),
        ] {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            match runtime.block_on(builder.connect(address)) {
                Err(Error::Invalid(message)) => assert!(message.contains(problem), "{message}"),
                other => panic!("{problem}: {other:?}"),
            }
        }
    }

    #[test]
    fn settings_do_not_show_the_password() {
        let builder = Builder::default().user("me").password("hush");
        assert!(!format!("{builder:?}").contains("hush"));
    }
}
