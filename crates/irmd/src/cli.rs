//! The command line of `irmd`.

use std::path::PathBuf;

use clap::Parser;

use o7s_log::Logging;

/// The IPC Resource Manager daemon of Ouroboros. Stays in the foreground.
#[derive(Debug, Parser)]
#[command(name = "irmd", disable_version_flag = true)]
pub struct Args {
    /// Stay in the foreground (always the case; accepted for service files)
    #[arg(long)]
    pub foreground: bool,
    /// Where and how to log.
    #[command(flatten)]
    pub logging: Logging,
    /// Directory of socket and lock [default: $OUROBOROS_RUNTIME_DIR, /run/ouroboros for root,
    /// $XDG_RUNTIME_DIR/ouroboros, /tmp/ouroboros-UID]
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// Set up names and IPCPs as this file says; without it nothing is read
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// End with status 1 if something of the configuration file is missing after the first try of every
    /// entry, instead of serving and trying again
    #[arg(long, requires = "config")]
    pub strict_config: bool,
    /// Check a configuration file, say what is wrong with it, and end: FILE, else that of
    /// --config, else /etc/ouroboros/irmd.conf
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    pub check_config: Option<Option<PathBuf>>,
    /// Directory of certificates and of the security files of names [default:
    /// /etc/ouroboros/security for root, $XDG_CONFIG_HOME/ouroboros/security,
    /// ~/.config/ouroboros/security]
    #[arg(long, value_name = "DIR")]
    pub security_dir: Option<PathBuf>,
    /// Let processes of this machine meet over layers only
    #[arg(long)]
    pub no_direct: bool,
    /// Write "ready" to this descriptor when the daemon serves, then close it
    #[arg(long, value_name = "N")]
    pub ready_fd: Option<i32>,
    /// Stop in good order at the end of file of this descriptor
    #[arg(long, value_name = "N")]
    pub die_with_fd: Option<i32>,
    /// Remove the runtime directory with all that is in it at the end (private daemons)
    #[arg(long, requires = "runtime_dir")]
    pub remove_runtime_dir: bool,
    /// Print the version
    #[arg(long)]
    pub version: bool,
}
