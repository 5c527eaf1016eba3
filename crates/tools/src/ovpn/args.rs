//! The command line of `ovpn`.

use std::{ffi::OsString, net::Ipv4Addr};

use crate::{args::ArgError, output::Format};

pub(super) const USAGE: &str = "\
Usage: ovpn -i ADDRESS -m MASK [-n NAME] [OPTION]...

Carries IP packets over a flow, through a tunnel device. Needs root.

  -i, --ip ADDRESS  IPv4 address of the tunnel device
  -m, --mask MASK   its subnet mask, such as 255.255.255.0
  -n, --name NAME   allocate a flow to this name; without it, accept one
      --json        a JSON object per line instead of text

  -h, --help        this text
      --version     print the version

  ovpn -i 10.10.0.1 -m 255.255.255.0
  ovpn -i 10.10.0.2 -m 255.255.255.0 -n vpn
";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Mode {
    Tunnel(Options),
    Help,
    Version,
}

#[derive(Debug, PartialEq)]
pub(super) struct Options {
    pub(super) ip: Ipv4Addr,
    pub(super) mask: Ipv4Addr,
    /// To allocate to; none = accept.
    pub(super) name: Option<String>,
    pub(super) format: Format,
}

/// Reads the command line.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Mode, ArgError> {
    read(args).map_err(|error| error.of("ovpn"))
}

fn read(args: impl IntoIterator<Item = OsString>) -> Result<Mode, ArgError> {
    use lexopt::prelude::*;

    let mut parser = lexopt::Parser::from_args(args);
    let (mut ip, mut mask, mut name, mut json) = (None, None, None, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('i') | Long("ip") => ip = Some(address(&parser.value()?.string()?)?),
            Short('m') | Long("mask") => mask = Some(subnet_mask(&parser.value()?.string()?)?),
            Short('n') | Long("name") => name = Some(parser.value()?.string()?),
            Long("json") => json = true,
            Short('h') | Long("help") => return Ok(Mode::Help),
            Long("version") => return Ok(Mode::Version),
            arg => {
                let error = arg.unexpected();
                return Err(ArgError::usage(format!(
                    "Unknown arguments specified: {error}."
                )));
            }
        }
    }
    let ip = ip.ok_or_else(|| ArgError::usage("Please specify an IP address."))?;
    let mask = mask.ok_or_else(|| ArgError::usage("Please specify a subnetmask."))?;
    Ok(Mode::Tunnel(Options {
        ip,
        mask,
        name,
        format: Format::json(json),
    }))
}

fn address(text: &str) -> Result<Ipv4Addr, ArgError> {
    text.parse()
        .map_err(|_| ArgError::usage(format!("Invalid IP address: {text}")))
}

/// A mask whose ones are all before its zeros.
fn subnet_mask(text: &str) -> Result<Ipv4Addr, ArgError> {
    let invalid = || ArgError::usage(format!("Invalid subnet mask: {text}"));
    let mask: Ipv4Addr = text.parse().map_err(|_| invalid())?;
    if mask.to_bits().leading_ones() == mask.to_bits().count_ones() {
        Ok(mask)
    } else {
        Err(invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Mode, ArgError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn all_options() {
        let expected = |name: Option<&str>, mask, format| {
            Mode::Tunnel(Options {
                ip: Ipv4Addr::new(10, 0, 0, 1),
                mask,
                name: name.map(str::to_owned),
                format,
            })
        };
        let mask = Ipv4Addr::new(255, 255, 255, 0);
        assert_eq!(
            parsed("-i 10.0.0.1 -m 255.255.255.0").unwrap(),
            expected(None, mask, Format::Text)
        );
        // Trap 21: the host mask was refused.
        let mask = Ipv4Addr::BROADCAST;
        assert_eq!(
            parsed("--ip 10.0.0.1 --mask 255.255.255.255 --name vpn --json").unwrap(),
            expected(Some("vpn"), mask, Format::Json)
        );
        assert_eq!(parsed("--help").unwrap(), Mode::Help);
        assert_eq!(parsed("--version").unwrap(), Mode::Version);
    }

    #[test]
    fn mistakes() {
        for (line, message) in [
            ("", "Please specify an IP address."),
            ("-i 10.0.0.1", "Please specify a subnetmask."),
            ("-m 255.0.0.0", "Please specify an IP address."),
            ("-i 10.0.0", "Invalid IP address: 10.0.0"),
            ("-i ::1", "Invalid IP address: ::1"),
            ("-i 10.0.0.1 -m 24", "Invalid subnet mask: 24"),
            ("-m 255.0.255.0", "Invalid subnet mask: 255.0.255.0"),
            ("-n", "ovpn: missing argument for option '-n'"),
            ("-x", "Unknown arguments specified: invalid option '-x'."),
            (
                "vpn",
                "Unknown arguments specified: unexpected argument \"vpn\".",
            ),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.usage, "{line}");
            assert_eq!(error.message, message, "{line}");
        }
    }
}
