//! The current configuration, shared by all cores.
//!
//! A core keeps the `Arc` it has loaded and looks at the generation, one relaxed-cost atomic load, to
//! learn whether there is a newer one. Changes are serialised by the lock; readers who hold an `Arc`
//! never wait.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Config;

/// What a change of configuration does outside the process's memory. The server brings the real one;
/// [`NoHost`] does nothing.
pub trait Host: Send + Sync + fmt::Debug {
    /// Makes the machine ready for `new` (limits of the process, log level) before it takes effect.
    /// A refusal keeps `old`.
    fn apply(&self, old: &Config, new: &Config) -> Result<(), Refusal>;

    /// Writes `config` to the file it came from. An error is in Redis's words, without its code.
    fn rewrite(&self, config: &Config) -> Result<(), String>;
}

/// Why the machine can't do what a parameter asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The parameter.
    pub parameter: &'static str,
    /// The reason, in Redis's words.
    pub reason: String,
}

/// No machine around: every change is fine and there is no file.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHost;

impl Host for NoHost {
    fn apply(&self, _old: &Config, _new: &Config) -> Result<(), Refusal> {
        Ok(())
    }

    fn rewrite(&self, _config: &Config) -> Result<(), String> {
        Err("The server is running without a config file".to_owned())
    }
}

/// The current configuration.
#[derive(Debug)]
pub struct Live {
    current: Mutex<Arc<Config>>,
    generation: AtomicU64,
    host: Box<dyn Host>,
}

impl Live {
    /// Starts with `config`; changes touch nothing else.
    pub fn new(config: Config) -> Self {
        Self::with_host(config, Box::new(NoHost))
    }

    /// Starts with `config`; changes are made known to `host`.
    pub fn with_host(config: Config, host: Box<dyn Host>) -> Self {
        Self { current: Mutex::new(Arc::new(config)), generation: AtomicU64::new(0), host }
    }

    /// The current configuration. Takes a lock: keep the answer until the generation changes.
    pub fn load(&self) -> Arc<Config> {
        Arc::clone(&self.lock())
    }

    /// Grows with every change. Read it before [`Live::load`]: the configuration is then at least as
    /// new as the generation.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Changes the configuration without asking the host: for what the server finds out while it
    /// starts, such as the port that the operating system chose.
    pub fn update<R>(&self, change: impl FnOnce(&mut Config) -> R) -> R {
        let mut current = self.lock();
        let answer = change(Arc::make_mut(&mut current));
        self.generation.fetch_add(1, Ordering::Release);
        answer
    }

    /// Changes the configuration if `change` and the host agree; otherwise it stays as it is.
    pub fn try_update<E: From<Refusal>>(
        &self,
        change: impl FnOnce(&mut Config) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut current = self.lock();
        let mut new = Config::clone(&current);
        change(&mut new)?;
        self.host.apply(&current, &new)?;
        *current = Arc::new(new);
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Writes the current configuration to its file (`CONFIG REWRITE`).
    pub fn rewrite(&self) -> Result<(), String> {
        // The lock is held so that two rewrites do not cross.
        let current = self.lock();
        self.host.rewrite(&current)
    }

    /// A change replaces the whole value, so a panic inside one leaves a sound value behind.
    fn lock(&self) -> MutexGuard<'_, Arc<Config>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Host, Live, Refusal};

    #[derive(Debug)]
    struct Refuses;

    impl Host for Refuses {
        fn apply(&self, old: &Config, new: &Config) -> Result<(), Refusal> {
            assert_ne!(old.maxclients, new.maxclients);
            Err(Refusal { parameter: "maxclients", reason: "too many".to_owned() })
        }

        fn rewrite(&self, _config: &Config) -> Result<(), String> {
            Ok(())
        }
    }

    #[test]
    fn a_change_is_seen_by_its_generation() {
        let live = Live::new(Config::default());
        let (old, generation) = (live.load(), live.generation());
        live.update(|config| config.timeout_s = 7);
        assert!(live.generation() > generation);
        assert_eq!((old.timeout_s, live.load().timeout_s), (0, 7));
    }

    #[test]
    fn a_refused_change_leaves_everything_as_it_was() {
        let live = Live::with_host(Config::default(), Box::new(Refuses));
        let (old, generation) = (live.load(), live.generation());
        let answer = live.try_update(|config| {
            config.maxclients = 5;
            Ok::<(), Refusal>(())
        });
        assert_eq!(answer.map_err(|refusal| refusal.reason), Err("too many".to_owned()));
        assert_eq!((live.load(), live.generation()), (old, generation));
    }
}
