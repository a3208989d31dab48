//! What is tested: a union made by the kernel, by us, or (as the POSIX yardstick where the kernel's is not to be had) by hand.

use std::path::{Path, PathBuf};

use super::kernel::Kernel;
use super::mode::Mode;
use super::mount::Mount;
use super::ours::Ours;
use super::plain::Plain;

/// The directories of one union.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Top-most first.
    pub lowers: Vec<PathBuf>,
    /// The writable layer and its work directory.
    pub upper: Option<(PathBuf, PathBuf)>,
    pub point: PathBuf,
    /// What our mount is asked for with `-o`, besides what the run asks for.
    pub options: Option<&'static str>,
    /// The most descriptors our daemon may have.
    pub descriptors: Option<u32>,
}

/// One way to make a union out of a stack of layers.
pub trait Subject: Sync {
    fn name(&self) -> &'static str;
    /// Makes the union visible, ready for use.
    fn mount(&self, stack: &Stack) -> Result<Mount, String>;
    /// Whether it numbers inodes by the layers' inodes.
    fn keeps_numbers(&self) -> bool {
        true
    }
    /// Whether `d_ino == st_ino` is promised for every entry.
    fn readdir_is_exact(&self) -> bool {
        false
    }
}

/// The subjects of this run: `UNIONFUSE_TEST_SUBJECTS` (such as `kernel,kernel`), else the best oracle there is, and us.
pub fn subjects() -> Vec<&'static dyn Subject> {
    let asked = std::env::var("UNIONFUSE_TEST_SUBJECTS").ok();
    let default = if Mode::current() == Mode::Root { "kernel,ours" } else { "plain,ours" };
    asked.as_deref().unwrap_or(default).split(',').map(by_name).collect()
}

fn by_name(name: &str) -> &'static dyn Subject {
    match name {
        "kernel" => &Kernel,
        "ours" => &Ours,
        "plain" => &Plain,
        other => panic!("UNIONFUSE_TEST_SUBJECTS: {other:?} is none of kernel, ours, plain"),
    }
}

/// Whether we are among the subjects; otherwise skips the running test, which is about us alone.
pub fn ours_or_skip() -> bool {
    let ours = subjects().iter().any(|subject| subject.name() == Ours.name());
    if !ours {
        super::mode::skip(
            &super::mode::test_name(),
            "about unionfuse alone, which is not among the subjects",
        );
    }
    ours
}

/// Directories for a stack: fresh upper, work directory and mount point under `home`, over `lowers`.
pub fn fresh_stack(home: &Path, lowers: &[PathBuf]) -> Stack {
    let dir = |name: &str| {
        let path = home.join(name);
        std::fs::create_dir_all(&path).unwrap_or_else(|e| panic!("mkdir {}: {e}", path.display()));
        path
    };
    Stack {
        lowers: lowers.to_vec(),
        upper: Some((dir("upper"), dir("work"))),
        point: dir("mnt"),
        options: None,
        descriptors: None,
    }
}
