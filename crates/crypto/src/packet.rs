//! Protection of packets, with key rotation.
