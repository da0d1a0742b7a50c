//! The Compose model, and the change to it. Compose itself says what the model is; the change is one
//! override file. Pure but for [`files`].

pub mod consumers;
pub mod database;
pub mod declared;
pub mod files;
pub mod model;
pub mod overlay;
pub mod version;
