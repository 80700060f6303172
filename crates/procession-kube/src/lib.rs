//! Whose process it is: the container that a control group belongs to.
//!
//! Pure functions over names. Nothing here asks a container runtime or Kubernetes, so the answer
//! is there with the event, and it is the same in a replay.
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

pub use container::{CgroupContainer, ContainerId, Containers, RuntimeFamily};
