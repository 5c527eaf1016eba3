//! What can be set on a flow: time limits, flags.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{Flow, load};
use crate::{Error, ErrorKind, FlowFlags, FrctFlags, Result, life::NO_TIMEOUT, link::Link};

impl Flow {
    /// Time limit of reads, none = wait for ever.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn read_timeout(&self) -> Result<Option<Duration>> {
        self.inner.link()?;
        Ok(load(&self.inner.read_timeout))
    }

    /// Sets the time limit of reads; zero = do not wait.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> Result<()> {
        self.inner.link()?;
        store(&self.inner.read_timeout, timeout);
        Ok(())
    }

    /// Time limit of writes, none = wait for ever.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn write_timeout(&self) -> Result<Option<Duration>> {
        self.inner.link()?;
        Ok(load(&self.inner.write_timeout))
    }

    /// Sets the time limit of writes; zero = do not wait.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> Result<()> {
        self.inner.link()?;
        store(&self.inner.write_timeout, timeout);
        Ok(())
    }

    /// The flags as last set, with [`FlowFlags::DOWN`] only if set here.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn flags(&self) -> Result<FlowFlags> {
        self.inner.link()?;
        Ok(self.inner.flags())
    }

    /// Replaces all flags; 16 bits are kept.
    ///
    /// The access mode is part of them: [`FlowFlags::NON_BLOCKING`] alone makes the flow
    /// read-only. [`FlowFlags::WRITE_ONLY`] forbids the other end to write, [`FlowFlags::DOWN`]
    /// takes the flow down for both until it is cleared.
    ///
    /// # Errors
    /// The flow is not allocated.
    pub fn set_flags(&self, flags: FlowFlags) -> Result<()> {
        let link = self.inner.link()?;
        let flags = FlowFlags(flags.0 & 0xffff);
        self.inner.flags.store(flags.0, Ordering::Relaxed);
        let access = flags.0 & FlowFlags::ACCESS_MODE.0;
        link.state.set_refuse(access == FlowFlags::WRITE_ONLY.0);
        link.set_down(flags.contains(FlowFlags::DOWN));
        self.inner.kick(link);
        Ok(())
    }

    /// FRCP flags.
    ///
    /// # Errors
    /// [`ErrorKind::Permission`] on a flow without FRCP.
    pub fn frct_flags(&self) -> Result<FrctFlags> {
        Ok(self.frcp_link()?.frct_flags())
    }

    /// Sets the FRCP flags that the user may set: [`FrctFlags::RES_CNTL`] and
    /// [`FrctFlags::LINGER`]; [`FrctFlags::RETRANSMIT`] stays as the QoS says.
    ///
    /// # Errors
    /// [`ErrorKind::Permission`] on a flow without FRCP.
    pub fn set_frct_flags(&self, flags: FrctFlags) -> Result<()> {
        self.frcp_link()?.set_frct_flags(flags);
        Ok(())
    }

    /// The open end, if its QoS asked for FRCP.
    fn frcp_link(&self) -> Result<&Link> {
        let link = self.inner.link()?;
        if link.qos.needs_frcp() {
            Ok(link)
        } else {
            Err(NO_FRCP)
        }
    }
}

fn store(slot: &AtomicU64, timeout: Option<Duration>) {
    let nanos = timeout.map_or(NO_TIMEOUT, |timeout| {
        u64::try_from(timeout.as_nanos()).unwrap_or(NO_TIMEOUT)
    });
    slot.store(nanos, Ordering::Relaxed);
}

const NO_FRCP: Error = Error::fixed(
    ErrorKind::Permission,
    "the flow has no FRCP: its QoS did not ask for it",
);
