//! The broker in a real guest: programs of several users on one virtio port.

use std::time::{Duration, Instant};

use fence_vmchannel_tests::{Agent, Channel, Guest, Lab, Ran, Result};

const SOON: Duration = Duration::from_secs(20);

/// Three users beside root: the cluster stack's, a monitoring program's, and one of whom nobody knows anything.
const USERS: &str = "printf '%s\\n' root:x:0:0::/root:/bin/sh ann:x:1001:1001::/:/bin/sh bob:x:1002:1002::/:/bin/sh \
     eve:x:1003:1003::/:/bin/sh >/etc/passwd; \
     printf '%s\\n' root:x:0: stack:x:77:ann ann:x:1001: bob:x:1002: eve:x:1003: >/etc/group";

const RULES: &str = "mkdir -p /etc/fence-vmchannel; printf '%s\\n' '[[allow]]' 'group = \"stack\"' 'ops = [\"all\"]' \
     'first = true' '[[allow]]' 'user = \"bob\"' 'ops = [\"status\", \"list\"]' >/etc/fence-vmchannel/broker.toml";

const BEGIN: &str = "{ fence_vmchannel broker 2>>/tmp/broker.log & echo $! >/tmp/broker.pid; }; \
     until test -S /run/fence-vmchannel/broker.sock; do usleep 20000; done";

/// Runs `$1` as the n-th program, of the user `$2`; what it says and its exit code go to files of its own.
const PROGRAM: &str = "program() { n=$1; user=$2; shift 2; \
     { su -s /bin/sh $user -c \"fence_vmchannel $*\" >/tmp/said.$n 2>&1; echo $? >/tmp/code.$n; } & }";

fn succeed(guest: &Guest<'_>, command: &str) -> Result<Ran> {
    let ran = guest.run(command)?;
    assert_eq!(ran.exit_code, 0, "{command}: {}", ran.output);
    Ok(ran)
}

/// A guest with users, rules and a broker.
fn shared<'lab>(lab: &'lab Lab, name: &str) -> Result<Guest<'lab>> {
    let guest = Guest::named(name).in_cluster("web").with(Channel::VirtioConnect).boot(lab)?;
    for line in [USERS, RULES, PROGRAM] {
        succeed(&guest, line)?;
    }
    succeed(&guest, "fence_vmchannel broker --check")?;
    succeed(&guest, BEGIN)?;
    Ok(guest)
}

/// What the n-th program said, and its exit code.
fn ended(guest: &Guest<'_>, n: usize) -> Result<Ran> {
    let wait = format!(
        "until test -s /tmp/code.{n}; do usleep 20000; done; cat /tmp/said.{n}; (exit $(cat /tmp/code.{n}))"
    );
    guest.run(&wait)
}

#[test]
fn ten_programs_of_three_users_share_one_port_and_each_gets_its_own_answer() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    let _running = Guest::named("share2").in_cluster("web").cheap().start(&lab)?;
    let _stopped = Guest::named("share3").in_cluster("web").cheap().define(&lab)?;
    let fenced = Guest::named("share4").in_cluster("web").cheap().start(&lab)?;
    let guest = shared(&lab, "share1")?;
    let programs = [
        ("root", "-o status -n share2", 0, "share2 is on"),
        ("ann", "-o status -n share3", 2, "share3 is off"),
        ("bob", "-o list", 0, "share3,"),
        ("root", "-o monitor", 0, ""),
        ("ann", "-o off -n share4", 0, "process-gone"),
        ("bob", "-o status -n share3", 2, "share3 is off"),
        ("root", "-o list-status", 0, "share3,"),
        ("ann", "-o whoami", 0, "share1"),
        ("bob", "-o off -n share2", 1, "not-permitted"),
        ("root", "-o status -n nobody-knows", 1, "not-permitted"),
        ("eve", "-o status -n share2", 1, "may ask nothing"),
    ];

    let words =
        programs.iter().enumerate().map(|(n, (user, words, _, _))| format!("program {n} {user} {words}"));
    succeed(&guest, &words.collect::<Vec<_>>().join("; "))?;

    for (n, (user, words, code, says)) in programs.into_iter().enumerate() {
        let ran = ended(&guest, n)?;
        assert_eq!(ran.exit_code, code, "{user}: {words}: {}", ran.output);
        assert!(ran.output.contains(says), "{user}: {words}: {}", ran.output);
    }
    assert!(!fenced.is_running());
    assert!(!agent.log_contains("op=\"off\" target=share2"), "the host never heard of bob's off");
    let log = guest
        .run("cat /tmp/broker.log; cat /proc/$(cat /tmp/broker.pid)/status | grep -E 'VmRSS|Threads'")?;
    println!("{}", log.output);
    Ok(())
}

#[test]
fn a_broker_that_is_killed_while_an_order_runs_loses_nothing_that_was_decided() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start_with(&lab, "kill-after-seconds = 3\n")?;
    let guest = shared(&lab, "lost1")?;
    // Once nobody takes its place, so that the port is asked; once the next one is there at once.
    let cases = [("root", "lost2", "true"), ("ann", "lost3", BEGIN)];
    for (n, (user, name, afterwards)) in cases.into_iter().enumerate() {
        let target = Guest::named(name).in_cluster("web").cheap().start(&lab)?;
        target.process()?.stop()?;
        let begun = Instant::now();
        succeed(&guest, &format!("program {n} {user} -v -o off -n {name}"))?;
        succeed(&guest, &format!("until grep -q 'progress: ' /tmp/said.{n}; do usleep 20000; done"))?;

        succeed(&guest, &format!("kill -9 $(cat /tmp/broker.pid); {afterwards}"))?;
        let ran = ended(&guest, n)?;

        println!("{} after {:?}", ran.output, begun.elapsed());
        assert_eq!(ran.exit_code, 0, "{}", ran.output);
        assert!(ran.output.contains("asking again by the same request id"), "{}", ran.output);
        assert!(ran.output.contains("process-gone"), "{}", ran.output);
        assert!(!target.is_running());
        let orders = agent.log().iter().filter(|line| line.contains("audit") && line.contains(name)).count();
        assert_eq!(orders, 1, "{:#?}", agent.log());
        succeed(&guest, if afterwards == "true" { BEGIN } else { "true" })?;
    }
    Ok(())
}

#[test]
fn a_verdict_that_a_killed_broker_did_not_pass_on_is_given_again() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start_with(&lab, "kill-after-seconds = 2\n")?;
    let guest = shared(&lab, "told1")?;
    let target = Guest::named("told2").in_cluster("web").cheap().start(&lab)?;
    let process = target.process()?;
    process.stop()?;
    succeed(&guest, "program 1 ann -v -o off -n told2")?;
    succeed(&guest, "until grep -q 'progress: ' /tmp/said.1; do usleep 20000; done")?;

    succeed(&guest, "kill -STOP $(cat /tmp/broker.pid)")?;
    process.wait_until_gone(SOON)?;
    agent.wait_for_log(&["audit", "told2", "process-gone"], SOON)?;
    succeed(&guest, &format!("kill -9 $(cat /tmp/broker.pid); {BEGIN}"))?;
    let ran = ended(&guest, 1)?;

    println!("{}", ran.output);
    assert_eq!(ran.exit_code, 0, "{}", ran.output);
    assert!(ran.output.contains("process-gone"), "{}", ran.output);
    let orders = agent.log().iter().filter(|line| line.contains("audit") && line.contains("told2")).count();
    assert_eq!(orders, 1, "{:#?}", agent.log());
    Ok(())
}

#[test]
fn programs_go_on_through_the_broker_when_the_hosts_agent_was_restarted() -> Result<()> {
    let lab = Lab::start()?;
    let mut agent = Agent::start(&lab)?;
    let target = Guest::named("back2").in_cluster("web").cheap().start(&lab)?;
    let guest = shared(&lab, "back1")?;
    succeed(&guest, "fence_vmchannel -o status -n back2")?;

    agent.kill();
    succeed(&guest, "program 1 ann -o off -n back2")?;
    succeed(&guest, "program 2 bob -o status -n back2")?;
    agent.restart()?;

    let (off, status) = (ended(&guest, 1)?, ended(&guest, 2)?);
    assert_eq!(off.exit_code, 0, "{}", off.output);
    assert!([0, 2].contains(&status.exit_code), "{}", status.output);
    target.process().map_or(Ok(()), |process| process.wait_until_gone(SOON))
}
