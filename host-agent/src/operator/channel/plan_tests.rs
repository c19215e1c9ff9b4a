//! What is changed in which domain.

use super::*;

const UUID: &str = "7d0e7b8a-5a6b-4f6e-9a55-0123456789ab";
const CONTROLLER: &str = "<controller type='virtio-serial' index='0'/>";

fn definition(cluster: Option<&str>, devices: &str) -> Definition {
    let label = cluster.map(|name| format!("<f:member xmlns:f='urn:fence-vmchannel:1' cluster='{name}'/>"));
    let metadata = label.unwrap_or_default();
    let xml = format!("<domain><metadata>{metadata}</metadata><devices>{devices}</devices></domain>");
    Definition::read(&xml).unwrap()
}

fn channel(mode: &str, path: &str) -> String {
    format!(
        "<channel type='unix'><source mode='{mode}' path='{path}'/>\
         <target type='virtio' name='org.fence_vmchannel.0'/></channel>"
    )
}

fn own() -> String {
    channel("connect", &format!("/g/{UUID}.sock"))
}

fn known(persistent: Option<Definition>, live: Option<Definition>) -> Known {
    Known { name: "web1".into(), uuid: UUID.parse().unwrap(), persistent, live }
}

fn wish() -> Wish {
    Wish {
        cluster: "web".into(),
        port: Port::Virtio,
        mode: Mode::Connect,
        move_cluster: false,
        guests_dir: "/g".into(),
    }
}

fn changes(steps: &[Step]) -> Vec<String> {
    let word = |step: &Step| {
        let change = match &step.change {
            Change::Attach { .. } => "attach",
            Change::Detach { .. } => "detach",
            Change::SetCluster { .. } => "set",
            Change::ClearCluster { .. } => "clear",
            Change::Already(_) => "already",
            Change::Later(_) => "later",
        };
        format!("{:?} {:?} {change}", step.scope, step.part)
    };
    steps.iter().map(word).collect()
}

#[test]
fn a_stopped_domain_gets_channel_and_label_in_its_persistent_definition() {
    let steps = to_add(&known(Some(definition(None, "")), None), &wish()).unwrap();

    assert_eq!(changes(&steps), ["Persistent Channel attach", "Persistent Cluster set"]);
    let xml = format!(
        "<channel type='unix'><source mode='connect' path='/g/{UUID}.sock'><reconnect enabled='yes' timeout='1'/>\
         </source><target type='virtio' name='org.fence_vmchannel.0'/></channel>"
    );
    assert_eq!(steps[0].change, Change::Attach { xml, socket: None });
}

#[test]
fn a_running_domain_with_a_controller_gets_them_live_too_and_needs_the_socket_first() {
    let domain = known(Some(definition(None, "")), Some(definition(None, CONTROLLER)));

    let steps = to_add(&domain, &wish()).unwrap();

    let expected =
        ["Persistent Channel attach", "Persistent Cluster set", "Live Cluster set", "Live Channel attach"];
    assert_eq!(changes(&steps), expected);
    let socket = Some(PathBuf::from(format!("/g/{UUID}.sock")));
    assert!(matches!(&steps[3].change, Change::Attach { socket: needed, .. } if *needed == socket));
}

#[test]
fn a_running_domain_without_a_controller_has_to_wait_for_its_next_start() {
    let domain = known(Some(definition(None, "")), Some(definition(None, "")));

    let steps = to_add(&domain, &wish()).unwrap();

    assert!(matches!(&steps[3].change, Change::Later(why) if why.contains("no virtio-serial controller")));
}

#[test]
fn a_second_run_changes_nothing() {
    let there = definition(Some("web"), &[CONTROLLER, &own()].concat());

    let steps = to_add(&known(Some(there.clone()), Some(there)), &wish()).unwrap();

    assert!(steps.iter().all(|step| matches!(step.change, Change::Already(_))), "{steps:?}");
}

#[test]
fn a_bind_channel_is_good_enough_unless_it_is_the_other_way_round() {
    let bind = definition(Some("web"), &channel("bind", "/anywhere"));
    let connect = definition(Some("web"), &own());

    let steps = to_add(&known(Some(bind), None), &wish()).unwrap();
    let refusal = to_add(&known(Some(connect), None), &Wish { mode: Mode::Bind, ..wish() }).unwrap_err();

    assert!(matches!(&steps[0].change, Change::Already(text) if text.contains("bind, /anywhere")));
    assert!(refusal.to_string().contains("channel remove --keep-cluster web1"), "{refusal}");
}

#[test]
fn our_port_on_another_socket_is_refused_as_in_a_cloned_domain() {
    let cloned = definition(None, &channel("connect", "/g/99999999-5a6b-4f6e-9a55-0123456789ab.sock"));

    let refusal = to_add(&known(Some(cloned), None), &wish()).unwrap_err();

    assert!(matches!(refusal, Refusal::Occupied { .. }), "{refusal}");
}

#[test]
fn another_label_is_kept_unless_moving_was_asked_for() {
    let domain = known(Some(definition(Some("db"), &own())), None);

    let refusal = to_add(&domain, &wish()).unwrap_err();
    let steps = to_add(&domain, &Wish { move_cluster: true, ..wish() }).unwrap();

    assert!(refusal.to_string().contains("--move"), "{refusal}");
    assert_eq!(steps[1].change, Change::SetCluster { cluster: "web".into(), before: Some("db".into()) });
}

#[test]
fn a_transient_domain_gets_a_bind_channel_live_or_nothing() {
    let able = known(None, Some(definition(None, CONTROLLER)));
    let unable = known(None, Some(definition(None, "")));
    let bind = Wish { mode: Mode::Bind, ..wish() };

    assert_eq!(changes(&to_add(&able, &bind).unwrap()), ["Live Cluster set", "Live Channel attach"]);
    assert!(matches!(to_add(&unable, &bind), Err(Refusal::Transient { .. })));
    assert!(to_add(&able, &wish()).unwrap_err().to_string().contains("--bind"));
}

#[test]
fn a_serial_port_is_added_for_the_next_start_only() {
    let domain = known(Some(definition(None, "")), Some(definition(None, CONTROLLER)));

    let steps = to_add(&domain, &Wish { port: Port::Serial, mode: Mode::Bind, ..wish() }).unwrap();

    assert!(matches!(&steps[0].change, Change::Attach { xml, .. }
        if *xml == format!("<serial type='unix'><source mode='bind' path='/g/{UUID}-serial1.sock'/>\
                            <target port='1'/></serial>")));
    assert!(matches!(&steps[3].change, Change::Later(why) if why.contains("serial")));
}

#[test]
fn a_second_serial_port_of_somebody_else_is_left_alone() {
    let console = definition(None, "<serial type='pty'><target type='isa-serial' port='1'/></serial>");

    let refusal = to_add(&known(Some(console), None), &Wish { port: Port::Serial, ..wish() }).unwrap_err();

    assert!(matches!(refusal, Refusal::SerialTaken { .. }), "{refusal}");
}

#[test]
fn removing_takes_the_label_first_and_every_port_that_is_ours() {
    let serial = format!(
        "<serial type='unix'><source mode='connect' path='/g/{UUID}-serial1.sock'/><target port='1'/></serial>"
    );
    let there = definition(Some("web"), &[own(), serial].concat());
    let domain = known(Some(there.clone()), Some(there));

    let steps = to_remove(&domain, false, Path::new("/g"));

    let expected = [
        "Live Cluster clear",
        "Persistent Cluster clear",
        "Live Channel detach",
        "Live Serial later",
        "Persistent Channel detach",
        "Persistent Serial detach",
    ];
    assert_eq!(changes(&steps), expected);
}

#[test]
fn removing_what_is_not_there_changes_nothing_and_the_guest_agents_port_is_not_ours() {
    let foreign = "<channel type='unix'><source mode='bind' path='/g/x'/>\
                   <target type='virtio' name='org.qemu.guest_agent.0'/></channel>";

    let steps = to_remove(&known(Some(definition(None, foreign)), None), false, Path::new("/g"));

    assert_eq!(changes(&steps), ["Persistent Cluster already", "Persistent Channel already"]);
}

#[test]
fn a_label_with_control_characters_or_too_long_is_refused() {
    for bad in ["", "a\nb", &"x".repeat(129)] {
        assert!(check_cluster(bad).is_err(), "{bad:?}");
    }
    assert!(check_cluster("web & <db>").is_ok());
}

#[test]
fn a_running_domain_gets_the_mode_that_its_definition_has() {
    let bind = definition(Some("web"), &[CONTROLLER, &channel("bind", "/anywhere")].concat());

    let steps = to_add(&known(Some(bind), Some(definition(Some("web"), CONTROLLER))), &wish()).unwrap();

    assert!(
        matches!(&steps[3].change, Change::Attach { xml, socket: None } if xml.contains("mode='bind'")),
        "{steps:?}"
    );
}
