//! What is copied is all of it, or an error.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;
use unionfuse::testing::Disk;
use unionfuse::testing::Whereabouts;
use unionfuse::testing::copy_data;

#[test]
fn a_source_that_ends_early_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(OsStr::new(name));
    std::fs::write(path("from"), "short").unwrap();
    let from = std::fs::File::open(path("from")).unwrap();
    let to = std::fs::File::create(path("to")).unwrap();
    let copied = copy_data::data(&Disk, from.as_fd(), to.as_fd(), 4096, &Whereabouts::default());
    assert_eq!(copied.unwrap_err().errno(), Errno::IO);
}

#[test]
fn a_copy_that_nobody_waits_for_ends() {
    let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    from.write_all_at(&[1; 4096], 0).unwrap();
    let client = Whereabouts::default();
    client.interrupt();
    let copied = copy_data::data(&Disk, from.as_fd(), to.as_fd(), 4096, &client);
    assert_eq!(copied.unwrap_err().errno(), Errno::INTR);
    client.begin();
    copy_data::data(&Disk, from.as_fd(), to.as_fd(), 4096, &client).unwrap();
    assert_eq!(to.metadata().unwrap().len(), 4096);
}

/// A file whose second page cannot be read: the process's own memory, where a mapped file has become shorter.
#[test]
#[allow(unsafe_code)]
fn an_error_in_the_middle_is_not_the_end_of_the_file() {
    const PAGE: usize = 4096;
    let file = tempfile::tempfile().unwrap();
    file.set_len(2 * PAGE as u64).unwrap();
    // SAFETY: the mapping is never looked at but through /proc.
    let mapped = unsafe { memmap2::MmapOptions::new().len(2 * PAGE).map(&file).unwrap() };
    file.set_len(PAGE as u64).unwrap();
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let start = mapped.as_ptr() as u64;
    let mut buf = vec![1; 2 * PAGE];
    let read = |buf: &mut [u8]| unionfuse::testing::read_at(memory.as_fd(), buf, start);
    assert_eq!(read(&mut buf[..PAGE]).unwrap(), PAGE);
    assert_eq!(read(&mut buf).unwrap_err().errno(), Errno::IO);
}
