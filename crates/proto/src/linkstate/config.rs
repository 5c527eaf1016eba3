//! The parameters of link-state routing, checked.

use std::time::Duration;

use o7s_wire::enroll::{LinkStateConfig, LinkStatePolicy};

/// How a node routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    pub(super) policy: LinkStatePolicy,
    pub(super) t_recalc: Duration,
    pub(super) t_update: Duration,
    pub(super) t_timeo: Duration,
}

/// Own links would age out before they are refreshed (trap 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "link-state t_update is {t_update} s and t_timeo {t_timeo} s; links would be forgotten before they are \
     refreshed: t_update must be at least 1 s and less than t_timeo, best a quarter of it"
)]
pub struct ConfigError {
    t_update: u32,
    t_timeo: u32,
}

impl Config {
    /// From the layer's configuration.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(config: &LinkStateConfig) -> Result<Self, ConfigError> {
        let (t_update, t_timeo) = (config.t_update, config.t_timeo);
        if t_update == 0 || t_update >= t_timeo {
            return Err(ConfigError { t_update, t_timeo });
        }
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Ok(Self {
            policy: config.policy,
            t_recalc: seconds(config.t_recalc),
            t_update: seconds(t_update),
            t_timeo: seconds(t_timeo),
        })
    }

    /// Interval at which ages are looked at.
    pub(super) fn ageing(&self) -> Duration {
        (self.t_timeo / 8).min(self.t_update)
    }
}
