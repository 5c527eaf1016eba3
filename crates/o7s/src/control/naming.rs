//! The messages about names: what is bound and registered to them, and how.

/// Request to bind a program to a name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BindProgram {
    /// Path of the program (absolute, resolved by the caller); known by its base name.
    #[prost(string, tag = "1")]
    pub program: String,
    /// The name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Start the program when a flow request for the name finds nobody who accepts.
    #[prost(bool, tag = "3")]
    pub auto: bool,
    /// Arguments of an automatic start, without the program itself.
    #[prost(string, repeated, tag = "4")]
    pub args: Vec<String>,
}

/// Request to unbind a program.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UnbindProgram {
    /// Path or base name.
    #[prost(string, tag = "1")]
    pub program: String,
    /// The name; none = all names.
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
}

/// Request to bind or unbind a process.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BindProcess {
    /// The process.
    #[prost(int32, tag = "1")]
    pub pid: i32,
    /// The name; none (unbind only) = all names.
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
}

/// How a name's flow requests are shared between processes (`spec/irm-tools.md` §5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Balance {
    /// The process that waits longest is served first.
    RoundRobin = 0,
    /// The process that called accept last is served first.
    Spill = 1,
}

/// A name and its attributes. Security paths are empty for the defaults.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NameInfo {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Load balancing.
    #[prost(enumeration = "Balance", tag = "2")]
    pub balance: i32,
    /// Files used when accepting for the name.
    #[prost(message, optional, tag = "3")]
    pub server: Option<SecurityPaths>,
    /// Files used when allocating to the name.
    #[prost(message, optional, tag = "4")]
    pub client: Option<SecurityPaths>,
    /// Pids bound to the name (lists only).
    #[prost(int32, repeated, tag = "5")]
    pub processes: Vec<i32>,
    /// Programs bound to the name, by base name (lists only).
    #[prost(string, repeated, tag = "6")]
    pub programs: Vec<String>,
}

/// Security files of one role.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SecurityPaths {
    /// Encryption configuration.
    #[prost(string, tag = "1")]
    pub encryption: String,
    /// Private key.
    #[prost(string, tag = "2")]
    pub key: String,
    /// Certificate.
    #[prost(string, tag = "3")]
    pub certificate: String,
}

/// Names a name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NameRef {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// The names, sorted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NameList {
    /// One entry per name.
    #[prost(message, repeated, tag = "1")]
    pub names: Vec<NameInfo>,
}

/// Request to register or unregister a name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RegName {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The IPCP.
    #[prost(int32, tag = "2")]
    pub pid: i32,
}
