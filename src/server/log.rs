//! The log: lines on the standard error, filtered by `log-level`, which may change at any time.

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::LogLevel;

/// Changes what is logged.
#[derive(Clone, Debug)]
pub struct Log {
    filter: reload::Handle<LevelFilter, Registry>,
}

impl Log {
    /// Logs what `level` lets through to the standard error, for the whole process. Where a log is
    /// set up already (as a test may do) that one stays.
    pub fn start(level: LogLevel) -> Self {
        let (subscriber, log) = Self::new(level, std::io::stderr);
        // An error means that there is another log: it stays.
        let _ = subscriber.try_init();
        log
    }

    fn new<W>(level: LogLevel, writer: W) -> (impl Subscriber + Send + Sync, Self)
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let (filter, handle) = reload::Layer::new(filter(level));
        let lines = fmt::layer().with_writer(writer).with_ansi(false).with_target(false);
        (tracing_subscriber::registry().with(filter).with(lines), Self { filter: handle })
    }

    /// From now on logs what `level` lets through.
    pub fn set_level(&self, level: LogLevel) {
        // An error means that the log is gone, and so there is nothing to change.
        let _ = self.filter.reload(filter(level));
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::TRACE,
        LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::{Log, LogLevel};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_level_changes_while_the_log_runs() {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, log) = Log::new(LogLevel::Notice, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("one");
            tracing::debug!("two");
            log.set_level(LogLevel::Verbose);
            tracing::debug!("three");
            log.set_level(LogLevel::Warning);
            tracing::info!("four");
            tracing::warn!("five");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let words: Vec<_> = text.lines().filter_map(|line| line.split(' ').next_back()).collect();
        assert_eq!(words, ["one", "three", "five"]);
    }
}
