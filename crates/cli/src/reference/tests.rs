//! The generated trees are what clap accepts, and every command has its page.

use super::{completion, man, tree};
use crate::manage::CATEGORIES;
use std::collections::BTreeSet;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn clap_finds_no_fault_in_the_trees() {
    for program in tree::for_completion().into_iter().chain(tree::for_pages()) {
        program.debug_assert();
    }
}

#[test]
fn every_command_has_a_page_with_its_example_and_the_listed_names_are_the_written_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    assert_eq!(man(&words(path)).unwrap(), "");
    let written: BTreeSet<String> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let listed = man(&[]).unwrap();
    let listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    assert_eq!(written, listed);
    for category in CATEGORIES {
        for action in category.actions {
            let name = format!("nova-manage-{}-{}.1", category.name, action.name);
            let page = std::fs::read_to_string(folder.path().join(&name)).unwrap();
            let example = crate::manage::example(category.name, action.name).unwrap();
            let plain = page.replace("\\-", "-");
            assert!(plain.contains(example), "{name}: {page}");
            for param in action.params {
                let place = param.name.to_ascii_uppercase();
                let option = format!("--{}", param.name);
                assert!(
                    plain.contains(&place) || plain.contains(&option),
                    "{name}: {page}"
                );
            }
        }
    }
    for command in crate::euca::commands().flat_map(crate::euca::Command::names) {
        assert!(written.contains(&format!("euca-{command}.1")), "{command}");
    }
    assert!(written.contains("novanet.1") && written.contains("nova-manage.1"));
}

#[test]
fn bash_completes_categories_actions_options_and_flags() {
    let folder = tempfile::tempdir().unwrap();
    let line = format!("bash {}", folder.path().display());
    completion(&words(&line)).unwrap();
    let ask = |program: &str, line: &str| -> Vec<String> {
        let script = format!(
            ". {}/{program}.bash; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             function=$(complete -p {program} | sed 's/.*-F \\([^ ]*\\) .*/\\1/'); \
             $function {program} \"${{COMP_WORDS[COMP_CWORD]}}\" \
             \"${{COMP_WORDS[COMP_CWORD-1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            folder.path().display()
        );
        let output = std::process::Command::new("bash")
            .args(["--norc", "-c", &script])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.stderr.is_empty(),
            "{:?}",
            String::from_utf8(output.stderr)
        );
        said.lines().map(str::to_owned).collect()
    };
    assert_eq!(ask("nova-manage", "nova-manage netw"), ["network"]);
    assert_eq!(ask("nova-manage", "nova-manage network mod"), ["modify"]);
    let options = ask("nova-manage", "nova-manage network delete --dr");
    assert_eq!(options, ["--dry_run"]);
    assert_eq!(
        ask("nova-manage", "nova-manage vm list --format pl"),
        ["plain"]
    );
    assert_eq!(
        ask("nova-manage", "nova-manage --vlan_i"),
        ["--vlan_interface"]
    );
    assert_eq!(ask("novanet", "novanet manage user rot"), ["rotate"]);
    assert_eq!(
        ask("novanet", "novanet up --ec2_listen_p"),
        ["--ec2_listen_port"]
    );
    let options = ask("euca-run-instances", "euca-run-instances --instance_t");
    assert_eq!(options, ["--instance_type"]);
}

#[test]
fn zsh_and_fish_get_a_script_per_program_or_all_in_one() {
    for (shell, file) in [("zsh", "_nova-manage"), ("fish", "nova-manage.fish")] {
        let folder = tempfile::tempdir().unwrap();
        completion(&words(&format!("{shell} {}", folder.path().display()))).unwrap();
        let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(
            text.contains("instance_type") && text.contains("dry_run"),
            "{text}"
        );
        assert!(completion(&words(shell)).unwrap().contains(&text));
    }
    let failure = completion(&words("csh")).unwrap_err();
    assert_eq!(
        failure.message,
        "completion: shell \"csh\": must be bash, zsh or fish"
    );
    let failure = man(&words("/absent/folder")).unwrap_err();
    assert!(
        failure
            .message
            .starts_with("/absent/folder/novanet.1: No such file"),
        "{failure}"
    );
}
