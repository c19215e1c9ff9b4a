//! Files of sockets that somebody removes or replaces.

use super::*;

fn inode(path: &std::path::Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&path.symlink_metadata().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_socket_whose_file_was_removed_or_replaced_is_made_anew_whoever_has_it() {
    let mut stage = Stage::with(4).await;
    stage.settle().await;
    stage.turns_away(1).await;
    stage.turns_away(2).await;
    assert!(stage.is_idle(0) && stage.has_task(1) && stage.has_task(2) && stage.is_idle(3));
    std::fs::remove_file(stage.socket(0)).unwrap();
    std::fs::remove_file(stage.socket(1)).unwrap();
    std::fs::remove_file(stage.socket(2)).unwrap();
    let _placeholder = std::os::unix::net::UnixListener::bind(stage.socket(2)).unwrap();
    let untouched = inode(&stage.socket(3));

    stage.sweeps().await;

    for number in 0..4 {
        stage.turns_away(number).await;
    }
    assert_eq!(inode(&stage.socket(3)), untouched);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_is_served_goes_on_though_the_file_of_its_socket_is_gone() {
    let mut stage = Stage::with(1).await;
    stage.settle().await;
    stage.host.run(uuid(0)).unwrap();
    stage.look().await;
    let mut guest = UnixStream::connect(stage.socket(0)).await.unwrap();
    stage.settle().await;
    std::fs::remove_file(stage.socket(0)).unwrap();

    stage.sweeps().await;
    guest.write_all(&questions()).await.unwrap();
    stage.settle().await;

    assert!(answers(&mut guest).await > 0);
    drop(guest);
    stage.pass(Duration::from_secs(1)).await;
    stage.sweeps().await;
    assert!(UnixStream::connect(stage.socket(0)).await.is_ok(), "it may come again");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_put_in_the_place_of_a_socket_stays_when_its_channel_goes() {
    let mut stage = Stage::with(1).await;
    stage.settle().await;
    std::fs::write(stage.socket(0).with_extension("new"), "").unwrap();
    std::fs::rename(stage.socket(0).with_extension("new"), stage.socket(0)).unwrap();

    stage.host.forget(uuid(0));
    stage.look().await;

    assert!(stage.tender(0).is_none() && stage.socket(0).exists());
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_nobody_is_removed_once_it_is_old_and_libvirt_has_listed_its_domains() {
    let mut stage = Stage::with(1).await;
    stage.settle().await;
    let (old, new) = (stage.socket(7), stage.socket(8));
    let an_hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::create(&old).unwrap().set_modified(an_hour_ago).unwrap();
    std::fs::File::create(&new).unwrap();

    let mut unlisted = Channels::open().unwrap();
    unlisted.sweep(stage.dir.path(), &stage.agent, &mut stage.tasks);
    assert!(stage.socket(0).exists() && old.exists());
    stage.sweeps().await;

    assert!(!old.exists() && new.exists() && stage.is_idle(0));
}

#[test]
fn a_file_that_somebody_removed_is_given_to_nobody_and_that_is_no_failure() {
    let owner = crate::domain::Owner { uid: 0, gid: 0 };

    assert!(crate::channel::socket::give(std::path::Path::new("/no/such/file"), owner).is_ok());
}
