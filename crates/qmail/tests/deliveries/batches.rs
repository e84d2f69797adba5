//! Many deliveries to users who have nothing but a Maildir.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::lspawn;
use super::stage::{Place, Spawner};
use sys::signal::{Signal, kill};
use sys::spawn::Status;
use yard::patience::eventually;

const LETTER: &[u8] = b"Subject: x\n\nhi\n";
const DONE: &str = "Kdid 1+0+0\n";
const CRASHED: &str = "Zqmail-local crashed.\n";

fn joe(_: u32) -> String {
    "joe@here.test".into()
}

/// Every letter is in the Maildir once, and whole.
fn all_there(place: &Place, want: usize) {
    let names: Vec<String> = ["new", "cur"].iter().flat_map(|dir| place.names(dir)).collect();
    let marks: BTreeSet<&str> = names.iter().filter_map(|name| name.split(".h").next()).collect();
    assert_eq!((names.len(), marks.len()), (want, want));
    for name in place.names("new") {
        let text = fs::read(place.joe("Maildir/new").join(&name)).unwrap();
        assert!(name.contains(&format!(",S={},", text.len())), "{name}");
        assert!(text.ends_with(LETTER), "{name}");
    }
}

/// The children of a process.
fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

#[test]
fn five_hundred_letters_share_their_syncs_and_each_is_there_once() {
    let place = Place::new("flood");
    let id = place.queue(LETTER);
    let mut lspawn = lspawn(&place);
    let (ended, made) = lspawn.flood(id, 0..500, false, joe, |_| ());
    assert!(ended.iter().all(|(_, said)| said == DONE), "{ended:?}");
    assert!(made > 400, "{made} were made before they ended");
    all_there(&place, 500);
    assert!(place.names("tmp").is_empty());
    // Again, as after a crash: every one finds its own file.
    let (ended, _) = lspawn.flood(id, 0..500, true, joe, |_| ());
    assert!(ended.iter().all(|(_, said)| said == DONE));
    all_there(&place, 500);
    let workers = children(lspawn.pid()).len();
    assert!(workers < 60, "{workers} workers for one user");
    eventually("idle workers go home", || children(lspawn.pid()).len() < 2);
    assert_eq!(lspawn.end(), Status::Exited(0));
}

#[test]
fn letters_of_every_size_reach_their_worker_whole() {
    let place = Place::new("sizes");
    let mut lspawn = lspawn(&place);
    // As they are; as they are until the worker has enough; as files.
    let sizes = [40, 4_000, 15_000, 40_000, 300_000];
    for (n, size) in (0..).zip(sizes) {
        let letter = [&b"X: 0123456789\n".repeat(size / 14)[..], LETTER].concat();
        let id = place.queue(&letter);
        let (ended, _) = lspawn.flood(id, n * 100..n * 100 + 60, false, joe, |_| ());
        assert!(ended.iter().all(|(_, said)| said == DONE), "{size}: {ended:?}");
    }
    all_there(&place, 60 * sizes.len());
    let sizes = |name: &String| fs::metadata(place.joe("Maildir/new").join(name)).unwrap().len();
    assert_eq!(place.names("new").iter().filter(|name| sizes(name) > 290_000).count(), 60);
    assert_eq!(lspawn.end(), Status::Exited(0));
}

#[test]
fn killed_workers_lose_nothing_and_double_nothing() {
    let place = Place::new("killed");
    let id = place.queue(LETTER);
    let mut lspawn = lspawn(&place);
    let pid = lspawn.pid();
    let (ended, _) = lspawn.flood(id, 0..400, false, joe, |n| {
        if n % 50 == 0 {
            children(pid).into_iter().for_each(|child| drop(kill(child, Signal::Kill)));
        }
    });
    let failed: Vec<u32> = ended.iter().filter(|(_, said)| said != DONE).map(|(n, _)| *n).collect();
    for index in failed {
        // The first to take it may be one that was killed last, and is not gone yet.
        eventually("it is delivered", || {
            lspawn.order_one(index, id, index, &joe(0), true);
            let (at, said) = lspawn.report();
            assert!(at == index && (said == DONE || said == CRASHED), "{at}: {said}");
            said == DONE
        });
    }
    all_there(&place, 400);
    assert_eq!(lspawn.end(), Status::Exited(0));
}

#[test]
fn a_killed_lspawn_is_followed_by_one_that_finds_what_was_delivered() {
    let place = Place::new("followed");
    let id = place.queue(LETTER);
    let mut first = lspawn(&place);
    first.flood(id, 0..100, false, joe, |_| ());
    for index in 100..200 {
        first.order_one(index, id, index, &joe(0), false);
    }
    for _ in 0..60 {
        first.news();
    }
    first.kill();
    let mut second = lspawn(&place);
    let (ended, _) = second.flood(id, 0..200, true, joe, |_| ());
    assert!(ended.iter().all(|(_, said)| said == DONE), "{ended:?}");
    all_there(&place, 200);
    assert!(place.names("tmp").is_empty(), "leftovers are removed");
    assert_eq!(second.end(), Status::Exited(0));
}

#[test]
fn a_worker_heeds_what_its_user_changes() {
    let place = Place::new("heeds");
    let id = place.queue(LETTER);
    let mut lspawn = lspawn(&place);
    let one = |lspawn: &mut Spawner, index| {
        lspawn.order_one(index, id, index, &joe(0), false);
        lspawn.report().1
    };
    assert_eq!(one(&mut lspawn, 0), DONE);
    fs::write(place.joe(".qmail"), "|echo no; exit 100\n").unwrap();
    assert_eq!(one(&mut lspawn, 1), "Dno\n");
    fs::write(place.joe(".qmail"), "# mine\n./Maildir/\n").unwrap();
    for index in 100..110 {
        assert_eq!(one(&mut lspawn, index), DONE);
    }
    fs::remove_file(place.joe(".qmail")).unwrap();
    assert_eq!(one(&mut lspawn, 2), DONE);
    fs::rename(place.joe("Maildir"), place.joe("Moved")).unwrap();
    assert_eq!(one(&mut lspawn, 3), "ZUnable to chdir to maildir. (#4.2.1)\n");
    fs::rename(place.joe("Moved"), place.joe("Maildir")).unwrap();
    assert_eq!(one(&mut lspawn, 4), DONE);
    fs::set_permissions(place.joe(""), PermissionsExt::from_mode(0o1755)).unwrap();
    let sticky = "ZHome directory is sticky: user is editing his .qmail file. (#4.2.1)\n";
    assert_eq!(one(&mut lspawn, 5), sticky);
    fs::set_permissions(place.joe(""), PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(one(&mut lspawn, 6), DONE);
    // Another account has the name now.
    let assign = fs::read_to_string(place.home.join("users/assign")).unwrap();
    let gone = assign.replace("=joe:", "=jim:");
    fs::write(place.home.join("users/assign"), gone).unwrap();
    place.run("qmail-newu");
    assert_eq!(one(&mut lspawn, 7), "DSorry, no mailbox here by that name. (#5.1.1)\n");
    assert_eq!(lspawn.end(), Status::Exited(0));
}

#[test]
fn a_user_whose_deliveries_hang_holds_up_nobody_else() {
    let place = Place::new("hangs");
    let id = place.queue(LETTER);
    let hang = "|while test ! -e go; do sleep 0.5; done\n";
    fs::write(place.joe(".qmail-hang"), hang).unwrap();
    let mut lspawn = lspawn(&place);
    for slot in 1_000..1_020 {
        lspawn.order(slot, id, "joe-hang@here.test", false);
    }
    let mut ended = 0;
    for index in 0..100 {
        lspawn.order_one(index, id, index, &joe(0), false);
    }
    while ended < 100 {
        let (slot, said) = lspawn.report();
        assert!(slot < 100 && said == DONE, "{slot} {said}");
        ended += 1;
    }
    fs::write(place.joe("go"), "").unwrap();
    for _ in 0..20 {
        assert_eq!(lspawn.report().1, "Kdid 0+0+1\n");
    }
    all_there(&place, 100);
}
