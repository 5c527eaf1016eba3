//! The command line of `ipcpd`.

use clap::Parser;
use o7s::control::IpcpType;
use o7s_log::Logging;

/// An IPC process of Ouroboros. Started by irmd, with its control channel as standard input.
#[derive(Debug, Parser)]
#[command(name = "ipcpd", version)]
pub struct Args {
    /// Type of the IPCP
    #[arg(long = "type", value_name = "TYPE", value_parser = ipcp_type)]
    pub ipcp_type: IpcpType,
    /// Name of the IPCP
    #[arg(long)]
    pub name: String,
    /// Where and how to log.
    #[command(flatten)]
    pub logging: Logging,
}

fn ipcp_type(word: &str) -> Result<IpcpType, String> {
    IpcpType::by_word(word).ok_or_else(|| {
        let words: Vec<_> = IpcpType::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("the types are {}", words.join(", "))
    })
}
