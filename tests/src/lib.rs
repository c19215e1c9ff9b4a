//! The lab: real libvirt, real QEMU and real guests on one machine, away from the system's own.
//!
//! In:  a machine with the packages of `packaging/install-build-deps`, and root.
//! Out: a [`Lab`] (a private libvirtd in its own mount and network namespace), [`Guest`]s in it,
//!      and our own programs running there ([`Agent`]).
//!
//! Invariant: nothing outside the lab is touched, and nothing of it survives its test process,
//! however that ends.
//!
//! ```no_run
//! # use fence_vmchannel_tests::{Agent, Channel, Guest, Lab, Result};
//! # fn main() -> Result<()> {
//! let lab = Lab::start()?;
//! let _agent = Agent::start(&lab)?;
//! let web1 = Guest::named("web1").in_cluster("web").with(Channel::VirtioConnect).boot(&lab)?;
//! let web2 = Guest::named("web2").in_cluster("web").with(Channel::VirtioConnect).boot(&lab)?;
//!
//! let fencing = web1.run("fence_vmchannel --action off --plug web2")?;
//!
//! assert_eq!(fencing.exit_code, 0, "{}", fencing.output);
//! assert!(!web2.is_running());
//! # Ok(())
//! # }
//! ```

pub mod asker;
pub mod attack;
pub mod cluster_node;
pub mod compat;
pub mod debian;
pub mod dice;
pub mod error;
pub mod fence_virt;
pub mod guest;
pub mod host;
pub mod image;
pub mod lab;
pub mod network;
pub mod peer;
pub mod programs;
pub mod rounds;
pub mod silent_disk;

pub use asker::{Answer, Asker};
pub use dice::Dice;
pub use error::{LabError, Result};
pub use guest::{Channel, Guest};
pub use host::Agent;

pub use lab::Lab;
pub use network::Network;
pub use peer::Peer;

pub use programs::Ran;
pub use silent_disk::SilentDisk;
