//! Completion of command lines: scripts for shells, which call `irm __complete WORD...`.

use o7s::irm::Irm;

use super::{
    grammar::{GROUPS, Group, OTHERS, Op, Operation, SHELLS, Source, first_words},
    keyword::find,
};

/// The script for a shell of [`SHELLS`].
pub(super) fn script(shell: &str) -> &'static str {
    match shell {
        "zsh" => ZSH,
        "fish" => FISH,
        _ => BASH,
    }
}

const BASH: &str = r#"# Completion of irm for bash: source <(irm completions bash)
_irm() {
    local IFS=$'\n'
    mapfile -t COMPREPLY < <("$1" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _irm irm
"#;

const ZSH: &str = r#"#compdef irm
# Completion of irm for zsh: source <(irm completions zsh)
_irm() {
    local -a candidates
    candidates=("${(@f)$(${words[1]} __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    candidates=(${candidates:#})
    if (( ${#candidates} )); then
        compadd -a candidates
    else
        _files
    fi
}
if [[ ${funcstack[1]} == _irm ]]; then
    _irm "$@"
else
    compdef _irm irm
fi
"#;

const FISH: &str = r#"# Completion of irm for fish: irm completions fish | source
function __irm_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l candidates ($words[1] __complete $words[2..-1] 2>/dev/null)
    if test (count $candidates) -gt 0
        printf '%s\n' $candidates
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c irm -f -a '(__irm_complete)'
"#;

/// What a running system offers for completion; empty when it cannot be asked.
pub(super) trait Offers {
    /// Names of IPCPs.
    fn ipcps(&mut self) -> Vec<String>;
    /// Names of layers.
    fn layers(&mut self) -> Vec<String>;
    /// Names of services.
    fn names(&mut self) -> Vec<String>;
    /// Bound programs.
    fn programs(&mut self) -> Vec<String>;
}

/// The daemon's offers.
#[derive(Default)]
pub(super) struct Daemon(Option<Irm>);

impl Daemon {
    fn irm(&mut self) -> &Irm {
        self.0.get_or_insert_with(Irm::from_env)
    }
}

impl Offers for Daemon {
    fn ipcps(&mut self) -> Vec<String> {
        let ipcps = self.irm().list_ipcps().unwrap_or_default();
        ipcps.into_iter().map(|ipcp| ipcp.name).collect()
    }

    fn layers(&mut self) -> Vec<String> {
        let ipcps = self.irm().list_ipcps().unwrap_or_default();
        let layers = ipcps.into_iter().map(|ipcp| ipcp.layer);
        layers.filter(|layer| !layer.is_empty()).collect()
    }

    fn names(&mut self) -> Vec<String> {
        let names = self.irm().list_names().unwrap_or_default();
        names.into_iter().map(|info| info.name).collect()
    }

    fn programs(&mut self) -> Vec<String> {
        let names = self.irm().list_names().unwrap_or_default();
        names.into_iter().flat_map(|info| info.programs).collect()
    }
}

/// What the last word may become. Nothing means: a file, or anything.
pub(super) fn candidates(words: &[String], offers: &mut impl Offers) -> Vec<String> {
    let Some((current, before)) = words.split_last() else {
        return Vec::new();
    };
    if before.iter().any(|word| word == "--") {
        return Vec::new();
    }
    let before: Vec<&str> = before
        .iter()
        .map(String::as_str)
        .filter(|word| !matches!(*word, "--json" | "--help" | "-h"))
        .collect();
    let mut found = next(&before, offers);
    found.retain(|word| word.starts_with(current.as_str()) && !word.contains('\n'));
    let mut seen = std::collections::HashSet::new();
    found.retain(|word| seen.insert(word.clone()));
    found
}

fn owned<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    words.into_iter().map(str::to_owned).collect()
}

/// All that may follow these words.
fn next(before: &[&str], offers: &mut impl Offers) -> Vec<String> {
    let Some((first, rest)) = before.split_first() else {
        return owned(first_words().chain(["--json", "--help", "--version"]));
    };
    let Some(at) = find(first, first_words()) else {
        return Vec::new();
    };
    match (GROUPS.get(at), rest) {
        (None, rest) => match (OTHERS[at - GROUPS.len()].0, rest) {
            ("help", []) => owned(GROUPS.iter().map(|group| group.word)),
            ("help", [group]) => find(group, GROUPS.iter().map(|group| group.word))
                .map(|at| operations(&GROUPS[at]))
                .unwrap_or_default(),
            ("completions", []) => owned(SHELLS.iter().copied()),
            ("status", []) => owned(["--json"]),
            _ => Vec::new(),
        },
        (Some(group), []) => owned(group.words()),
        (Some(group), [second, rest @ ..]) => {
            match find(second, group.words()).map(|at| group.operations.get(at)) {
                Some(Some(operation)) => after(operation, rest, offers),
                Some(None) if rest.is_empty() => operations(group),
                _ => Vec::new(),
            }
        }
    }
}

fn operations(group: &Group) -> Vec<String> {
    owned(group.operations.iter().map(|operation| operation.word))
}

/// All that may follow these words of an operation.
fn after(operation: &Operation, words: &[&str], offers: &mut impl Offers) -> Vec<String> {
    let mut words = words;
    if let Some(value) = operation.positional {
        match words.split_first() {
            None => return from(value.source, offers),
            Some((_, rest)) => words = rest,
        }
    }
    let mut used = Vec::new();
    while let Some((word, rest)) = words.split_first() {
        let Some(option) = operation.option(word) else {
            return Vec::new();
        };
        used.push(option.word);
        words = rest;
        if let Some(value) = option.value {
            match words.split_first() {
                None => return from(value.source, offers),
                Some((_, rest)) => words = rest,
            }
        }
    }
    let free = operation
        .options
        .iter()
        .filter(|option| option.repeat || !used.contains(&option.word));
    let mut found = owned(free.map(|option| option.word));
    if matches!(operation.op, Op::IpcpList | Op::IpcpShow | Op::NameList) {
        found.push("--json".to_owned());
    }
    if operation.rest {
        found.push("--".to_owned());
    }
    found
}

fn from(source: Source, offers: &mut impl Offers) -> Vec<String> {
    match source {
        Source::Free | Source::Files => Vec::new(),
        Source::Words(words) => owned(words.iter().copied()),
        Source::Ipcps => offers.ipcps(),
        Source::Layers => offers.layers(),
        Source::Names => offers.names(),
        Source::Programs => offers.programs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Offers for Fixed {
        fn ipcps(&mut self) -> Vec<String> {
            owned(["loc1", "loc2"])
        }
        fn layers(&mut self) -> Vec<String> {
            owned(["local", "local", "lan"])
        }
        fn names(&mut self) -> Vec<String> {
            owned(["oecho", "oping"])
        }
        fn programs(&mut self) -> Vec<String> {
            owned(["oecho.py"])
        }
    }

    fn complete(line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        candidates(&words, &mut Fixed).join(" ")
    }

    #[test]
    fn words_are_completed_at_every_place() {
        for (line, expected) in [
            (
                "",
                "ipcp bind unbind name help status completions --json --help --version",
            ),
            ("i", "ipcp"),
            ("--json na", "name"),
            ("i b", "bootstrap"),
            ("ipcp list ", "type name layer --json"),
            ("ipcp create ", "type name"),
            ("ipcp create type l", "local"),
            ("ipcp create type local ", "name"),
            ("ipcp destroy name ", "loc1 loc2"),
            ("i b t local n x l l", "local lan"),
            ("i b ro", "routing"),
            ("i b t local n x l y lo", "loss"),
            ("i b routing l", "link_state lfa"),
            ("i b autobind au", ""),
            ("n r oe", "oecho"),
            ("n r oecho layer local l", "layer"),
            ("n c new sencpath ", ""),
            ("b prog ", ""),
            ("b prog ./x ", "name auto --"),
            ("b prog ./x n oecho auto -- ", ""),
            ("unbind program ", "oecho.py"),
            ("name list o", "oecho oping"),
            ("help name un", "unregister"),
            ("help ", "ipcp bind unbind name"),
            ("name help d", "destroy"),
            ("completions ", "bash zsh fish"),
            ("status ", "--json"),
            ("nonsense ", ""),
            ("ipcp nonsense ", ""),
            ("ipcp create nonsense ", ""),
        ] {
            assert_eq!(complete(line), expected, "{line:?}");
        }
        assert!(candidates(&[], &mut Fixed).is_empty());
    }

    #[test]
    fn every_shell_has_a_script_that_asks_irm() {
        for shell in SHELLS {
            let script = script(shell);
            assert!(script.contains(&format!("for {shell}")), "{shell}");
            assert!(script.contains("__complete"), "{shell}");
        }
    }
}
