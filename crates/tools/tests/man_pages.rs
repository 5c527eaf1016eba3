//! The manual pages in `docs/man` say what the programs say, no more and no less.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use o7s_tools::irm::grammar::{GROUPS, OTHERS};

/// Programs with options, and the section of their page.
const PROGRAMS: [(&str, &str); 8] = [
    ("oecho", "1"),
    ("oping", "1"),
    ("operf", "1"),
    ("ocbr", "1"),
    ("obc", "1"),
    ("ovpn", "8"),
    ("irmd", "8"),
    ("ipcpd", "8"),
];

/// The functions of the libraries in C (`spec/api.md` A2), and those beyond 0.23.
const FUNCTIONS: [&str; 43] = [
    "flow_alloc",
    "flow_accept",
    "flow_join",
    "flow_dealloc",
    "flow_write",
    "flow_read",
    "fccntl",
    "fset_create",
    "fset_destroy",
    "fset_zero",
    "fset_add",
    "fset_has",
    "fset_del",
    "fqueue_create",
    "fqueue_destroy",
    "fqueue_next",
    "fqueue_type",
    "fevent",
    "cep_snd",
    "cep_rcv",
    "irm_create_ipcp",
    "irm_destroy_ipcp",
    "irm_list_ipcps",
    "irm_enroll_ipcp",
    "irm_bootstrap_ipcp",
    "irm_connect_ipcp",
    "irm_disconnect_ipcp",
    "irm_bind_program",
    "irm_unbind_program",
    "irm_bind_process",
    "irm_unbind_process",
    "irm_create_name",
    "irm_destroy_name",
    "irm_list_names",
    "irm_reg_name",
    "irm_unreg_name",
    "o7s_flow_alloc",
    "o7s_flow_cypher",
    "o7s_flow_peer",
    "o7s_flow_fileno",
    "o7s_fset_fileno",
    "o7s_last_error",
    "o7s_irm_last_error",
];

/// Pages of other packages that ours refer to.
const FOREIGN: [&str; 5] = ["fork.2", "free.3", "ip.8", "pkg-config.1", "poll.2"];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man")
}

fn page(name: &str) -> String {
    let path = directory().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All pages with their text; those that only point to another are resolved.
fn pages() -> BTreeMap<String, String> {
    fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| (name.clone(), page(&name)))
        .collect()
}

/// The page that a page points to, if it only does that.
fn target(text: &str) -> Option<&str> {
    let (_, name) = text.strip_prefix(".so ")?.trim_end().split_once('/')?;
    Some(name)
}

/// Options such as `-n` and `--name` that a help text begins lines with.
fn in_help(text: &str) -> BTreeSet<String> {
    text.lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with('-'))
        .flat_map(|line| {
            // Up to the two spaces before the description.
            let options = line.split("  ").next().unwrap_or_default();
            options
                .split([',', ' '])
                .filter(|word| word.starts_with('-'))
        })
        // `--` alone separates arguments.
        .filter(|word| word.len() > 1 && *word != "--")
        .map(str::to_owned)
        .collect()
}

/// Options that have an item in a page.
fn in_page(text: &str) -> BTreeSet<String> {
    let mut options = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with(".It Fl ")) {
        let mut flag = false;
        for word in line.split(' ').skip(1) {
            match word {
                "Fl" => flag = true,
                // Arguments, and `--` alone.
                "Ar" | "Cm" => flag = false,
                "," => {}
                "-" => {}
                word if flag => {
                    options.insert(format!("-{word}"));
                }
                _ => {}
            }
        }
    }
    options
}

fn help(program: &str) -> String {
    let path = match program {
        "irmd" | "ipcpd" => common::other(program),
        tool => common::tool(tool),
    };
    let output = Command::new(path).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_option_is_in_help_and_page() {
    for (program, section) in PROGRAMS {
        let text = page(&format!("{program}.{section}"));
        let (help, page) = (in_help(&help(program)), in_page(&text));
        assert!(help.len() > 1, "{program}: {help:?}");
        assert_eq!(help, page, "help and page of {program}");
        // The synopsis and the text know no other options either.
        for word in text
            .split_whitespace()
            .filter(|word| word.starts_with("--"))
        {
            let word = word.trim_end_matches(['.', ',', ')']);
            assert!(help.contains(word), "{program}: {word} in its page");
        }
    }
}

#[test]
fn help_and_page_are_read_as_they_are_written() {
    let help =
        "Usage: x -n NAME\n\n  -n, --name NAME  a name, not -y\n      --json  text\n  -- ARG\n";
    let expected = ["--json", "--name", "-n"].map(str::to_owned);
    assert_eq!(in_help(help), BTreeSet::from(expected.clone()));
    let page = ".Fl y\n.It Fl n , Fl -name Ar name\n.It Fl -json\n.It Fl - Ar argument ...\n";
    assert_eq!(in_page(page), BTreeSet::from(expected));
}

/// The part of a page under a heading.
fn under<'a>(text: &'a str, heading: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("\n.{heading}\n"))?;
    let end = ["\n.Ss ", "\n.Sh "]
        .iter()
        .filter_map(|next| after.find(next))
        .min()
        .unwrap_or(after.len());
    after.get(..end)
}

#[test]
fn every_operation_and_option_of_irm_is_in_its_page() {
    let text = page("irm.8");
    let mut operations = BTreeSet::new();
    for group in GROUPS {
        for operation in group.operations {
            let heading = format!("Ss irm {} {}", group.word, operation.word);
            let part = under(&text, &heading).unwrap_or_else(|| panic!("no {heading:?} in irm.8"));
            operations.insert(heading.clone());
            let items: BTreeSet<&str> = part
                .lines()
                .filter_map(|line| line.strip_prefix(".It Cm "))
                .map(|item| item.split(' ').next().unwrap_or_default())
                .collect();
            let words: BTreeSet<&str> =
                operation.options.iter().map(|option| option.word).collect();
            assert_eq!(words, items, "{heading}");
            let rest = part.contains("\n.It Fl - Ar argument ...\n");
            assert_eq!(operation.rest, rest, "{heading}: arguments after --");
        }
    }
    for (word, _) in OTHERS {
        let heading = text
            .lines()
            .find(|line| line.starts_with(&format!(".Ss irm {word}")))
            .unwrap_or_else(|| panic!("no {word} in irm.8"));
        operations.insert(heading.trim_start_matches('.').to_owned());
    }
    let headings: BTreeSet<String> = text
        .lines()
        .filter(|line| line.starts_with(".Ss "))
        .map(|line| line.trim_start_matches('.').to_owned())
        .collect();
    assert_eq!(operations, headings);
    assert_eq!(in_help(&help("irm")), in_page(&text));
}

#[test]
fn every_function_in_c_has_a_page() {
    let pages = pages();
    for function in FUNCTIONS {
        let name = format!("{function}.3");
        let text = pages.get(&name).unwrap_or_else(|| panic!("no {name}"));
        let text = match target(text) {
            Some(other) => pages
                .get(other)
                .unwrap_or_else(|| panic!("{name}: {other}")),
            None => text,
        };
        let listed = [".Nm", ".Fo"].iter().all(|mac| {
            // Prototypes with long arguments use Fo, short ones Fn.
            let mac = if *mac == ".Fo" && !text.contains(&format!(".Fo {function}\n")) {
                ".Fn"
            } else {
                mac
            };
            text.lines().any(|line| {
                line.strip_prefix(mac)
                    .is_some_and(|rest| rest.split(' ').nth(1) == Some(function))
            })
        });
        assert!(
            listed,
            "{name} does not name {function} in NAME and SYNOPSIS"
        );
    }
}

#[test]
fn references_lead_to_pages() {
    let pages = pages();
    for (name, text) in &pages {
        if let Some(other) = target(text) {
            assert!(pages.contains_key(other), "{name} points to {other}");
            continue;
        }
        let section = name.rsplit('.').next().unwrap();
        let title = name.trim_end_matches(&format!(".{section}")).to_uppercase();
        for start in [
            ".Dd ".to_owned(),
            format!(".Dt {title} {section}"),
            ".Os Ouroboros".to_owned(),
            ".Sh NAME".to_owned(),
            ".Sh DESCRIPTION".to_owned(),
            ".Sh SEE ALSO".to_owned(),
        ] {
            assert!(
                text.lines().any(|line| line.starts_with(&start)),
                "{name}: no {start:?}"
            );
        }
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            for at in words.windows(3).filter(|at| at[0].ends_with("Xr")) {
                let other = format!("{}.{}", at[1], at[2]);
                assert!(
                    pages.contains_key(&other) || FOREIGN.contains(&other.as_str()),
                    "{name} refers to {other}"
                );
            }
        }
    }
}

/// With `mandoc`, if it is there.
#[test]
fn the_pages_have_no_errors() {
    if Command::new("mandoc").arg("-V").output().is_err() {
        eprintln!("SKIPPED: there is no mandoc");
        return;
    }
    for (name, text) in pages() {
        if target(&text).is_some() {
            continue;
        }
        let output = Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .arg(directory().join(&name))
            .output()
            .unwrap();
        let found = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {found}");
    }
}
