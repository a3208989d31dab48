//! Mounts a union from a program, writes to it, and unmounts it.
//!
//!     cargo run --example mount_union -- LOWER UPPER MOUNTPOINT

use std::fs;
use std::path::PathBuf;

use unionfuse::{Mount, MountConfig, UnionConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [lower, upper, mountpoint] = &args[..] else { return Err("LOWER UPPER MOUNTPOINT".into()) };
    let union = UnionConfig::new([lower]).with_upper(upper, None);
    let mut mount = Mount::new(&MountConfig::new(union, mountpoint))?;
    fs::write(mountpoint.join("new"), "only in the upperdir")?;
    mount.unmount()?;
    println!("{}", fs::read_to_string(upper.join("new"))?);
    Ok(())
}
