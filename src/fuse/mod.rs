//! The union behind `/dev/fuse`: the only place that knows `fuser`.

mod adapter;
mod answer;
mod convert;
mod crew;
mod ioctl;
mod notify;
mod other_clients;
mod passthrough;
mod prefetch;
mod scheduling;
mod session;
mod worker;

pub use session::{NotStarted, Session};
