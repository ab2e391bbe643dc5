/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pam_floor.so: the floor for the benchmarks. What a session costs at least: a PAM module that starts the same scope,
 * loads the same transaction, takes the same objects out again at close, and does nothing else. No check, no lock, no
 * record, no log, no process of its own.
 *
 *   session required pam_floor.so TRANSACTION
 *
 * TRANSACTION is a file with nftables commands, made by authnft's own code; @STEM@ and @PATH@ stand for the session's
 * name and cgroup.
 */

#define _GNU_SOURCE

#include <sys/socket.h>
#include <sys/stat.h>

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nftables/libnftables.h>
#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <syslog.h>
#include <systemd/sd-bus.h>

#define TABLE		"authnft"
#define MANAGER		"org.freedesktop.systemd1.Manager"
#define DEADLINE_US	UINT64_C(10000000)

struct names {
	char	unit[128];	/* authnft-<user>-<pid>.scope */
	char	path[160];	/* of the cgroup, as nftables takes it */
	char	stem[64];	/* <user>_<pid> */
};

static void
name_it(struct names *names, const char *user)
{
	snprintf(names->unit, sizeof(names->unit), "authnft-%s-%d.scope", user, getpid());
	snprintf(names->path, sizeof(names->path), "authnft.slice/%s", names->unit);
	snprintf(names->stem, sizeof(names->stem), "%s_%d", user, getpid());
}

/* ---- the scope ---- */

struct job {
	const char	*path;		/* what is waited for; NULL until systemd has told */
	char		 ended[8][128];	/* jobs that ended before that */
	unsigned int	 count;
	int		 done;
};

static int
job_removed(sd_bus_message *m, void *data, sd_bus_error *error)
{
	struct job	*job = data;
	const char	*path, *result;
	uint32_t	 id;

	(void)error;
	if (sd_bus_message_read(m, "uoss", &id, &path, NULL, &result) < 0 || strcmp(result, "done") != 0)
		return 0;
	if (job->path == NULL)
		snprintf(job->ended[job->count++ % 8], sizeof(job->ended[0]), "%s", path);
	else if (strcmp(path, job->path) == 0)
		job->done = 1;
	return 0;
}

static int
start_scope(const struct names *names, const char *user)
{
	sd_bus		*bus = NULL;
	sd_bus_message	*reply = NULL;
	struct job	 job = { .path = NULL };
	char		 description[128], over[160];
	int		 r;

	snprintf(description, sizeof(description), "Session of %s under a firewall of its own", user);
	snprintf(over, sizeof(over), "authnft-end@%s.service", names->unit);
	if ((r = sd_bus_open_system(&bus)) < 0 ||
	    (r = sd_bus_match_signal_async(bus, NULL, "org.freedesktop.systemd1", NULL, MANAGER, "JobRemoved", job_removed,
	    NULL, &job)) < 0 ||
	    (r = sd_bus_call_method(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1", MANAGER,
	    "StartTransientUnit", NULL, &reply, "ssa(sv)a(sa(sv))", names->unit, "fail", 6,
	    "PIDs", "au", 1, (uint32_t)getpid(),
	    "Slice", "s", "authnft.slice",
	    "Description", "s", description,
	    "CollectMode", "s", "inactive-or-failed",
	    "OnSuccess", "as", 1, over,
	    "OnFailure", "as", 1, over,
	    0)) < 0 ||
	    (r = sd_bus_message_read(reply, "o", &job.path)) < 0)
		goto out;
	for (unsigned int i = 0; i < 8; i++)
		if (strcmp(job.ended[i], job.path) == 0)
			job.done = 1;
	while (!job.done && (r = sd_bus_process(bus, NULL)) >= 0)
		if (r == 0 && (r = sd_bus_wait(bus, DEADLINE_US)) <= 0)
			break;
out:
	sd_bus_message_unref(reply);
	sd_bus_flush_close_unref(bus);
	return job.done ? 0 : -1;
}

/* ---- the rules ---- */

/* The file's text with the names in it. The caller frees it. */
static char *
fill(const char *file, const struct names *names)
{
	char	 text[65536], *filled = NULL;
	size_t	 length, size;
	FILE	*from, *to;

	if ((from = fopen(file, "re")) == NULL)
		return NULL;
	length = fread(text, 1, sizeof(text) - 1, from);
	fclose(from);
	text[length] = '\0';
	if ((to = open_memstream(&filled, &size)) == NULL)
		return NULL;
	for (const char *at = text; *at != '\0';)
		if (strncmp(at, "@STEM@", 6) == 0) {
			fputs(names->stem, to);
			at += 6;
		} else if (strncmp(at, "@PATH@", 6) == 0) {
			fputs(names->path, to);
			at += 6;
		} else
			putc(*at++, to);
	fclose(to);
	return filled;
}

static int
load_rules(pam_handle_t *pamh, const char *file, const struct names *names)
{
	struct nft_ctx	*nft = nft_ctx_new(NFT_CTX_DEFAULT);
	char		*text = fill(file, names);
	int		 r = -1;

	if (nft != NULL && text != NULL) {
		nft_ctx_buffer_output(nft);
		nft_ctx_buffer_error(nft);
		if ((r = nft_run_cmd_from_buffer(nft, text)) != 0)
			pam_syslog(pamh, LOG_ERR, "%s", nft_ctx_get_error_buffer(nft));
	}
	free(text);
	if (nft != NULL)
		nft_ctx_free(nft);
	return r;
}

/* ---- their removal: one batch of netlink messages ---- */

struct batch {
	uint8_t		bytes[4096];	/* ten short messages */
	size_t		length;
	struct nlmsghdr	*message;
	uint32_t	count;
};

static void *
put(struct batch *b, const void *data, size_t size)
{
	void	*at = b->bytes + b->length;

	memset(at, 0, NLMSG_ALIGN(size));
	if (data != NULL)
		memcpy(at, data, size);
	b->length += NLMSG_ALIGN(size);
	return at;
}

static void
begin_message(struct batch *b, uint16_t type, uint16_t flags, uint8_t family, uint16_t resource)
{
	struct nlmsghdr		header = { .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = ++b->count };
	struct nfgenmsg		kind = { .nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(resource) };

	b->message = put(b, &header, sizeof(header));
	put(b, &kind, sizeof(kind));
}

static void
end_message(struct batch *b)
{
	b->message->nlmsg_len = (uint32_t)(b->bytes + b->length - (uint8_t *)b->message);
}

static struct nlattr *
begin_attribute(struct batch *b, uint16_t type)
{
	struct nlattr	header = { .nla_type = type };

	return put(b, &header, sizeof(header));
}

static void
end_attribute(struct batch *b, struct nlattr *attribute)
{
	attribute->nla_len = (uint16_t)(b->bytes + b->length - (uint8_t *)attribute);
}

static void
attribute(struct batch *b, uint16_t type, const void *data, size_t size)
{
	struct nlattr	*a = begin_attribute(b, type);

	put(b, data, size);
	a->nla_len = (uint16_t)(sizeof(*a) + size);
}

static void
text_attribute(struct batch *b, uint16_t type, const char *text)
{
	attribute(b, type, text, strlen(text) + 1);
}

static void
delete_element(struct batch *b, const char *set, const void *key, size_t size)
{
	struct nlattr	*list, *element, *value;

	begin_message(b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELSETELEM, 0, NFPROTO_INET, 0);
	text_attribute(b, NFTA_SET_ELEM_LIST_TABLE, TABLE);
	text_attribute(b, NFTA_SET_ELEM_LIST_SET, set);
	list = begin_attribute(b, NFTA_SET_ELEM_LIST_ELEMENTS | NLA_F_NESTED);
	element = begin_attribute(b, NFTA_LIST_ELEM | NLA_F_NESTED);
	value = begin_attribute(b, NFTA_SET_ELEM_KEY | NLA_F_NESTED);
	attribute(b, NFTA_DATA_VALUE, key, size);
	end_attribute(b, value);
	end_attribute(b, element);
	end_attribute(b, list);
	end_message(b);
}

static void
delete_chain(struct batch *b, const char *stem, const char *which)
{
	char	chain[128];

	snprintf(chain, sizeof(chain), "session_%s_%s", stem, which);
	begin_message(b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELRULE, 0, NFPROTO_INET, 0);
	text_attribute(b, NFTA_RULE_TABLE, TABLE);
	text_attribute(b, NFTA_RULE_CHAIN, chain);
	end_message(b);
	begin_message(b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELCHAIN, 0, NFPROTO_INET, 0);
	text_attribute(b, NFTA_CHAIN_TABLE, TABLE);
	text_attribute(b, NFTA_CHAIN_NAME, chain);
	end_message(b);
}

static int
remove_rules(const struct names *names, const char *rhost)
{
	struct batch	 b = { .length = 0 };
	struct stat	 st;
	char		 directory[192];
	uint8_t		 key[8 + 4];
	uint64_t	 id;
	union {
		struct nlmsghdr	header;
		uint8_t		bytes[8192];
	}		 answer;
	struct nlmsgerr	*error = NLMSG_DATA(&answer.header);
	ssize_t		 n;
	int		 fd;

	snprintf(directory, sizeof(directory), "/sys/fs/cgroup/%s", names->path);
	if (stat(directory, &st) == -1 || inet_pton(AF_INET, rhost, key + sizeof(id)) != 1)
		return -1;
	id = st.st_ino;
	memcpy(key, &id, sizeof(id));

	begin_message(&b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	end_message(&b);
	delete_element(&b, "session_in", key, sizeof(id));
	delete_element(&b, "session_out", key, sizeof(id));
	delete_element(&b, "session_map_cg", key, sizeof(id));
	delete_element(&b, "session_map_ipv4", key, sizeof(key));
	delete_chain(&b, names->stem, "in");
	delete_chain(&b, names->stem, "out");
	delete_chain(&b, names->stem, "judged");
	/* The last message's acknowledgement is the transaction's: one that fails is answered by errors first. */
	b.message->nlmsg_flags |= NLM_F_ACK;
	begin_message(&b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	end_message(&b);

	if ((fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)) == -1)
		return -1;
	n = send(fd, b.bytes, b.length, 0) == -1 ? -1 : recv(fd, &answer, sizeof(answer), 0);
	close(fd);
	return n >= (ssize_t)NLMSG_LENGTH(sizeof(*error)) && answer.header.nlmsg_type == NLMSG_ERROR && error->error == 0
	    ? 0 : -1;
}

/* ---- the two functions that PAM calls ---- */

int
pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	const char	*user = NULL;
	struct names	 names = { .unit = "" };

	(void)flags;
	if (argc != 1 || pam_get_user(pamh, &user, NULL) != PAM_SUCCESS)
		return PAM_SESSION_ERR;
	name_it(&names, user);
	if (start_scope(&names, user) == -1) {
		pam_syslog(pamh, LOG_ERR, "no scope");
		return PAM_SESSION_ERR;
	}
	return load_rules(pamh, argv[0], &names) == 0 ? PAM_SUCCESS : PAM_SESSION_ERR;
}

int
pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	const char	*user = NULL;
	const void	*rhost = NULL;
	struct names	 names = { .unit = "" };

	(void)flags;
	(void)argc;
	(void)argv;
	if (pam_get_user(pamh, &user, NULL) != PAM_SUCCESS || pam_get_item(pamh, PAM_RHOST, &rhost) != PAM_SUCCESS ||
	    rhost == NULL)
		return PAM_SESSION_ERR;
	name_it(&names, user);
	return remove_rules(&names, rhost) == 0 ? PAM_SUCCESS : PAM_SESSION_ERR;
}
