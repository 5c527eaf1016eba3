//! The C libraries as C programs see them: staged as `make install-capi` does, found by
//! `pkg-config`, used by programs of ours in `c/` on a node of their own.

mod installed;
mod interface;
mod programs;
mod stage;
