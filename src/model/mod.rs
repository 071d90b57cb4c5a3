//! The nouns that all modules share. Nothing here imports another module.

mod api_error;
mod error_kind;
mod refusal;
mod registration;
pub mod run;

pub use api_error::ApiError;
pub(crate) use api_error::in_words;
pub use error_kind::{ErrorKind, SetupError};
pub use refusal::{RenderError, RunRefusal};
pub use registration::Registration;
