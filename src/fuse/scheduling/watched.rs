//! What the kernel tells about a thread: of a client, where it is; of the follower, whether it gets to run.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// The processor is the 39th field of `/proc/PID/stat` (proc_pid_stat(5)), so the 37th after the name in parentheses.
const PROCESSOR_AFTER_NAME: usize = 36;

/// A thread that is being looked at.
#[derive(Debug)]
pub(super) struct Watched {
    thread: u32,
    stat: File,
}

impl Watched {
    /// The thread of that number, as the kernel names it in requests; `None` if there is no such thread to be seen (hidden by
    /// `hidepid`, or in a process namespace that is not ours).
    pub(super) fn find(thread: u32) -> Option<Self> {
        let stat = File::open(format!("/proc/{thread}/stat")).ok()?;
        let found = Self { thread, stat };
        found.processor().map(|_| found)
    }

    pub(super) fn thread(&self) -> u32 {
        self.thread
    }

    /// The processor it ran on last; `None` once it is gone.
    pub(super) fn processor(&self) -> Option<usize> {
        self.look(processor)
    }

    /// Whether it runs, or would run if it got a processor; `false` when it waits for something, such as a disk.
    pub(super) fn is_runnable(&self) -> bool {
        self.look(|stat| field(stat, 0).map(|state| state == b"R")).unwrap_or(false)
    }

    fn look<T>(&self, part: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let mut buffer = [0; 1024];
        let len = self.stat.read_at(&mut buffer, 0).ok()?;
        part(&buffer[..len])
    }
}

fn processor(stat: &[u8]) -> Option<usize> {
    std::str::from_utf8(field(stat, PROCESSOR_AFTER_NAME)?).ok()?.parse().ok()
}

/// The field at `index` after the name in parentheses, which may itself hold blanks and parentheses.
fn field(stat: &[u8], index: usize) -> Option<&[u8]> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    stat[name_end + 1..].split(|byte| *byte == b' ').nth(index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::sched::Thread;

    #[test]
    fn the_processor_is_found_whatever_the_name() {
        let fields: Vec<String> = (3..=52).map(|n| n.to_string()).collect();
        let stat = format!("123 (a) b) {}", fields.join(" "));
        assert_eq!(processor(stat.as_bytes()), Some(39));
        assert_eq!(processor(b"123 (short) S 1"), None);
        assert_eq!(processor(b""), None);
    }

    #[test]
    fn this_thread_is_seen() {
        let this = Watched::find(Thread::current().number()).expect("own thread");
        assert!(this.processor().expect("a processor") < 4096);
        assert!(this.is_runnable());
    }

    #[test]
    fn nobody_is_not_found() {
        assert!(Watched::find(u32::MAX).is_none());
    }
}
