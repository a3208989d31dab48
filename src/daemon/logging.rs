//! Where messages go: stderr while somebody reads it, then the file named by [`LOG_FILE_VARIABLE`], or nowhere.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use log::LevelFilter;
use parking_lot::Mutex;

use crate::NOTICE;
use crate::error::SetupError;

/// Names the file a daemon appends its log to.
pub const LOG_FILE_VARIABLE: &str = "UNIONFUSE_LOG";

/// What was logged before the log file was open, as long as there may be one.
static EARLY: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// What callers can bring about must not fill a disk.
static RATE: Mutex<Rate> = Mutex::new(Rate::new());

/// Whether stderr has become the log file: a line then needs a time.
static IN_FILE: AtomicBool = AtomicBool::new(false);

/// Lets [`Rate::MOST`] messages through in each [`Rate::PERIOD`].
struct Rate {
    period: Option<Instant>,
    admitted: u32,
    left_out: u64,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
enum Admitted {
    No,
    /// It is written, after so many that were not.
    After(u64),
}

impl Rate {
    const MOST: u32 = 200;
    const PERIOD: Duration = Duration::from_secs(60);

    const fn new() -> Self {
        Self { period: None, admitted: 0, left_out: 0 }
    }

    fn admit(&mut self, now: Instant) -> Admitted {
        if self.period.is_none_or(|began| now - began >= Self::PERIOD) {
            self.period = Some(now);
            self.admitted = 0;
        }
        if self.admitted >= Self::MOST {
            self.left_out += 1;
            return Admitted::No;
        }
        self.admitted += 1;
        Admitted::After(std::mem::take(&mut self.left_out))
    }
}

/// Starts logging to stderr: warnings, or everything of ours with `debug`; `RUST_LOG` overrides both.
pub fn init(debug: bool) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Warn);
    if std::env::var_os("RUST_LOG").is_none() {
        builder.filter_module(NOTICE, LevelFilter::Info);
    }
    if debug {
        // The library that reads requests logs each of them.
        for module in [env!("CARGO_CRATE_NAME"), "fuser"] {
            builder.filter_module(module, LevelFilter::Debug);
        }
    }
    builder.parse_default_env();
    *EARLY.lock() = file_name().map(|_| Vec::new());
    builder.format(move |out, record| {
        // Who asks for all of it gets all of it.
        if !debug && IN_FILE.load(Ordering::Relaxed) {
            match RATE.lock().admit(Instant::now()) {
                Admitted::No => return Ok(()),
                Admitted::After(0) => {}
                Admitted::After(left_out) => {
                    let text = format_args!("{left_out} messages were left out");
                    writeln!(out, "{}", timed_line(&out.timestamp_millis(), "warn", &text))?;
                }
            }
        }
        let level = record.level().as_str().to_ascii_lowercase();
        if IN_FILE.load(Ordering::Relaxed) {
            let line = timed_line(&out.timestamp_millis(), &level, record.args());
            writeln!(out, "{line}")
        } else {
            if let Some(early) = &mut *EARLY.lock() {
                early.push(timed_line(&out.timestamp_millis(), &level, record.args()));
            }
            writeln!(out, "unionfuse: {level}: {}", record.args())
        }
    });
    if builder.try_init().is_err() {
        log::debug!("another logger is in place");
    }
}

fn timed_line(time: &impl Display, level: &str, text: &impl Display) -> String {
    format!("{time} unionfuse[{}]: {level}: {text}", std::process::id())
}

fn file_name() -> Option<OsString> {
    std::env::var_os(LOG_FILE_VARIABLE).filter(|path| !path.is_empty())
}

/// To be called when stderr stays what it is.
pub fn attached() {
    *EARLY.lock() = None;
}

/// Opens the log file, if one is wanted.
///
/// # Errors
/// Those of open(2).
pub fn open_file() -> Result<Option<File>, SetupError> {
    let Some(path) = file_name() else { return Ok(None) };
    let opened = File::options().append(true).create(true).open(&path);
    let failed = |error| {
        let problem = format_args!("open: {error}");
        SetupError::new(LOG_FILE_VARIABLE, Some(Path::new(&path)), problem, "name a file that can be written")
    };
    opened.map(Some).map_err(failed)
}

/// To be called when stderr has become the log file, or `/dev/null`.
pub fn detached(to_file: bool) {
    IN_FILE.store(to_file, Ordering::Relaxed);
    let early = EARLY.lock().take();
    if to_file {
        for line in early.into_iter().flatten() {
            // As with any other line: a full disk must not stop the daemon.
            writeln!(io::stderr(), "{line}").ok();
        }
    } else {
        log::set_max_level(LevelFilter::Off);
    }
}

/// Tells the user of an error, on stderr.
pub fn complain(error: impl Display) {
    // Without a stderr there is nobody left to tell.
    writeln!(io::stderr(), "unionfuse: {error}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_a_bound_and_those_left_out_are_counted() {
        let (mut rate, begin) = (Rate::new(), Instant::now());
        for _ in 0..Rate::MOST {
            assert_eq!(rate.admit(begin), Admitted::After(0));
        }
        for _ in 0..3 {
            assert_eq!(rate.admit(begin), Admitted::No);
        }
        assert_eq!(rate.admit(begin + Rate::PERIOD), Admitted::After(3));
        assert_eq!(rate.admit(begin + Rate::PERIOD), Admitted::After(0));
    }
}
