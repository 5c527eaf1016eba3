//! Lists and status, as tables for people and as JSON for programs (`spec/irm-tools.md` §7.3, §7.5).

use o7s::{
    DirHash,
    irm::{Balance, IpcpInfo, IpcpState, IpcpType, NameInfo, SecurityPaths, Status},
};
use serde::Serialize;

use crate::output::shown;

const IPCP_RULE: &str = "+---------+----------------------+------------+----------------------+\n";
const NAME_RULE: &str =
    "+----------------------------------------------------+----------------------+\n";

/// Table of IPCPs. `any` says whether there are some that the filter left out.
pub(super) fn ipcps(ipcps: &[IpcpInfo], any: bool) -> String {
    if ipcps.is_empty() {
        return empty("IPCPs", any);
    }
    let row = |pid: &str, name: &str, kind: &str, layer: &str| {
        format!("| {pid:>7} | {name:>20} | {kind:>10} | {layer:>20} |\n")
    };
    let rows = ipcps.iter().map(|ipcp| {
        let layer = given(&ipcp.layer).unwrap_or("Not enrolled.");
        row(
            &ipcp.pid.to_string(),
            &shown(&ipcp.name),
            type_word(ipcp.ipcp_type),
            &shown(layer),
        )
    });
    table(IPCP_RULE, &row("pid", "name", "type", "layer"), rows) + "\n"
}

/// What IPCPs of the configuration file wait for; those that do not run, too.
pub(super) fn waiting(ipcps: &[IpcpInfo], absent: &[IpcpInfo]) -> String {
    let waiting = ipcps.iter().chain(absent);
    waiting
        .filter(|ipcp| !ipcp.waits.is_empty())
        .map(|ipcp| format!("{} {}.\n", shown(&ipcp.name), shown(&ipcp.waits)))
        .collect()
}

/// Table of names. `any` says whether there are some that the filter left out.
pub(super) fn names(names: &[NameInfo], any: bool) -> String {
    if names.is_empty() {
        return empty("names", any);
    }
    let row = |name: &str, policy: &str| format!("| {name:>50} | {policy:>20} |\n");
    let rows = names
        .iter()
        .map(|info| row(&shown(&info.name), policy_word(info.balance)));
    table(NAME_RULE, &row("name", "load-balance policy"), rows)
}

fn table(rule: &str, header: &str, rows: impl Iterator<Item = String>) -> String {
    let rows: String = rows.collect();
    [rule, header, rule, &rows, rule].concat()
}

fn empty(what: &str, any: bool) -> String {
    if any {
        format!("No {what} match.\n\n")
    } else {
        format!("No {what} in system.\n\n")
    }
}

/// The daemon's counters.
pub(super) fn status(status: &Status) -> String {
    let Status {
        daemon_pid,
        ipcps,
        names,
        programs,
        processes,
        flows,
        pending,
        bells,
        descriptors,
    } = status;
    format!(
        "daemon pid         {daemon_pid:>10}\n\
         IPCPs              {ipcps:>10}\n\
         names              {names:>10}\n\
         bound programs     {programs:>10}\n\
         processes          {processes:>10}\n\
         flows              {flows:>10}\n\
         pending requests   {pending:>10}\n\
         doorbells          {bells:>10}\n\
         descriptors        {descriptors:>10}\n"
    )
}

fn type_word(number: i32) -> &'static str {
    IpcpType::try_from(number).map_or("UNKNOWN", IpcpType::as_str)
}

fn policy_word(number: i32) -> &'static str {
    match Balance::try_from(number) {
        Ok(Balance::RoundRobin) => "round-robin",
        Ok(Balance::Spill) => "spillover",
        Err(_) => "UNKNOWN",
    }
}

fn state_word(number: i32) -> &'static str {
    IpcpState::try_from(number).map_or("unknown", IpcpState::as_str)
}

fn hash_word(number: u32) -> String {
    DirHash::from_number(number).map_or_else(|| "UNKNOWN".to_owned(), |hash| hash.to_string())
}

#[derive(Serialize)]
struct JsonIpcp<'a> {
    /// Null for one of the configuration file that does not run.
    pid: Option<i32>,
    name: &'a str,
    r#type: &'static str,
    state: &'static str,
    /// Null while it is in no layer.
    layer: Option<&'a str>,
    hash: Option<String>,
    /// What one of the configuration file waits for.
    waits: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonName<'a> {
    name: &'a str,
    policy: &'static str,
    programs: &'a [String],
    processes: &'a [i32],
    /// Null = the default files.
    server: Option<JsonPaths<'a>>,
    client: Option<JsonPaths<'a>>,
}

#[derive(Serialize)]
struct JsonPaths<'a> {
    encryption: Option<&'a str>,
    certificate: Option<&'a str>,
    key: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonStatus {
    daemon_pid: i32,
    ipcps: u64,
    names: u64,
    programs: u64,
    processes: u64,
    flows: u64,
    pending: u64,
    bells: u64,
    descriptors: u64,
}

/// A JSON array of IPCPs.
pub(super) fn ipcps_json(ipcps: &[IpcpInfo], absent: &[IpcpInfo]) -> String {
    let rows: Vec<JsonIpcp> = ipcps
        .iter()
        .chain(absent)
        .map(|ipcp| JsonIpcp {
            pid: (ipcp.pid > 0).then_some(ipcp.pid),
            name: &ipcp.name,
            r#type: type_word(ipcp.ipcp_type),
            state: state_word(ipcp.state),
            layer: given(&ipcp.layer),
            hash: given(&ipcp.layer).map(|_| hash_word(ipcp.dir_hash)),
            waits: given(&ipcp.waits),
        })
        .collect();
    json(&rows)
}

/// A JSON array of names.
pub(super) fn names_json(names: &[NameInfo]) -> String {
    let rows: Vec<JsonName> = names
        .iter()
        .map(|info| JsonName {
            name: &info.name,
            policy: policy_word(info.balance),
            programs: &info.programs,
            processes: &info.processes,
            server: paths(info.server.as_ref()),
            client: paths(info.client.as_ref()),
        })
        .collect();
    json(&rows)
}

/// A JSON object of the daemon's counters.
pub(super) fn status_json(status: &Status) -> String {
    json(&JsonStatus {
        daemon_pid: status.daemon_pid,
        ipcps: status.ipcps,
        names: status.names,
        programs: status.programs,
        processes: status.processes,
        flows: status.flows,
        pending: status.pending,
        bells: status.bells,
        descriptors: status.descriptors,
    })
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn paths(paths: Option<&SecurityPaths>) -> Option<JsonPaths<'_>> {
    paths.map(|paths| JsonPaths {
        encryption: given(&paths.encryption),
        certificate: given(&paths.certificate),
        key: given(&paths.key),
    })
}

pub(super) fn json(value: &impl Serialize) -> String {
    // Strings and numbers only: it cannot fail.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipcp(pid: i32, name: &str, ipcp_type: IpcpType, layer: &str) -> IpcpInfo {
        IpcpInfo {
            pid,
            ipcp_type: ipcp_type.into(),
            name: name.to_owned(),
            layer: layer.to_owned(),
            dir_hash: 1,
            state: IpcpState::Boot.into(),
            waits: String::new(),
        }
    }

    /// The tables of the specification.
    #[test]
    fn tables_are_exact() {
        let list = [
            ipcp(1001, "local", IpcpType::Local, "local"),
            ipcp(1003, "u6x", IpcpType::Udp6, ""),
        ];
        let expected = "\
+---------+----------------------+------------+----------------------+
|     pid |                 name |       type |                layer |
+---------+----------------------+------------+----------------------+
|    1001 |                local |      local |                local |
|    1003 |                  u6x |       udp6 |        Not enrolled. |
+---------+----------------------+------------+----------------------+

";
        assert_eq!(ipcps(&list, true), expected);
        let mut waits = ipcp(1004, "u", IpcpType::Unicast, "");
        waits.waits = "waits to enroll with \"n\": no answer; next try in 4 s".to_owned();
        let mut absent = ipcp(0, "v", IpcpType::Unicast, "");
        absent.waits = "waits to start: it died; next try in 1 s".to_owned();
        assert_eq!(
            waiting(
                &[waits, ipcp(5, "w", IpcpType::Local, "l")],
                &[absent.clone()]
            ),
            "u waits to enroll with \"n\": no answer; next try in 4 s.\n\
             v waits to start: it died; next try in 1 s.\n"
        );
        let json: serde_json::Value = serde_json::from_str(&ipcps_json(&[], &[absent])).unwrap();
        assert!(json[0]["pid"].is_null() && json[0]["waits"].is_string());
        assert_eq!(ipcps(&[], false), "No IPCPs in system.\n\n");
        assert_eq!(ipcps(&[], true), "No IPCPs match.\n\n");

        let info = NameInfo {
            name: "oecho".to_owned(),
            balance: Balance::Spill.into(),
            ..NameInfo::default()
        };
        let expected = "\
+----------------------------------------------------+----------------------+
|                                               name |  load-balance policy |
+----------------------------------------------------+----------------------+
|                                              oecho |            spillover |
+----------------------------------------------------+----------------------+
";
        assert_eq!(names(&[info], true), expected);
        assert_eq!(names(&[], false), "No names in system.\n\n");
    }

    #[test]
    fn unknown_numbers_and_long_names_are_shown() {
        let mut odd = ipcp(7, &"n".repeat(30), IpcpType::Local, "l\u{1b}");
        odd.ipcp_type = 99;
        let table = ipcps(&[odd], true);
        let row = table.lines().nth(3).unwrap();
        assert_eq!(
            row,
            format!(
                "|       7 | {} |    UNKNOWN |              l\\u{{1b}} |",
                "n".repeat(30)
            )
        );
    }

    #[test]
    fn json_has_nulls_for_what_is_not_there() {
        let list = [ipcp(3, "u", IpcpType::Udp4, "")];
        let value: serde_json::Value = serde_json::from_str(&ipcps_json(&list, &[])).unwrap();
        assert_eq!(
            value,
            serde_json::json!([{"pid": 3, "name": "u", "type": "udp4", "state": "boot",
                                "layer": null, "hash": null, "waits": null}])
        );
        let info = NameInfo {
            name: "n".to_owned(),
            processes: vec![5],
            programs: vec!["p".to_owned()],
            server: Some(SecurityPaths {
                key: "/k".to_owned(),
                ..SecurityPaths::default()
            }),
            ..NameInfo::default()
        };
        let value: serde_json::Value = serde_json::from_str(&names_json(&[info])).unwrap();
        assert_eq!(
            value,
            serde_json::json!([{"name": "n", "policy": "round-robin", "programs": ["p"],
                "processes": [5], "client": null,
                "server": {"encryption": null, "certificate": null, "key": "/k"}}])
        );
        assert_eq!(hash_word(o7s::irm::DIR_HASH_MD5), "MD5");
    }

    #[test]
    fn status_names_every_counter() {
        let counters = Status {
            daemon_pid: 11,
            ipcps: 12,
            names: 13,
            programs: 14,
            processes: 15,
            flows: 16,
            pending: 17,
            bells: 18,
            descriptors: 19,
        };
        let text = status(&counters);
        let value: serde_json::Value = serde_json::from_str(&status_json(&counters)).unwrap();
        let fields = value.as_object().unwrap();
        assert_eq!(fields.len(), text.lines().count());
        for number in fields.values() {
            assert!(text.contains(&format!("{number}\n")), "{number}");
        }
    }
}
