//! A guest as libvirt sees it: its domain XML.
//!
//! In:  a [`Plan`].
//! Out: XML for `virsh define` or `virsh create`.

use std::fmt::Write;

use super::{Channel, GUESTFWD, Plan};
use crate::lab::rooms::{QEMU, UNSEEN_QEMU};

/// Boots in under two seconds without KVM: no probing, no self tests, no calibration.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=0 panic=-1 mitigations=off \
    cryptomgr.notests tsc=reliable no_timer_check lpj=4000000 nokaslr audit=0 random.trust_cpu=on";

/// Has RDRAND, so that the guest's first random number takes no second of gathering noise.
const MAXIMUM_CPU: &str = "<cpu mode='maximum'/>";

impl Plan {
    /// The domain XML of a guest with this UUID.
    pub(super) fn xml(&self, uuid: &str) -> String {
        let name = &self.name;
        let metadata = self.cluster.as_ref().map_or_else(String::new, |cluster| {
            format!(
                "<metadata><fence:member xmlns:fence='urn:fence-vmchannel:1' cluster='{cluster}'/></metadata>"
            )
        });
        let (machine, memory, cpu, boot, devices) = if self.cheap {
            ("pc", 16, "", String::new(), "")
        } else {
            let boot = format!(
                "<kernel>/var/lib/libvirt/images/vmlinuz</kernel>\
                 <initrd>/var/lib/libvirt/images/initramfs</initrd>\
                 <cmdline>{KERNEL_COMMAND_LINE} hostname={name}</cmdline>"
            );
            let console = "<serial type='pty'><target port='0'/></serial><console type='pty'/>";
            ("q35", self.memory_mib, MAXIMUM_CPU, boot, console)
        };
        let emulator = if self.unseen { UNSEEN_QEMU } else { QEMU };
        let mut channels = String::new();
        for channel in &self.channels {
            // writing to a string cannot fail
            write!(channels, "{}", channel.xml(uuid)).ok();
        }
        let network_cards = self.network_cards();
        let disk = self.disk.as_ref().map_or_else(String::new, |path| {
            format!(
                "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{path}'/>\
                 <target dev='hda' bus='ide'/></disk>"
            )
        });
        format!(
            "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>{name}</name><uuid>{uuid}</uuid>{metadata}\
             <memory unit='MiB'>{memory}</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='{machine}'>hvm</type>{boot}</os>\
             <features><acpi/></features>{cpu}\
             <devices><emulator>{emulator}</emulator>\
             <controller type='usb' model='none'/><memballoon model='none'/>\
             {disk}{devices}{channels}</devices>{network_cards}</domain>\n"
        )
    }

    /// libvirt gives each guestfwd channel a user network of its own, named as the channel, with no card in it: QEMU has
    /// not joined such networks by itself since version 3.
    fn network_cards(&self) -> String {
        let count = self.channels.iter().filter(|channel| channel.is_guestfwd()).count();
        let card = |number| {
            format!("<qemu:arg value='-device'/><qemu:arg value='virtio-net-pci,netdev=channel{number}'/>")
        };
        let cards: String = (0..count).map(card).collect();
        if cards.is_empty() { cards } else { format!("<qemu:commandline>{cards}</qemu:commandline>") }
    }
}

impl Channel {
    fn is_guestfwd(&self) -> bool {
        matches!(self, Self::Guestfwd | Self::GuestfwdAt { .. })
    }

    fn xml(&self, uuid: &str) -> String {
        const VIRTIO: &str = "<target type='virtio' name='org.fence_vmchannel.0'/>";
        const SERIAL: &str = "<target port='1'/>";
        const RECONNECT: &str = "<reconnect enabled='yes' timeout='1'/>";
        const SOCKETS: &str = "/run/fence-vmchannel/guests";
        match self {
            Self::VirtioConnect => format!(
                "<channel type='unix'><source mode='connect' path='{SOCKETS}/{uuid}.sock'>{RECONNECT}\
                 </source>{VIRTIO}</channel>"
            ),
            Self::VirtioBind { path: Some(path) } => {
                format!("<channel type='unix'><source mode='bind' path='{path}'/>{VIRTIO}</channel>")
            }
            Self::VirtioBind { path: None } => {
                format!("<channel type='unix'><source mode='bind'/>{VIRTIO}</channel>")
            }
            Self::SerialConnect => format!(
                "<serial type='unix'><source mode='connect' path='{SOCKETS}/{uuid}-serial1.sock'>{RECONNECT}\
                 </source>{SERIAL}</serial>"
            ),
            Self::SerialAt { path, port } => format!(
                "<serial type='unix'><source mode='bind' path='{path}'/><target port='{port}'/></serial>"
            ),
            Self::Guestfwd => format!(
                "<channel type='unix'><source mode='bind' path='{SOCKETS}/{uuid}-guestfwd.sock'/>\
                 <target type='guestfwd' address='{GUESTFWD}' port='1229'/></channel>"
            ),
            Self::GuestfwdAt { path, address } => format!(
                "<channel type='unix'><source mode='bind' path='{path}'/>\
                 <target type='guestfwd' address='{address}' port='1229'/></channel>"
            ),
            Self::SerialBind => format!(
                "<serial type='unix'><source mode='bind' path='{SOCKETS}/{uuid}-serial1.sock'/>{SERIAL}</serial>"
            ),
        }
    }
}
