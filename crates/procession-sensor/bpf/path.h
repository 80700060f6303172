/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Paths, from a file or cgroup up to its root, into the data area of a buffer.
 *
 * The kernel's own bpf_d_path() is not allowed at our hooks. Each step of a walk is a global function:
 * the verifier proves it once, by itself, so a loop over it costs a few instructions per turn, and can
 * be as long as the longest path.
 */
#pragma once

enum {
	PATH_STEPS = TEXT_MAX / 2, /* a component has two bytes at least; mounts crossed count as one */
	/* Fewer than that: the verifier takes no more than 8192 exits from the loops of one program. */
	CGROUP_STEPS = 512,
};

/* Appends one name with its NUL. False if there is no room left for this path. */
static __always_inline bool append_name(struct buffer *buffer, const void *name)
{
	u32 used = buffer->used;
	long len;

	barrier_var(used);
	if (used > TEXTS_MAX - NAME_MAX_NUL || used >= buffer->path.start + TEXT_MAX)
		return false;
	len = bpf_probe_read_kernel_str(buffer->data + used, NAME_MAX_NUL, name);
	if (len <= 0)
		return false;
	buffer->used = used + (len & (2 * NAME_MAX_NUL - 1));
	return true;
}

/* Appends one kernel string. It may exceed a path: execveat() puts "/dev/fd/N/" before the name. */
static __always_inline void append_string(struct buffer *buffer, struct text *text, const char *string)
{
	u32 used = buffer->used;
	long len;

	barrier_var(used);
	if (used > TEXTS_MAX - TEXT_MAX)
		return;
	len = bpf_probe_read_kernel_str(buffer->data + used, TEXT_MAX, string);
	if (len <= 0)
		return;
	text->offset = used;
	text->len = len & (2 * TEXT_MAX - 1);
	/* The helper does not tell a string that just fits from one that it has cut. */
	text->state = len < TEXT_MAX ? TEXT_COMPLETE : TEXT_TRUNCATED;
	buffer->used = used + text->len;
}

static __always_inline bool stop(struct path_cursor *at, u32 state)
{
	at->state = state;
	return true;
}

static __always_inline struct mount *mount_of(u64 vfsmount)
{
	return (struct mount *)(vfsmount - bpf_core_field_offset(struct mount, mnt));
}

/* From the top of a mount to the directory it is mounted on. True at the top of everything. */
static __always_inline bool leave_mount(struct buffer *buffer, bool at_root_directory)
{
	struct path_cursor *at = &buffer->path;
	struct dentry *dentry = (struct dentry *)at->dentry;
	struct mount *mount = mount_of(at->mount);
	struct mount *parent = BPF_CORE_READ(mount, mnt_parent);

	if (parent != mount) {
		at->dentry = (u64)BPF_CORE_READ(mount, mnt_mountpoint);
		at->mount = (u64)parent + bpf_core_field_offset(struct mount, mnt);
		return false;
	}
	if (at_root_directory || buffer->used != at->start)
		return stop(at, TEXT_UNREACHABLE);
	append_name(buffer, BPF_CORE_READ(dentry, d_name.name));
	return stop(at, TEXT_NAME_ONLY);
}

static __always_inline bool climb_path(struct buffer *buffer)
{
	struct path_cursor *at = &buffer->path;
	struct dentry *dentry = (struct dentry *)at->dentry;
	struct vfsmount *mount = (struct vfsmount *)at->mount;
	struct dentry *top, *parent;

	if (at->dentry == at->root_dentry && at->mount == at->root_mount)
		return stop(at, TEXT_COMPLETE);
	top = BPF_CORE_READ(mount, mnt_root);
	parent = BPF_CORE_READ(dentry, d_parent);
	if (dentry == top || dentry == parent)
		return leave_mount(buffer, dentry == top && dentry == parent);
	if (!append_name(buffer, BPF_CORE_READ(dentry, d_name.name)))
		return stop(at, TEXT_TRUNCATED);
	at->dentry = (u64)parent;
	return false;
}

/* One step towards the root directory. 1 when the walk is over. */
__noinline int climb(u32 buffer_id)
{
	struct buffer *buffer = buffer_of(buffer_id);

	return buffer ? climb_path(buffer) : 1;
}

static __always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *node)
{
	struct kernfs_node___before_6_15 *old = (void *)node;

	if (bpf_core_field_exists(node->__parent))
		return BPF_CORE_READ(node, __parent);
	return BPF_CORE_READ(old, parent);
}

static __always_inline bool climb_cgroup_path(struct buffer *buffer)
{
	struct path_cursor *at = &buffer->path;
	struct kernfs_node *node = (struct kernfs_node *)at->dentry;
	struct kernfs_node *parent = kernfs_parent(node);

	if (!parent)
		return stop(at, TEXT_COMPLETE);
	if (!append_name(buffer, BPF_CORE_READ(node, name)))
		return stop(at, TEXT_TRUNCATED);
	at->dentry = (u64)parent;
	return false;
}

/* One step towards the root cgroup, which has no name. 1 when the walk is over. */
__noinline int climb_cgroup(u32 buffer_id)
{
	struct buffer *buffer = buffer_of(buffer_id);

	return buffer ? climb_cgroup_path(buffer) : 1;
}

/* Puts the cursor on the last component. If the steps run out, the path stays truncated. */
static __always_inline void begin_path(struct buffer *buffer, const void *last)
{
	buffer->path.start = buffer->used;
	buffer->path.dentry = (u64)last;
	buffer->path.state = TEXT_TRUNCATED;
}

/* Describes what the walk has left in the data area. */
static __always_inline void fill_path_text(struct buffer *buffer, struct text *text)
{
	text->offset = buffer->path.start;
	text->len = buffer->used - buffer->path.start;
	text->state = buffer->path.state;
	text->flags = 0;
}

/* As the kernel's d_unlinked(): out of the directory's hash, and not a root, which is never in it. */
static __always_inline bool is_unlinked(struct dentry *dentry)
{
	return !BPF_CORE_READ(dentry, d_hash.pprev) && BPF_CORE_READ(dentry, d_parent) != dentry;
}

static __always_inline void append_path(struct buffer *buffer, u32 buffer_id, struct text *text,
					struct dentry *dentry, struct vfsmount *mount)
{
	begin_path(buffer, dentry);
	buffer->path.mount = (u64)mount;
	for (int i = 0; i < PATH_STEPS; i++)
		if (climb(buffer_id))
			break;
	fill_path_text(buffer, text);
	if (is_unlinked(dentry))
		text->flags = TEXT_DELETED;
}

static __always_inline void append_cgroup(struct buffer *buffer, u32 buffer_id, struct text *text,
					  struct cgroup *cgroup)
{
	begin_path(buffer, BPF_CORE_READ(cgroup, kn));
	for (int i = 0; i < CGROUP_STEPS; i++)
		if (climb_cgroup(buffer_id))
			break;
	fill_path_text(buffer, text);
}
