//! Lists of `fence_virt` clients: records, an empty one, and "success", which is nobody else's.

use std::time::Duration;

use fence_vmchannel_host_agent::hypervisor::simulated::Entry;
use fence_vmchannel_protocol::legacy::{HostRecord, Op};

use crate::agent::{Agent, domain, uuid_of};
use crate::clock::pass;
use crate::legacy::{DENIED, SUCCESS};

#[tokio::test(start_paused = true)]
async fn a_legacy_list_has_who_may_be_asked_for_and_nobody_else() {
    let stopped = Entry { running: false, ..domain("web3", "web") };
    let agent =
        Agent::with_domains(vec![domain("web1", "web"), domain("web2", "web"), stopped, domain("db1", "db")])
            .await;
    let mut guest = agent.guest("web1").await;

    assert_eq!(guest.asks_struct(Op::List, "").await, 253);

    for (name, is_on) in [("web1", true), ("web2", true), ("web3", false)] {
        let record = guest.hears_bytes(130).await;
        let record = HostRecord::decode(record[..].try_into().unwrap()).unwrap();
        assert_eq!(
            (record.name.as_str(), record.uuid, record.state == 1),
            (name, uuid_of(name).to_string(), is_on)
        );
    }
    assert_eq!(guest.hears_bytes(130).await, HostRecord::END);
    assert_eq!(guest.hears_code().await, SUCCESS);
    assert_eq!(guest.has_in_its_port().await, b"");
}

#[tokio::test(start_paused = true)]
async fn a_long_legacy_list_comes_whole_to_a_client_that_reads_it() {
    let names: Vec<String> = (0..1000).map(|number| format!("w{number:03}")).collect();
    let agent = Agent::with_domains(names.iter().map(|name| domain(name, "web")).collect()).await;
    let mut guest = agent.guest("w000").await;

    assert_eq!(guest.asks_struct(Op::List, "").await, 253);

    let records = guest.hears_bytes(1000 * 130).await;
    let named =
        records.chunks(130).map(|record| HostRecord::decode(record.try_into().unwrap()).unwrap().name);
    assert_eq!(named.collect::<Vec<_>>(), names);
    assert_eq!(guest.hears_bytes(135).await, [&HostRecord::END[..], b"abba\0"].concat());
}

#[tokio::test(start_paused = true)]
async fn the_success_at_a_lists_end_is_not_left_for_the_next_client_by_one_that_went_away() {
    for reads_some in [false, true] {
        let agent = Agent::with_clusters([("web", ["web1", "web2"]), ("db", ["db1", "db2"])]).await;
        let mut guest = agent.guest("web1").await;

        guest.sends_struct(Op::List, "", 1);
        pass(Duration::from_secs(if reads_some { 1 } else { 6 })).await;
        let left = guest.has_in_its_port().await; // what the kernel and QEMU have of it
        if !reads_some {
            pass(Duration::from_secs(1)).await;
            assert_eq!(guest.has_in_its_port().await, b"", "nobody read for long");
        }

        assert_eq!(left, b"abba\xfd");
        assert_eq!(guest.asks_struct(Op::Off, "db1").await, DENIED);
        assert_eq!(guest.has_in_its_port().await, b"");
    }
}
