//! The file `enc.conf`, which says how a name is encrypted (`spec/oap-crypto.md` §9.1).
//!
//! [`parse`] follows the grammar of the C implementation to the letter, with errors that name the
//! line and what is allowed. [`check`] adds what a strict reader would object to.

use std::fmt;

use crate::algorithm::{Cipher, Hash, Kex};

/// Most bytes of a line; what is longer continues as a new line.
pub const LINE_MAX: usize = 255;

/// Who encapsulates in a key exchange with a KEM (§4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum KemMode {
    /// The server, to an ephemeral key of the client.
    #[default]
    Server,
    /// The client, to the static key of the server.
    Client,
}

impl KemMode {
    /// The value of `kem_mode`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for KemMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a name is encrypted. The default is what an empty file means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EncConfig {
    /// Key exchange.
    pub kex: Kex,
    /// Who encapsulates; without effect on a Diffie-Hellman key exchange (§12, 9).
    pub kem_mode: KemMode,
    /// Hash of the key derivation.
    pub kdf: Hash,
    /// Cipher of the packets.
    pub cipher: Cipher,
    /// Digest of signatures and of the request hash.
    pub digest: Hash,
}

impl Default for EncConfig {
    fn default() -> Self {
        Self {
            kex: Kex::Prime256v1,
            kem_mode: KemMode::Server,
            kdf: Hash::Sha256,
            cipher: Cipher::Aes256Gcm,
            digest: Hash::Sha256,
        }
    }
}

/// A setting of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setting {
    /// `kex`
    Kex,
    /// `cipher`
    Cipher,
    /// `kdf`
    Kdf,
    /// `digest`
    Digest,
    /// `kem_mode`
    KemMode,
}

impl Setting {
    const ALL: [Self; 5] = [
        Self::Kex,
        Self::Cipher,
        Self::Kdf,
        Self::Digest,
        Self::KemMode,
    ];

    /// The word before the `=`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Kex => "kex",
            Self::Cipher => "cipher",
            Self::Kdf => "kdf",
            Self::Digest => "digest",
            Self::KemMode => "kem_mode",
        }
    }

    /// The values that can be used here, weakest first, separated by commas.
    #[must_use]
    pub fn allowed(self) -> String {
        let names: Vec<&str> = match self {
            Self::Kex => available(Kex::ALL, Kex::is_available, Kex::name),
            Self::Cipher => available(Cipher::ALL, |_| true, Cipher::name),
            Self::Kdf | Self::Digest => available(Hash::ALL, |_| true, Hash::name),
            Self::KemMode => vec!["server", "client"],
        };
        names.join(", ")
    }
}

fn available<T: Copy>(
    all: impl IntoIterator<Item = T>,
    is_available: impl Fn(T) -> bool,
    name: impl Fn(T) -> &'static str,
) -> Vec<&'static str> {
    all.into_iter()
        .filter(|algorithm| is_available(*algorithm))
        .map(name)
        .collect()
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// Why the file is invalid; nothing of it counts then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncConfError {
    /// The value of a setting is not one of its values: letter case counts, and nothing may follow.
    #[error("line {line}: \"{value}\" is no value of {setting}; allowed: {}", setting.allowed())]
    Value {
        /// Line, from 1.
        line: usize,
        /// The setting.
        setting: Setting,
        /// What stands there.
        value: String,
    },
    /// The value is known, and not available in this build.
    #[error("line {line}: {setting} {value} is not available in this build; allowed: {}", setting.allowed())]
    Unavailable {
        /// Line, from 1.
        line: usize,
        /// The setting.
        setting: Setting,
        /// The algorithm.
        value: &'static str,
    },
}

/// What a strict reader would object to in a file that counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// A line that is neither a comment nor a setting.
    #[error("line {line} is ignored: it has no `=`")]
    NoAssignment {
        /// Line, from 1.
        line: usize,
    },
    /// A setting that does not exist.
    #[error(
        "line {line} is ignored: there is no setting \"{key}\"; the settings are kex, cipher, kdf, digest, kem_mode, and the word none alone"
    )]
    UnknownKey {
        /// Line, from 1.
        line: usize,
        /// The word before the `=`.
        key: String,
    },
    /// A setting for the second time.
    #[error("line {line}: {setting} was set before; the last one counts")]
    Repeated {
        /// Line, from 1.
        line: usize,
        /// The setting.
        setting: Setting,
    },
    /// A line that is cut in two.
    #[error("line {line} has more than {LINE_MAX} bytes; what follows counts as a line of its own")]
    LongLine {
        /// Line, from 1.
        line: usize,
    },
    /// `none` beside settings.
    #[error(
        "line {line}: `none` turns encryption off; the settings before and after it do not count"
    )]
    SettingsBesideNone {
        /// Line of `none`, from 1.
        line: usize,
    },
    /// No setting at all, which surprises: it turns encryption on.
    #[error(
        "the file has no setting and so turns encryption on with the defaults; write `none` or remove it to turn it off"
    )]
    OnlyDefaults,
    /// `kem_mode` for a key exchange that is no KEM.
    #[error("kem_mode = client has no effect with kex = {kex}, which is no KEM")]
    KemModeWithoutKem {
        /// The key exchange.
        kex: &'static str,
    },
    /// A cipher that does not protect against changed packets.
    #[error(
        "cipher = {cipher} does not detect changed packets; prefer aes-256-gcm or chacha20-poly1305"
    )]
    Unauthenticated {
        /// The cipher.
        cipher: &'static str,
    },
}

/// Parses the file: `None` is "no encryption" (`none`).
///
/// # Errors
/// The first [`EncConfError`].
pub fn parse(file: &[u8]) -> Result<Option<EncConfig>, EncConfError> {
    read(file).map(|(config, _)| config)
}

/// Parses the file and tells what is odd in it, in the order of the lines.
///
/// # Errors
/// The first [`EncConfError`].
pub fn check(file: &[u8]) -> Result<(Option<EncConfig>, Vec<Warning>), EncConfError> {
    read(file)
}

fn read(file: &[u8]) -> Result<(Option<EncConfig>, Vec<Warning>), EncConfError> {
    let mut config = EncConfig::default();
    let mut warnings = Vec::new();
    let mut seen = Vec::new();
    let mut lines = Lines::new(file);
    while let Some((line, text)) = lines.next() {
        if text.len() == LINE_MAX && text.last() != Some(&b'\n') && !lines.rest.is_empty() {
            warnings.push(Warning::LongLine { line });
        }
        if text.first() == Some(&b'#') {
            continue;
        }
        let trimmed = trim(text);
        if trimmed.is_empty() {
            continue;
        }
        if trimmed == b"none" {
            let more = lines.any(|(_, text)| text.first() != Some(&b'#') && !trim(text).is_empty());
            if more || !seen.is_empty() {
                warnings.push(Warning::SettingsBesideNone { line });
            }
            return Ok((None, warnings));
        }
        let Some(equals) = trimmed.iter().position(|byte| *byte == b'=') else {
            warnings.push(Warning::NoAssignment { line });
            continue;
        };
        let (key, value) = trimmed.split_at(equals);
        let (key, value) = (trim(key), trim(value.get(1..).unwrap_or_default()));
        let setting = Setting::ALL
            .into_iter()
            .find(|setting| setting.key().as_bytes() == key);
        let Some(setting) = setting else {
            let key = String::from_utf8_lossy(key).into_owned();
            warnings.push(Warning::UnknownKey { line, key });
            continue;
        };
        if seen.contains(&setting) {
            warnings.push(Warning::Repeated { line, setting });
        }
        seen.push(setting);
        set(&mut config, setting, value, line)?;
    }
    if seen.is_empty() {
        warnings.push(Warning::OnlyDefaults);
    }
    if config.kem_mode == KemMode::Client && !config.kex.is_kem() {
        let kex = config.kex.name();
        warnings.push(Warning::KemModeWithoutKem { kex });
    }
    if !config.cipher.is_authenticated() {
        let cipher = config.cipher.name();
        warnings.push(Warning::Unauthenticated { cipher });
    }
    Ok((Some(config), warnings))
}

fn set(
    config: &mut EncConfig,
    setting: Setting,
    value: &[u8],
    line: usize,
) -> Result<(), EncConfError> {
    let bad = || EncConfError::Value {
        line,
        setting,
        value: String::from_utf8_lossy(value).into_owned(),
    };
    let name = std::str::from_utf8(value).map_err(|_| bad())?;
    match setting {
        Setting::Kex => {
            let kex = Kex::from_name(name).ok_or_else(bad)?;
            if !kex.is_available() {
                return Err(EncConfError::Unavailable {
                    line,
                    setting,
                    value: kex.name(),
                });
            }
            config.kex = kex;
        }
        Setting::Cipher => config.cipher = Cipher::from_name(name).ok_or_else(bad)?,
        Setting::Kdf => config.kdf = Hash::from_name(name).ok_or_else(bad)?,
        Setting::Digest => config.digest = Hash::from_name(name).ok_or_else(bad)?,
        Setting::KemMode => {
            config.kem_mode = [KemMode::Server, KemMode::Client]
                .into_iter()
                .find(|mode| mode.name() == name)
                .ok_or_else(bad)?;
        }
    }
    Ok(())
}

/// The lines as the C library reads them: up to [`LINE_MAX`] bytes, the newline included. The
/// numbers are those of an editor.
struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
    continued: bool,
}

impl<'a> Lines<'a> {
    fn new(file: &'a [u8]) -> Self {
        Self {
            rest: file,
            number: 0,
            continued: false,
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self
            .rest
            .iter()
            .take(LINE_MAX)
            .position(|byte| *byte == b'\n')
            .map_or(self.rest.len().min(LINE_MAX), |newline| newline + 1);
        let (line, rest) = self.rest.split_at_checked(end)?;
        if !self.continued {
            self.number += 1;
        }
        self.continued = line.last() != Some(&b'\n');
        self.rest = rest;
        Some((self.number, line))
    }
}

/// Without white space at both ends, as `isspace` of C has it.
fn trim(bytes: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let start = bytes.iter().position(|byte| !is_space(byte));
    let end = bytes.iter().rposition(|byte| !is_space(byte));
    match (start, end) {
        (Some(start), Some(end)) => bytes.get(start..=end).unwrap_or_default(),
        _ => &[],
    }
}
