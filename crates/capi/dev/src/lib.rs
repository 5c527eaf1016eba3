//! The Rust part of `libouroboros-dev`: what `dev.c` calls, with cancellation disabled.
//!
//! Every function returns a number as the public one does, or [`AGAIN`](o7s_capi::boundary::AGAIN):
//! wait, or let the thread be cancelled, and call again with the same arguments.

mod component;
mod control;
mod extra;
mod handle;
mod io;
mod request;
mod set;
mod table;
mod turn;

use o7s::Node;
use o7s_capi::boundary::guarded;

/// The library was loaded: makes the process known to the daemon, so that it can be bound to names
/// before its first call. Without a daemon that is done at the first call.
#[unsafe(no_mangle)]
extern "C" fn o7s_c_load() {
    let _ = guarded(|| {
        let _ = Node::current().announce();
        Ok(0)
    });
}
