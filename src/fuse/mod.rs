//! The union behind `/dev/fuse`: the only place that knows `fuser`.

mod adapter;
mod convert;
mod session;

pub use session::Session;
