//! Environment variables: settings of the process have one, flags of a single task have none.

use std::collections::BTreeSet;
use std::fs;

use clap::Command;
use s1_forwarder::commands::{Commands, VARIABLES, definition};

use super::{GOOD, program, run, write};

/// Each variable, flag and command of the command line, as clap has them.
fn of_commands() -> BTreeSet<(String, String, String)> {
    fn collect(command: &Command, path: &str, into: &mut BTreeSet<(String, String, String)>) {
        for flag in command.get_arguments() {
            let Some(variable) = flag.get_env() else { continue };
            let name = flag.get_long().unwrap_or_else(|| panic!("{path}: an argument with a variable"));
            into.insert((variable.to_str().unwrap().to_owned(), name.to_owned(), path.to_owned()));
        }
        for inner in command.get_subcommands() {
            collect(inner, &format!("{path} {}", inner.get_name()), into);
        }
    }
    let mut found = BTreeSet::new();
    collect(&definition(), "", &mut found);
    found
}

/// Each command that has a flag.
fn with_flag(command: &Command, path: &str, flag: &str) -> Vec<String> {
    let has = command.get_arguments().any(|argument| argument.get_long() == Some(flag));
    let inner =
        command.get_subcommands().flat_map(|inner| with_flag(inner, &format!("{path} {}", inner.get_name()), flag));
    has.then(|| path.to_owned()).into_iter().chain(inner).collect()
}

#[test]
fn the_list_of_variables_is_that_of_all_commands() {
    let mut listed = BTreeSet::new();
    for (variable, flag, commands) in VARIABLES {
        assert_eq!(*variable, format!("S1_FORWARDER_{}", flag.to_uppercase().replace('-', "_")));
        let all = with_flag(&definition(), "", flag);
        let is_of = |path: &&String| match commands {
            Commands::All => true,
            Commands::Only(name) => path.split_whitespace().next() == Some(*name),
        };
        let of: Vec<_> = all.iter().filter(is_of).collect();
        assert!(!of.is_empty(), "{variable}: no command has --{flag}");
        listed.extend(of.into_iter().map(|path| ((*variable).to_owned(), (*flag).to_owned(), path.clone())));
    }
    assert_eq!(listed, of_commands());
}

/// Flags of a single task, and those that select or destroy.
#[test]
fn flags_of_a_task_have_no_variable() {
    let with_variable: BTreeSet<String> = of_commands().into_iter().map(|(_, flag, _)| flag).collect();
    for flag in [
        "accept-refusals",
        "all",
        "failing",
        "force",
        "format",
        "from",
        "limit",
        "offline",
        "once",
        "once-timeout",
        "parallel",
        "pipeline",
        "reason",
        "repair",
        "replace",
        "requests-per-second",
        "resend",
        "set",
        "since",
        "sink",
        "status",
        "stream",
        "streams",
        "to",
        "token",
        "token-file",
        "until",
        "watch",
    ] {
        assert!(!with_flag(&definition(), "", flag).is_empty(), "there is no --{flag}");
        assert!(!with_variable.contains(flag), "--{flag}");
    }
}

#[test]
fn a_variable_for_one_command_does_not_disarm_another() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("state")).unwrap();
    let (code, out, errors) =
        run(program().current_dir(directory.path()).args(["dead-letters", "purge"]).env("S1_FORWARDER_ALL", "true"));
    assert!(code == 2 && errors.contains("select dead letters with a filter, or use --all"), "{code} {out}{errors}");
    let (code, _, errors) = run(program().args(["schema"]).env("S1_FORWARDER_ALL", "true"));
    let expected = "the environment variable S1_FORWARDER_ALL has no effect: --all can only be a flag";
    assert!(code == 0 && errors.contains(expected), "{code} {errors}");
}

#[test]
fn settings_of_the_process_have_variables() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "acme.yaml", GOOD);
    write(directory.path(), "defaults.yaml", "transform: { labels: { tier: gold } }\n");
    let (code, out, errors) = run(program()
        .args(["check", "--offline", "--settings"])
        .env("S1_FORWARDER_PIPELINES", directory.path().join("acme.yaml"))
        .env("S1_FORWARDER_DEFAULTS", directory.path().join("defaults.yaml")));
    assert!(code == 0 && out.contains("transform.labels.tier") && !errors.contains("variable"), "{code} {out}{errors}");
}

#[test]
fn an_unknown_variable_is_a_warning_with_the_likely_one() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "acme.yaml", &GOOD.replace("S1_CLI_TEST_TOKEN", "S1_FORWARDER_ACME_TOKEN"));
    let path = directory.path().to_str().unwrap();
    let errors_of = |arguments: &[&str], variables: &[(&str, &str)]| {
        let (code, out, errors) = run(program().args(arguments).envs(variables.iter().copied()));
        assert_eq!(code, 0, "{out}{errors}");
        errors
    };
    let check = ["check", "--offline", "--pipelines", path];
    for arguments in [&check[..], &["schema"], &["completions", "bash"]] {
        let errors = errors_of(arguments, &[("S1_FORWARDER_MEMORY_BUGET", "1GiB")]);
        let expected = "S1_FORWARDER_MEMORY_BUGET; did you mean S1_FORWARDER_MEMORY_BUDGET?";
        assert!(errors.contains(expected) && errors.lines().count() == 1, "{arguments:?}: {errors}");
    }
    // The pipeline file names it, Kubernetes sets it, or it is a setting.
    let others = [
        ("S1_FORWARDER_ACME_TOKEN", "x"),
        ("S1_FORWARDER_PORT_9598_TCP", "tcp://10.0.0.1:9598"),
        ("S1_FORWARDER_SERVICE_HOST", "10.0.0.1"),
        ("S1_FORWARDER_STATE", "file:elsewhere"),
    ];
    assert_eq!(errors_of(&check, &others), "");
    let errors = errors_of(&["schema"], &others);
    assert!(errors.contains("unknown environment variable S1_FORWARDER_ACME_TOKEN"), "{errors}");
}

#[test]
fn a_wrong_value_names_its_variable() {
    let arguments = ["run", "--once", "--pipelines", "x"];
    for (variable, value) in [
        ("S1_FORWARDER_TENANT_FILES", "yes"),
        ("S1_FORWARDER_MEMORY_BUDGET", "much"),
        ("S1_FORWARDER_STATE", "redis:canary"),
        ("S1_FORWARDER_LOG_FORMAT", "xml"),
        ("S1_FORWARDER_ALLOW_PRIVATE_DESTINATIONS", "10.0.0.0/8,siem.example"),
    ] {
        let set = ("S1_FORWARDER_LEASE", "20s");
        let (code, _, errors) = run(program().args(arguments).env(variable, value).envs([set]));
        let expected = format!("The value comes from the environment variable {variable}.");
        assert!(code == 2 && errors.contains(&expected) && !errors.contains("canary"), "{variable}: {code} {errors}");
        // A flag takes precedence, and its own mistakes are no variable's.
        let (code, _, errors) =
            run(program().args(arguments).args(["--lease", "soon"]).env("S1_FORWARDER_LEASE", "20s"));
        assert!(code == 2 && !errors.contains("environment variable"), "{errors}");
    }
}

/// What restricts the files of tenants is not silently missing in a command next to the worker.
#[test]
fn a_variable_of_run_alone_is_told_to_other_commands() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "acme.yaml", GOOD);
    let check = |variable: &str, value: &str, more: &[&str]| {
        run(program().args(["check", "--offline"]).arg(directory.path()).args(more).env(variable, value))
    };
    let (code, out, errors) = check("S1_FORWARDER_TENANT_FILES", "true", &[]);
    assert!(code == 2 && out.is_empty() && errors.contains("give --tenant-files to this command"), "{code} {errors}");
    let (code, _, errors) = check("S1_FORWARDER_TENANT_FILES", "false", &[]);
    assert_eq!(code, 0, "{errors}");
    let (code, _, errors) = check("S1_FORWARDER_SECRETS_DIR", "/secrets/{pipeline}", &[]);
    let expected = "S1_FORWARDER_SECRETS_DIR holds for `run` only: give --secrets-dir to this command";
    assert!(code == 0 && errors.contains(expected), "{code} {errors}");
    let (_, _, errors) =
        check("S1_FORWARDER_SECRETS_DIR", "/secrets/{pipeline}", &["--secrets-dir", "/secrets/{pipeline}"]);
    assert!(!errors.contains("S1_FORWARDER_SECRETS_DIR"), "{errors}");
}

/// Each flag restricts tenants' files alone. Without these, an operator believes in a limit that is none.
#[test]
fn flags_without_effect_are_reported() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "acme.yaml", GOOD);
    for flag in [
        "--secrets-dir=/secrets/{pipeline}",
        "--files-dir=/files/{directory}",
        "--env-allow=TENANT_{pipeline}_",
        "--allow-private-destinations=10.0.0.0/8",
    ] {
        let check = |more: &[&str]| run(program().args(["check", "--offline", flag]).arg(directory.path()).args(more));
        let (name, _) = flag.split_once('=').unwrap();
        let (code, _, errors) = check(&[]);
        assert!(code == 0 && errors.contains(&format!("warning: {name} without effect")), "{code} {errors}");
        assert!(!check(&["--tenant-files"]).2.contains("without effect"), "{flag}");
    }
}

/// A worker says at its start which limits and addresses it does not use.
#[test]
fn flags_of_run_without_effect_are_logged() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "acme.yaml", &format!("enabled: false\n{GOOD}"));
    let once = |more: &[&str]| {
        let (_, _, errors) = run(program()
            .args(["run", "--once", "--once-timeout", "1s", "--pipelines", "acme.yaml"])
            .args(more)
            .current_dir(directory.path()));
        errors
    };
    for (flags, expected) in [
        (&["--dead-letters-max", "10"][..], "--dead-letters-max 10B has hardly room for an event"),
        (&["--dead-letters-max", "2GiB", "--dead-letters", "kubernetes:default"], "--dead-letters-max without effect"),
        (&["--web-config", "none.yaml"], "--web-config without effect"),
        (&["--listen-probes", "127.0.0.1:0"], "--listen-probes without effect"),
    ] {
        let errors = once(flags);
        assert!(errors.contains(expected), "{flags:?}: {errors}");
    }
    let errors = once(&["--dead-letters-max", "2MiB"]);
    assert!(!errors.contains("without effect") && !errors.contains("hardly room"), "{errors}");
}

#[test]
fn an_unknown_variable_explains_what_is_missing() {
    let (code, _, errors) = run(program().arg("check").env("S1_FORWARDER_PIPELINE", "pipelines"));
    assert!(code == 2 && errors.contains("did you mean S1_FORWARDER_PIPELINES?"), "{errors}");
}

#[test]
fn prefixes_of_tenants_variables_tell_tenants_apart() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["acme", "forwarder"] {
        let of = |variable: &str| GOOD.replace("S1_CLI_TEST_TOKEN", variable);
        let file = directory.path().join(format!("{name}.yaml"));
        let own = format!("S1_{}_TOKEN", name.to_uppercase());
        fs::write(&file, of(if name == "acme" { &own } else { "S1_FORWARDER_STATE" })).unwrap();
    }
    let path = directory.path().to_str().unwrap();
    for command in [&["run", "--once"][..], &["check", "--offline"]] {
        let of = |prefix: &str| {
            let common = ["--pipelines", path, "--tenant-files", "--env-allow", prefix];
            run(program().args(command).args(common).current_dir(directory.path()).env("S1_FORWARDER_STATE", "file:x"))
        };
        for (wrong, right) in [("S1_{pipeline}", "write S1_{pipeline}_"), ("A_,{directory}x", "write {directory}_x")] {
            let (code, _, errors) = of(wrong);
            assert!(code == 2 && errors.contains(right), "{code} {errors}");
        }
    }
    let check = ["check", "--offline", "--tenant-files", "--env-allow"];
    let of = |prefix: &str| run(program().args(check).args([prefix, path]));
    let (code, out, errors) = of("S1_{pipeline}_");
    let refused = out.contains("forwarder.yaml") && out.contains("a variable of the worker itself");
    assert!(code == 2 && refused && !errors.contains("each tenant may read"), "{code} {out}{errors}");
    let (_, _, errors) = of("S1_");
    assert!(errors.contains("each tenant may read all variables that begin with S1_"), "{errors}");
    let (_, _, errors) = of("{pipeline}_");
    assert!(errors.contains("lets the name of a tenant's file decide which variables it may read"), "{errors}");
}
