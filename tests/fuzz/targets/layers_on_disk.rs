#![no_main]

#[path = "../../hostile/engine.rs"]
mod engine;
#[path = "../../hostile/guard.rs"]
mod guard;
#[path = "../../kit/watched.rs"]
mod watched;

mod kit {
    pub(crate) use super::watched;
}

use std::sync::LazyLock;

static LAYERS: LazyLock<engine::Layers> = LazyLock::new(engine::Layers::new);

libfuzzer_sys::fuzz_target!(|data: &[u8]| LAYERS.run(data));
