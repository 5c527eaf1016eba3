//! The command line tools of Ouroboros: `irm`, `oecho`, `oping`, `operf`, `ocbr`, `obc`, `ovpn`.
//!
//! Each tool is a module with a `main`; what it understands and what it prints are pure code, apart
//! from what it does.

mod args;
pub mod irm;
mod load;
pub mod obc;
pub mod ocbr;
pub mod oecho;
pub mod operf;
pub mod oping;
mod output;
pub mod ovpn;
mod serve;
mod stop;
