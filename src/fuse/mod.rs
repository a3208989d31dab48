//! The union behind `/dev/fuse`: the only place that knows `fuser`.

mod adapter;
mod answer;
mod convert;
mod ioctl;
mod session;

pub use session::Session;
