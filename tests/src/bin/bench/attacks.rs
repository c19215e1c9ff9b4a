//! What an honest guest sees while another one misbehaves.
//!
//! In:  a kind of attack, a daemon. Out: the honest guest's times, and what the attack costs the host.
//!
//! Each attack has a daemon of its own, since fence_virtd does not survive some of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Ask, Target};
use fence_vmchannel_tests::programs::before_others;
use fence_vmchannel_tests::{Agent, Lab};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::sys;

use crate::askers::{Disguise, TURN};
use crate::error::{Result, unexpected};
use crate::goals::Judged;
use crate::incumbent::{self, Incumbent};
use crate::legacy::{self, Operation};
use crate::memory::{self, processor_time};
use crate::misbehaviour::{Kind, misbehave};
use crate::report::{Attack, Report};
use crate::samples::{Samples, milliseconds};
use crate::sections::Size;
use crate::stage::{connect, wait_until};

const AGENT: &str = "agent";
const INCUMBENT: &str = "fence_virtd";
/// How long each attack takes.
const SPAN: Duration = Duration::from_secs(8);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(2);
/// Members of a cluster.
const CLUSTERED: usize = 16;
const ENDS: Duration = Duration::from_secs(2);
const MOST: Duration = Duration::from_millis(5);

/// Nobody, then each kind of attack; last, nearly everybody.
pub(crate) fn measure(size: Size, report: &mut Report) -> Result<()> {
    let lab = Lab::start()?;
    let libvirt = connect(&lab)?;
    let others = ["honest", "hostile"];
    for name in others {
        let domain = Domain::define_xml(&libvirt, &incumbent::asker_xml(name))?;
        incumbent::make_directory(&lab)?;
        domain.create_with_flags(sys::VIR_DOMAIN_START_PAUSED)?;
    }
    let kinds = std::iter::once(None).chain(Kind::ALL.map(Some));
    for kind in kinds {
        let word = kind.map_or("none", Kind::name);
        let attackers: Vec<Kind> = kind.into_iter().collect();
        let ours = on_the_agent(&lab, &libvirt, word, &attackers, size)?;
        let theirs = on_the_incumbent(&lab, others, kind, size)?;
        if let Some(kind) = kind {
            report.judge(judged(kind, &ours, &theirs));
        }
        report.attack(ours);
        report.attack(theirs);
    }
    let many: Vec<Kind> = Kind::ALL.into_iter().cycle().take(size.of(499, 5)).collect();
    let ours = on_the_agent(&lab, &libvirt, "499 of 500", &many, size)?;
    let what = format!("status beside {} hostile guests of {}", many.len(), many.len() + 1);
    report.judge(within(what, &ours, "not tried".to_owned()));
    report.attack(ours);
    Ok(())
}

fn on_the_agent(
    lab: &Lab,
    libvirt: &Connect,
    word: &'static str,
    attackers: &[Kind],
    size: Size,
) -> Result<Attack> {
    let name = |role: &str, number: usize| format!("{role}-{}-{number}", word.replace(' ', "-"));
    let victim = Disguise::new(name("honest", 0))?;
    let count = attackers.len().max(1); // somebody has to be asked about
    let hostile = (0..count).map(|n| disguise(name("hostile", n), n)).collect::<Result<Vec<_>>>()?;
    for disguise in hostile.iter().chain([&victim]) {
        Domain::define_xml(libvirt, &disguise.xml())?;
    }
    // They run before the agent looks, as VMs do whose start it heard of.
    let mut asker = victim.asker(lab)?;
    let silent = hostile.iter().skip(attackers.len()).map(|it| it.asker(lab)).collect::<Result<Vec<_>>>()?;
    let strangers = hostile.iter().zip(attackers).map(|(it, kind)| it.attacker(lab, *kind));
    let mut strangers = strangers.collect::<Result<Vec<_>>>()?;
    let mut agent = Agent::start(lab)?;
    for disguise in hostile.iter().chain([&victim]) {
        wait_until("a socket of the agent's", || Ok(disguise.socket(lab).exists()))?;
    }
    asker.connect(lab, &victim)?;
    let target = hostile.first().ok_or_else(|| unexpected("nobody to ask about"))?.name.clone();
    let target: Target = target.parse().map_err(unexpected)?;
    asker.ask(Ask::Status(target.clone()))?; // it is served before the attack begins
    before_others(&[agent.pid(), lab.libvirtd_pid()?, asker.pid()])?;
    strangers.iter_mut().try_for_each(|stranger| stranger.begin())?;
    let (load, answers) = during(agent.pid(), || {
        let until = Instant::now() + size.span(SPAN);
        let mut answers = Samples::default();
        while Instant::now() < until {
            let answer = asker.ask(Ask::Status(target.clone()))?;
            answers.push(answer.took);
        }
        Ok(answers)
    })?;
    drop(strangers);
    sleep(TURN);
    let idle = memory::load(agent.pid(), size.span(IDLE))?;
    let begun = Instant::now();
    agent.stop()?;
    let ends = begun.elapsed() <= ENDS;
    drop(silent);
    Ok(Attack { kind: word, daemon: AGENT, answers, unanswered: 0, load, idle, ends })
}

fn on_the_incumbent(lab: &Lab, names: [&str; 2], kind: Option<Kind>, size: Size) -> Result<Attack> {
    let sockets = names.iter().map(|name| incumbent::listen(lab, name)).collect::<Result<Vec<_>>>()?;
    let mut daemon = Incumbent::start(lab, "qemu:///system", &sockets)?;
    let (Some(attacker), Some(mut victim)) = (daemon.lines.pop(), daemon.lines.pop()) else {
        return Err(unexpected("fence_virtd has not both lines"));
    };
    let held_open = if kind == Some(Kind::Close) { None } else { Some(attacker.0.try_clone()?) };
    before_others(&[daemon.pid(), lab.libvirtd_pid()?])?;
    let is_over = AtomicBool::new(false);
    let [_, target] = names;
    let request = || legacy::request(Operation::List, target);
    let (load, (answers, unanswered)) = scope(|scope| {
        scope.spawn(|| match kind {
            Some(kind) => misbehave(attacker.0, kind, request, &is_over),
            None => drop(attacker),
        });
        let measured = during(daemon.pid(), || {
            let until = Instant::now() + size.span(SPAN);
            let mut answers = Samples::default();
            while Instant::now() < until {
                match victim.ask(Operation::Status, target, size.span(PATIENCE))? {
                    Some(said) => answers.push(said.took),
                    None => return Ok((answers, 1)),
                }
                sleep(TURN);
            }
            Ok((answers, 0))
        });
        is_over.store(true, Ordering::Relaxed);
        measured
    })?;
    let idle = memory::load(daemon.pid(), size.span(IDLE))?;
    let ends = daemon.ends(ENDS)?;
    drop(held_open);
    let word = kind.map_or("none", Kind::name);
    Ok(Attack { kind: word, daemon: INCUMBENT, answers, unanswered, load, idle, ends })
}

/// The first ones are in the honest guest's cluster, the others in clusters of the same size.
fn disguise(name: String, number: usize) -> Result<Disguise> {
    let disguise = Disguise::new(name)?;
    Ok(match number / CLUSTERED {
        0 => disguise,
        cluster => disguise.of(format!("cluster{cluster}")),
    })
}

/// What this brings, and the daemon's part of a core meanwhile.
fn during<T>(pid: u32, work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let (begun, before) = (Instant::now(), processor_time(pid)?);
    let brought = work()?;
    let load = (processor_time(pid)? - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    Ok((load, brought))
}

fn judged(kind: Kind, ours: &Attack, theirs: &Attack) -> Judged {
    if kind == Kind::Close {
        let percent = |attack: &Attack| format!("{:.2} % of a core", attack.idle * 100.0);
        return Judged {
            what: "idle after a guest closed its channel".to_owned(),
            incumbent: percent(theirs),
            ours: percent(ours),
            goal: "0 %".to_owned(),
            is_met: ours.idle < 0.005,
            otherwise: "a listing of all domains may fall into the two seconds".to_owned(),
        };
    }
    let incumbent = match theirs.unanswered {
        0 => {
            format!("p50 {}, p99 {}", milliseconds(theirs.answers.p50()), milliseconds(theirs.answers.p99()))
        }
        _ => format!("no answer in {} s", PATIENCE.as_secs()),
    };
    within(format!("status beside a guest that attacks ({})", kind.name()), ours, incumbent)
}

fn within(what: String, ours: &Attack, incumbent: String) -> Judged {
    let [p50, p99] = [ours.answers.p50(), ours.answers.p99()];
    Judged {
        what,
        incumbent,
        ours: format!("p50 {}, p99 {}", milliseconds(p50), milliseconds(p99)),
        goal: format!("p99 <= {}", milliseconds(MOST)),
        is_met: p99 <= MOST && ours.unanswered == 0,
        otherwise: "the attackers' processes share two cores with the agent".to_owned(),
    }
}
