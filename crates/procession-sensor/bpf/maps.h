/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Everything the programs keep between two instructions: the ring, the counts, the state of tasks
 * and the buffers in which long records are put together.
 */
#pragma once

enum {
	NAME_MAX_NUL = 256, /* the longest file name, with its NUL */
	PATH_SPACE = TEXT_MAX + NAME_MAX_NUL,
	/* Texts first (file name, interpreter, three paths), then the arguments. */
	TEXTS_MAX = 2 * TEXT_MAX + 3 * PATH_SPACE,
	DATA_MAX = TEXTS_MAX + EXEC_ARGS_INLINE,
};

/* Where a path walk stands. Pointers are plain numbers: they are only ever probed, never followed. */
struct path_cursor {
	u64 dentry; /* or struct kernfs_node */
	u64 mount;  /* struct vfsmount */
	u64 root_dentry;
	u64 root_mount;
	u32 start; /* of this path in the data area */
	u32 state; /* enum text_state */
};

/* What remains to be sent in args records. */
struct args_cursor {
	u64 address; /* of the next byte, in the process */
	u64 offset;  /* of the next byte, in the argument block */
	u64 left;
};

/*
 * A record under construction. The verifier forgets what it knew of a value that was written to map
 * memory, so each turn of a loop whose state lives here looks like the one before, and is pruned.
 */
struct buffer {
	union {
		struct image_record image;
		struct args_record args;
	};
	u8 data[DATA_MAX];
	u32 used; /* bytes of `data` */
	u32 pad;
	struct path_cursor path;
	struct args_cursor rest;
};
_Static_assert(__builtin_offsetof(struct buffer, data) == sizeof(struct image_record),
	       "data follows the fixed part");
_Static_assert(sizeof(struct args_record) + ARGS_CHUNK <= __builtin_offsetof(struct buffer, used),
	       "an args record fits");

/* Per task, freed by the kernel with it. A task without state runs the image it was forked with. */
struct task_state {
	u64 image_start;
	u64 exec_id;   /* the kernel's number of the exec that began the image; 0 = none that was seen */
	u32 exit_sent; /* 0 or 1; only that of a group leader counts */
	u32 pad;
};

/*
 * The maps `events`, `stats`, `tasks` and `claims` outlive the programs when they are pinned: what they
 * hold is part of LAYOUT_VERSION in src/record/layout.rs.
 */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20); /* bytes; the loader may set another power of two */
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64[STAT_COUNT]);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_state);
} tasks SEC(".maps");

/*
 * Of what this CPU has told last. Two builds of the live programs are attached for a while when one takes
 * over from another, and each fork, exec and exit is told by the one that claims it first. A change may be
 * told twice, and the second time is none. Events that leave no state with
 * a task are claimed here: the builds are called for the same event one right after the other.
 */
struct claim {
	u64 process_start; /* of the process that was forked, or ended */
	u64 tgid;
};

struct claims {
	struct claim fork;
	struct claim exit;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct claims);
} claims SEC(".maps");

/*
 * One buffer per CPU: the loader sets max_entries to their number. A real per-CPU map would not do,
 * its values are limited to 32 kB.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct buffer);
} live_buffers SEC(".maps");

/* The walk may sleep, and live programs run meanwhile on its CPU: it has a buffer of its own. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct buffer);
} walk_buffer SEC(".maps");

/* Which buffer a function works on: a pointer cannot be passed to a separately verified one. */
enum buffer_id { BUFFER_LIVE, BUFFER_WALK };

static __always_inline struct buffer *buffer_of(u32 id)
{
	u32 index = 0;

	if (id == BUFFER_WALK)
		return bpf_map_lookup_elem(&walk_buffer, &index);
	index = bpf_get_smp_processor_id();
	return bpf_map_lookup_elem(&live_buffers, &index);
}

/*
 * Adds one to a count of this CPU and returns it. Atomically, because a program at the entry of a
 * function may be preempted, and another one may then run on the same CPU.
 */
static __always_inline u64 count(u32 slot)
{
	u32 zero = 0;
	u64 *counts = bpf_map_lookup_elem(&stats, &zero);

	return counts ? __sync_fetch_and_add(&counts[slot], 1) + 1 : 0;
}
