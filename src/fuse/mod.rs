//! The union behind `/dev/fuse`: the only place that knows `fuser`.

mod adapter;
mod answer;
mod convert;
mod crew;
mod handle;
mod ioctl;
mod notify;
mod other_clients;
mod passthrough;
mod prefetch;
mod scheduling;
mod session;
mod worker;

pub use handle::{SessionHandle, SessionState};
pub use session::{NotStarted, Session};
