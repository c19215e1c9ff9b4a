# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_fence_vmchanneld_global_optspecs
    string join \n config= json h/help V/version
end

function __fish_fence_vmchanneld_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_fence_vmchanneld_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_fence_vmchanneld_using_subcommand
    set -l cmd (__fish_fence_vmchanneld_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_needs_command" -l config -d 'The agent\'s settings [default: /etc/fence-vmchannel/agent.toml, which may be missing]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_needs_command" -l json -d 'Print one JSON object for programs, also for an error: {"error": "..."}'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_needs_command" -s h -l help -d 'Print help'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_needs_command" -s V -l version -d 'Print version'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_needs_command" -f -a "run" -d 'Run the agent in the foreground (what the systemd unit does)'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_needs_command" -f -a "check-config" -d 'Check the settings and the policy\'s files; print what holds'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_needs_command" -f -a "guests" -d 'Show the domains and whether their channels are served (asks the running agent)'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_needs_command" -f -a "channel" -d 'Give domains their channel and cluster, take them away, or show them'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_needs_command" -f -a "explain" -d 'Tell whether SOURCE may do ACTION to TARGET, and which rule decides (asks the running agent)'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_needs_command" -f -a "convert-config" -d 'Convert the configuration of fence_virtd or fence_xvmd, line by line, and tell what was unsafe about it'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_needs_command" -f -a "maintenance" -d 'Announce maintenance of this host to its guests, or its end; ends by itself with the host\'s run'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_needs_command" -f -a "hook" -d 'The libvirt hook that tells the agent of VMs before they start'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand run" -l simulate -d 'Try things out without libvirt: the domains are those of FILE, and every answer is marked as simulated' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand run" -l config -d 'The agent\'s settings [default: /etc/fence-vmchannel/agent.toml, which may be missing]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand run" -l json -d 'Print one JSON object for programs, also for an error: {"error": "..."}'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand run" -s h -l help -d 'Print help'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand check-config" -l config -d 'The agent\'s settings [default: /etc/fence-vmchannel/agent.toml, which may be missing]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand check-config" -l json -d 'Print one JSON object for programs, also for an error: {"error": "..."}'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand guests" -l config -d 'The agent\'s settings [default: /etc/fence-vmchannel/agent.toml, which may be missing]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand guests" -l json -d 'Print one JSON object for programs, also for an error: {"error": "..."}'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand guests" -s h -l help -d 'Print help'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and not __fish_seen_subcommand_from add remove show key help" -l config -d 'The agent\'s settings [default: /etc/fence-vmchannel/agent.toml, which may be missing]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and not __fish_seen_subcommand_from add remove show key help" -l json -d 'Print one JSON object for programs, also for an error: {"error": "..."}'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and not __fish_seen_subcommand_from add remove show key help" -s h -l help -d 'Print help'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and not __fish_seen_subcommand_from add remove show key help" -f -a "add" -d 'Add the channel and the cluster\'s label to domains; running it again changes nothing'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and not __fish_seen_subcommand_from add remove show key help" -f -a "remove" -d 'Take the channel and the cluster\'s label away from domains'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and not __fish_seen_subcommand_from add remove show key help" -f -a "show" -d 'Show channels and clusters as libvirt knows them; works without the agent'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and not __fish_seen_subcommand_from add remove show key help" -f -a "key" -d 'Give guests keys, so that only signed requests of them may act; take keys away, or list them'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and not __fish_seen_subcommand_from add remove show key help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from add" -l cluster -d 'The cluster\'s label: domains with the same one may fence each other' -r
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from add" -l config -d 'The agent\'s settings [default: /etc/fence-vmchannel/agent.toml, which may be missing]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from add" -l serial -d 'A serial port (/dev/ttyS1 in the guest) instead of a virtio port; takes effect at the next start'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from add" -l bind -d 'Let QEMU make the socket instead of the agent: for VMs that must start without agent and hook'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from add" -l move -d 'Move a domain that has the label of another cluster'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from add" -l dry-run -d 'Print what would change, and change nothing'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from add" -l json -d 'Print one JSON object for programs, also for an error: {"error": "..."}'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from remove" -l config -d 'The agent\'s settings [default: /etc/fence-vmchannel/agent.toml, which may be missing]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from remove" -l keep-cluster -d 'Leave the cluster\'s label: others may still fence this domain'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from remove" -l dry-run -d 'Print what would change, and change nothing'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from remove" -l json -d 'Print one JSON object for programs, also for an error: {"error": "..."}'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from show" -l config -d 'The agent\'s settings [default: /etc/fence-vmchannel/agent.toml, which may be missing]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from show" -l json -d 'Print one JSON object for programs, also for an error: {"error": "..."}'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from key" -l config -d 'The agent\'s settings [default: /etc/fence-vmchannel/agent.toml, which may be missing]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from key" -l json -d 'Print one JSON object for programs, also for an error: {"error": "..."}'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from key" -s h -l help -d 'Print help'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from key" -f -a "add" -d 'Make a key for a guest; from its first key on, only signed requests of it may act'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from key" -f -a "remove" -d 'Take a key away from a guest'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from key" -f -a "list" -d 'List the keys of guests, and what is wrong with them; never the secrets'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from key" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from help" -f -a "add" -d 'Add the channel and the cluster\'s label to domains; running it again changes nothing'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Take the channel and the cluster\'s label away from domains'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show channels and clusters as libvirt knows them; works without the agent'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from help" -f -a "key" -d 'Give guests keys, so that only signed requests of them may act; take keys away, or list them'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand channel; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand explain" -l config -d 'The agent\'s settings [default: /etc/fence-vmchannel/agent.toml, which may be missing]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand explain" -l json -d 'Print one JSON object for programs, also for an error: {"error": "..."}'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand explain" -s h -l help -d 'Print help'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand convert-config" -l xvmd -d 'Convert fence_xvmd instead: its options as one word, as in --xvmd=\'-I virbr1 -k /etc/cluster/fence_xvm.key\'' -r
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand convert-config" -l cluster-conf -d 'The guests\' cluster.conf, or its clusternode and fencedevice elements' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand convert-config" -l output -d 'Write agent.toml and policy.d/50-fence_virt.toml below DIR [default: show them]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand convert-config" -l open-as -d 'What shall hold where every guest could fence every other' -r -f -a "all\t'Every guest with a channel may go on fencing every other'
groups\t'Only within the groups that are written, also those that fence_virtd overlooks, and within a cluster.conf'
refuse\t'Nobody may fence anybody; allow it later by cluster labels or a policy'"
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand convert-config" -l addresses-as -d 'What shall hold for groups whose askers were known by their addresses' -r -f -a "members\t'Every machine of the group may ask, over its own channel'
keep\t'They may go on asking over the network: the listener is kept, for these addresses only'
refuse\t'No machine may ask unless --address says whose address it is'"
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand convert-config" -l address -d 'The machine that has this address or CID (may be given several times)' -r
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand convert-config" -l config -d 'The agent\'s settings [default: /etc/fence-vmchannel/agent.toml, which may be missing]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand convert-config" -l force -d 'Overwrite files that are there'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand convert-config" -l without-libvirt -d 'Do not ask libvirt which machines there are'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand convert-config" -l json -d 'Print one JSON object for programs, also for an error: {"error": "..."}'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand convert-config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand maintenance" -l config -d 'The agent\'s settings [default: /etc/fence-vmchannel/agent.toml, which may be missing]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand maintenance" -l json -d 'Print one JSON object for programs, also for an error: {"error": "..."}'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand maintenance" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and not __fish_seen_subcommand_from install remove status help" -l config -d 'The agent\'s settings [default: /etc/fence-vmchannel/agent.toml, which may be missing]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and not __fish_seen_subcommand_from install remove status help" -l json -d 'Print one JSON object for programs, also for an error: {"error": "..."}'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and not __fish_seen_subcommand_from install remove status help" -s h -l help -d 'Print help'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and not __fish_seen_subcommand_from install remove status help" -f -a "install" -d 'Put the hook into libvirt\'s hooks/qemu.d; running it again updates it'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and not __fish_seen_subcommand_from install remove status help" -f -a "remove" -d 'Take the hook away'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and not __fish_seen_subcommand_from install remove status help" -f -a "status" -d 'Tell whether the hook is there, up to date, and noticed by libvirtd: exit code 0 only if it is all of this'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and not __fish_seen_subcommand_from install remove status help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from install" -l program -d 'The hook program [default: the one next to this program, or where packages put it]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from install" -l config -d 'The agent\'s settings [default: /etc/fence-vmchannel/agent.toml, which may be missing]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from install" -l reload -d 'Make libvirtd notice it now (SIGHUP): it overlooks the first hook that appears after its start'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from install" -l dry-run -d 'Tell what would be done, and do nothing'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from install" -l json -d 'Print one JSON object for programs, also for an error: {"error": "..."}'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from install" -s h -l help -d 'Print help'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from remove" -l config -d 'The agent\'s settings [default: /etc/fence-vmchannel/agent.toml, which may be missing]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from remove" -l dry-run -d 'Tell what would be done, and do nothing'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from remove" -l json -d 'Print one JSON object for programs, also for an error: {"error": "..."}'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from status" -l config -d 'The agent\'s settings [default: /etc/fence-vmchannel/agent.toml, which may be missing]' -r -F
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from status" -l json -d 'Print one JSON object for programs, also for an error: {"error": "..."}'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from help" -f -a "install" -d 'Put the hook into libvirt\'s hooks/qemu.d; running it again updates it'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Take the hook away'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from help" -f -a "status" -d 'Tell whether the hook is there, up to date, and noticed by libvirtd: exit code 0 only if it is all of this'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand hook; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand help; and not __fish_seen_subcommand_from run check-config guests channel explain convert-config maintenance hook help" -f -a "run" -d 'Run the agent in the foreground (what the systemd unit does)'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand help; and not __fish_seen_subcommand_from run check-config guests channel explain convert-config maintenance hook help" -f -a "check-config" -d 'Check the settings and the policy\'s files; print what holds'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand help; and not __fish_seen_subcommand_from run check-config guests channel explain convert-config maintenance hook help" -f -a "guests" -d 'Show the domains and whether their channels are served (asks the running agent)'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand help; and not __fish_seen_subcommand_from run check-config guests channel explain convert-config maintenance hook help" -f -a "channel" -d 'Give domains their channel and cluster, take them away, or show them'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand help; and not __fish_seen_subcommand_from run check-config guests channel explain convert-config maintenance hook help" -f -a "explain" -d 'Tell whether SOURCE may do ACTION to TARGET, and which rule decides (asks the running agent)'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand help; and not __fish_seen_subcommand_from run check-config guests channel explain convert-config maintenance hook help" -f -a "convert-config" -d 'Convert the configuration of fence_virtd or fence_xvmd, line by line, and tell what was unsafe about it'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand help; and not __fish_seen_subcommand_from run check-config guests channel explain convert-config maintenance hook help" -f -a "maintenance" -d 'Announce maintenance of this host to its guests, or its end; ends by itself with the host\'s run'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand help; and not __fish_seen_subcommand_from run check-config guests channel explain convert-config maintenance hook help" -f -a "hook" -d 'The libvirt hook that tells the agent of VMs before they start'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand help; and not __fish_seen_subcommand_from run check-config guests channel explain convert-config maintenance hook help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand help; and __fish_seen_subcommand_from channel" -f -a "add" -d 'Add the channel and the cluster\'s label to domains; running it again changes nothing'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand help; and __fish_seen_subcommand_from channel" -f -a "remove" -d 'Take the channel and the cluster\'s label away from domains'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand help; and __fish_seen_subcommand_from channel" -f -a "show" -d 'Show channels and clusters as libvirt knows them; works without the agent'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand help; and __fish_seen_subcommand_from channel" -f -a "key" -d 'Give guests keys, so that only signed requests of them may act; take keys away, or list them'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand help; and __fish_seen_subcommand_from hook" -f -a "install" -d 'Put the hook into libvirt\'s hooks/qemu.d; running it again updates it'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand help; and __fish_seen_subcommand_from hook" -f -a "remove" -d 'Take the hook away'
complete -c fence-vmchanneld -n "__fish_fence_vmchanneld_using_subcommand help; and __fish_seen_subcommand_from hook" -f -a "status" -d 'Tell whether the hook is there, up to date, and noticed by libvirtd: exit code 0 only if it is all of this'
