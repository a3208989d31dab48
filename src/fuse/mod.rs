//! The union behind `/dev/fuse`: the only place that knows `fuser`.

mod adapter;
mod ahead;
mod answer;
mod company;
mod convert;
mod crew;
mod follow;
mod ioctl;
mod notify;
mod passthrough;
mod session;
mod worker;

pub use session::{NotStarted, Session};
