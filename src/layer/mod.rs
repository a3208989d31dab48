//! Layers: the directories a union is made of, what is written in them, and how changes are prepared.

pub mod claim;
pub mod copy_data;
pub mod dir;
pub mod fd_cache;
pub mod made;
pub mod marker;
pub mod mode_record;
pub mod open;
mod opened;
pub mod probe;
pub mod stack;
pub mod staging;
pub mod store;
mod view;
pub mod waiting;
mod work_index;
mod workdir;
pub use workdir::HIDDEN_WORK;
