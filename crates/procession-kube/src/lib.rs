//! Whose process it is: the container that a control group belongs to, and what its runtime knows.
//!
//! [`ContainerId`] and [`Containers`] are pure functions over names: the answer is there with the
//! event, and it is the same in a replay. [`Runtimes`] asks the container runtimes of the machine, and
//! nobody waits for them.
//!
//! ```
//! use procession_kube::ContainerId;
//!
//! let id = "4f2ac1d97e0b36588c6a54f3e2b1907d".repeat(2);
//! let path = format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope/init.scope");
//!
//! let container = ContainerId::of_cgroup(path.as_bytes()).expect("the path names a container");
//! assert_eq!(container.as_str(), id);
//! assert_eq!(container.short(), "4f2ac1d97e0b");
//! ```

#![forbid(unsafe_code)]

mod container;
mod runtime;

pub use container::{CgroupContainer, ContainerId, Containers, RuntimeFamily};
pub use runtime::{
    Answer, Asked, ContainerInfo, ParseSocketError, Reply, RuntimeCounters, RuntimePod, RuntimeProtocol,
    RuntimeSocket, Runtimes, RuntimesConfig,
};
