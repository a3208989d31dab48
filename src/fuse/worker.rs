//! A thread like any other, for what the follower had better not do itself: that runs only while nobody else wants to, and a
//! plain user's thread cannot leave that class any more, nor can those that it starts (sched(7)).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};
use std::thread;

use crate::ops::Work;

/// Does one job after another.
pub(super) struct Worker {
    jobs: Sender<Job>,
}

struct Job {
    work: Work,
    done: Sender<()>,
}

impl Worker {
    /// To be called by a thread of the ordinary class, whose class the worker has.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let body = move || {
            waiting.iter().for_each(|Job { work, done }| {
                if catch_unwind(AssertUnwindSafe(work)).is_err() {
                    log::error!("a bug: long work has panicked");
                }
                // It is waited for.
                done.send(()).ok();
            });
        };
        thread::Builder::new().name("worker".to_owned()).spawn(body)?;
        Ok(Self { jobs })
    }

    /// Has the work done, and waits for that.
    pub(super) fn run(&self, work: Work) {
        let (done, ended) = mpsc::channel();
        match self.jobs.send(Job { work, done }) {
            // Work that has panicked has no outcome, which whoever waits for that notices.
            Ok(()) => ended.recv().unwrap_or_default(),
            // The thread is gone.
            Err(mpsc::SendError(Job { work, .. })) => work(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn work_is_done_when_it_returns_also_after_a_panic() {
        let worker = Worker::start().unwrap();
        let count = Arc::new(AtomicU32::new(0));
        let counting = || -> Work {
            let count = count.clone();
            Box::new(move || {
                count.fetch_add(1, Ordering::Relaxed);
            })
        };
        worker.run(counting());
        assert_eq!(count.load(Ordering::Relaxed), 1);
        worker.run(Box::new(|| panic!("a test")));
        worker.run(counting());
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }
}
