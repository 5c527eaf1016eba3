//! The command line tools of Ouroboros: `irm`, `oecho`, `oping`.
//!
//! Each tool is a module with a `main`; what it understands and what it prints are pure code, apart
//! from what it does.

mod args;
pub mod irm;
pub mod oecho;
pub mod oping;
mod output;
