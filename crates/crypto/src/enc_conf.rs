//! The file `enc.conf`, which says how a name is encrypted.
