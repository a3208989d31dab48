//! A thread like any other, for what the follower had better not do itself: that runs only while nobody else wants to, and a
//! plain user's thread cannot leave that class any more, nor can those that it starts (sched(7)).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};
use std::thread;

use crate::ops::Work;

/// Does one job after another.
pub(super) struct Worker {
    jobs: Sender<Work>,
}

impl Worker {
    /// To be called by a thread of the ordinary class, whose class the worker has.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel::<Work>();
        let body = move || {
            waiting.iter().for_each(|work| {
                if catch_unwind(AssertUnwindSafe(work)).is_err() {
                    log::error!("a bug: long work has panicked");
                }
            });
        };
        thread::Builder::new().name("worker".to_owned()).spawn(body)?;
        Ok(Self { jobs })
    }

    /// Has the work done, sooner or later.
    pub(super) fn take(&self, work: Work) {
        if let Err(mpsc::SendError(work)) = self.jobs.send(work) {
            // The thread is gone.
            work();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_also_after_a_panic() {
        let worker = Worker::start().unwrap();
        let (done, count) = mpsc::channel();
        for number in 0..3 {
            let done = done.clone();
            worker.take(Box::new(move || done.send(number).unwrap()));
            worker.take(Box::new(|| panic!("a test")));
        }
        drop(done);
        assert_eq!(count.iter().collect::<Vec<_>>(), [0, 1, 2]);
    }
}
