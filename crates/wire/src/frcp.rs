//! The header of FRCP packets (`spec/frcp.md` §2).
