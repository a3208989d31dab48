mod descriptors;
mod memory;
mod rig;

use crate::support::mode::{Mode, announce, skip, test_name};

/// How much of something.
fn amount(few: usize, many: usize) -> usize {
    if std::env::var_os("UNIONFUSE_SOAK").is_some() { many } else { few }
}

/// Whether the test can run; says why not.
fn can_run() -> bool {
    if Mode::current() != Mode::Root {
        skip(&test_name(), "needs root: limits are raised and the kernel's caches dropped");
        return false;
    }
    if let Err(error) = std::fs::File::options().read(true).write(true).open("/dev/fuse") {
        skip(&test_name(), &format!("/dev/fuse: {error}"));
        return false;
    }
    true
}

fn report(figure: &str) {
    announce(&format!("{}: {figure}", test_name()));
}
