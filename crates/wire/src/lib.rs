//! Every value that crosses a machine: types, parse, emit. No I/O.
//!
//! Each protocol has its own module. A module offers a representation (`Repr`-like plain struct)
//! with `parse` and `emit`; parsing is the only place where foreign bytes become typed values and
//! the only place that can fail.

pub mod address;
pub mod cep;
pub mod dht;
pub mod dt;
pub mod enroll;
pub mod eth;
pub mod fa;
pub mod frcp;
pub mod hash;
pub mod hello;
pub mod linkstate;
pub mod name;
pub mod oap;
pub mod ocbr;
pub mod operf;
pub mod oping;
pub mod qos;
pub mod shim;
pub mod udp;
