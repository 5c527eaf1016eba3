//! The algorithms: names, numbers on the wire, strength.
