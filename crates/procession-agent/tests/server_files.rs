//! The server when there are no more file descriptors: a process of its own, because all would be without.

mod support;

#[path = "server/lab.rs"]
mod lab;

use std::fs::File;
use std::os::fd::AsRawFd as _;

use procession_api::proto::tetragon::GetVersionRequest;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use lab::Lab;

#[tokio::test]
async fn want_of_files_passes() {
    let lab = Lab::new().await;
    let client = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let before = getrlimit(Resource::Nofile);
    assert_eq!(before.current, before.maximum, "the server has taken what it may");
    let free = u64::try_from(File::open("/dev/null").unwrap().as_raw_fd()).unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(free), ..before }).unwrap();
    rustix::net::connect(&client, &SocketAddrUnix::new(lab.socket()).unwrap()).unwrap();
    lab.until("no file", |counts| counts.accept_errors > 0).await;
    setrlimit(Resource::Nofile, before).unwrap();
    lab.until("the connection that waited", |counts| counts.accepted == 1).await;
    lab.sensors().await.get_version(GetVersionRequest {}).await.unwrap();
}
