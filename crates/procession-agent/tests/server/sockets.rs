//! Sockets in the file system, and addresses.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use procession_agent::server::{Bound, Server, ServerAddress, ServerConfig};
use procession_api::proto::tetragon::GetVersionRequest;

use crate::lab::Lab;

async fn bind(path: &Path) -> std::io::Result<Bound> {
    let addresses = vec![ServerAddress::Unix(path.to_owned())];
    Server::bind(ServerConfig { addresses, ..ServerConfig::default() }).await
}

async fn refusal(path: &Path) -> std::io::Error {
    bind(path).await.err().expect("it must not be bound")
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap();
    names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_socket_is_for_its_group_and_goes_with_the_server() {
    let mut lab = Lab::new().await;
    let path = lab.socket().to_owned();
    let directory = path.parent().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert_eq!(names(directory), ["agent.sock"]);
    lab.sensors().await.get_version(GetVersionRequest {}).await.unwrap();
    lab.stop();
    let _directory = lab.ended().await;
    assert!(names(directory).is_empty());
}

#[tokio::test]
async fn a_socket_that_was_left_behind_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let bound = bind(&path).await.unwrap();
    assert!(UnixListener::bind(&path).is_err() && std::os::unix::net::UnixStream::connect(&path).is_ok());
    drop(bound);
    assert!(names(directory.path()).is_empty());
}

#[tokio::test]
async fn a_socket_on_which_somebody_answers_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let _first = bind(&path).await.unwrap();
    let error = refusal(&path).await;
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let text = error.to_string();
    assert!(text.contains("another agent") && text.contains(path.to_str().unwrap()), "{text}");
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    assert_eq!(names(directory.path()), ["s"]);
}

#[tokio::test]
async fn another_kind_of_file_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    fs::write(&path, "precious").unwrap();
    let error = refusal(&path).await.to_string();
    assert!(error.contains("not a socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn the_socket_of_who_came_after_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let bound = bind(&path).await.unwrap();
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    drop(bound);
    assert!(path.exists());
    drop(other);
}

#[tokio::test]
async fn what_cannot_be_bound_is_told_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let error = refusal(&directory.path().join("n".repeat(120))).await.to_string();
    assert!(error.contains("too long"), "{error}");
    fs::write(directory.path().join("file"), "").unwrap();
    let error = refusal(&directory.path().join("file/s")).await.to_string();
    assert!(error.contains("file/s"), "{error}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = ServerAddress::Tcp(taken.local_addr().unwrap().to_string());
    let socket = directory.path().join("s");
    let addresses = vec![ServerAddress::Unix(socket.clone()), address.clone()];
    let error = Server::bind(ServerConfig { addresses, ..ServerConfig::default() }).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(!socket.exists(), "what was bound before is let go");
}

#[tokio::test]
async fn without_a_host_all_addresses_are_meant() {
    let addresses = vec![":0".parse().unwrap()];
    let bound = Server::bind(ServerConfig { addresses, ..ServerConfig::default() }).await.unwrap();
    let ServerAddress::Tcp(address) = bound.addresses().unwrap().remove(0) else { panic!("no port") };
    let port = address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
}
