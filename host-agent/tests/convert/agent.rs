//! The new files in a running agent, asked by `explain`.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fence_vmchannel_host_agent::config::Config;
use fence_vmchannel_host_agent::operator::explain::explain;
use fence_vmchannel_host_agent::operator::report::Report;
use fence_vmchannel_host_agent::policy::Action;

use crate::effect::After;
use crate::sample::samples;
use crate::world::WORLD;

struct Agent {
    child: Child,
    config: Config,
}

impl Agent {
    /// An agent with the files of this directory, and the machines of the world with these labels.
    fn start(directory: &Path, after: &After) -> Self {
        let machines = WORLD.each_ref().map(|who| {
            let label = after.label(who).map(|label| format!("cluster = {label:?}\n")).unwrap_or_default();
            format!("[[domain]]\nname = {:?}\nuuid = {:?}\n{label}", who.name, who.uuid)
        });
        let simulation = directory.join("machines.toml");
        std::fs::write(&simulation, machines.concat()).unwrap();
        let settings = directory.join("agent.toml");
        let text = std::fs::read_to_string(&settings).unwrap();
        // A network listener that is kept would need its network and key; it changes nothing for channels.
        let text = text.split("\n[legacy]").next().unwrap().to_owned();
        let more = format!(
            "runtime-dir = {:?}\npolicy-dir = {:?}\n",
            directory.join("run").display().to_string(),
            directory.join("policy.d").display().to_string()
        );
        std::fs::write(&settings, text + &more).unwrap();
        let config = Config::load(Some(&settings)).unwrap();
        let settings = settings.display().to_string();
        let mut child =
            program(&["run", "--config", &settings, "--simulate", &simulation.display().to_string()])
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(log.any(|line| line.contains("ready")));
        std::thread::spawn(move || log.for_each(drop)); // nobody reads it, but it must not fill up
        let (socket, begun) = (config.control_socket(), Instant::now());
        while UnixStream::connect(&socket).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the agent answers nobody");
            std::thread::yield_now(); // it says that it is ready a moment before
        }
        Self { child, config }
    }

    fn explains(&self, asker: &str, target: &str) -> bool {
        explain(&self.config, asker, Action::Off, target).unwrap().exit_code() == 0
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fence-vmchanneld"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

#[test]
fn an_agent_with_the_converted_files_explains_what_the_table_lists() {
    for sample in samples() {
        let directory = tempfile::tempdir().unwrap();
        let words = [vec!["convert-config".to_owned()], sample.words()].concat();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = directory.path().display().to_string();
        let converted =
            program(&[&words[..], &["--without-libvirt", "--output", &output]].concat()).output().unwrap();
        assert_eq!(converted.status.code(), Some(0), "{}: {converted:?}", sample.name);
        let after = After::of(&sample.convert(&Err("away".to_owned())));

        let agent = Agent::start(directory.path(), &after);

        for (asker, target) in WORLD.iter().flat_map(|asker| WORLD.iter().map(move |target| (asker, target)))
        {
            let told = agent.explains(asker.name, target.uuid);
            assert_eq!(
                told,
                after.allows(asker, target),
                "{}: {} -> {}",
                sample.name,
                asker.name,
                target.name
            );
        }
    }
}
