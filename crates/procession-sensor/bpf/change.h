/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What changes about a process between two execs: whether it is a change, and how it is told. */
#pragma once

/*
 * The credentials and namespaces of a process are those of its leader. In an exec they are not news
 * of their own: its record has them. Every kernel so far marks a task that is in one; on one that did
 * not, the programs that ask would be refused, and the loader would say so.
 */
static __always_inline bool speaks_for_process(struct task_struct *task)
{
	return task->pid == task->tgid && !BPF_CORE_READ_BITFIELD(task, in_execve);
}

static __always_inline bool ids_differ(const struct cred *old, const struct cred *new)
{
	return old->uid.val != new->uid.val || old->gid.val != new->gid.val ||
	       old->suid.val != new->suid.val || old->sgid.val != new->sgid.val ||
	       old->euid.val != new->euid.val || old->egid.val != new->egid.val ||
	       old->fsuid.val != new->fsuid.val || old->fsgid.val != new->fsgid.val;
}

static __always_inline bool capabilities_differ(const struct cred *old, const struct cred *new)
{
	struct capabilities before, after;

	fill_capabilities(&before, old);
	fill_capabilities(&after, new);
	return before.permitted != after.permitted || before.effective != after.effective ||
	       before.inheritable != after.inheritable || before.bounding != after.bounding ||
	       before.ambient != after.ambient;
}

/* Credentials are replaced for other reasons too: supplementary groups, keyrings, security labels. */
static __always_inline bool credentials_differ(const struct cred *old, const struct cred *new)
{
	return ids_differ(old, new) || old->securebits != new->securebits ||
	       old->user_ns != new->user_ns || capabilities_differ(old, new);
}

/*
 * Tells how the process of `thread` runs from now on. The record is made on the stack: these programs
 * may be preempted, and a record that is reserved and not yet submitted holds up all that come after.
 */
static __always_inline void send_change(struct task_struct *thread, struct task_struct *leader,
					const struct cred *cred)
{
	u64 now = bpf_ktime_get_boot_ns();
	struct change_record record = {};

	fill_ref_of(&record.subject, leader, thread);
	fill_facts_with(&record.facts, leader, cred);
	send(&record.header, RECORD_CHANGE, sizeof(record), now);
}
