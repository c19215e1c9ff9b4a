complete -c fence_vmchannel -s o -l action -d 'What to do, see below [default: reboot]' -r
complete -c fence_vmchannel -s n -l plug -l port -l domain -d 'The target: the name or the UUID of a virtual machine on this host' -r
complete -c fence_vmchannel -l nodename -d 'The target where no --plug is given: cluster software sends it' -r
complete -c fence_vmchannel -s D -l device -d 'The channel, for example /dev/ttyS1 [default: the virtio port org.fence_vmchannel.0]' -r -F
complete -c fence_vmchannel -s k -l key-file -d 'The key that signs the request' -r -F
complete -c fence_vmchannel -l key-id -d 'The key\'s name on the host [default: the name of its file, without what follows the last dot]' -r
complete -c fence_vmchannel -s t -l timeout -d 'How long to wait for the verdict, 0.1 to 3600 [default: 55]' -r
complete -c fence_vmchannel -s w -l delay -d 'How long the host waits before an off or a reboot, 0 to 600 [default: 0]' -r
complete -c fence_vmchannel -s m -l method -d 'How to reboot; there is only onoff, which proves that the target was off' -r
complete -c fence_vmchannel -s U -l uuid -d 'Take a UUID only as the target, no name [default: both]'
complete -c fence_vmchannel -l json -d 'Print the result as one line of JSON'
complete -c fence_vmchannel -s v -l verbose -d 'Tell each step with its time on standard error'
complete -c fence_vmchannel -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fence_vmchannel -s V -l version -d 'Print version'
