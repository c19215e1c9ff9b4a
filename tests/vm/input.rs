//! Bad input and bad circumstances, from inside a real guest: a clear error and the right exit code, never "off".

use fence_vmchannel_tests::{Agent, Channel, Guest, Lab, Result};

#[test]
fn inside_a_guest_every_error_is_clear_and_never_a_success() -> Result<()> {
    let lab = Lab::start()?;
    let mut agent = Agent::start(&lab)?;
    let asker = Guest::named("bad1").in_cluster("web").with(Channel::VirtioConnect).start(&lab)?;
    asker.wait_for_shell()?;
    let fails = |command: &str, part: &str| -> Result<()> {
        let ran = asker.run(&format!("{command} 2>&1"))?;
        assert_eq!(ran.exit_code, 1, "{command}: {}", ran.output);
        assert!(ran.output.contains(part), "{command}: {}", ran.output);
        Ok(())
    };

    fails("fence_vmchannel -o off -n nope", "not permit")?;
    fails("fence_vmchannel -o explode -n nope", "explode")?;
    fails("fence_vmchannel --colour", "--colour")?;
    fails("fence_vmchannel -o off", "plug")?;
    fails(r#"fence_vmchannel -o off -n "$(printf 'a\tb')""#, "control")?;
    fails(r#"fence_vmchannel -o off -n "$(head -c 1025 /dev/zero | tr '\0' x)""#, "1024")?;
    fails("fence_vmchannel -o off -n web2 --device /dev/nope", "/dev/nope")?;
    let warned =
        asker.run("printf 'action=status\\nplug=bad1\\nfavourite=blue\\n' | fence_vmchannel 2>&1")?;
    assert_eq!(warned.exit_code, 0, "{}", warned.output);
    assert!(warned.output.contains("favourite"), "{}", warned.output);

    // Another program has the port.
    fails("(sleep 4 <>/dev/vport0p1 & sleep 0.3; fence_vmchannel -o status -n bad1 --timeout 2)", "vport")?;

    // The host's agent is away.
    agent.kill();
    fails("sleep 5; fence_vmchannel -o status -n bad1 --timeout 2", "")?;
    fails("fence_vmchannel -o off -n bad1 --timeout 2", "unknown")?;
    Ok(())
}

#[test]
fn a_port_that_is_busy_for_a_moment_is_waited_for() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let asker = Guest::named("busy1").in_cluster("web").with(Channel::VirtioConnect).start(&lab)?;
    asker.wait_for_shell()?;

    let both = asker
        .run("(sleep 1 <>/dev/vport0p1 & sleep 0.2; fence_vmchannel -o status -n busy1 --timeout 20)")?;
    let many = asker.run(
        "for i in 1 2 3 4 5 6 7 8; do (fence_vmchannel -o status -n busy1 --timeout 20 >/dev/null; \
         echo rc=$?) & done; wait",
    )?;

    assert_eq!(both.exit_code, 0, "{}", both.output);
    assert_eq!(many.output.matches("rc=0").count(), 8, "{}", many.output);
    Ok(())
}

#[test]
fn a_guest_without_a_channel_is_told_what_to_do() -> Result<()> {
    let lab = Lab::start()?;
    let guest = Guest::named("none1").boot(&lab)?;

    let ran = guest.run("fence_vmchannel -o status -n none1 2>&1")?;

    assert_eq!(ran.exit_code, 1, "{}", ran.output);
    assert!(ran.output.contains("channel add"), "{}", ran.output);
    Ok(())
}
