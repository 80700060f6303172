/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What is read straight from a task. All of it is for group leaders.
 *
 * A field reached through pointers that BTF knows is read by a plain load, which the kernel makes
 * safe: a bad address reads as zero. Everything else goes through bpf_probe_read_kernel().
 */
#pragma once

/*
 * The pid at the innermost level, and the namespace of that level. The address is computed on a
 * plain number: before 6.12 the verifier refuses a variable offset on a BTF pointer, and aya 0.14
 * refuses any index but 0 on what has become a flexible array. A cast alone does not make it one:
 * what a plain load takes from a task stays a pointer to the verifier, what a helper copies does not.
 */
static __always_inline void fill_pid_namespace(struct facts *facts, struct task_struct *leader)
{
	struct pid *pid = BPF_CORE_READ(leader, thread_pid);
	u64 level = BPF_CORE_READ(pid, level);
	u64 entry = (u64)pid + bpf_core_field_offset(struct pid, numbers) +
		    level * bpf_core_type_size(struct upid);
	struct upid *innermost = (struct upid *)entry;

	facts->nspid = BPF_CORE_READ(innermost, nr);
	facts->pidns_level = level;
	facts->ns.pid = BPF_CORE_READ(innermost, ns, ns.inum);
}

static __always_inline void fill_namespaces(struct namespaces *ns, struct nsproxy *proxy)
{
	/* A leader that died before its threads has none. */
	if (!proxy) {
		__builtin_memset(ns, 0, sizeof(*ns));
		return;
	}
	ns->uts = proxy->uts_ns->ns.inum;
	ns->ipc = proxy->ipc_ns->ns.inum;
	ns->mnt = proxy->mnt_ns->ns.inum;
	ns->pid_for_children = proxy->pid_ns_for_children->ns.inum;
	ns->net = proxy->net_ns->ns.inum;
	ns->cgroup = proxy->cgroup_ns->ns.inum;
	ns->time = 0;
	ns->time_for_children = 0;
	if (bpf_core_field_exists(proxy->time_ns)) {
		ns->time = proxy->time_ns->ns.inum;
		ns->time_for_children = proxy->time_ns_for_children->ns.inum;
	}
}

/* kernel_cap_t was two u32 before 6.3 and is a u64 since: the same eight bytes on little endian. */
static __always_inline u64 read_capability(const kernel_cap_t *set)
{
	u64 bits = 0;

	bpf_probe_read_kernel(&bits, sizeof(bits), set);
	return bits;
}

static __always_inline void fill_capabilities(struct capabilities *caps, const struct cred *cred)
{
	caps->permitted = read_capability(__builtin_preserve_access_index(&cred->cap_permitted));
	caps->effective = read_capability(__builtin_preserve_access_index(&cred->cap_effective));
	caps->inheritable = read_capability(__builtin_preserve_access_index(&cred->cap_inheritable));
	caps->bounding = read_capability(__builtin_preserve_access_index(&cred->cap_bset));
	caps->ambient = read_capability(__builtin_preserve_access_index(&cred->cap_ambient));
}

static __always_inline void fill_credentials(struct facts *facts, const struct cred *cred)
{
	struct credentials *creds = &facts->creds;

	/* Never so; but a kernel whose BTF marks the field as RCU wants it checked. */
	if (!cred)
		return;
	creds->uid = cred->uid.val;
	creds->gid = cred->gid.val;
	creds->suid = cred->suid.val;
	creds->sgid = cred->sgid.val;
	creds->euid = cred->euid.val;
	creds->egid = cred->egid.val;
	creds->fsuid = cred->fsuid.val;
	creds->fsgid = cred->fsgid.val;
	creds->securebits = cred->securebits;
	creds->userns_level = cred->user_ns->level;
	creds->userns_uid = cred->user_ns->owner.val;
	creds->userns_gid = cred->user_ns->group.val;
	facts->ns.user = cred->user_ns->ns.inum;
	fill_capabilities(&facts->caps, cred);
}

/* The v1 cgroup that the memory controller sees, NULL if this kernel has no such controller. */
static __always_inline struct cgroup *memory_cgroup(struct css_set *set)
{
	struct cgroup_subsys_state *state = NULL;
	u32 index;

	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return NULL;
	index = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
	bpf_core_read(&state, sizeof(state), &set->subsys[index & 15]);
	return BPF_CORE_READ(state, cgroup);
}

/* The id of the root cgroup, in each hierarchy. */
#define ROOT_CGROUP 1

/*
 * On a machine with v1 controllers every process is in the root of the unified hierarchy, or in a
 * cgroup of systemd's; container runtimes then work in v1, where memory is always used.
 */
static __always_inline struct cgroup *cgroup_of(struct task_struct *leader, u32 *hierarchy)
{
	struct css_set *set = leader->cgroups;
	struct cgroup *unified = BPF_CORE_READ(set, dfl_cgrp);
	struct cgroup *memory = memory_cgroup(set);

	*hierarchy = CGROUP_UNIFIED;
	/* With v2 alone the memory controller sits in the same cgroup, or in one above it. */
	if (!memory || memory == unified || BPF_CORE_READ(memory, root) == BPF_CORE_READ(unified, root))
		return unified;
	if (BPF_CORE_READ(memory, kn, id) == ROOT_CGROUP && BPF_CORE_READ(unified, kn, id) != ROOT_CGROUP)
		return unified;
	*hierarchy = CGROUP_V1_MEMORY;
	return memory;
}

/* The number that a kernel without audit reports too. */
#define AUDIT_UNSET 0xffffffffu

static __always_inline void fill_session(struct facts *facts, struct task_struct *leader)
{
	struct signal_struct *signal = leader->signal;
	struct tty_struct *tty = signal->tty;

	facts->loginuid = AUDIT_UNSET;
	if (bpf_core_field_exists(leader->loginuid))
		facts->loginuid = leader->loginuid.val;
	facts->audit_session = AUDIT_UNSET;
	if (bpf_core_field_exists(leader->sessionid))
		facts->audit_session = leader->sessionid;
	facts->sid = BPF_CORE_READ(signal, pids[PIDTYPE_SID], numbers[0].nr);
	facts->pgid = BPF_CORE_READ(signal, pids[PIDTYPE_PGID], numbers[0].nr);
	if (tty)
		BPF_CORE_READ_STR_INTO(&facts->tty, tty, name);
}

/*
 * All but the cgroup's path, for which it returns the cgroup. `cred` is that of the leader, or that which
 * it is about to have.
 */
static __always_inline struct cgroup *fill_facts_with(struct facts *facts, struct task_struct *leader,
						      const struct cred *cred)
{
	struct cgroup *cgroup = cgroup_of(leader, &facts->cgroup_hierarchy);

	facts->cgroup_id = BPF_CORE_READ(cgroup, kn, id);
	fill_namespaces(&facts->ns, leader->nsproxy);
	fill_pid_namespace(facts, leader);
	fill_credentials(facts, cred);
	fill_session(facts, leader);
	facts->task_flags = leader->flags;
	facts->no_new_privs = leader->atomic_flags & PFA_NO_NEW_PRIVS_MASK;
	facts->seccomp = 0;
	if (bpf_core_field_exists(leader->seccomp.mode))
		facts->seccomp = leader->seccomp.mode;
	bpf_core_read(facts->comm, sizeof(facts->comm), &leader->comm);
	return cgroup;
}

static __always_inline struct cgroup *fill_facts(struct facts *facts, struct task_struct *leader)
{
	return fill_facts_with(facts, leader, leader->real_cred);
}

static __always_inline void fill_file(struct file_facts *facts, struct file *file)
{
	struct inode *inode = file->f_inode;

	facts->inode = inode->i_ino;
	facts->size = inode->i_size;
	facts->fs_magic = inode->i_sb->s_magic;
	facts->device = inode->i_sb->s_dev;
	facts->links = inode->i_nlink;
	facts->mode = inode->i_mode;
	facts->uid = inode->i_uid.val;
	facts->gid = inode->i_gid.val;
	facts->mount_flags = file->f_path.mnt->mnt_flags;
}
