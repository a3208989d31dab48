//! An alarm that one thread waits for and others put off without waking it.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// The shortest time until an alarm; zero would mean never.
const AT_ONCE: Duration = Duration::from_nanos(1);

/// Goes off once each time it is set (timerfd_create(2)).
#[derive(Debug)]
pub(super) struct Alarm(OwnedFd);

impl Alarm {
    /// One that is not set.
    ///
    /// # Errors
    /// Those of timerfd_create(2).
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?))
    }

    /// Lets it go off after `time`, and not when it would have.
    pub(super) fn set(&self, time: Duration) {
        let time = time.max(AT_ONCE);
        let value = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval: never, it_value: value };
        if let Err(error) = timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once) {
            log::warn!("cannot set an alarm: {error}");
        }
    }

    /// Waits until it goes off. May return earlier.
    pub(super) fn wait(&self) {
        let mut count = [0; 8];
        if let Err(error) = rustix::io::read(&self.0, &mut count)
            && error != rustix::io::Errno::INTR
        {
            log::warn!("cannot wait for an alarm: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn it_goes_off_when_it_was_set_last() {
        let alarm = Alarm::new().unwrap();
        let start = Instant::now();
        alarm.set(Duration::from_secs(3600));
        alarm.set(Duration::from_millis(20));
        alarm.wait();
        assert!(start.elapsed() >= Duration::from_millis(20));
        alarm.set(Duration::ZERO);
        alarm.wait();
    }
}
