//! Changes a union as a library, without a mount, and shows what came into the upperdir: a copy, and a whiteout.
//!
//!     cargo run --example change_union -- LOWER UPPER

use std::fs;
use std::os::unix::fs::FileTypeExt;

use unionfuse::types::{Name, NodeId};
use unionfuse::{Union, UnionConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (lower, upper) = args.next().zip(args.next()).ok_or("LOWER UPPER")?;
    let union = Union::open(&UnionConfig::new([lower]).with_upper(&upper, None), None)?;

    let name = Name::new("changed".as_ref())?;
    let entry = union.lookup(NodeId::ROOT, name)?.ok_or("LOWER has no file 'changed'")?;
    // The node can be used by its number as long as there is a reference to it.
    union.write(entry.node.id(), 0, b"changed", None)?;
    union.unlink(NodeId::ROOT, Name::new("removed".as_ref())?)?;

    for entry in fs::read_dir(upper)? {
        let entry = entry?;
        let kind = if entry.file_type()?.is_char_device() { "whiteout" } else { "copy" };
        println!("{kind}: {}", entry.file_name().to_string_lossy());
    }
    Ok(())
}
