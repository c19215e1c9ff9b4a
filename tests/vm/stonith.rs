//! cluster-glue's `stonith` with our plugin, inside a real guest, without a network.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fence_vmchannel_tests::debian::Packages;
use fence_vmchannel_tests::image::Image;
use fence_vmchannel_tests::{Agent, Channel, Guest, Lab, Result};

const PLUGIN: &str = "usr/lib/stonith/plugins/external/fence_vmchannel";
const UUID: &str = "8d7e6f5a-4b3c-4d2e-8f1a-0b9c8d7e6f5a";
const STONITH: &str = "stonith -t external/fence_vmchannel";

/// A lab whose real guests have `stonith` and our plugin.
fn lab() -> Result<Lab> {
    let lab = Lab::start()?;
    let packages = Packages::get("cluster-glue", &["cluster-glue"])?;
    let programs = [
        "usr/sbin/stonith",
        "usr/lib/stonith/plugins/stonith2/external.so",
        "usr/lib/heartbeat/plugins/InterfaceMgr/generic.so",
    ];
    let mut files = packages.with_libraries(&programs)?;
    files.push((plugin(), PLUGIN.into()));
    Image::get()?.put_into_with(&lab, &files, &[])?;
    Ok(lab)
}

fn plugin() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/cluster-glue/fence_vmchannel")
}

fn node<'lab>(lab: &'lab Lab, name: &str) -> Result<Guest<'lab>> {
    Guest::named(name).in_cluster("web").with(Channel::VirtioConnect).with_memory(192).boot(lab)
}

#[test]
fn stonith_of_cluster_glue_lists_resets_stops_and_starts_whatever_the_case_of_the_names() -> Result<()> {
    let lab = lab()?;
    let agent = Agent::start(&lab)?;
    let target = Guest::named("Glue2").in_cluster("web").cheap().start(&lab)?;
    let node = node(&lab, "glue1")?;
    let first = target.process()?;
    let stonith = |words: &str| {
        let ran = node.run(&format!("{STONITH} {words} 2>&1"))?;
        assert_eq!(ran.exit_code, 0, "stonith {words}: {}", ran.output);
        Ok::<_, fence_vmchannel_tests::LabError>(ran.output)
    };

    let known = node.run("stonith -L")?;
    let described = node.run(&format!("{STONITH} -m"))?;
    stonith("hostlist=all -S")?;
    let all = stonith("hostlist=all -l")?;
    let mapped = stonith("hostlist='Node1:glue1 Node2:GLUE2' -l")?;
    stonith("hostlist=all -T reset Glue2")?;
    let (first_gone, second) = (first.is_gone(), target.process()?);
    stonith("hostlist='Node1:glue1 Node2:GLUE2' -T off Node2")?;
    let (second_gone, off) = (second.is_gone(), !target.is_running());
    stonith("hostlist=Glue2 -T on GLUE2")?;

    assert!(known.output.contains("external/fence_vmchannel"), "{}", known.output);
    assert!(described.output.contains("hostlist"), "{}", described.output);
    assert!(all.contains("glue1") && all.contains("Glue2"), "{all}");
    assert!(mapped.contains("Node1") && mapped.contains("Node2"), "{mapped}");
    assert!(first_gone, "a reset ends the process");
    assert!(second_gone && off, "and starts another one, which off ends");
    assert!(target.is_running());
    agent.wait_for_log(&["audit", "process-gone", "Glue2"], Duration::from_secs(1))?;
    Ok(())
}

#[test]
fn stonith_of_cluster_glue_fails_for_whom_it_may_not_fence_does_not_know_or_cannot_tell_apart() -> Result<()>
{
    let lab = lab()?;
    let mut agent = Agent::start(&lab)?;
    let foreign = Guest::named("glue9").in_cluster("other").cheap().start(&lab)?;
    let twins = [
        Guest::named("Twin").in_cluster("web").cheap().start(&lab)?,
        Guest::named("twiN").in_cluster("web").cheap().start(&lab)?,
    ];
    let node = node(&lab, "glue1")?;
    let exit_code =
        |words: &str| node.run(&format!("{STONITH} {words} >/dev/null 2>&1")).map(|ran| ran.exit_code);

    assert_eq!(exit_code("hostlist=glue9 -T reset glue9")?, 5, "it is not permitted");
    assert_eq!(exit_code("hostlist=glue1 -T off nobody")?, 5, "it is not in hostlist");
    assert_eq!(exit_code("hostlist=nobody -T off nobody")?, 5, "the host does not know it");
    assert_eq!(exit_code("hostlist=all -T off twin")?, 5, "it fits two");
    assert_eq!(exit_code("hostlist=twin -T off twin")?, 5, "it fits two");
    agent.kill();
    assert_eq!(exit_code("hostlist=all timeout=1 -S")?, 1, "nobody answers");
    assert_eq!(exit_code("hostlist=Twin timeout=1 -T off Twin")?, 5, "nobody answers");

    assert!(foreign.is_running() && twins.iter().all(Guest::is_running));
    Ok(())
}

#[test]
fn stonith_of_cluster_glue_takes_the_plugin_as_it_is_installed() {
    let mode = fs::metadata(plugin()).unwrap().permissions().mode();

    assert_eq!(mode & 0o111, 0o111, "it can be run");
    let makefile = fs::read_to_string(plugin().ancestors().nth(3).unwrap().join("Makefile")).unwrap();
    assert!(makefile.contains("-m 0755 packaging/cluster-glue/fence_vmchannel"));
    assert!(
        makefile.contains(&format!("$(prefix)/{}", PLUGIN.trim_start_matches("usr/"))),
        "and by nobody changed"
    );
}

#[test]
fn the_plugin_describes_itself_and_refuses_what_it_does_not_know() {
    let asked = |action: &str| Command::new(plugin()).arg(action).output().unwrap();

    for action in ["getconfignames", "getinfo-devid", "getinfo-devname", "getinfo-devdescr", "getinfo-devurl"]
    {
        let told = asked(action);
        assert!(
            told.status.success() && told.stdout.len() > 5 && told.stderr.is_empty(),
            "{action}: {told:?}"
        );
    }
    let mut xmllint = Command::new("xmllint").args(["--noout", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let xml = asked("getinfo-xml").stdout;
    std::io::Write::write_all(&mut xmllint.stdin.take().unwrap(), &xml).unwrap();
    assert!(xmllint.wait().unwrap().success(), "{}", String::from_utf8_lossy(&xml));
    for action in ["", "reboot", "off", "gethosts"] {
        let refused = asked(action); // unknown, without a host, without a list
        assert_eq!(refused.status.code(), Some(1), "{action}: {refused:?}");
        assert!(refused.stdout.is_empty() && !refused.stderr.is_empty(), "{action}: {refused:?}");
    }
}

/// What the plugin asks of a client of the test's own, which knows one virtual machine, when it is called like this.
fn asked_of_a_client(words: &[&str], environment: &[(&str, &str)]) -> std::io::Result<Vec<String>> {
    let directory = PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/stonith"));
    fs::remove_dir_all(&directory).ok(); // an earlier call's
    fs::create_dir_all(&directory)?;
    let path = |name: &str| directory.join(name).display().to_string();
    let script = fs::read_to_string(plugin())?;
    let script = script.replacen("PATH=", &format!("PATH={}:", directory.display()), 1);
    let client =
        format!("#!/bin/sh\necho \"$*\" >>{}\ncase $2 in list) echo 'Web2,{UUID}';; esac\n", path("asked"));
    for (name, text) in [("plugin", &script), ("fence_vmchannel", &client)] {
        fs::write(path(name), text)?;
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o755))?;
    }

    let ran = Command::new(path("plugin")).args(words).envs(environment.iter().copied()).output()?;

    assert!(ran.status.success(), "{ran:?}");
    Ok(fs::read_to_string(path("asked"))?.lines().map(ToOwned::to_owned).collect())
}

#[test]
fn the_plugin_looks_for_a_name_in_five_seconds_at_most_and_for_a_uuid_not_at_all() {
    let off = |environment: &[(&str, &str)]| asked_of_a_client(&["off", "node2"], environment).unwrap();

    let by_name = off(&[("hostlist", "node2:web2"), ("timeout", "40")]);
    let in_little_time = off(&[("hostlist", "node2:web2"), ("timeout", "2")]);
    let by_default = off(&[("hostlist", "node2:web2")]);
    let by_uuid = off(&[("hostlist", &format!("node2:{UUID}")), ("timeout", "40")]);

    let order = |rest: &str| format!("-o off --plug {UUID}{rest}");
    assert_eq!(by_name, ["-o list --timeout 5", &order(" --timeout 40")]);
    assert_eq!(in_little_time, ["-o list --timeout 2", &order(" --timeout 2")]);
    assert_eq!(by_default, ["-o list --timeout 5", &order("")]);
    assert_eq!(by_uuid, [order(" --timeout 40")]);
}
