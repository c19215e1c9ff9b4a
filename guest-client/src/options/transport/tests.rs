use super::*;

fn written(change: impl FnOnce(&mut WrittenTransport)) -> WrittenTransport {
    let mut written = WrittenTransport::default();
    change(&mut written);
    written
}

fn virt(change: impl FnOnce(&mut WrittenTransport)) -> Result<(Transport, bool), String> {
    written(change).check(Personality::Virt).map_err(|error| error.to_string())
}

fn xvm(change: impl FnOnce(&mut WrittenTransport)) -> Result<(Transport, bool), String> {
    written(change).check(Personality::Xvm).map_err(|error| error.to_string())
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn fence_virt_takes_the_second_serial_port_when_nothing_is_named() {
    let (transport, named) = virt(|_| {}).unwrap();

    assert_eq!(transport, Transport::Serial { device: "/dev/ttyS1".into(), params: SerialParams::default() });
    assert!(!named);
}

#[test]
fn fence_virt_prefers_vsock_to_tcp_to_a_device_to_a_forwarded_address() {
    let all = |w: &mut WrittenTransport| {
        w.vsock = some("2");
        w.ipaddr = some("192.0.2.1");
        w.device = Some("/dev/ttyS0".into());
        w.channel_address = some("10.0.2.179");
    };
    let without = |fields: &[fn(&mut WrittenTransport)]| {
        virt(|w| {
            all(w);
            fields.iter().for_each(|clear| clear(w));
        })
        .unwrap()
        .0
    };

    assert!(matches!(without(&[]), Transport::Vsock { cid: 2, port: 1229, .. }));
    assert!(matches!(without(&[|w| w.vsock = None]), Transport::Tcp { port: 1229, .. }));
    assert!(matches!(without(&[|w| w.vsock = None, |w| w.ipaddr = None]), Transport::Serial { .. }));
    let forwarded = without(&[|w| w.vsock = None, |w| w.ipaddr = None, |w| w.device = None]);
    assert_eq!(forwarded, Transport::Guestfwd { address: "10.0.2.179".parse().unwrap(), port: 1229 });
}

#[test]
fn fence_xvm_sends_to_the_well_known_group_of_its_family() {
    let group = |transport: Transport| {
        let Transport::Multicast { address, retransmit, credentials, .. } = transport else {
            panic!("{transport}")
        };
        (address.to_string(), retransmit, credentials.auth)
    };

    let (v4, named) = xvm(|_| {}).unwrap();
    let (v6, _) = xvm(|w| w.ip_family = some("ipv6")).unwrap();
    let (chosen, _) = xvm(|w| w.multicast_address = some("239.1.2.3")).unwrap();

    assert_eq!(group(v4), ("225.0.0.12".to_owned(), Duration::from_secs(2), Strength::Sha256));
    assert_eq!(group(v6).0, "ff05::3:1");
    assert_eq!(group(chosen).0, "239.1.2.3");
    assert!(!named);
}

#[test]
fn what_cannot_be_right_is_told_with_what_it_must_be() {
    let cases = [
        (virt(|w| w.ipport = some("0")), "ipport is \"0\""),
        (virt(|w| w.ipport = some("65536")), "a port from 1 to 65535"),
        (virt(|w| w.ipaddr = some("host.example")), "an IP address, not a name"),
        (virt(|w| w.vsock = some("x")), "a context id"),
        (virt(|w| w.serial_params = some("fast")), "like 115200,8N1"),
        (virt(|w| w.serial_params = some("9600,9N1")), "like 115200,8N1"),
        (virt(|w| w.serial_params = some("9600,8N12")), "like 115200,8N1"),
        (xvm(|w| w.multicast_address = some("10.0.0.1")), "a multicast address"),
        (xvm(|w| w.ip_family = some("ipx")), "auto, ipv4 or ipv6"),
        (xvm(|w| w.retrans = some("0")), "tenths of a second"),
        (xvm(|w| w.auth = some("md5")), "none, sha1, sha256 or sha512"),
        (xvm(|w| w.hash = some("")), "none, sha1, sha256 or sha512"),
    ];
    for (result, says) in cases {
        let error = result.unwrap_err();
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[test]
fn a_family_that_is_not_the_address_s_is_refused() {
    let mixed = xvm(|w| {
        w.ip_family = some("ipv6");
        w.multicast_address = some("225.0.0.12");
    });

    assert!(mixed.unwrap_err().contains("ip_family"));
}

#[test]
fn serial_parameters_are_read_as_people_write_them() {
    let params: SerialParams = "9600,7e2".parse().unwrap();
    assert_eq!(params, SerialParams { speed: 9600, data_bits: 7, parity: Parity::Even, stop_bits: 2 });
    assert_eq!("115200".parse::<SerialParams>().unwrap(), SerialParams::default());
}

#[test]
fn a_port_that_cannot_be_right_is_no_fault_where_no_port_is_used() {
    let written = written(|w| w.ipport = some("0"));

    let (transport, _) = written.check(Personality::Vmchannel).unwrap();

    assert_eq!(transport, Transport::Channel { device: None, key_file: None, key_id: None });
    assert_eq!(written.of_the_legacy_dialects(), ["ipport"]);
}
