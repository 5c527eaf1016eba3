//! Views of packets where they lie.

use crate::{Flow, process::generation};

/// A packet where it lies, in memory that the other end shares. Dropping it gives the space back.
#[derive(Debug)]
pub struct PacketView {
    pub(crate) flow: Flow,
    /// A number, so that the view may go from thread to thread.
    pub(crate) address: usize,
    pub(crate) length: usize,
}

impl PacketView {
    /// Address of the first byte, valid while the view lives. Never make a reference of it: the
    /// other end can write there.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        std::ptr::with_exposed_provenance(self.address)
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl Drop for PacketView {
    fn drop(&mut self) {
        if self.flow.inner().generation == generation()
            && let Some(link) = self.flow.inner().link.get()
        {
            link.release_view();
            self.flow.inner().after_read();
        }
    }
}
