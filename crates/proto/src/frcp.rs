//! The Flow and Retransmission Control Protocol (`spec/frcp.md`).
