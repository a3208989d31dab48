//! Reads a union as a library, without a mount: lists its root, and says in which order the layers are looked through.
//!
//!     cargo run --example read_union -- TOP BOTTOM

use std::ops::ControlFlow;

use unionfuse::types::{Kind, NodeId};
use unionfuse::{Union, UnionConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lowers: Vec<String> = std::env::args().skip(1).collect();
    let union = Union::open(&UnionConfig::new(lowers), None)?;
    for layer in union.layers() {
        println!("layer {}: {}", layer.index, layer.path.display());
    }
    union.read_dir(NodeId::ROOT, 0, false, &mut |entry, _| {
        let slash = if entry.kind == Kind::Directory { "/" } else { "" };
        println!("{}{slash}", entry.name.to_string_lossy());
        ControlFlow::Continue(())
    })?;
    Ok(())
}
