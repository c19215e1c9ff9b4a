//! End-to-end tests on real libvirt and real QEMU.
use fence_vmchannel_tests::{Channel, Guest, Lab, Result};
use std::time::Instant;
#[test]
fn x() -> Result<()> {
    for _ in 0..3 {
        let t = Instant::now();
        let lab = Lab::start()?;
        println!("start {:?}", t.elapsed());
        let t = Instant::now();
        let guest =
            Guest::named("web1").in_cluster("web").with(Channel::VirtioBind { path: None }).start(&lab)?;
        println!("start {:?}", t.elapsed());
        guest.wait_for_shell()?;
        println!("boot {:?}", t.elapsed());
        let t = Instant::now();
        println!("{:?}", guest.run("uname -n; ls -l /dev/vport*; cat /proc/uptime; false")?);
        println!("run {:?}", t.elapsed());
        let t = Instant::now();
        println!("{:?}", guest.run("time head -c 16 /dev/random | xxd")?);
        println!("run {:?}", t.elapsed());
        let p = guest.process()?;
        let t = Instant::now();
        guest.destroy()?;
        println!("destroy {:?} {}", t.elapsed(), p.is_gone());
        for i in 0..3 {
            let t = Instant::now();
            let guest = Guest::named(&format!("c{i}"))
                .cheap()
                .in_cluster("web")
                .with(Channel::VirtioBind { path: None })
                .start(&lab)?;
            println!("cheap {:?}", t.elapsed());
            let t = Instant::now();
            drop(guest);
            println!("drop {:?}", t.elapsed());
        }
        let t = Instant::now();
        let d = lab.directory().to_owned();
        drop(guest);
        drop(lab);
        println!("end {:?} {}", t.elapsed(), d.exists());
    }
    Ok(())
}
