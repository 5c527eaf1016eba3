//! Tests of the core's rules in a fake world.

mod arbitrary;
mod autostart;
mod flows;
mod join;
mod keep;
mod layers;
mod members;
mod names;
mod network;
mod network_security;
mod processes;
mod security;
