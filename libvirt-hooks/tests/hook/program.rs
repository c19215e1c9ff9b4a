//! The hook program in a runtime directory of its own, called in libvirt's way.

use fence_vmchannel_protocol::note::Note;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const UUID: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

/// The hook ends by itself; how soon is measured in `timing`. Here it only must not wait for ever.
const BOUND: Duration = Duration::from_secs(30);

/// From then on a hook that was starved leaves its work undone and ends.
const STARVED: Duration = Duration::from_millis(90);

/// How often a starved call is made again.
const TRIES: usize = 50;

pub(crate) struct Hook {
    _temporary: TempDir,
    pub(crate) runtime: PathBuf,
}

pub(crate) struct Ended {
    output: Output,
    pub(crate) took: Duration,
}

impl Hook {
    pub(crate) fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let runtime = temporary.path().join("run");
        Self { _temporary: temporary, runtime }
    }

    pub(crate) fn at(runtime: &str) -> Self {
        Self { _temporary: tempfile::tempdir().unwrap(), runtime: runtime.into() }
    }

    /// The socket that [`domain_xml`] asks for.
    pub(crate) fn socket(&self) -> PathBuf {
        self.runtime.join(format!("guests/{UUID}.sock"))
    }

    /// The notes' files, in the order of their names; not what a starved call left unfinished.
    pub(crate) fn spool_files(&self) -> Vec<PathBuf> {
        let spool = self.runtime.join("spool").read_dir();
        let mut files: Vec<_> = spool.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension() == Some("note".as_ref()));
        files.sort();
        files
    }

    /// The notes in the order of their names.
    pub(crate) fn notes(&self) -> Vec<Note> {
        self.spool_files().iter().map(|file| Note::parse(&std::fs::read(file).unwrap()).unwrap()).collect()
    }

    pub(crate) fn call<const N: usize, A: AsRef<OsStr>>(&self, arguments: [A; N], xml: &str) -> Ended {
        self.call_with_bytes(arguments, xml.as_bytes())
    }

    pub(crate) fn call_with_bytes<const N: usize, A: AsRef<OsStr>>(
        &self,
        arguments: [A; N],
        xml: &[u8],
    ) -> Ended {
        let mut program = self.program();
        program.args(arguments);
        self.not_starved(|| run(&mut program, xml))
    }

    /// One call, whatever becomes of it.
    pub(crate) fn call_once<const N: usize>(&self, arguments: [&str; N], xml: &str) -> Ended {
        run(self.program().args(arguments), xml.as_bytes())
    }

    pub(crate) fn call_with_stdin<const N: usize>(&self, arguments: [&str; N], stdin: &File) -> Ended {
        self.not_starved(|| {
            let started = Instant::now();
            let stdin = Stdio::from(stdin.try_clone().unwrap());
            let child = self.program().args(arguments).stdin(stdin).spawn().unwrap();
            ended(child, started)
        })
    }

    /// Writes the XML and keeps the pipe open until the hook has ended.
    pub(crate) fn call_with_open_stdin<const N: usize>(&self, arguments: [&str; N], xml: &str) -> Ended {
        self.not_starved(|| {
            let (reader, writer) = filled_pipe(xml.as_bytes());
            let started = Instant::now();
            let child = self.program().args(arguments).stdin(Stdio::from(reader)).spawn().unwrap();
            let ended = ended(child, started);
            drop(writer);
            ended
        })
    }

    pub(crate) fn call_by_shell(&self, script: &str) -> Ended {
        let mut shell = Command::new("sh");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_fence-vmchannel-hook")]);
        self.not_starved(|| run(prepared(&mut shell, &self.runtime), b""))
    }

    /// Calls again while the machine was so busy that the hook ended at its deadline, without a note: then nothing can be
    /// said about what it would have done.
    fn not_starved(&self, mut call: impl FnMut() -> Ended) -> Ended {
        let notes = || self.spool_files().len();
        let before = notes();
        let mut ended = call();
        for _ in 1..TRIES {
            if ended.took < STARVED || notes() > before {
                break;
            }
            ended = call();
        }
        ended
    }

    /// The runtime directory is a tmpfs so small that something cannot be written. Only this thread sees it.
    pub(crate) fn call_on_tiny_disk(&self, limit: &str, xml: &str) -> Ended {
        std::fs::create_dir_all(&self.runtime).unwrap();
        std::thread::scope(|scope| scope.spawn(|| self.call_in_own_mounts(limit, xml)).join().unwrap())
    }

    fn call_in_own_mounts(&self, limit: &str, xml: &str) -> Ended {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS).expect("needs root");
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let options = format!("mode=0711,{limit}");
        mount(Some("tmpfs"), &self.runtime, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
        let _ = std::fs::write(self.runtime.join("filler"), vec![0; 8192]); // as far as it goes
        run(self.program().args(["web1", "prepare", "begin", "-"]), xml.as_bytes())
    }

    fn program(&self) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_fence-vmchannel-hook"));
        prepared(&mut program, &self.runtime);
        program
    }
}

impl Ended {
    /// What libvirt is promised.
    #[track_caller]
    pub(crate) fn ends_well(&self) {
        println!("took {:?}", self.took);
        assert!(self.output.status.success(), "{:?}", self.output);
        assert!(self.output.stdout.is_empty(), "{:?}", self.output);
        assert!(self.took < BOUND, "took {:?}", self.took);
    }
}

/// A domain that connects to `socket` and runs as 64055:107.
pub(crate) fn domain_xml(socket: &Path) -> String {
    let socket = socket.display();
    format!(
        "<domain type='qemu' id='1'>\n<name>web1</name>\n<uuid>{UUID}</uuid>\n<devices>\n\
         <channel type='unix'>\n<source mode='connect' path='{socket}'>\n<reconnect enabled='yes' timeout='1'/>\n\
         </source>\n<target type='virtio' name='org.fence_vmchannel.0'/>\n</channel>\n</devices>\n\
         <seclabel type='dynamic' model='dac' relabel='yes'>\n<label>+64055:+107</label>\n</seclabel>\n</domain>\n"
    )
}

pub(crate) fn not_utf8() -> OsString {
    OsString::from_vec(vec![b'w', 0xff, 0xfe])
}

fn prepared<'a>(program: &'a mut Command, runtime: &Path) -> &'a mut Command {
    program.env("FENCE_VMCHANNEL_RUNTIME_DIR", runtime).stdout(Stdio::piped()).stderr(Stdio::piped())
}

fn run(program: &mut Command, xml: &[u8]) -> Ended {
    let (head, rest) = xml.split_at(xml.len().min(IN_A_PIPE));
    let (reader, writer) = filled_pipe(head);
    let rest = (!rest.is_empty()).then_some((writer, rest));
    program.stdin(Stdio::from(reader));
    let started = Instant::now();
    let child = program.spawn().unwrap();
    program.stdin(Stdio::null()); // lets go of our copy of the reading end
    if let Some((mut writer, rest)) = rest {
        let _ = writer.write_all(rest); // like libvirt: that the hook does not read it all is no error
    }
    ended(child, started)
}

/// What the hook finds in its pipe when it starts, however late the writer gets its turn.
const IN_A_PIPE: usize = 16 * 1024;

fn filled_pipe(bytes: &[u8]) -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(bytes).unwrap();
    (reader, writer)
}

fn ended(child: Child, started: Instant) -> Ended {
    let output = child.wait_with_output().unwrap();
    Ended { output, took: started.elapsed() }
}
