# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_fence_vmchannel_global_optspecs
    string join \n o/action= n/plug= nodename= U/uuid D/device= k/key-file= key-id= t/timeout= w/delay= m/method= json v/verbose print-pcs= print-crm= compat= h/help V/version
end

function __fish_fence_vmchannel_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_fence_vmchannel_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_fence_vmchannel_using_subcommand
    set -l cmd (__fish_fence_vmchannel_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -s o -l action -d 'What to do, see below [default: reboot]' -r
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -s n -l plug -l port -l domain -d 'The target: the name or the UUID of a virtual machine on this host' -r
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -l nodename -d 'The target where no --plug is given: cluster software sends it' -r
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -s D -l device -d 'The channel, for example /dev/ttyS1 [default: the virtio port org.fence_vmchannel.0]' -r -F
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -s k -l key-file -d 'The key that signs the request' -r -F
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -l key-id -d 'The key\'s name on the host [default: the name of its file, without what follows the last dot]' -r
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -s t -l timeout -d 'How long to wait for the verdict, 0.1 to 3600 [default: 55]' -r
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -s w -l delay -d 'How long the host waits before an off or a reboot, 0 to 600 [default: 0]' -r
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -s m -l method -d 'How to reboot; there is only onoff, which proves that the target was off' -r
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -l print-pcs -d 'As the first option: print the command lines for a cluster of these nodes, for pcs' -r
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -l print-crm -d 'As the first option: print the command lines for a cluster of these nodes, for crmsh' -r
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -l compat -d 'As the first option: read the options and print the words of this agent' -r -f -a "fence_vmchannel\t''
fence_virt\t''
fence_xvm\t''"
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -s U -l uuid -d 'Take a UUID only as the target, no name [default: both]'
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -l json -d 'Print the result as one line of JSON'
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -s v -l verbose -d 'Tell each step with its time on standard error'
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -s V -l version -d 'Print version'
complete -c fence_vmchannel -n "__fish_fence_vmchannel_needs_command" -f -a "broker" -d 'Shares the channel among the programs of this guest'
complete -c fence_vmchannel -n "__fish_fence_vmchannel_using_subcommand broker" -s D -l device -d 'The channel, for example /dev/ttyS1 [default: the virtio port org.fence_vmchannel.0]' -r -F
complete -c fence_vmchannel -n "__fish_fence_vmchannel_using_subcommand broker" -l socket -d 'Where to listen, unless a listening socket is standard input' -r -F
complete -c fence_vmchannel -n "__fish_fence_vmchannel_using_subcommand broker" -l config -d 'Who may ask what' -r -F
complete -c fence_vmchannel -n "__fish_fence_vmchannel_using_subcommand broker" -l check -d 'Say whether the configuration is right, and do nothing else'
complete -c fence_vmchannel -n "__fish_fence_vmchannel_using_subcommand broker" -s v -l verbose -d 'Tell each step with its time on standard error'
complete -c fence_vmchannel -n "__fish_fence_vmchannel_using_subcommand broker" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fence_vmchannel -n "__fish_fence_vmchannel_using_subcommand broker" -s V -l version -d 'Print version'
