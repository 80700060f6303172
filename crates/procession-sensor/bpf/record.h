/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What the kernel side tells user space: the layout of every record, and the meaning of every count.
 *
 * `src/record/layout.rs` mirrors this file. Both assert the same sizes and offsets, so that a change
 * on one side alone does not build. All padding is written out, because a hole would carry whatever
 * was in kernel memory. Numbers are in the machine's own byte order; times are nanoseconds of the
 * boot clock (CLOCK_BOOTTIME); ids of processes, users and groups are the host's (initial namespace).
 */
#pragma once

/* --- kinds and states --- */

enum record_kind {
	RECORD_FORK = 1, /* struct fork_record */
	RECORD_EXEC = 2, /* struct image_record */
	RECORD_EXIT = 3, /* struct exit_record */
	RECORD_ARGS = 4, /* struct args_record: part of the arguments of an exec record to come */
	RECORD_WALK = 5, /* struct image_record: a process that the task walk found alive */
	RECORD_CHANGE = 6, /* struct change_record */
};

/* How a text in the data area relates to the truth. */
enum text_state {
	TEXT_ABSENT = 0,      /* there is none, or it could not be read */
	TEXT_COMPLETE = 1,    /* all of it; a path begins at the process's own root directory */
	TEXT_TRUNCATED = 2,   /* a longer or deeper path than we follow: its last components; or a longer
				 file name: its first bytes */
	TEXT_NAME_ONLY = 3,   /* a file without a directory (memfd, detached mount of one file): its name */
	TEXT_UNREACHABLE = 4, /* a path that never meets the process's root: begins at its mount's root */
};

enum text_flag {
	TEXT_DELETED = 1 << 0, /* the last component has been unlinked */
};

/* Where `facts.cgroup_id` and the cgroup path come from. */
enum cgroup_hierarchy {
	CGROUP_UNIFIED = 0,   /* cgroup v2 */
	CGROUP_V1_MEMORY = 1, /* the process is in the v2 root; this is its v1 memory cgroup */
};

/* --- building blocks --- */

struct header {
	u16 kind;  /* enum record_kind */
	u16 flags; /* none defined yet: zero */
	u32 len;   /* of the whole record, this header included */
	u64 time;  /* when it happened */
	u64 seq;   /* number of this submission on this CPU, from 1: a gap is that many lost records.
		      In a walk: the position of the task in the iteration */
	u32 cpu;   /* where it was recorded, and so which sequence `seq` belongs to */
	u32 pad;
};

/* One image of one process, and the thread of it that is meant. */
struct process_ref {
	u64 image_start;   /* exec time if the sensor saw that exec, else `process_start`; 0 = not known.
			      (tgid, image_start) is the key of the image */
	u64 process_start; /* when the process was forked: the same for all its images */
	u32 tgid;          /* process id */
	u32 tid;           /* thread id */
};

/* The objective credentials, those that /proc/PID/status shows. */
struct credentials {
	u32 uid, gid;
	u32 suid, sgid;
	u32 euid, egid;
	u32 fsuid, fsgid;
	u32 securebits;
	u32 userns_level; /* depth of the user namespace: 0 = initial */
	u32 userns_uid, userns_gid; /* who owns the user namespace */
};

/* Bit n is capability number n. */
struct capabilities {
	u64 permitted, effective, inheritable, bounding, ambient;
};

/* Inode numbers, as in /proc/PID/ns. 0 = gone, or unknown to this kernel. */
struct namespaces {
	u32 uts, ipc, mnt;
	u32 pid; /* the one the process lives in */
	u32 pid_for_children;
	u32 net;
	u32 time, time_for_children;
	u32 cgroup, user;
};

/* What is worth knowing of any process, and can change while it runs. */
struct facts {
	struct credentials creds;
	struct capabilities caps;
	struct namespaces ns;
	u64 cgroup_id;        /* the inode number of the cgroup's directory */
	u32 cgroup_hierarchy; /* enum cgroup_hierarchy */
	u32 nspid;            /* process id in the innermost pid namespace */
	u32 pidns_level;      /* depth of that namespace: 0 = initial, so `nspid` is the host's id */
	u32 loginuid;         /* all ones = unset, or no audit in this kernel */
	u32 audit_session;    /* all ones = unset, or no audit in this kernel */
	u32 sid;              /* session: the pid of its leader, who may be gone */
	u32 pgid;             /* process group */
	u32 task_flags;       /* PF_*: 0x200000 is a kernel thread */
	u32 no_new_privs;     /* 0 or 1 */
	u32 seccomp;          /* 0 = off, 1 = strict, 2 = filter */
	char comm[16];        /* ends at the first NUL */
	char tty[16];         /* name of the controlling terminal; ends at the first NUL, empty = none */
};

/* The file that runs. All zero = none (kernel thread) or gone. */
struct file_facts {
	u64 inode;
	u64 size;
	u64 fs_magic;    /* statfs(2) f_type */
	u32 device;      /* major << 20 | minor */
	u32 links;       /* 0 = deleted, or never had a name (memfd) */
	u32 mode;        /* type, setuid/setgid/sticky and permission bits */
	u32 uid, gid;    /* owner */
	u32 mount_flags; /* MNT_*: 1 nosuid, 2 nodev, 4 noexec */
};

/*
 * Bytes in the data area, which follows the fixed part of the record. A path is its components from
 * the last one up to the root, each ended by NUL: "/usr/bin/ls" is "ls\0bin\0usr\0", "/" is empty.
 */
struct text {
	u32 offset; /* from the begin of the data area */
	u32 len;    /* with the final NUL */
	u32 state;  /* enum text_state */
	u32 flags;  /* enum text_flag */
};

/*
 * The argument block, strings ended by NUL. Inline is [0, len); args records, sent before this one
 * from the same CPU, hold [len, len + chunked). Complete if and only if len + chunked == total.
 */
struct args {
	u64 total;   /* size of the block in the process */
	u64 chunked; /* bytes submitted in args records */
	u32 offset;  /* of the inline part, from the begin of the data area */
	u32 len;     /* of the inline part */
};

/* --- records --- */

struct fork_record {
	struct header header;
	struct process_ref subject; /* the child */
	struct process_ref creator; /* who called fork; `tid` is the thread that did */
	struct process_ref owner;   /* the child's parent: another than the creator after CLONE_PARENT */
	struct facts facts;         /* the child's */
};

/*
 * Between two execs: other ids, capabilities, securebits or user namespace of the group leader, other
 * namespaces of the group leader (setns(2) also tells of those where it was already), or another session. The credentials and namespaces of other threads
 * are not those of the process, as in /proc/PID/status.
 */
struct change_record {
	struct header header;
	struct process_ref subject; /* `tid` is the thread that made the change */
	struct facts facts;         /* as they are from then on */
};

struct exit_record {
	struct header header;
	struct process_ref subject; /* `tid` is the thread that went last */
	struct process_ref owner;   /* whose child it was */
	u64 user_time;              /* CPU time of all threads, with the kernel's tick resolution */
	u64 system_time;            /* likewise */
	u64 run_time;               /* user and system, exact up to the last context switch or tick:
				       a process that was never interrupted shows 0 */
	u32 status;                 /* as wait(2) returns it */
	u32 pad;
	char comm[16];              /* of the group leader */
};

struct args_record {
	struct header header;
	struct process_ref subject; /* the new image: equals that of the exec record to come */
	u64 offset;                 /* of these bytes in the argument block */
	u32 len;                    /* bytes that follow */
	u32 pad;
};

/* EXEC and WALK. Fields marked [exec] are zero in a walk, where nothing is known of the exec. */
struct image_record {
	struct header header;
	struct process_ref subject; /* the image that runs now */
	struct process_ref owner;   /* its parent. In a walk `image_start` is 0: see on_walk() */
	u64 replaced_image_start;   /* [exec] image_start of the image before; tgid is the same */
	u32 old_tid;                /* [exec] the caller's thread id before: differs from tgid when
				       another thread than the group leader called exec */
	u32 secureexec;             /* [exec] 1 = privileges were gained (AT_SECURE) */
	u32 unsafe;                 /* [exec] LSM_UNSAFE_*: traced, shared fs, no_new_privs */
	u32 per_clear;              /* [exec] personality bits that were cleared */
	u32 argc;                   /* [exec] */
	u32 envc;                   /* [exec] */
	struct file_facts file;
	struct facts facts;
	struct text filename; /* [exec] as passed to execve, ended by NUL */
	struct text interp;   /* [exec] the interpreter, ended by NUL; absent if the file runs by itself */
	struct text exe;      /* path of the running file */
	struct text cwd;      /* path of the working directory */
	struct text cgroup;   /* path in the hierarchy that facts.cgroup_hierarchy names */
	struct args args;
};

/* --- counts --- */

/* Slots of the per-CPU map `stats`; each is a u64 that only grows. */
enum stat {
	STAT_SEQUENCE = 0, /* submissions attempted: the last `header.seq` of this CPU */

	STAT_FORK = 1, /* attempted, by kind */
	STAT_EXEC = 2,
	STAT_EXIT = 3,
	STAT_ARGS = 4,
	STAT_WALK = 5, /* written, rather than attempted */
	STAT_CHANGE = 6,

	STAT_FORK_LOST = 7, /* of these, refused by a full ring (exec: or by a missing buffer) */
	STAT_EXEC_LOST = 8,
	STAT_EXIT_LOST = 9,
	STAT_ARGS_LOST = 10,
	STAT_WALK_RETRIED = 11, /* walk records that had to wait for the next read(2): none is lost */
	STAT_CHANGE_LOST = 12,

	STAT_STORAGE_FAILED = 13,   /* no memory for task storage: an image_start may be wrong */
	STAT_READ_FAILED = 14,      /* arguments that could not be read, wholly or from some point on */

	STAT_COUNT = 15,
};

/* From the kind of a live record to its slots. */
#define STAT_ATTEMPTED(kind) ((kind) - RECORD_FORK + STAT_FORK)
#define STAT_LOST(kind) ((kind) - RECORD_FORK + STAT_FORK_LOST)

/* --- limits --- */

enum {
	TEXT_MAX = 4096,            /* PATH_MAX: a path text may exceed it by one component */
	EXEC_ARGS_INLINE = 16384,   /* bytes of arguments in the exec record itself */
	ARGS_CHUNK = 28 * 1024,     /* bytes of arguments in one args record */
	WALK_RECORD_MAX = 32 * 1024 - 8, /* the kernel's buffer for one read of an iterator is 32 kB */
};

/* --- the same numbers stand in layout.rs --- */

_Static_assert(sizeof(struct header) == 32, "header");
_Static_assert(sizeof(struct process_ref) == 24, "process_ref");
_Static_assert(sizeof(struct credentials) == 48, "credentials");
_Static_assert(sizeof(struct capabilities) == 40, "capabilities");
_Static_assert(sizeof(struct namespaces) == 40, "namespaces");
_Static_assert(sizeof(struct facts) == 208, "facts");
_Static_assert(sizeof(struct file_facts) == 48, "file_facts");
_Static_assert(sizeof(struct text) == 16, "text");
_Static_assert(sizeof(struct args) == 24, "args");
_Static_assert(sizeof(struct fork_record) == 312, "fork_record");
_Static_assert(sizeof(struct change_record) == 264, "change_record");
_Static_assert(sizeof(struct exit_record) == 128, "exit_record");
_Static_assert(sizeof(struct args_record) == 72, "args_record");
_Static_assert(sizeof(struct image_record) == 472, "image_record");

_Static_assert(__builtin_offsetof(struct header, seq) == 16, "header.seq");
_Static_assert(__builtin_offsetof(struct facts, cgroup_id) == 128, "facts.cgroup_id");
_Static_assert(__builtin_offsetof(struct facts, comm) == 176, "facts.comm");
_Static_assert(__builtin_offsetof(struct fork_record, facts) == 104, "fork_record.facts");
_Static_assert(__builtin_offsetof(struct change_record, facts) == 56, "change_record.facts");
_Static_assert(__builtin_offsetof(struct exit_record, status) == 104, "exit_record.status");
_Static_assert(__builtin_offsetof(struct image_record, file) == 112, "image_record.file");
_Static_assert(__builtin_offsetof(struct image_record, facts) == 160, "image_record.facts");
_Static_assert(__builtin_offsetof(struct image_record, filename) == 368, "image_record.filename");
_Static_assert(__builtin_offsetof(struct image_record, args) == 448, "image_record.args");
